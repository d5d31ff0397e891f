/**
 * What the in-house CA has issued and revoked: one record a certificate, kept for as long as a list may have to name it. The record
 * is JSON; who keeps it (the queue's database, queue/records.ts) does not look into it.
 */
import { createHash } from 'node:crypto';
import { SealpostError } from '../../errors.ts';

/** CRLReason of RFC 5280 §5.3.1, those that the CA/B S/MIME requirements §7.2.2 allow. */
export const revocationReasons = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
} as const;

export type RevocationReason = keyof typeof revocationReasons;

export const isRevocationReason = (text: string): text is RevocationReason => Object.hasOwn(revocationReasons, text);

/** One certificate that the CA has signed. Times are ms since the epoch. */
export interface IssuedRecord {
  /** Lower-case hex, as Certificate.serial has it: the key of the record. */
  readonly serial: string;
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string;
  /** mailboxKey() of whom it is for. */
  readonly address: string;
  /** SHA-256 of the issuer's certificate: a CA that was made anew has its own serials and lists. */
  readonly issuer: string;
  readonly name: string | null;
  readonly key: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly issuedAt: number;
  /** Who issued it, as audit events name operators. */
  readonly issuedBy: string;
  readonly revoked: { readonly at: number; readonly reason: RevocationReason; readonly by: string } | null;
  /** Serial of the certificate that this one renews. */
  readonly renews: string | null;
}

/** Of the record store. */
export const ISSUED = 'issued';

/** Of a record whose certificate is not at hand. */
const UNKNOWN_FINGERPRINT = '0'.repeat(64);

/** The value of a record: the SHA-256 of its JSON, a blank, its JSON. A digit that the disk changed must not revoke another one. */
export function writeIssued(record: IssuedRecord): string {
  const json = JSON.stringify(record);
  return `${checksum(json)} ${json}`;
}

/** `key`: of the stored record, where it is held to it. Throws `storage-failed` where it is none: the CA must not forget what it has revoked. */
export function readIssued(value: string, key?: string): IssuedRecord {
  const json = value.slice(CHECKSUM_DIGITS + 1);
  const parsed = value === `${checksum(json)} ${json}` ? parseIssued(json) : undefined;
  if (parsed !== undefined && (key === undefined || key === parsed.serial)) return parsed;
  throw new SealpostError('storage-failed', {
    detail: `the record of the in-house CA${key === undefined ? '' : ` of ${JSON.stringify(key)}`} is damaged`,
    hint: 'restore the data folder from a backup, or revoke it by its serial number: sealpost certs revoke',
  });
}

export interface Ledger {
  readonly records: readonly IssuedRecord[];
  /**
   * Serial numbers of damaged records, by their keys. Whether they are revoked cannot be told: whoever judges a certificate takes them
   * for revoked, and whoever writes a list asks listed().
   */
  readonly damaged: readonly string[];
  /** Keys that are no serial numbers either. */
  readonly lost: readonly string[];
}

/** One damaged record keeps nobody from the others. */
export function readLedger(stored: readonly { readonly key: string; readonly value: string }[]): Ledger {
  const records: IssuedRecord[] = [];
  const [damaged, lost]: [string[], string[]] = [[], []];
  for (const { key, value } of stored) {
    try {
      records.push(readIssued(value, key));
    } catch {
      (isSerial(key) ? damaged : lost).push(key);
    }
  }
  return { records, damaged, lost };
}

/** To be shown, each once; undefined where all are whole. */
export function damageOf({ damaged, lost }: Ledger): string | undefined {
  const keys = [...damaged, ...lost.map((key) => JSON.stringify(key))];
  if (keys.length === 0) return undefined;
  const shown = keys.length > SHOWN ? [...keys.slice(0, SHOWN), `${keys.length - SHOWN} more`] : keys;
  return `the ledger of the in-house CA has ${keys.length === 1 ? 'a damaged record' : 'damaged records'}: serial ${shown.join(', ')}`;
}

const SHOWN = 20;

/**
 * What a list is made from. `named`: whether one of ours lies there: it says which of the damaged were revoked, and the next one keeps
 * what it names. Where there is none all of them are named, since a certificate too many costs its holder a renewal, and one too few is
 * used by whoever stole its key.
 */
export function listed({ records, damaged }: Ledger, { issuer, named, at }: ListPlace): readonly IssuedRecord[] {
  return named ? records : [...records, ...damaged.map((serial) => standIn(serial, { issuer, at }))];
}

export interface ListPlace {
  /** SHA-256 of the CA's certificate. */
  readonly issuer: string;
  readonly named: boolean;
  /** ms since the epoch */
  readonly at: number;
}

/** Of a record of which the serial number alone is known: revoked for no reason that is known, and never over. */
export const standIn = (serial: string, { issuer, at }: Pick<ListPlace, 'issuer' | 'at'>): IssuedRecord => ({
  serial,
  fingerprint: UNKNOWN_FINGERPRINT,
  address: '',
  issuer,
  name: null,
  key: '',
  notBefore: at,
  notAfter: LAST_TIME,
  issuedAt: at,
  issuedBy: 'unknown',
  revoked: { at, reason: 'unspecified', by: 'unknown' },
  renews: null,
});

const CHECKSUM_DIGITS = 64;
const checksum = (json: string): string => createHash('sha256').update(json).digest('hex');

/** RFC 5280 §4.1.2.2: at most 20 octets; a longer one would break every list. */
const SERIAL = /^(?:[0-9a-f]{2}){1,20}$/;
const FINGERPRINT = /^[0-9a-f]{64}$/;
/** Of the last time that a certificate or a list can tell (RFC 5280 §4.1.2.5). */
const LAST_TIME = Date.UTC(9999, 11, 31, 23, 59, 59);

const isSerial = (text: unknown): text is string => typeof text === 'string' && SERIAL.test(text);
const isTime = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= LAST_TIME;

function parseIssued(json: string): IssuedRecord | undefined {
  try {
    const parsed: unknown = JSON.parse(json);
    return isIssued(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

const texts = ['address', 'issuer', 'key', 'issuedBy'] as const;
const times = ['notBefore', 'notAfter', 'issuedAt'] as const;

/** Also of what came from elsewhere: a serial number that is none would break every list that names it. */
export function isIssued(value: unknown): value is IssuedRecord {
  if (typeof value !== 'object' || value === null) return false;
  const entry: Readonly<Record<string, unknown>> = { ...value };
  const { serial, fingerprint, revoked, name, renews } = entry;
  return (
    isSerial(serial) &&
    typeof fingerprint === 'string' &&
    FINGERPRINT.test(fingerprint) &&
    texts.every((field) => typeof entry[field] === 'string') &&
    times.every((field) => isTime(entry[field])) &&
    (name === null || typeof name === 'string') &&
    (renews === null || isSerial(renews)) &&
    (revoked === null || isRevocation(revoked))
  );
}

function isRevocation(value: unknown): value is NonNullable<IssuedRecord['revoked']> {
  if (typeof value !== 'object' || value === null) return false;
  const { at, reason, by }: Readonly<Record<string, unknown>> = { ...value };
  return isTime(at) && typeof reason === 'string' && isRevocationReason(reason) && typeof by === 'string';
}
