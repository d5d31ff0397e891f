/**
 * Password hashes as the users file holds them: argon2id (RFC 9106) in a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
 * What a file asks for is bounded on both sides: a foolish one must not take 4 GiB at each login, nor be cheap to try through.
 */
import { argon2, argon2Sync, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Argon2Parameters } from 'node:crypto';
import { promisify } from 'node:util';
import type { Judgement } from '../../document/schema.ts';

/** What one computation costs. */
export interface Cost {
  /** KiB. */
  readonly memory: number;
  readonly passes: number;
  readonly lanes: number;
}

export interface PasswordHash {
  readonly cost: Cost;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** argon2id of a password: `octets` of it. Tests count the calls. */
export type Derive = (password: string, salt: Buffer, cost: Cost, octets: number) => Promise<Buffer>;

/** About 50 ms of one core. */
export const USUAL_COST: Cost = { memory: 19_456, passes: 2, lanes: 1 };
const SALT_OCTETS = 16;
const HASH_OCTETS = 32;

/** Least: what OWASP still names as enough (7 MiB, five times). Most: 64 MiB, four times, or less memory more often. */
const BOUNDS = { memory: [7_168, 65_536], passes: [1, 10], lanes: [1, 4] } as const;
const LEAST_WORK = 7_168 * 5;
const MOST_WORK = 65_536 * 4;
const OCTETS = { salt: [8, 64], hash: [16, 64] } as const;

const PHC = /^\$argon2id\$v=19\$m=(\d{1,9}),t=(\d{1,9}),p=(\d{1,9})\$([A-Za-z0-9+/]{1,100})\$([A-Za-z0-9+/]{1,100})$/;
const MEND = 'sealpost users add NAME makes one';

const deriveBits = promisify(argon2);

/** RFC 8265 §4.2: two ways of writing one letter are one password. */
const parametersOf = (password: string, salt: Buffer, { memory, passes, lanes }: Cost, octets: number): Argon2Parameters => ({
  message: Buffer.from(password.normalize('NFC')),
  nonce: salt,
  memory,
  passes,
  parallelism: lanes,
  tagLength: octets,
});

/** By the thread pool. */
export const derive: Derive = (...asked) => deriveBits('argon2id', parametersOf(...asked));

/** On this very thread, which does nothing else meanwhile. */
export const deriveNow = (...asked: Parameters<Derive>): Buffer => argon2Sync('argon2id', parametersOf(...asked));

export async function hashPassword(password: string): Promise<PasswordHash> {
  const salt = randomBytes(SALT_OCTETS);
  return { cost: USUAL_COST, salt, hash: await derive(password, salt, USUAL_COST, HASH_OCTETS) };
}

/** A hash that no password fits, as dear to try as a real one. */
export const dummyHash = (cost: Cost): PasswordHash => ({ cost, salt: randomBytes(SALT_OCTETS), hash: randomBytes(HASH_OCTETS) });

/** Constant time in what the hash holds. */
export async function fits(password: string, { cost, salt, hash }: PasswordHash, using: Derive): Promise<boolean> {
  return timingSafeEqual(await using(password, salt, cost, hash.length), hash);
}

/** RFC 4648 §4 without padding, as PHC strings have it. */
const bare = (octets: Buffer): string => octets.toString('base64').replace(/=+$/, '');

export const showHash = ({ cost, salt, hash }: PasswordHash): string =>
  `$argon2id$v=19$m=${cost.memory},t=${cost.passes},p=${cost.lanes}$${bare(salt)}$${bare(hash)}`;

/** Reads a PHC string. What is wrong is told without a part of it. */
export function readHash(written: unknown): Judgement<PasswordHash> {
  const [, memory, passes, lanes, salt = '', hash = ''] = (typeof written === 'string' ? PHC.exec(written) : null) ?? [];
  if (memory === undefined) return { kind: 'wrong', wrong: 'is not an argon2id hash: $argon2id$v=19$m=…,t=…,p=…$salt$hash', mend: MEND };
  const cost = { memory: Number(memory), passes: Number(passes), lanes: Number(lanes) };
  const octets = { salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') };
  const work = cost.memory * cost.passes;
  if (!within(cost.memory, BOUNDS.memory) || !within(cost.passes, BOUNDS.passes) || !within(cost.lanes, BOUNDS.lanes) || work > MOST_WORK)
    return { kind: 'wrong', wrong: 'asks for more or less than m=7168…65536, t=1…10, p=1…4, with m times t at most 262144', mend: MEND };
  if (work < LEAST_WORK) return { kind: 'wrong', wrong: 'is too cheap to try through: m times t is below 35840', mend: MEND };
  if (!within(octets.salt.length, OCTETS.salt) || !within(octets.hash.length, OCTETS.hash))
    return { kind: 'wrong', wrong: 'has a salt that is not 8 to 64, or a hash that is not 16 to 64 octets', mend: MEND };
  // Base64 with stray bits at its end would be two ways of writing one hash.
  if (bare(octets.salt) !== salt || bare(octets.hash) !== hash) return { kind: 'wrong', wrong: 'is not whole base64', mend: MEND };
  return { kind: 'value', value: { cost, ...octets } };
}

const within = (number: number, [least, most]: readonly [number, number]): boolean => number >= least && number <= most;
