/**
 * What the in-house CA has revoked, and the numbers of its lists. A revocation and the number that the next list must have are one
 * change: whoever finds a list with a lower number than the recorded one knows that it lacks something, whatever died in between.
 */
import type { AuditEvent } from '../audit.ts';
import { ISSUED, type IssuedRecord, readLedger, writeIssued } from '../certificates/authority/ledger.ts';
import { type ControlHandlers, type ControlRequest, readText } from '../control.ts';
import { SealpostError } from '../errors.ts';
import type { RecordChange, RecordStore, StoredRecord } from '../queue/records.ts';
import { readRecords } from './issued.ts';

/** Of the record store: by the SHA-256 of the issuer's certificate, the number that its list must have at least. */
export const CRL = 'crl';

/** Throws `storage-failed`: a list whose number went down is not believed by others. */
export function readNumber(record: StoredRecord | undefined): number {
  const number = record === undefined ? 0 : Number(record.value);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw new SealpostError('storage-failed', {
    detail: 'the number of a revocation list cannot be read',
    hint: 'restore the data folder from a backup',
  });
}

/** Numbers are written below 2³²; a list a second takes 68 years to come here. */
const MAX_ABOVE = 2 ** 31;

/** Another change came between reading and writing; each try reads anew. */
const MAX_TRIES = 5;

type Records = Pick<RecordStore, 'get' | 'change'>;

/**
 * `certs-revoked`: `{ operator, records, issuer?, above? }`, records as they are to be, the issuer's name for the audit log, the number of
 * the list that lies there, in case the store is older than that; answers how many.
 * `crl-number`: `{ operator, issuer, name?, above, revoked }` takes the number of the next list, higher than `above`, which is that of
 * the list that lies there; answers it.
 */
export const revocationHandlers = (records: Records): ControlHandlers => ({
  'certs-revoked': async (request) => {
    const asked = readRecords(request);
    const operator = readText(request, 'operator') ?? 'unknown';
    const issuer = readText(request, 'issuer') ?? null;
    const above = readAbove(request);
    return retried(async () => {
      const changes = await Promise.all(asked.map((record) => revocation(record, operator, records)));
      for (const by of new Set(asked.map((record) => record.issuer))) {
        const before = await records.get(CRL, by);
        changes.push({ kind: CRL, key: by, value: String(Math.max(readNumber(before), above) + 1), was: before?.value ?? null });
      }
      const events = asked.map((record) => revokedEvent(record, operator, issuer));
      return (await records.change(changes, events)) ? asked.length : undefined;
    });
  },
  'crl-number': async (request) => {
    const issuer = readText(request, 'issuer') ?? '';
    const [above, revoked] = [readAbove(request), readCount(request, 'revoked')];
    return retried(async () => {
      const before = await records.get(CRL, issuer);
      const number = Math.max(readNumber(before), above) + 1;
      const event: AuditEvent = {
        event: 'crl-written',
        issuer: readText(request, 'name') ?? issuer,
        number,
        revoked,
        operator: readText(request, 'operator') ?? 'unknown',
      };
      const change = { kind: CRL, key: issuer, value: String(number), was: before?.value ?? null };
      return (await records.change([change], [event])) ? number : undefined;
    });
  },
});

async function retried<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const done = await attempt();
    if (done !== undefined) return done;
  }
  throw new SealpostError('usage', { detail: 'other changes to the same certificates came between', hint: 'try again' });
}

/** One that no ledger knows, issued by an earlier release, comes into it by its revocation. Throws `usage`. */
async function revocation(asked: IssuedRecord, operator: string, records: Records): Promise<RecordChange> {
  if (asked.revoked === null) throw new SealpostError('usage', { detail: 'a record that is not revoked' });
  const before = await records.get(ISSUED, asked.serial);
  // A damaged one is written anew from what is asked: whoever revokes knows what it is of.
  const [known] = before === undefined ? [] : readLedger([before]).records;
  if (known !== undefined && known.fingerprint !== asked.fingerprint)
    throw new SealpostError('usage', { detail: 'the ledger has another certificate of that serial number' });
  if (known !== undefined && known.revoked !== null)
    throw new SealpostError('usage', { detail: 'it is revoked already', hint: 'a revocation cannot be changed or undone' });
  const revoked = { ...asked.revoked, by: operator };
  return { kind: ISSUED, key: asked.serial, value: writeIssued({ ...(known ?? asked), revoked }), was: before?.value ?? null };
}

const revokedEvent = ({ address, fingerprint, serial, revoked }: IssuedRecord, operator: string, issuer: string | null): AuditEvent => ({
  event: 'certificate-revoked',
  recipient: address,
  certificate_sha256: fingerprint,
  certificate_issuer: issuer,
  certificate_serial: serial,
  reason: revoked?.reason ?? null,
  operator,
});

/** A number that is taken is taken for good: one from a damaged or a foreign list must not use up all that there are. */
function readAbove(request: ControlRequest): number {
  const above = request['above'] === undefined ? 0 : readCount(request, 'above');
  if (above < MAX_ABOVE) return above;
  throw new SealpostError('usage', {
    detail: `${above}, the number of the list that lies there, is out of all proportion`,
    hint: 'no list of this CA has that number: move the file out of own-crls',
  });
}

function readCount(request: ControlRequest, name: string): number {
  const value = request[name];
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new SealpostError('usage', { detail: `${name} is not a number` });
}
