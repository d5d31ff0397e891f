/** What `check` looks at of LDAP sources: the files and secrets they name. The servers themselves are asked elsewhere. */
import type { Config } from '../config.ts';
import type { Environment } from '../config/environment.ts';
import type { Fault } from '../document/fault.ts';
import { readText } from '../document/yaml.ts';
import { isCertificate, NO_PEM, reading, readingSecret } from './upstreams.ts';

type Ldap = NonNullable<Config['certificates']['sources'][number]['ldap']>;

const sourcesOf = ({ certificates }: Config): { readonly ldap: Ldap; readonly name: string }[] =>
  certificates.sources.flatMap(({ ldap }, index) => (ldap === undefined ? [] : [{ ldap, name: `certificates.sources[${index}].ldap` }]));

/** Faults in the order of the sources. */
export async function inspectDirectories(config: Config, env: Environment): Promise<Fault[]> {
  return (await Promise.all(sourcesOf(config).map(({ ldap, name }) => inspectDirectory(ldap, name, env)))).flat();
}

async function inspectDirectory({ ca, bind }: Ldap, name: string, env: Environment): Promise<Fault[]> {
  const key = `${name}.bind.password`;
  const authorities = await reading(`${name}.ca`, ca, () => readText(ca ?? ''));
  const password = await readingSecret(key, bind?.password, env);
  const faults = [authorities, password].flatMap((one) => (one.kind === 'fault' ? [one.fault] : []));
  if (ca !== undefined && authorities.kind === 'text' && !isCertificate(authorities.text ?? ''))
    faults.push({ place: ca, key: `${name}.ca`, ...NO_PEM });
  return faults;
}

/** A port that says otherwise than its URL is nearly always a slip, and only seen as a silence of seconds. */
export function noteDirectoryPorts(config: Config): string[] {
  return sourcesOf(config).flatMap(({ ldap, name }) =>
    ldap.url.flatMap(({ scheme, port }) => {
      if (scheme === 'ldap' && (port === 636 || port === 3269))
        return [`${name}: port ${port} begins with TLS nearly everywhere: ldaps:// in url`];
      if (scheme === 'ldaps' && (port === 389 || port === 3268))
        return [`${name}: port ${port} begins in clear nearly everywhere: ldap:// in url`];
      return [];
    }),
  );
}
