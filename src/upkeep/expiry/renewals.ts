/**
 * Renews certificates of the in-house CA ahead of their end, where `certificates.authority.renew` says so: a new key, which its reader
 * gets by mail sealed to the certificate that ends. For each certificate that is renewed a record, by its serial:
 *
 *   (none) ─▶ issued   in the ledger; its key is in memory alone
 *               │ mail queued, sealed
 *               ▼
 *             mailed   the reader has the key, or will; the certificate is in the record
 *               │ file in data/certs, approved where certificates are pinned
 *               ▼
 *             done
 *
 * What a crash leaves behind: in `issued` nobody has the key (or a mail nobody can use), so that the next round revokes that certificate
 * as superseded and begins anew; in `mailed` it lays down the file. Never is there a certificate whose key was not mailed. `failed` keeps
 * the reason for the summary, and is tried again the next day.
 *
 * The key and its password go in one message. Both are under one seal, which only the reader's present key opens; apart from each other
 * they would travel to the same mailbox under the same seal, and prove no more. So the new key is as safe as the old one, and no safer:
 * where the old key may be known to others it is to be revoked, and a new certificate handed over in person.
 */
import type { AuditEvent } from '../../audit.ts';
import { authorityChain, type OpenAuthority } from '../../certificates/authority/files.ts';
import { DAY_MS, type Issued } from '../../certificates/authority/issue.ts';
import { ISSUED, type IssuedRecord, readIssued, writeIssued } from '../../certificates/authority/ledger.ts';
import { dueForRenewal, renewCertificate } from '../../certificates/authority/renew.ts';
import { type Certificate, parseCertificate } from '../../certificates/certificate.ts';
import type { Due } from '../../certificates/expiry/survey.ts';
import type { SiteCertificates } from '../../certificates/site.ts';
import { asSealpostError, SealpostError } from '../../errors.ts';
import { type Mailbox, parseMailbox } from '../../message/envelope.ts';
import type { RecordChange, RecordStore } from '../../queue/records.ts';
import { issuedEvent } from '../issued.ts';
import type { OwnMail } from '../own-mail.ts';
import { revocationHandlers } from '../revoked.ts';
import type { Counts, Step } from '../round.ts';
import { makeKit } from './kit.ts';
import { listRenewals, readRenewal, type Renewal, RENEWAL, writeRenewal } from './renewal-record.ts';
import type { Stock } from './stock.ts';
import { day } from '../../certificates/usability.ts';

/** A day; the rest the next day. */
const MAX_A_DAY = 200;
/** As audit events and the ledger name it. */
export const BY_RELAY = 'relay';

export interface RenewalParts {
  /** ms before the end; undefined renews nothing, and finishes what was begun. */
  readonly before: number | undefined;
  readonly stock: (signal: AbortSignal) => Promise<Stock>;
  /** Throws where its key cannot be used here. */
  readonly authority: () => Promise<OpenAuthority>;
  /** Where others find its list; undefined where that is nowhere. */
  readonly crlUrl?: string | undefined;
  readonly records: RecordStore;
  readonly certificates: Pick<SiteCertificates, 'addressBook'>;
  readonly ownMail: OwnMail;
  /** Into the relay's own folder, durable on resolve; the same one twice is once. */
  readonly place: (certificate: Certificate) => Promise<void>;
  /** Lets it be used where certificates are pinned. */
  readonly approve: (address: string, certificate: Certificate) => Promise<void>;
  readonly operator: string;
  readonly now: () => number;
}

export function makeRenewalStep(parts: RenewalParts): Step {
  return {
    name: 'renewals',
    async run(signal): Promise<Counts> {
      const known = await listRenewals(parts.records);
      for (const [serial, renewal] of known) if (renewal.state === 'mailed') await finish(serial, renewal, parts);
      if (parts.before === undefined) return {};
      const due = await dueNow(parts, known, signal);
      const today = [...known.values()].filter(
        ({ state, at }) => state !== 'failed' && at > parts.now() - DAY_MS && at <= parts.now(),
      ).length;
      let [renewed, failed] = [0, 0];
      let authority: OpenAuthority | undefined;
      for (const one of due.slice(0, Math.max(0, MAX_A_DAY - today))) {
        if (signal.aborted) break;
        try {
          authority ??= await parts.authority();
          await renewOne(one, authority, parts);
          renewed++;
        } catch (error) {
          // The queue or its disk: nothing else would come off either.
          if (!(error instanceof SealpostError) || error.code.startsWith('storage')) throw error;
          await fail(one, error, parts);
          failed++;
        }
      }
      return { renewed, renewals_failed: failed };
    },
  };
}

interface Wanted {
  readonly record: IssuedRecord;
  readonly before: Renewal | undefined;
}

/** The newest of each address, by the ledger and by the folders: usable, and nothing that lasts beside it. Those that end first, first. */
async function dueNow(
  { before: within = 0, stock, now }: RenewalParts,
  known: ReadonlyMap<string, Renewal>,
  signal: AbortSignal,
): Promise<readonly Wanted[]> {
  const { survey, issued } = await stock(signal);
  const standing = new Map<string, Due>();
  for (const due of survey.due(within)) if (due.standing === 'usable') standing.set(due.fingerprint, due);
  // What nobody has the key of renews nothing.
  const orphans = new Set([...known.values()].flatMap(({ state, serial }) => (state === 'issued' ? [serial] : [])));
  const records = [...issued.values()].filter(({ serial }) => !orphans.has(serial));
  return dueForRenewal(records, { now: now(), within })
    .filter(({ fingerprint, notAfter, serial }) => {
      const cover = standing.get(fingerprint)?.cover;
      const begun = known.get(serial)?.state;
      return standing.has(fingerprint) && !(cover !== undefined && cover.notAfter > notAfter) && begun !== 'mailed' && begun !== 'done';
    })
    .toSorted((a, b) => a.notAfter - b.notAfter)
    .map((record) => ({ record, before: known.get(record.serial) }));
}

