/**
 * Renewal by the in-house CA: a new key pair and a new certificate for somebody who has one, for the same address and name, of the
 * same kind, for as long. The old one stays as it is: mail names both while both are valid and no three newer ones
 * stand beside it, so nobody is locked out by the change.
 */
import { SealpostError } from '../../errors.ts';
import { mailboxKey, parseMailbox } from '../../message/envelope.ts';
import { expectTag, readDer, CERTIFICATE_LIMITS, tags, UNIVERSAL } from '../der.ts';
import type { Certificate } from '../certificate.ts';
import { type Authority, DAY_MS, type Issued, issueCertificate, type KeyChoice, keyChoices, keyNames, MAX_DAYS } from './issue.ts';
import type { IssuedRecord } from './ledger.ts';

export interface RenewOptions {
  readonly authority: Authority;
  /** Of the certificate that is renewed. */
  readonly record: Pick<IssuedRecord, 'address' | 'name' | 'key' | 'notBefore' | 'notAfter'>;
  /** Another kind of key than the old one has. */
  readonly key?: KeyChoice | undefined;
  /** As IssueOptions has it. */
  readonly crlUrl?: string | undefined;
  /** Another time than the old one was made for. */
  readonly days?: number | undefined;
  /** ms */
  readonly now: number;
}

/** Throws what issueCertificate() throws, and `address-invalid` for a record that is none of ours. */
export async function renewCertificate({ authority, record, key, days, crlUrl, now }: RenewOptions): Promise<Issued> {
  const verdict = parseMailbox(record.address);
  if (verdict.kind === 'fault') throw new SealpostError('address-invalid', { detail: `${record.address}: ${verdict.fault}` });
  return issueCertificate({
    authority,
    mailbox: verdict.mailbox,
    name: record.name ?? undefined,
    key: key ?? keyChoiceOf(record.key),
    days: days ?? daysOf(record),
    crlUrl,
    now,
  });
}

/** `RSA-2048`, `P-256`: as records name keys. What is unknown becomes RSA, which every program reads. */
export const keyChoiceOf = (key: string): KeyChoice => keyChoices.find((choice) => keyNames[choice] === key) ?? 'rsa';

/** For how long a certificate was made; it begins some minutes before it is signed. */
const daysOf = ({ notBefore, notAfter }: Pick<IssuedRecord, 'notBefore' | 'notAfter'>): number =>
  Math.min(MAX_DAYS, Math.max(1, Math.round((notAfter - notBefore) / DAY_MS)));

/** Why a certificate is not renewed without further words; `renewed`: `by` has taken over from it, or is itself a renewal that is new. */
export type RenewalVerdict =
  | { readonly kind: 'renewable' }
  | { readonly kind: 'revoked'; readonly revoked: NonNullable<IssuedRecord['revoked']> }
  | { readonly kind: 'renewed'; readonly by: IssuedRecord };

/** `newest`: of newestByAddress(). `now` in ms. */
export function judgeRenewal(record: IssuedRecord, newest: ReadonlyMap<string, IssuedRecord>, now: number): RenewalVerdict {
  if (record.revoked !== null) return { kind: 'revoked', revoked: record.revoked };
  const by = newest.get(record.address) ?? record;
  const fresh = by.renews !== null && !isHalfGone(by, now);
  return by.fingerprint === record.fingerprint && !fresh ? { kind: 'renewable' } : { kind: 'renewed', by };
}

/** A command that is given twice must not renew twice, nor a rule that looks at short-lived certificates every day. */
const isHalfGone = ({ notBefore, notAfter }: IssuedRecord, now: number): boolean => now - notBefore >= (notAfter - notBefore) / 2;

/** The one that each address is to go on with: the newest that is not revoked. */
export function newestByAddress(records: Iterable<IssuedRecord>): ReadonlyMap<string, IssuedRecord> {
  const newest = new Map<string, IssuedRecord>();
  for (const record of records) {
    if (record.revoked !== null) continue;
    const before = newest.get(record.address);
    if (before === undefined || isNewer(record, before)) newest.set(record.address, record);
  }
  return newest;
}

/**
 * As the choice of certificates orders them (choose.ts), so that what is renewed is what mail is sealed to. Certificates tell time in
 * seconds: of two that were made in one, the one that renews the other is the newer.
 */
function isNewer(one: IssuedRecord, other: IssuedRecord): boolean {
  const [first] = [one.notBefore - other.notBefore, one.notAfter - other.notAfter].filter((difference) => difference !== 0);
  if (first !== undefined) return first > 0;
  return one.renews === other.serial || (other.renews !== one.serial && one.fingerprint < other.fingerprint);
}

/** What a rule renews, what ends first to begin with: of each address the newest, where it ends `within` ms from `now`; ended ones too. */
export const dueForRenewal = (
  records: Iterable<IssuedRecord>,
  { now, within }: { readonly now: number; readonly within: number },
): readonly IssuedRecord[] =>
  [...newestByAddress(records).values()]
    .filter((record) => record.notAfter - now < within && isHalfGone(record, now))
    .sort((one, other) => one.notAfter - other.notAfter);

/** The record that a certificate would have, which the CA signed before it kept a ledger. */
export function recordOf(certificate: Certificate, issuer: Certificate, key: string): IssuedRecord | undefined {
  const verdict = parseMailbox(certificate.addresses[0] ?? '');
  if (verdict.kind === 'fault') return undefined;
  const address = mailboxKey(verdict.mailbox);
  const called = commonNameOf(certificate);
  return {
    serial: certificate.serial,
    fingerprint: certificate.fingerprint,
    address,
    issuer: issuer.fingerprint,
    name: called?.toLowerCase() === address.toLowerCase() ? null : (called ?? null),
    key,
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
    issuedAt: certificate.notBefore.getTime(),
    issuedBy: 'unknown',
    revoked: null,
    renews: null,
  };
}

/** Of a name as x509.ts writes it, one common name in UTF-8. */
function commonNameOf({ subjectDer }: Certificate): string | undefined {
  const attribute = readDer(subjectDer, CERTIFICATE_LIMITS).children[0]?.children[0];
  const value = expectTag(attribute, UNIVERSAL, tags.sequence, 'the subject').children[1];
  return value?.tag === tags.utf8String ? value.content.toString('utf8') : undefined;
}
