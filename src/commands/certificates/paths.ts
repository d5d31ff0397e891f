/** Where certificates and the in-house CA's key lie, from the configuration. */
import { dirname, join, relative } from 'node:path';
import type { LdapPlaces } from '../../certificates/ldap/source.ts';
import type { CertificatePlaces, SiteOptions } from '../../certificates/site.ts';
import { readDatabase, readKnownCertificates } from '../../change-control.ts';
import { type Config, loadConfig } from '../../config.ts';
import { addressKey } from '../../config/audit-keys.ts';
import type { Environment } from '../../config/environment.ts';
import { readLdapSecrets } from '../../config/ldap-secrets.ts';
import { readSecret } from '../../config/secret.ts';
import { SealpostError } from '../../errors.ts';
import { listWaiting } from '../../queue/known-rows.ts';
import { queuePaths, type QueuePaths } from '../../queue/paths.ts';
import { ownFolder } from '../../upkeep/own-certificates.ts';
import { readOwnWords } from '../../upkeep/own-word.ts';
import { USUAL_VALID_MS } from '../../upkeep/crl-upkeep.ts';
import type { Terminal } from '../terminal.ts';

/** Absolute paths. */
export interface CertificatePaths {
  readonly places: CertificatePlaces;
  readonly options: Pick<SiteOptions, 'patience' | 'cache' | 'own' | 'ldapSecrets' | 'known' | 'ownWord'>;
  /** Folders of recipient certificates, in the order they are asked; commands write to the first. */
  readonly folders: readonly string[];
  readonly anchors: string;
  readonly intermediates: string;
  readonly keys: string;
  /** Where what the in-house CA makes for readers goes, if nothing else is said: beside the configuration, wherever a command is given. */
  readonly issued: string;
  /** Whom readers turn to: an address. */
  readonly operator: string;
  /** The operator is as `init` guessed it: nobody need read there. */
  readonly operatorGuessed: boolean;
  /** Stands in certificates that the in-house CA signs: where its revocation list is served. */
  readonly crlUrl: string | undefined;
  /** Where the ledger of the in-house CA is kept. */
  readonly queue: QueuePaths;
  readonly expiry: Config['certificates']['expiry'];
  /** ms that a list of the in-house CA counts. */
  readonly listValid: number;
  /** Of the in-house CA; undefined where the configuration names none. Throws what readSecret() throws. */
  readonly passphrase: () => Promise<string | undefined>;
  /** Fingerprints of what waits for approval; none where certificates are not pinned. Throws where the queue cannot be looked at. */
  readonly waiting: () => ReadonlySet<string>;
}

/** Throws what loadConfig throws. */
export async function certificatePaths(file: string | undefined, { env, cwd }: Terminal): Promise<CertificatePaths> {
  return pathsOf(await loadConfig({ file, env, cwd }), env);
}

export function pathsOf(
  {
    certificates,
    file,
    hostname,
    keys,
    operator,
    queue,
    audit,
    timeouts,
  }: Pick<Config, 'audit' | 'certificates' | 'file' | 'hostname' | 'keys' | 'operator' | 'queue' | 'timeouts'>,
  env: Environment,
): CertificatePaths {
  const folders = certificates.sources.flatMap(({ files }) => files ?? []);
  const options = {
    patience: timeouts.lookup,
    cache: { folder: dirname(queue.sqlite), writable: false },
    own: ownFolder({ queue }),
    ldapSecrets: (places: LdapPlaces) => readLdapSecrets(places, env),
    known: certificates.pin ? readKnownCertificates(queue.sqlite) : undefined,
    ownWord: readOwnWords(queue.sqlite),
  };
  const waiting = (): ReadonlySet<string> => {
    const rows = certificates.pin ? readDatabase(queue.sqlite, listWaiting) : undefined;
    return new Set(rows?.map((row) => row.waiting.fingerprint));
  };
  const { authority, trust } = certificates;
  return {
    places: certificates,
    options,
    folders,
    anchors: trust.anchors,
    intermediates: trust.intermediates,
    keys,
    issued: join(dirname(file), 'issued'),
    operator,
    operatorGuessed: operator === guessOperator(hostname),
    queue: queuePaths(queue.sqlite, audit.file, addressKey({ audit, keys })),
    expiry: certificates.expiry,
    crlUrl: authority.crl?.url,
    listValid: authority.crl?.valid ?? USUAL_VALID_MS,
    passphrase: async () => (authority.passphrase === undefined ? undefined : readSecret(authority.passphrase, env)),
    waiting,
  };
}

/** What `init` writes where nobody says who the operator is. */
export const guessOperator = (host: string): string => `postmaster@${host}`;

/** The folder that commands write certificates to. Throws where no source is a folder. */
export function firstFolder({ folders }: CertificatePaths): string {
  const [first] = folders;
  if (first !== undefined) return first;
  const hint = 'add { files: certs/recipients } to certificates.sources';
  throw new SealpostError('config-invalid', { detail: 'certificates.sources names no folder', hint });
}

/** A path as the person at the terminal would write it. */
export function shown(path: string, terminal: Pick<Terminal, 'cwd'>): string {
  const short = relative(terminal.cwd, path);
  return short === '' || short.startsWith('..') ? path : short;
}
