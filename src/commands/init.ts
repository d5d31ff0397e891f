/** `sealpost init [DIR]`: a site that works as it is, so that the first mail is minutes away. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import type { AuthorityPlaces } from '../certificates/authority/files.ts';
import { renderFirstConfig } from '../config/reference.ts';
import { systemCode, unreadable } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import { foldDomain, parseMailbox } from '../message/envelope.ts';
import { authorityName, createAuthority } from './certificates/authority.ts';
import { guessOperator } from './certificates/paths.ts';
import { nameFault } from './certificates/roster.ts';
import { createHold, keysIn } from './hold-key.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

/** Of the package, two folders up from src/commands and dist/commands alike. */
export const SHIPPED_POLICIES = fileURLToPath(new URL('../../policies', import.meta.url));

/** Folders of a site; those with `private` hold keys or mail, for the eyes of one user. */
const folders: readonly { readonly name: string; readonly private: boolean }[] = [
  { name: 'policies', private: false },
  { name: 'certs/recipients', private: false },
  { name: 'certs/anchors', private: false },
  { name: 'certs/intermediates', private: false },
  { name: 'keys', private: true },
  { name: 'data', private: true },
];
const PRIVATE = 0o700;
const PUBLIC = 0o755;

export interface Site {
  readonly folder: string;
  /** Our name for others; a domain. */
  readonly hostname: string;
  /** Whom readers turn to, an address; a guess where it is left out. */
  readonly operator?: string | undefined;
  /** Where the rules to start with are copied from. */
  readonly shippedPolicies: string;
  /** Makes the in-house CA; answers the files it wrote. */
  readonly makeAuthority: (places: AuthorityPlaces) => Promise<readonly string[]>;
  /** Makes the pair of held mail in the folder of keys; answers the files it wrote. Left out: there is none. */
  readonly makeHold?: (keys: string) => Promise<readonly string[]>;
}

/** Writes a site; answers the files written. Throws `file-exists` before anything is touched where something is in the way. */
export async function makeSite(site: Site): Promise<readonly string[]> {
  const at = (name: string): string => path.join(site.folder, name);
  for (const name of ['sealpost.yaml', ...folders.map((folder) => folder.name)]) await assertFree(at(name), site.shippedPolicies);
  for (const folder of folders) await makeFolder(at(folder.name), folder.private ? PRIVATE : PUBLIC);
  const policies = (await listPolicies(site.shippedPolicies)).map(
    (name) => [path.join(site.shippedPolicies, name), at(`policies/${name}`)] as const,
  );
  const missing = policies.filter(([, to]) => !existsSync(to));
  for (const [from, to] of missing) await writeNew(to, await readShipped(from));
  const authority = await site.makeAuthority({
    keys: at('keys'),
    anchors: at('certs/anchors'),
    intermediates: at('certs/intermediates'),
  });
  const held = (await site.makeHold?.(at('keys'))) ?? [];
  // Last: a site is there once its configuration is.
  const operator = site.operator ?? guessOperator(site.hostname);
  await writeNew(at('sealpost.yaml'), renderFirstConfig({ hostname: site.hostname, operator }));
  return [at('sealpost.yaml'), ...missing.map(([, to]) => to), ...authority, ...held];
}

/** Nothing at `target`, or a folder with no more in it than a checkout has: kept empty folders, and the shipped policies. */
async function assertFree(target: string, shippedPolicies: string): Promise<void> {
  try {
    const names = await readdir(target);
    const isShipped = await Promise.all(names.map((name) => isSameFile(path.join(target, name), path.join(shippedPolicies, name))));
    if (names.every((name, index) => name === '.gitkeep' || isShipped[index] === true)) return;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    if (systemCode(error) !== 'ENOTDIR') throw unreadable(target, error);
  }
  throw new SealpostError('file-exists', { detail: target, hint: 'nothing was written; sealpost init DIR makes a site elsewhere' });
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  try {
    const [ours, theirs] = await Promise.all([readFile(one), readFile(other)]);
    return ours.equals(theirs);
  } catch {
    return false; // one of them is not there, or is a folder
  }
}

/** Node's own `recursive` never ends where a parent exists and takes no children, as under /proc. */
async function mkdirs(folder: string, mode: number): Promise<void> {
  try {
    await mkdir(folder, { mode });
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return;
    if (systemCode(error) !== 'ENOENT' || existsSync(path.dirname(folder))) throw error;
    await mkdirs(path.dirname(folder), PUBLIC);
    await mkdir(folder, { mode });
  }
}

