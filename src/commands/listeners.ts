/** What `check` says of the certificates that listeners show. */
import type { Config } from '../config.ts';
import type { Environment } from '../config/environment.ts';
import { readSecret } from '../config/secret.ts';
import type { Fault } from '../document/fault.ts';
import { readText } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import { EXPIRES_SOON_MS, type Pair, readPair } from '../ingress/certificate.ts';
import { inspectSecretFile } from './site.ts';

export interface ListenerFindings {
  readonly faults: readonly Fault[];
  /** Nothing is broken yet. */
  readonly notes: readonly string[];
}

/** `now` in ms. */
export async function inspectCertificates(config: Config, env: Environment, now: number): Promise<ListenerFindings> {
  const found = await Promise.all(config.listen.map((listener, index) => inspect(listener, `listen[${index}]`, config.hostname, env, now)));
  return { faults: found.flatMap(({ faults }) => faults), notes: found.flatMap(({ notes }) => notes) };
}

async function inspect(
  { cert, key, tls }: Config['listen'][number],
  at: string,
  hostname: string,
  env: Environment,
  now: number,
): Promise<ListenerFindings> {
  if (tls === 'off' || cert === undefined || key === undefined) return { faults: [], notes: [] };
  const keyFile = key.from === 'file' ? key.path : undefined;
  const open = keyFile === undefined ? [] : await inspectSecretFile(keyFile, `${at}.key`);
  // One that the relay refuses for its mode is read all the same, so that the rest is told of too.
  const readKey = (): Promise<string> => (keyFile !== undefined && open.length > 0 ? readText(keyFile) : readSecret(key, env));
  try {
    const pair = await readPair({ certificate: cert, keyFile, readKey });
    const judged = judge(pair, { place: cert, key: `${at}.cert` }, hostname, now);
    return { faults: [...open, ...judged.faults], notes: judged.notes };
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    return { faults: [...open, { place: cert, key: `${at}.cert`, wrong: error.message, mend: error.hint }], notes: [] };
  }
}

function judge({ own }: Pair, where: Pick<Fault, 'place' | 'key'>, hostname: string, now: number): ListenerFindings {
  const day = (date: string): string => new Date(date).toISOString().slice(0, 10);
  const mend = 'put a new one in its place; a running relay takes it by itself';
  const ends = Date.parse(own.validTo);
  const faults: Fault[] = [];
  const notes: string[] = [];
  if (ends < now) faults.push({ ...where, wrong: `expired on ${day(own.validTo)}`, mend });
  else if (Date.parse(own.validFrom) > now) faults.push({ ...where, wrong: `is valid from ${day(own.validFrom)} only`, mend });
  else if (ends - now < EXPIRES_SOON_MS) notes.push(`${where.place}: ${where.key}: expires on ${day(own.validTo)}`);
  if (own.checkHost(hostname) === undefined)
    notes.push(
      `${where.place}: ${where.key}: is for ${namesOf(own)} and not for ${hostname}: scripts that verify it must know the relay by another name`,
    );
  return { faults, notes };
}

/** The names that a client looks for, or the subject of one that has none. */
function namesOf({ subjectAltName, subject }: Pair['own']): string {
  const names = (subjectAltName ?? '').split(', ').map((name) => name.replace(/^(?:DNS|IP Address):/, ''));
  const shown = subjectAltName === undefined ? `nothing but ${subject}` : names.join(', ');
  return shown.slice(0, 200).replace(/[^\x20-\x7e]/g, '?');
}
