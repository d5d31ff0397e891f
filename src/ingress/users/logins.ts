/**
 * Logging in. A login with a password goes, in this order:
 *
 *   remembered?  → accepted, without a hash       a success of some minutes ago, by this very name, password and entry
 *   slowed?      → unavailable, without a hash    too many failures from this address
 *   line full?   → unavailable                    hashes are made one at a time: one core at most, and 19 MiB once
 *   hash         → accepted or refused
 *
 * A slowed address is refused nothing: what was guessed from beside a script must not make its mail bounce (P5), and the same answer
 * to the right password and to wrong ones tells a guesser nothing.
 *
 * An unknown name takes the same way to its end, with a hash that nothing fits, at the cost of some entry of the file (A34).
 * No name, password or hash is logged: what is typed into the field of a name may be a password.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { asSealpostError } from '../../errors.ts';
import { makeFailures } from './failures.ts';
import { makeLine } from './line.ts';
import { type Derive, dummyHash, fits, type PasswordHash, USUAL_COST } from './password-hash.ts';
import { makeRemembered } from './remembered.ts';
import type { Entries, UserEntry } from './entries.ts';
import type { Login, Users } from './users.ts';

export interface LoginParts {
  readonly entries: Entries;
  /** Milliseconds. */
  readonly now: () => number;
  readonly derive: Derive;
  readonly log: Logger;
}

/** Octets. Longer ones are nobody's. */
const MAX_NAME = 256;
const MAX_PASSWORD = 1024;

const REFUSED: Login = { kind: 'refused' };
const UNAVAILABLE: Login = { kind: 'unavailable' };

export function makeLogins({ entries, now, derive, log }: LoginParts): Pick<Users, 'login' | 'byCertificate'> {
  const secret = randomBytes(32);
  const remembered = makeRemembered(now);
  const failures = makeFailures(now);
  const line = makeLine();
  /** By tag: scripts that log in at once with one password share one hash. */
  const underWay = new Map<string, Promise<Login>>();

  const tagOf = (...parts: readonly string[]): string => createHmac('sha256', secret).update(JSON.stringify(parts)).digest('base64');

  /** For a name without a password: the same at each try, since a cost that changed would tell. */
  const decoyFor = (name: string, known: ReadonlyMap<string, UserEntry>): PasswordHash => {
    const hashes = [...known.values()].flatMap(({ password }) => password ?? []);
    const draw = createHmac('sha256', secret).update(name).digest().readUInt32BE();
    return dummyHash(hashes[draw % Math.max(hashes.length, 1)]?.cost ?? USUAL_COST);
  };

  const accepted = ({ user, password }: UserEntry): Login => ({
    kind: 'accepted',
    user,
    again: () => {
      const known = entries();
      if (known === undefined) return UNAVAILABLE;
      const entry = known.get(user.name);
      return entry !== undefined && isDeepStrictEqual(entry.password, password) ? accepted(entry) : REFUSED;
    },
  });

  const byCertificate = (fingerprint: string): Login => {
    const known = entries();
    if (known === undefined) return UNAVAILABLE;
    for (const { certificates, user } of known.values())
      if (certificates.includes(fingerprint)) return { kind: 'accepted', user, again: () => byCertificate(fingerprint) };
    return REFUSED;
  };

  const compare = async (name: string, password: string, client: string): Promise<Login> => {
    const turn = await line.enter(client);
    if (turn === undefined) return UNAVAILABLE;
    try {
      // Those before this one in the line may have been failures of the same address, or have changed the file.
      if (failures.slowed(client)) return UNAVAILABLE;
      const known = entries();
      if (known === undefined) return UNAVAILABLE;
      const entry = known.get(name);
      const fitting = await fits(password, entry?.password ?? decoyFor(name, known), derive);
      if (fitting && entry?.password) return accepted(entry);
      if (failures.count(client)) log.warn({ client }, 'too many logins failed from this address: it is told to come back for a while');
      return REFUSED;
    } finally {
      turn.leave();
    }
  };

  const login = async (name: string, password: string, client: string): Promise<Login> => {
    const known = entries();
    if (known === undefined) return UNAVAILABLE;
    const entry = known.get(name);
    // The map is asked for a keyed digest: how long that takes tells nothing about a password.
    const tag = tagOf(name, entry?.digest ?? '', password);
    if (entry !== undefined && remembered.has(tag)) return accepted(entry);
    if (failures.slowed(client)) return UNAVAILABLE;
    if (Buffer.byteLength(name) > MAX_NAME || Buffer.byteLength(password) > MAX_PASSWORD) {
      failures.count(client);
      return REFUSED;
    }
    const shared = `${tag} ${client}`;
    const begun = underWay.get(shared);
    if (begun !== undefined) return begun;
    const comparing = compare(name, password, client)
      .then((verdict) => {
        if (verdict.kind === 'accepted') remembered.add(tag);
        return verdict;
      })
      .finally(() => underWay.delete(shared));
    underWay.set(shared, comparing);
    return comparing;
  };

  return {
    login: (name, password, client) =>
      login(name, password, client).catch((error: unknown) => {
        log.error({ client, err: asSealpostError(error) }, 'a login could not be judged');
        return UNAVAILABLE;
      }),
    byCertificate: async (fingerprint) => byCertificate(fingerprint),
  };
}
