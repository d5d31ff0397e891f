/** `sealpost init [DIR]`: a site that works as it is, so that the first mail is minutes away. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import type { AuthorityPlaces } from '../certificates/authority/files.ts';
import { renderFirstConfig } from '../config/reference.ts';
import { systemCode, unreadable } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import { foldDomain } from '../message/envelope.ts';
import { createAuthority } from './certificates/authority.ts';
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
  /** Where the rules to start with are copied from. */
  readonly shippedPolicies: string;
  /** Makes the in-house CA; answers the files it wrote. */
  readonly makeAuthority: (places: AuthorityPlaces) => Promise<readonly string[]>;
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
  // Last: a site is there once its configuration is.
  await writeNew(at('sealpost.yaml'), renderFirstConfig({ hostname: site.hostname, operator: guessOperator(site.hostname) }));
  return [at('sealpost.yaml'), ...missing.map(([, to]) => to), ...authority];
}

const guessOperator = (host: string): string => `postmaster@${host}`;

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

/** What comes next; the commands to paste as they are. */
function nextSteps(terminal: Terminal, folder: string, operator: string): string {
  const file = path.relative(terminal.cwd, path.join(folder, 'sealpost.yaml'));
  // npx names itself in the environment; what was typed once works again.
  const sealpost = terminal.env['npm_command'] === 'exec' ? 'npx sealpost' : 'sealpost';
  const command = file === 'sealpost.yaml' ? sealpost : `${sealpost} -c ${quote(file)}`;
  return [
    'next:',
    `  write into ${quote(file)} under operator who is to hear of mail that failed: it is ${operator}`,
    `  ${command} certs issue anna@clinic.example    # or put certificates into ${quote(path.join(path.dirname(file), 'certs/recipients'))}`,
    `  ${command} check`,
    `  ${command} serve                              # then point your script at 127.0.0.1 port 2525`,
    '',
  ].join('\n');
}

/** A word of a POSIX shell. */
const quote = (word: string): string => (/^[A-Za-z0-9_./@:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

export const build: BuildCommand = (terminal) =>
  new Command()
    .argument('[dir]', 'where to', '.')
    .description('writes sealpost.yaml, policies/, certs/, keys/ and data/, with an in-house CA; overwrites nothing')
    .action(async (dir: string) => {
      const folder = path.resolve(terminal.cwd, dir);
      const host = foldDomain(hostname()) ?? 'localhost';
      const makeAuthority = async (places: AuthorityPlaces): Promise<readonly string[]> =>
        (await createAuthority(places, host, Date.now())).files;
      const written = await makeSite({ folder, hostname: host, shippedPolicies: SHIPPED_POLICIES, makeAuthority });
      for (const file of written) terminal.stdout.write(`wrote ${file}\n`);
      terminal.stdout.write(nextSteps(terminal, folder, guessOperator(host)));
    });
