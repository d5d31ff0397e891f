/** The ledger of the in-house CA: what commands write into it. A certificate is in it before anybody is handed its key. */
import type { AuditEvent } from '../audit.ts';
import { ISSUED, type IssuedRecord, isIssued, writeIssued } from '../certificates/authority/ledger.ts';
import { type ControlHandlers, type ControlRequest, readText } from '../control.ts';
import { SealpostError } from '../errors.ts';
import type { RecordStore } from '../queue/records.ts';

/** Records of one request, and characters of them as JSON: a line of the control socket holds 64 KiB. */
export const BATCH_RECORDS = 50;
export const BATCH_LENGTH = 48 * 1024;

/** `certs-issued`: `{ operator, records, issuer? }`, the issuer's name for the audit log; answers how many were written. */
export const issuedHandlers = (records: Pick<RecordStore, 'change'>): ControlHandlers => ({
  'certs-issued': async (request) => {
    const issued = readRecords(request);
    const operator = readText(request, 'operator') ?? 'unknown';
    const issuer = readText(request, 'issuer') ?? null;
    const changes = issued.map((record) => ({ kind: ISSUED, key: record.serial, value: writeIssued(record), was: null }));
    const events = issued.map((record) => issuedEvent(record, { operator, issuer }));
    if (await records.change(changes, events)) return issued.length;
    throw new SealpostError('usage', { detail: 'a certificate of that serial number is in the ledger already' });
  },
});

/** Of a request. Throws `usage`. */
export function readRecords({ records }: ControlRequest): IssuedRecord[] {
  const wrong = (detail: string): SealpostError => new SealpostError('usage', { detail });
  if (!Array.isArray(records) || records.length > BATCH_RECORDS) throw wrong(`records is not a list of at most ${BATCH_RECORDS}`);
  const given: readonly unknown[] = records;
  const read = given.filter(isIssued);
  if (read.length < given.length) throw wrong('a record of a certificate that cannot be read');
  // Of two of one serial number the first would be written over, and answered as written.
  if (new Set(read.map(({ serial }) => serial)).size < read.length) throw wrong('records holds a serial number twice');
  return read;
}

/** Written with the record, by whoever writes it. */
export const issuedEvent = (
  { address, fingerprint, serial, notAfter, key, renews }: IssuedRecord,
  { operator, issuer }: { readonly operator: string; readonly issuer: string | null },
): AuditEvent => ({
  event: renews === null ? 'certificate-issued' : 'certificate-renewed',
  recipient: address,
  certificate_sha256: fingerprint,
  certificate_issuer: issuer,
  certificate_serial: serial,
  not_after: new Date(notAfter).toISOString(),
  key,
  ...(renews === null ? {} : { renews }),
  operator,
});
