/** Private keys that commands open mail with, as the command line names them; never a secret on it. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { readCertificates } from '../certificates/bundle.ts';
import { openPkcs12, readKeyPem } from '../certificates/pkcs12/keys.ts';
import { SealpostError } from '../errors.ts';
import type { Identity } from '../seal/open.ts';
import type { Terminal } from './terminal.ts';
import { askHidden } from './users/password.ts';

export interface KeyOptions {
  readonly p12?: string;
  readonly key?: string;
  readonly cert?: string;
  readonly passphrase?: string;
}

/** The keys that the options name. Asks for a passphrase where one is needed and somebody sits there. */
export async function readIdentities({ p12, key, cert, passphrase }: KeyOptions, terminal: Terminal): Promise<readonly Identity[]> {
  if (p12 !== undefined) return openPkcs12(await readBytes(p12, terminal), await secret(passphrase ?? besides(p12), terminal));
  if (key === undefined) throw new SealpostError('usage', { detail: 'no key', hint: 'name one: --p12 FILE, or --key FILE' });
  const octets = await readBytes(key, terminal);
  const opens = passphrase === undefined ? await askFor(key, octets, terminal) : await secret(passphrase, terminal);
  const secretKey = readKeyPem(octets, opens);
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

async function askFor(file: string, octets: Buffer, terminal: Terminal): Promise<string | undefined> {
  return octets.includes('ENCRYPTED') ? askHidden(`passphrase of ${file}: `, terminal) : undefined;
}

export async function readBytes(file: string, { cwd }: Terminal): Promise<Buffer> {
  try {
    return await readFile(resolve(cwd, file));
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
}
