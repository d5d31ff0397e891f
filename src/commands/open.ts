/** `sealpost open`: shows a sealed message as its reader would see it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { SealpostError } from '../errors.ts';
import { openMessage } from '../seal/open.ts';
import { type KeyOptions, readBytes, readIdentities } from './key-options.ts';
import { readEntity, type ReadEntity, showEntity } from './entity.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

interface Options extends KeyOptions {
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
  const { entity } = openMessage(message, await readIdentities(options, terminal));
  if (options.raw === true) {
    terminal.stdout.write(entity);
    return;
  }
  const read = await readEntity(message, entity);
  terminal.stdout.write(showEntity(read));
  if (options.attachments !== undefined) await writeAttachments(read, resolve(terminal.cwd, options.attachments), terminal);
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
