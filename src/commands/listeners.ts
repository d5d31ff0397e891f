/** What `check` says of the certificates that listeners show. */
import { stat } from 'node:fs/promises';
import type { Config } from '../config.ts';
import type { Environment } from '../config/environment.ts';
import { readSecret } from '../config/secret.ts';
import type { Fault } from '../document/fault.ts';
import { SealpostError } from '../errors.ts';
import { EXPIRES_SOON_MS, type Pair, readPair } from '../ingress/certificate.ts';

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
  const open = keyFile === undefined ? [] : await inspectKeyFile(keyFile, `${at}.key`);
  try {
    const pair = await readPair({ certificate: cert, keyFile, readKey: () => readSecret(key, env) });
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
    notes.push(`${where.place}: ${where.key}: is not for ${hostname}: scripts that verify it must know the relay by another name`);
  return { faults, notes };
}

/** A group may read it, as Debian's ssl-cert does; everybody may not. */
async function inspectKeyFile(file: string, key: string): Promise<Fault[]> {
  try {
    const mode = (await stat(file)).mode & 0o7777;
    if ((mode & 0o007) === 0) return [];
    return [{ place: file, key, wrong: `its mode is ${mode.toString(8).padStart(4, '0')}: open to all users`, mend: `chmod 0600 ${file}` }];
  } catch {
    // Reading it will say so.
    return [];
  }
}
