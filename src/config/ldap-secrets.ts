/** What an LDAP source's configuration names in files and the environment, read. */
import { readText } from '../document/yaml.ts';
import type { Environment } from './environment.ts';
import { readSecret } from './secret.ts';
import type { Secret } from './values.ts';

export interface LdapSecretPlaces {
  readonly ca?: string | undefined;
  readonly bind?: { readonly password: Secret } | undefined;
}

/** `ca` is PEM text. Throws `file-unreadable` or `config-invalid` for the first that cannot be had, and where the password is empty. */
export async function readLdapSecrets(
  { ca, bind }: LdapSecretPlaces,
  env: Environment,
): Promise<{ readonly ca: string | undefined; readonly password: string | undefined }> {
  return {
    ca: ca === undefined ? undefined : await readText(ca),
    password: bind === undefined ? undefined : await readSecret(bind.password, env),
  };
}
