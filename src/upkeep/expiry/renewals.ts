/**
 * Renews certificates of the in-house CA ahead of their end, where `certificates.authority.renew` says so: a new key, which its reader
 * gets by mail sealed to the certificate that ends. For each certificate that is renewed a record, by its serial:
 *
 *   (none) ─▶ issued   in the ledger; its key is in memory alone
 *               │ mail queued, sealed
 *               ▼
 *             mailed   the certificate is in the record, and used for nothing yet ─ mail lost, or one revoked ─▶ failed   it is revoked
 *               │ mail delivered: file in data/certs, approved where certificates are pinned (mailed.ts)
 *               ▼
 *             done
 *
 * What a crash leaves behind: in `issued` nobody has the key (or a mail nobody can use), so that the next round revokes that certificate
 * as superseded and begins anew; in `mailed` the mail goes on. Never is mail sealed to a certificate whose key did not arrive. `failed`
 * keeps the reason for the summary, and is tried again the next day.
 *
 * The key and its password go in one message. Both are under one seal, which only the reader's present key opens; apart from each other
 * they would travel to the same mailbox under the same seal, and prove no more. So the new key is as safe as the old one, and no safer:
 * where the old key may be known to others it is to be revoked, and a new certificate handed over in person.
 */
import { setTimeout as after } from 'node:timers/promises';
import { authorityChain, type OpenAuthority } from '../../certificates/authority/files.ts';
import { DAY_MS, type Issued } from '../../certificates/authority/issue.ts';
import { ISSUED, type IssuedRecord, writeIssued } from '../../certificates/authority/ledger.ts';
import { dueForRenewal, renewCertificate } from '../../certificates/authority/renew.ts';
import type { Due } from '../../certificates/expiry/survey.ts';
import type { SiteCertificates } from '../../certificates/site.ts';
import { asSealpostError, SealpostError } from '../../errors.ts';
import { type Mailbox, parseMailbox } from '../../message/envelope.ts';
import { FOLLOWED, type RecordStore } from '../../queue/records.ts';
import { issuedEvent } from '../issued.ts';
import type { OwnMail } from '../own-mail.ts';
import type { Counts, Step } from '../round.ts';
import { makeKit } from './kit.ts';
import { BY_RELAY, type MailedParts, readUnrevoked, settleMailed, supersede } from './mailed.ts';
import { changeRenewal, listRenewals, readRenewal, type Renewal, writeAll } from './renewal-record.ts';
import type { Stock } from './stock.ts';
import { day } from '../../certificates/usability.ts';

/** A day; the rest the next day. */
const MAX_A_DAY = 200;

export interface RenewalParts extends MailedParts {
  /** ms before the end; undefined renews nothing, and finishes what was begun. */
  readonly before: number | undefined;
  readonly stock: (signal: AbortSignal) => Promise<Stock>;
  /** Throws where its key cannot be used here. */
  readonly authority: () => Promise<OpenAuthority>;
  /** Where others find its list; undefined where that is nowhere. */
  readonly crlUrl?: string | undefined;
  readonly certificates: Pick<SiteCertificates, 'addressBook'>;
  readonly ownMail: OwnMail;
  readonly operator: string;
}

export function makeRenewalStep(parts: RenewalParts): Step {
  return {
    name: 'renewals',
    look: () => settleMailed(parts),
    async run(signal): Promise<Counts> {
      await settleMailed(parts);
      const known = await listRenewals(parts.records);
      await forgetMail(known, parts.records);
      if (parts.before === undefined) return {};
      const due = await dueNow(parts, known, signal);
      const today = [...known.values()].filter(
        ({ state, at }) => state !== 'failed' && at > parts.now() - DAY_MS && at <= parts.now(),
      ).length;
      let [mailed, failed] = [0, 0];
      let authority: OpenAuthority | undefined;
      for (const one of due.slice(0, Math.max(0, MAX_A_DAY - today))) {
        if (signal.aborted) break;
        try {
          authority ??= await parts.authority();
          await renewOne(one, authority, parts);
          mailed++;
        } catch (error) {
          // The queue or its disk: nothing else would come off either.
          if (asSealpostError(error).code.startsWith('storage')) throw error;
          await fail(one, error, parts);
          failed++;
        }
      }
      return { renewals_mailed: mailed, renewals_failed: failed };
    },
  };
}

/** Marks of mail that nobody waits for any more: a crash came between. */
async function forgetMail(known: ReadonlyMap<string, Renewal>, records: RecordStore): Promise<void> {
  const awaited = new Set([...known.values()].map(({ mail }) => mail));
  const rest = (await records.list(FOLLOWED)).filter(({ key }) => !awaited.has(key));
  if (rest.length === 0) return;
  await records.change(
    rest.map(({ key }) => ({ kind: FOLLOWED, key, value: null })),
    [],
  );
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
  if (before?.state === 'issued') await supersede(before.serial, authority.issuing.certificate.subject, parts);
  const issued = await renewCertificate({ authority: authority.issuing, record, crlUrl, now: now() });
  const { certificate } = issued;
  if (certificate.notAfter.getTime() <= record.notAfter)
    throw new SealpostError('certificate-unusable', { detail: 'the in-house CA itself ends before that' });
  const old = await readUnrevoked(record.serial, records);
  if (old === undefined) throw revokedMeanwhile();
  const about = { serial: certificate.serial, address: record.address, until: record.notAfter, at: now(), ...NOTHING };
  const ledger = ledgerRecord(record, issued, authority, now());
  const begun = changeRenewal(record.serial, { ...about, state: 'issued' });
  const event = issuedEvent(ledger, { operator: BY_RELAY, issuer: authority.issuing.certificate.subject });
  const entry = { kind: ISSUED, key: ledger.serial, value: writeIssued(ledger), was: null };
  // The old one is written as it stands: where somebody has revoked it since, nothing of this holds.
  const unrevoked = { kind: ISSUED, key: record.serial, value: old, was: old };
  if (!(await records.change([unrevoked, entry, begun], [event]))) throw revokedMeanwhile();

  const start = performance.now();
  const kit = makeKit({ record, issued, authority, chain: authorityChain(authority), operator });
  // A PKCS#12 of RSA holds the thread for some 30 ms, in one piece: for as long it is left to mail.
  await after(performance.now() - start);
  const subject = `Your new certificate for sealed mail, valid until ${day(certificate.notAfter)}`;
  const mail = await ownMail.send({ recipient: mailbox, subject, followed: true, ...kit });
  const mailed: Renewal = { ...about, state: 'mailed', certificate: certificate.der.toString('base64'), mail };
  await writeAll(records, [changeRenewal(record.serial, mailed)]);
}

const revokedMeanwhile = (): SealpostError =>
  new SealpostError('certificate-unusable', { detail: 'the certificate that ends has been revoked' });

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

const NOTHING = { certificate: null, mail: null, doneAt: null, reason: null };

/** The state `issued` stays: its certificate is still to be superseded. */
async function fail({ record }: Wanted, error: unknown, { records, now }: RenewalParts): Promise<void> {
  const stored = await readRenewal(records, record.serial);
  if (stored?.state === 'mailed') return;
  const reason = asSealpostError(error).message;
  const failed: Renewal =
    stored?.state === 'issued'
      ? { ...stored, reason }
      : { state: 'failed', serial: '', address: record.address, until: record.notAfter, at: now(), ...NOTHING, reason };
  await writeAll(records, [changeRenewal(record.serial, failed)]);
}
