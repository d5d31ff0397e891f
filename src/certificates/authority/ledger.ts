/**
 * What the in-house CA has issued and revoked: one record a certificate, kept for as long as a list may have to name it. The record
 * is JSON; who keeps it (the queue's database, queue/records.ts) does not look into it.
 */
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

export const writeIssued = (record: IssuedRecord): string => JSON.stringify(record);

/** Throws `storage-failed` where it is none: the CA must not forget what it has revoked. */
export function readIssued(value: string): IssuedRecord {
  const fault = (cause?: unknown): SealpostError =>
    new SealpostError('storage-failed', {
      detail: 'a record of the in-house CA cannot be read',
      hint: 'restore the data folder from a backup',
      cause,
    });
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch (cause) {
    throw fault(cause);
  }
  if (!isIssued(parsed)) throw fault();
  return parsed;
}

const texts = ['serial', 'fingerprint', 'address', 'issuer', 'key', 'issuedBy'] as const;
const times = ['notBefore', 'notAfter', 'issuedAt'] as const;

function isIssued(value: unknown): value is IssuedRecord {
  if (typeof value !== 'object' || value === null) return false;
  const entry: Readonly<Record<string, unknown>> = { ...value };
  const { revoked, name, renews } = entry;
  return (
    texts.every((field) => typeof entry[field] === 'string') &&
    times.every((field) => Number.isSafeInteger(entry[field])) &&
    [name, renews].every((field) => field === null || typeof field === 'string') &&
    (revoked === null || isRevocation(revoked))
  );
}

function isRevocation(value: unknown): value is NonNullable<IssuedRecord['revoked']> {
  if (typeof value !== 'object' || value === null) return false;
  const { at, reason, by }: Readonly<Record<string, unknown>> = { ...value };
  return Number.isSafeInteger(at) && typeof reason === 'string' && isRevocationReason(reason) && typeof by === 'string';
}
