/** `sealpost open`: shows a sealed message as its reader would see it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { readCertificates } from '../certificates/bundle.ts';
import { openPkcs12, readKeyPem } from '../certificates/pkcs12/keys.ts';
import { SealpostError } from '../errors.ts';
import { type Identity, openMessage } from '../seal/open.ts';
import { readEntity, type ReadEntity, showEntity } from './entity.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

interface Options {
  readonly p12?: string;
  readonly key?: string;
  readonly cert?: string;
  readonly passphrase?: string;
  readonly attachments?: string;
  readonly raw?: true;
}

export const build: BuildCommand = (terminal) =>
  new Command('open')
    .description("opens a sealed message with its reader's key and shows what is in it; - reads standard input")
    .argument('<file>', 'the message, or its smime.p7m')
    .option('--p12 <file>', 'key and certificate of the reader, PKCS#12')
    .option('--key <file>', 'private key of the reader, PEM or DER')
    .option('--cert <file>', 'certificate that belongs to --key; without it every reader entry is tried')
    .option('--passphrase <from>', 'of the PKCS#12 or key: file:PATH or env:NAME; else FILE.password beside FILE.p12 is read')
    .option('--attachments <folder>', 'writes attachments there')
    .option('--raw', 'writes the inner entity, octet for octet')
    .action((file: string, options: Options) => run(file, options, terminal));

async function run(file: string, options: Options, terminal: Terminal): Promise<void> {
  const message = file === '-' ? Buffer.from(await text(terminal.stdin.setEncoding('latin1')), 'latin1') : await readBytes(file, terminal);
  const { entity } = openMessage(message, await identities(options, terminal));
  if (options.raw === true) {
    terminal.stdout.write(entity);
    return;
  }
  const read = await readEntity(message, entity);
  terminal.stdout.write(showEntity(read));
  if (options.attachments !== undefined) await writeAttachments(read, resolve(terminal.cwd, options.attachments), terminal);
}

async function identities({ p12, key, cert, passphrase }: Options, terminal: Terminal): Promise<readonly Identity[]> {
  if (p12 !== undefined) return openPkcs12(await readBytes(p12, terminal), await secret(passphrase ?? besides(p12), terminal));
  if (key === undefined) throw new SealpostError('usage', { detail: 'no key', hint: 'name one: --p12 FILE, or --key FILE' });
  const secretKey = readKeyPem(await readBytes(key, terminal), passphrase === undefined ? undefined : await secret(passphrase, terminal));
  if (cert === undefined) return [{ key: secretKey }];
  const [certificate] = readCertificates(await readBytes(cert, terminal)).certificates;
  if (certificate === undefined) throw new SealpostError('certificate-malformed', { detail: cert });
  return [{ key: secretKey, certificate }];
}

/** Where `certs issue` puts the password of a PKCS#12 that it makes. */
const besides = (p12: string): string => `file:${p12.replace(/\.p12$/i, '')}.password`;

/** A secret never stands in the command line, where every process of the machine can read it. */
async function secret(from: string, terminal: Terminal): Promise<string> {
  if (from.startsWith('env:')) {
    const value = terminal.env[from.slice('env:'.length)];
    if (value === undefined) throw new SealpostError('usage', { detail: `--passphrase: ${from} is not set` });
    return value;
  }
  if (!from.startsWith('file:')) throw new SealpostError('usage', { detail: '--passphrase takes file:PATH or env:NAME' });
  return (await readBytes(from.slice('file:'.length), terminal)).toString().replace(/\r?\n$/, '');
}

async function readBytes(file: string, { cwd }: Terminal): Promise<Buffer> {
  try {
    return await readFile(resolve(cwd, file));
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
}

async function writeAttachments({ attachments }: ReadEntity, folder: string, terminal: Terminal): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const { name, content } of attachments) {
    const file = join(folder, basename(name));
    try {
      await writeFile(file, content, { flag: 'wx' });
    } catch (cause) {
      throw new SealpostError('file-exists', { detail: file, cause });
    }
    terminal.stderr.write(`wrote ${file}, ${content.length} octets\n`);
  }
}
