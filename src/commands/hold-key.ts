/** The pair that held mail is sealed to: made by `init`, and by `queue hold-key` where a site has none or wants another. */
import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { Command } from 'commander';
import { makeHoldPair } from '../certificates/hold.ts';
import { writeKeyFile } from '../certificates/authority/key-file.ts';
import { certificatePem } from '../certificates/pem.ts';
import { generatePassphrase } from '../certificates/pkcs12/write.ts';
import { loadConfig } from '../config.ts';
import { SealpostError } from '../errors.ts';
import { type HoldFiles, holdFiles } from '../site/hold-keys.ts';
import { makeFolder, writeNew } from './certificates/store.ts';
import { shown } from './certificates/paths.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

const SECRET_FILE = 0o600;
const SECRET_FOLDER = 0o700;
const PUBLIC_FILE = 0o644;

interface NewHoldFiles extends HoldFiles {
  readonly passphrase: string;
}

const PASSPHRASE_FILE = 'hold.passphrase';

/** As `init` names them. */
export const keysIn = (folder: string): NewHoldFiles => ({
  certificate: join(folder, 'hold.pem'),
  key: join(folder, 'hold.key'),
  passphrase: join(folder, PASSPHRASE_FILE),
});

/** `of`: whose mail it is; `now` in ms. Answers the files, the passphrase first. Throws `file-exists` before anything is written. */
export async function createHold(files: NewHoldFiles, of: string, now: number): Promise<readonly string[]> {
  const { certificate, key, passphrase } = files;
  for (const file of [passphrase, key, certificate])
    if (existsSync(file))
      throw new SealpostError('file-exists', {
        detail: file,
        hint: 'mail that is held now needs the pair it was sealed to: move hold.pem, hold.key and hold.passphrase elsewhere first, and keep them',
      });
  const made = await makeHoldPair(of, now);
  const words = generatePassphrase();
  for (const file of [passphrase, key]) makeFolder(dirname(file), SECRET_FOLDER);
  makeFolder(dirname(certificate), 0o755);
  writeNew(passphrase, `${words}\n`, SECRET_FILE);
  writeNew(key, writeKeyFile(made.key, words, `key of ${made.certificate.subject}`), SECRET_FILE);
  const head = `# what held mail is sealed to, sha-256 ${made.certificate.fingerprint}\n`;
  // Last: mail can be held once it is there.
  writeNew(certificate, `${head}${certificatePem(made.certificate)}`, PUBLIC_FILE);
  return [passphrase, key, certificate];
}

export const buildHoldKey: BuildCommand = (terminal) =>
  new Command('hold-key')
    .description('makes the key and certificate that held mail is sealed to, where there are none')
    .action(async (_: object, command: Command) => {
      const { config: file } = command.optsWithGlobals<{ config?: string }>();
      const config = await loadConfig({ file, env: terminal.env, cwd: terminal.cwd });
      const files = holdFiles(config);
      const passphrase = join(dirname(files.key), PASSPHRASE_FILE);
      for (const written of await createHold({ ...files, passphrase }, config.hostname, Date.now()))
        terminal.stdout.write(`wrote ${shown(written, terminal)}\n`);
      terminal.stderr.write(nextSteps(config, { ...files, passphrase }, terminal));
    });

function nextSteps(
  { file, hold }: { readonly file: string; readonly hold: { readonly passphrase?: unknown } },
  files: NewHoldFiles,
  terminal: Pick<Terminal, 'cwd'>,
): string {
  const short = relative(dirname(file), files.passphrase);
  const from = short.startsWith('..') || isAbsolute(short) ? files.passphrase : short;
  const lines = [
    'sealpost: rules may hold mail now: a relay that runs sees the certificate within minutes',
    ...(hold.passphrase === undefined
      ? [`sealpost: for release by itself write into ${shown(file, terminal)}: hold: { passphrase: "file:${from}" }`]
      : []),
    `sealpost: or take ${shown(files.key, terminal)} and its passphrase away from this machine: mail is released by hand then, see docs/hold.md`,
  ];
  return lines.map((line) => `${line}\n`).join('');
}