async function makeFolder(folder: string, mode: number): Promise<void> {
  try {
    await mkdirs(folder, mode);
    // An empty folder that was there keeps its mode, and may be open to others.
    if (mode === PRIVATE) await chmod(folder, mode);
  } catch (error) {
    throw unwritable(folder, error);
  }
}

async function listPolicies(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  } catch (error) {
    throw unreadable(folder, error, 'the installation is not whole: install sealpost again');
  }
}

async function readShipped(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw unreadable(file, error, 'the installation is not whole: install sealpost again');
  }
}

async function writeNew(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { flag: 'wx' });
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw new SealpostError('file-exists', { detail: file, cause: error });
    throw unwritable(file, error);
  }
}

function unwritable(file: string, cause: unknown): SealpostError {
  return new SealpostError('file-unwritable', { detail: `${file} (${systemCode(cause) ?? 'unknown reason'})`, cause });
}

interface Made {
  /** As it was typed. */
  readonly dir: string;
  /** Undefined where somebody said who it is. */
  readonly guessed: string | undefined;
}

/** What comes next; the commands to paste as they are. A folder that was named from the root is so named again: that works from everywhere. */
function nextSteps(terminal: Terminal, { dir, guessed }: Made): string {
  const whole = path.join(path.resolve(terminal.cwd, dir), 'sealpost.yaml');
  const file = path.isAbsolute(dir) ? whole : path.relative(terminal.cwd, whole);
  // npx names itself in the environment; what was typed once works again.
  const sealpost = terminal.env['npm_command'] === 'exec' ? 'npx sealpost' : 'sealpost';
  const command = file === 'sealpost.yaml' ? sealpost : `${sealpost} -c ${quote(file)}`;
  return [
    'next:',
    ...(guessed === undefined
      ? []
      : [`  write into ${quote(file)} under operator who is to hear of mail that failed, and of lost keys: it is ${guessed}`]),
    `  set certificates.authority.crl there first if others are to hear what is revoked: certificates name it from then on`,
    `  ${command} certs issue anna@clinic.example    # or put certificates into ${quote(path.join(path.dirname(file), 'certs/recipients'))}`,
    `  ${command} check`,
    `  ${command} serve                              # then point your script at 127.0.0.1 port 2525`,
    `  take ${quote(path.join(path.dirname(file), 'keys/root.key'))} away from this machine, with a copy of ca.passphrase beside it: issuing works without it`,
    `  take ${quote(path.join(path.dirname(file), 'keys/hold.key'))} and hold.passphrase away too if no held mail is to be opened here, and hold out of the configuration: it is released by hand then, see docs/hold.md`,
    '',
  ].join('\n');
}

/** A word of a POSIX shell. */
const quote = (word: string): string => (/^[A-Za-z0-9_./@:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

export const build: BuildCommand = (terminal) =>
  new Command()
    .argument('[dir]', 'where to', '.')
    .description('writes sealpost.yaml, policies/, certs/, keys/ and data/, with an in-house CA; overwrites nothing')
    .option('--name <name>', 'your organisation: it stands in the names of the in-house CA, which readers see', readName)
    .option('--operator <address>', 'who hears of mail that failed, and to whom readers turn', readAddress)
    .action(async (dir: string, { name, operator }: { readonly name?: string; readonly operator?: string }) => {
      const folder = path.resolve(terminal.cwd, dir);
      const host = foldDomain(hostname()) ?? 'localhost';
      const makeAuthority = async (places: AuthorityPlaces): Promise<readonly string[]> =>
        (await createAuthority(places, name ?? host, Date.now())).files;
      const makeHold = (keys: string): Promise<readonly string[]> => createHold(keysIn(keys), name ?? host, Date.now());
      const written = await makeSite({ folder, hostname: host, operator, shippedPolicies: SHIPPED_POLICIES, makeAuthority, makeHold });
      for (const file of written) terminal.stdout.write(`wrote ${file}\n`);
      terminal.stdout.write(nextSteps(terminal, { dir, guessed: operator === undefined ? guessOperator(host) : undefined }));
    });

/** It stands behind the longer of these two, in a name that holds so much and no more. */
function readName(text: string): string {
  const name = text.trim();
  const fault = name === '' ? 'is blank' : nameFault(authorityName('issuing', name));
  if (fault !== undefined) throw new InvalidArgumentError(`as ${JSON.stringify(authorityName('issuing', name))} it ${fault}.`);
  return name;
}

function readAddress(text: string): string {
  const verdict = parseMailbox(text);
  if (verdict.kind === 'fault') throw new InvalidArgumentError(`${verdict.fault}.`);
  return verdict.mailbox.address;
}
