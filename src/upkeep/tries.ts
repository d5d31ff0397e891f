/**
 * Tries: whether a person can open sealed mail. A code goes to them under seal, they tell it to the operator, and from then on it is
 * known of the certificates that the mail named. One record an address, in the queue's database: of the code it holds a salted hash alone.
 */
import { scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import type { StoredRecord } from '../queue/records.ts';

/** The kind of the records. */
export const TRY = 'try';

/** Times are ms since the epoch. */
export interface TryRecord {
  /** Null once it is confirmed. */
  readonly code: { readonly salt: string; readonly hash: string } | null;
  readonly sentAt: number;
  /** Who sent it, as audit events name operators. */
  readonly by: string;
  /** Wrong codes since. */
  readonly attempts: number;
  /** Whose certificates the mail named: several of a group. */
  readonly shares: readonly TryShare[];
  /** The newest last, of earlier tries too. */
  readonly confirmed: readonly Confirmation[];
}

export interface TryShare {
  readonly address: string;
  readonly fingerprints: readonly string[];
}

export interface Confirmation {
  readonly at: number;
  readonly by: string;
  readonly shares: readonly TryShare[];
}

/** Confirmations of one address that are kept: certificates change every year or two. */
const MAX_CONFIRMED = 20;

export const withConfirmation = (record: TryRecord, { at, by }: { readonly at: number; readonly by: string }): TryRecord => ({
  ...record,
  code: null,
  confirmed: [...record.confirmed, { at, by, shares: record.shares }].slice(-MAX_CONFIRMED),
});

/** Letters and figures that are no others in any hand or font: no 0 O, 1 I L, 2 Z, 5 S, 8 B. */
const ALPHABET = 'ACDEFGHJKMNPQRTUVWXY34679';
const CODE_LENGTH = 8;
const GROUP = 4;

/** `KF3M-X9TA`, evenly drawn. */
export function newCode(randomBytes: (octets: number) => Buffer): string {
  const fair = Math.floor(256 / ALPHABET.length) * ALPHABET.length;
  let code = '';
  while (code.length < CODE_LENGTH) {
    for (const octet of randomBytes(CODE_LENGTH)) if (octet < fair) code += ALPHABET.charAt(octet % ALPHABET.length);
  }
  return `${code.slice(0, GROUP)}-${code.slice(GROUP, CODE_LENGTH)}`;
}

/** As people say and type codes: the case, blanks and dashes of it do not matter. */
const plain = (code: string): string => code.replaceAll(/[\s\p{Pd}.]/gu, '').toUpperCase();

const deriveKey = promisify<string, Buffer, number, Buffer>(scrypt);
const HASH_OCTETS = 32;

/** Slow on purpose: eight letters alone are soon guessed by whoever reads the database. */
export async function hashCode(code: string, salt: string): Promise<string> {
  return (await deriveKey(plain(code).slice(0, 4 * CODE_LENGTH), Buffer.from(salt, 'hex'), HASH_OCTETS)).toString('hex');
}

/** In constant time. */
export async function isCode(code: string, { salt, hash }: NonNullable<TryRecord['code']>): Promise<boolean> {
  const [given, kept] = [Buffer.from(await hashCode(code, salt), 'hex'), Buffer.from(hash, 'hex')];
  return given.length === kept.length && timingSafeEqual(given, kept);
}

export const writeTry = (record: TryRecord): string => JSON.stringify(record);

/** Undefined where it is none: a damaged record confirms nothing. */
export function readTry(value: string): TryRecord | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    return undefined;
  }
  return isTry(parsed) ? parsed : undefined;
}

type Fields = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const areTexts = (value: unknown): boolean => Array.isArray(value) && value.every((one) => typeof one === 'string');
const isTime = (value: unknown): boolean => typeof value === 'number' && Math.abs(value) <= LAST_MS;
/** The last ms that a Date can tell (ECMA-262 §21.4.1.1). */
const LAST_MS = 8_640_000_000_000_000;

const isShare = (value: unknown): boolean => isObject(value) && typeof value['address'] === 'string' && areTexts(value['fingerprints']);
const areShares = (value: unknown): boolean => Array.isArray(value) && value.every(isShare);
const isConfirmation = (value: unknown): boolean =>
  isObject(value) && isTime(value['at']) && typeof value['by'] === 'string' && areShares(value['shares']);
const isHash = (value: unknown): boolean => isObject(value) && typeof value['salt'] === 'string' && typeof value['hash'] === 'string';

function isTry(value: unknown): value is TryRecord {
  if (!isObject(value)) return false;
  const { code, sentAt, by, attempts, shares, confirmed } = value;
  return (
    (code === null || isHash(code)) &&
    isTime(sentAt) &&
    typeof by === 'string' &&
    Number.isSafeInteger(attempts) &&
    areShares(shares) &&
    Array.isArray(confirmed) &&
    confirmed.every(isConfirmation)
  );
}

/** By fingerprint, ms since the epoch: what was confirmed, and what was sent and is not confirmed. */
export interface Tried {
  readonly confirmed: ReadonlyMap<string, number>;
  readonly tried: ReadonlyMap<string, number>;
}

/** Mail that names several people tells of none of them that it was they who opened it: it counts for nobody's certificate. */
export function triedOf(records: readonly StoredRecord[]): Tried {
  const confirmed = new Map<string, number>();
  const tried = new Map<string, number>();
  const note = (into: Map<string, number>, shares: readonly TryShare[], at: number): void => {
    if (shares.length !== 1) return;
    for (const fingerprint of shares[0]?.fingerprints ?? []) into.set(fingerprint, Math.max(at, into.get(fingerprint) ?? at));
  };
  for (const { value } of records) {
    const record = readTry(value);
    if (record === undefined) continue;
    if (record.code !== null) note(tried, record.shares, record.sentAt);
    for (const { shares, at } of record.confirmed) note(confirmed, shares, at);
  }
  return { confirmed, tried };
}
