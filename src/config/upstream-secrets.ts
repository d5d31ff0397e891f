/** What an upstream's configuration names in files and the environment, read. */
import { readText } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import type { Environment } from './environment.ts';
import { readSecret } from './secret.ts';
import type { Secret } from './values.ts';

export interface UpstreamPlaces {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: Secret | undefined;
  readonly auth?: { readonly user: string; readonly password: Secret } | undefined;
}

/** PEM texts, and the login. */
export interface UpstreamTexts {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly login: { readonly user: string; readonly password: string } | undefined;
}

/** Throws `file-unreadable` or `config-invalid` for the first that cannot be had. */
export async function readUpstreamSecrets({ ca, cert, key, auth }: UpstreamPlaces, env: Environment): Promise<UpstreamTexts> {
  return {
    ca: ca === undefined ? undefined : await readText(ca),
    cert: cert === undefined ? undefined : await readText(cert),
    key: key === undefined ? undefined : await readSecret(key, env),
    login: auth === undefined ? undefined : { user: auth.user, password: await readPassword(auth.password, env) },
  };
}

async function readPassword(secret: Secret, env: Environment): Promise<string> {
  const password = await readSecret(secret, env);
  // AUTH PLAIN (RFC 4616) divides its parts by NUL.
  if (password.includes('\0')) throw new SealpostError('config-invalid', { detail: 'a password with a NUL octet' });
  return password;
}
