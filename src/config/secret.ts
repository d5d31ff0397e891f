/** Secrets that the configuration names: read when they are needed, and kept out of every message (A33). */
import { SealpostError } from '../errors.ts';
import { readSecretFile } from '../document/secret-file.ts';
import { unreadable } from '../document/yaml.ts';
import type { Environment } from './environment.ts';
import type { Secret } from './values.ts';

/** The secret without the line end that editors put behind it. Throws `file-unreadable`, or `config-invalid` where it is empty or not set. */
export async function readSecret(secret: Secret, env: Environment): Promise<string> {
  const read = secret.from === 'file' ? await readSecretText(secret.path) : env[secret.name];
  const place = secret.from === 'file' ? secret.path : `environment ${secret.name}`;
  const value = read?.replace(/\r?\n$/, '') ?? '';
  if (value === '')
    throw new SealpostError('config-invalid', { detail: `${place}: the secret is ${read === undefined ? 'not set' : 'empty'}` });
  return value;
}

async function readSecretText(file: string): Promise<string> {
  const octets = await readSecretFile(file);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(octets);
  } catch (error) {
    throw unreadable(file, error);
  } finally {
    octets.fill(0);
  }
}
