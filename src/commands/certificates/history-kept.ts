/** What the queue's database keeps of one address: its known certificates, what the in-house CA issued to it, and tries. */
import { ISSUED, type IssuedRecord, readLedger } from '../../certificates/authority/ledger.ts';
import { readDatabase } from '../../change-control.ts';
import type { KnownCertificate } from '../../queue/known.ts';
import { readKnown } from '../../queue/known-rows.ts';
import { readRecords } from '../../queue/record-rows.ts';
import { readTry, TRY } from '../../upkeep/tries.ts';
import type { Entry } from './history-log.ts';

/** What is known of a certificate now. */
export interface Standing {
  readonly sha256: string;
  readonly state: KnownCertificate['state'];
  readonly subject: string;
  readonly issuer: string;
  readonly not_after: string;
  readonly approved_by: string | null;
  /** When mail was sealed to it last, to the day; null where that is not known, or was never. */
  readonly last_used: string | null;
  /** By the in-house CA; another CA's word is for `certs lookup`, which asks for it. */
  readonly revoked: { readonly at: string; readonly reason: string } | null;
  /** The certificate that the in-house CA renewed it with. */
  readonly renewed_by: string | null;
}

/** A time that no clock can tell, on a damaged row, is shown all the same. */
const atTime = (ms: number): string => (Math.abs(ms) <= LAST_MS ? new Date(ms).toISOString() : 'unknown');

/** The last ms that a Date can tell (ECMA-262 §21.4.1.1). */
const LAST_MS = 8_640_000_000_000_000;

/** What the queue's database keeps of the address; nothing where no relay has run yet. */
export function readKept(
  database: string,
  key: string,
): { readonly entries: readonly Entry[]; readonly certificates: readonly Standing[] } {
  // Damaged records are for the commands of the CA, and check, to tell of.
  const kept = readDatabase(database, (db) => ({
    known: readKnown(db, key),
    issued: readLedger(readRecords(db, ISSUED)).records.filter(({ address }) => address === key),
    tried: readRecords(db, TRY).flatMap((record) => (record.key === key ? (readTry(record.value) ?? []) : [])),
  }));
  if (kept === undefined) return { entries: [], certificates: [] };
  const entries: Entry[] = [];
  const add = (ms: number, event: string, sha256: string, attributes: Entry['attributes'] = {}): void => {
    entries.push({ time: atTime(ms), event, sha256, from: 'queue', attributes });
  };
  for (const one of kept.known) {
    // Its first use, or when it was first seen waiting: the row does not tell which.
    add(one.firstAt, 'first-known', one.fingerprint, { source: one.source });
    if (one.state === 'used' && one.lastAt > one.firstAt) add(one.lastAt, 'last-used', one.fingerprint);
  }
  for (const { issuedAt, issuedBy, fingerprint, renews, revoked } of kept.issued) {
    add(issuedAt, renews === null ? 'certificate-issued' : 'certificate-renewed', fingerprint, { operator: issuedBy });
    if (revoked !== null) add(revoked.at, 'certificate-revoked', fingerprint, { reason: revoked.reason, operator: revoked.by });
  }
  for (const { confirmed, code, sentAt, shares, by } of kept.tried) {
    const all = (of: typeof shares): string => of.flatMap(({ fingerprints }) => fingerprints).join(', ');
    if (code !== null) add(sentAt, 'certificate-tried', all(shares), { operator: by });
    for (const one of confirmed) add(one.at, 'certificate-confirmed', all(one.shares), { operator: one.by });
  }
  return { entries, certificates: kept.known.map((one) => standingOf(one, kept.issued)) };
}

function standingOf(known: KnownCertificate, issued: readonly IssuedRecord[]): Standing {
  const { fingerprint, state, subject, issuer, notAfter, approvedBy, lastAt } = known;
  const own = issued.find((record) => record.fingerprint === fingerprint);
  const next = issued.find(({ renews }) => own !== undefined && renews === own.serial);
  const revoked = own?.revoked ?? null;
  return {
    sha256: fingerprint,
    state,
    subject,
    issuer,
    not_after: atTime(notAfter),
    approved_by: approvedBy,
    last_used: state === 'used' ? atTime(lastAt) : null,
    revoked: revoked === null ? null : { at: atTime(revoked.at), reason: revoked.reason },
    renewed_by: next?.fingerprint ?? null,
  };
}