async function renewOne({ record, before }: Wanted, authority: OpenAuthority, parts: RenewalParts): Promise<void> {
  const { records, ownMail, operator, crlUrl, now } = parts;
  const mailbox = await readerOf(record, parts);
  if (before?.state === 'issued') await supersede(before, authority, parts);
  const issued = await renewCertificate({ authority: authority.issuing, record, crlUrl, now: now() });
  const { certificate } = issued;
  if (certificate.notAfter.getTime() <= record.notAfter)
    throw new SealpostError('certificate-unusable', { detail: 'the in-house CA itself ends before that' });
  const about = { serial: certificate.serial, address: record.address, until: record.notAfter, at: now() };
  const ledger = ledgerRecord(record, issued, authority, now());
  const begun = change(record.serial, { ...about, state: 'issued', certificate: null, reason: null });
  const event = issuedEvent(ledger, { operator: BY_RELAY, issuer: authority.issuing.certificate.subject });
  await write(records, [{ kind: ISSUED, key: ledger.serial, value: writeIssued(ledger), was: null }, begun], [event]);

  const kit = makeKit({ record, issued, authority, chain: authorityChain(authority), operator });
  const subject = `Your new certificate for sealed mail, valid until ${day(certificate.notAfter)}`;
  await ownMail.send({ recipient: mailbox, subject, ...kit });
  const mailed: Renewal = { ...about, state: 'mailed', certificate: certificate.der.toString('base64'), reason: null };
  await write(records, [change(record.serial, mailed)], []);
  await finish(record.serial, mailed, parts);
}

/** Whoever reads mail to the address with the certificate that ends, and nobody else: they are sent a private key. */
async function readerOf({ address, fingerprint }: IssuedRecord, { certificates }: RenewalParts): Promise<Mailbox> {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault') throw new SealpostError('address-invalid', { detail: verdict.fault });
  const found = await certificates.addressBook.resolve(verdict.mailbox);
  if (found.kind === 'unavailable') throw new SealpostError('lookup-unavailable', { cause: found.cause });
  const own = found.kind === 'found' && found.way === 'address' ? found.shares.flatMap(({ chosen }) => chosen) : [];
  if (own.some(({ certificate }) => certificate.fingerprint === fingerprint)) return verdict.mailbox;
  throw new SealpostError('certificate-missing', { detail: 'mail to the address is not sealed to the certificate that ends' });
}

function ledgerRecord(old: IssuedRecord, { certificate }: Issued, { issuing }: OpenAuthority, now: number): IssuedRecord {
  const { address, name, key, serial: renews } = old;
  const { serial, fingerprint } = certificate;
  const times = { notBefore: certificate.notBefore.getTime(), notAfter: certificate.notAfter.getTime(), issuedAt: now };
  const issuer = issuing.certificate.fingerprint;
  return { serial, fingerprint, address, issuer, name, key, ...times, issuedBy: BY_RELAY, revoked: null, renews };
}

/** A certificate that a crash left without a reader. */
async function supersede({ serial }: Renewal, { issuing }: OpenAuthority, { records, now }: RenewalParts): Promise<void> {
  const stored = await records.get(ISSUED, serial);
  const orphan = stored === undefined ? undefined : readIssued(stored.value, stored.key);
  if (orphan === undefined || orphan.revoked !== null) return;
  const revoked = { at: now(), reason: 'superseded', by: BY_RELAY };
  const request = { command: 'certs-revoked', operator: BY_RELAY, issuer: issuing.certificate.subject };
  await revocationHandlers(records)['certs-revoked']?.({ ...request, records: [{ ...orphan, revoked }] });
}

/** From `mailed` on; each part may be done twice. */
async function finish(serial: string, renewal: Renewal, { records, place, approve }: RenewalParts): Promise<void> {
  const certificate = parseCertificate(Buffer.from(renewal.certificate ?? '', 'base64'));
  await place(certificate);
  await approve(renewal.address, certificate);
  await write(records, [change(serial, { ...renewal, state: 'done', certificate: null })], []);
}

/** The state `issued` stays: its certificate is still to be superseded. */
async function fail({ record }: Wanted, error: unknown, { records, now }: RenewalParts): Promise<void> {
  const stored = await readRenewal(records, record.serial);
  if (stored?.state === 'mailed') return;
  const reason = asSealpostError(error).message;
  const failed: Renewal =
    stored?.state === 'issued'
      ? { ...stored, reason }
      : { state: 'failed', serial: '', address: record.address, until: record.notAfter, at: now(), certificate: null, reason };
  await write(records, [change(record.serial, failed)], []);
}

const change = (serial: string, renewal: Renewal): RecordChange => ({ kind: RENEWAL, key: serial, value: writeRenewal(renewal) });

async function write(records: RecordStore, changes: readonly RecordChange[], events: readonly AuditEvent[]): Promise<void> {
  if (!(await records.change(changes, events))) throw new SealpostError('storage-failed', { detail: 'another change came between' });
}
