/** For `check`: whether the directory servers that the configuration names answer, believe the login, and know the base. */
import { type LdapPlaces } from '../../certificates/ldap/source.ts';
import { type ProbeFault, probeServers } from '../../certificates/ldap/probe.ts';
import type { Config } from '../../config.ts';
import type { Environment } from '../../config/environment.ts';
import { readLdapSecrets } from '../../config/ldap-secrets.ts';
import type { Fault } from '../../document/fault.ts';
import { SealpostError } from '../../errors.ts';

/** A directory that is set up wrongly defers mail from its first day on, and a log line alone would say so. */
export async function serverFaults({ certificates, timeouts, file }: Config, env: Environment): Promise<Fault[]> {
  const checked = certificates.sources.map(async ({ ldap }, index): Promise<readonly Fault[]> => {
    if (ldap === undefined) return [];
    const faults = await probe(ldap, { env, patience: timeouts.lookup });
    return faults.map((fault) => ({ place: file, key: `certificates.sources[${index}].ldap`, ...told(fault) }));
  });
  return (await Promise.all(checked)).flat();
}

async function probe(
  places: NonNullable<Config['certificates']['sources'][number]['ldap']> & LdapPlaces,
  { env, patience }: { readonly env: Environment; readonly patience: number },
): Promise<readonly ProbeFault[]> {
  try {
    return await probeServers(places, { secrets: () => readLdapSecrets(places, env), patience });
  } catch (error) {
    // Of ca and password, which the look at the files tells.
    if (error instanceof SealpostError) return [];
    throw error;
  }
}

function told({ kind, server: { host, port }, fault: { detail, message, hint } }: ProbeFault): Pick<Fault, 'wrong' | 'mend'> {
  const mend = kind === 'refused' ? 'mend dn and password of bind; a wrong password that is tried often may lock the account' : hint;
  return { wrong: `${host}:${port}: ${detail ?? message}`, mend };
}
