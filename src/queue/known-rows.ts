/**
 * Known certificates in the database, inside the worker's transactions. A row is always written whole, never updated: STRICT
 * judges all columns of a row that is updated, and a column that the disk changed must not keep mail from being taken (P10).
 */
import type { DatabaseSync } from 'node:sqlite';
import type { AuditEvent } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { integer, text, textOrNull, type Row } from './columns.ts';
import {
  type Approval,
  type CertificateUse,
  isApproved,
  isKnownAddress,
  type KnownCertificate,
  type KnownFilter,
  type KnownPlace,
  type KnownState,
  knownStates,
  lastUsed,
} from './known.ts';
import type { Step } from './requests.ts';
import type { Done } from './rows.ts';
import { schemaVersion } from './schema.ts';
import { prepareAlone } from './set-aside.ts';

/** Certificates of one address that are kept: three devices, renewed each year, for the years below. */
const MAX_USED = 16;
/** Of those that wait for approval: whoever can put fifty into a source shall not fill the database. */
const MAX_WAITING = 8;
/** The longest that a certificate for mail is valid (S/MIME Baseline Requirements §6.3.2 allow 1185 days at most). */
const KEPT_UNUSED_MS = 1185 * 86_400_000;
/** A certificate that is not offered any more waits for nothing. */
const KEPT_WAITING_MS = 90 * 86_400_000;
const DAY_MS = 86_400_000;
/** Addresses of which it is remembered that they were told of today. */
const MAX_TOLD = 1000;
const PRUNE_ROWS = 500;
const PAGE_ROWS = 500;
/** Of SHA-256 in hex. */
const FINGERPRINT_DIGITS = 64;
/** Ms: beyond what a Date can tell. */
const UNKNOWN_TIME = Number.MAX_SAFE_INTEGER;
/** UTF-16 code units: texts of a certificate are for people. */
const MAX_TEXT = 1024;

const COLUMNS = `
  CAST(address AS TEXT) AS address, CAST(fingerprint AS TEXT) AS fingerprint, CAST(state AS TEXT) AS state,
  CAST(subject AS TEXT) AS subject, CAST(issuer AS TEXT) AS issuer, CAST(serial AS TEXT) AS serial,
  CAST(not_after AS INTEGER) AS notAfter, CAST(source AS TEXT) AS source, CAST(first_at AS INTEGER) AS firstAt,
  CAST(last_at AS INTEGER) AS lastAt, CAST(approved_by AS TEXT) AS approvedBy`;

type Read = (address: string) => KnownCertificate[];

/** Newest use first. */
function prepareRead(db: DatabaseSync): Read {
  const rows = db.prepare(`SELECT ${COLUMNS} FROM known_certificates WHERE address = ? ORDER BY last_at DESC, first_at DESC`);
  return (address) => rows.all(address).map(asKnown);
}

/** For commands. A database that no relay has opened since the update knows nothing. */
export const readKnown = (db: DatabaseSync, address: string): KnownCertificate[] => (schemaVersion(db) < 3 ? [] : prepareRead(db)(address));

/** What waits for approval, the oldest first, each with the certificate that is used meanwhile. */
export function listWaiting(db: DatabaseSync): { readonly waiting: KnownCertificate; readonly used: KnownCertificate | undefined }[] {
  if (schemaVersion(db) < 3) return [];
  const read = prepareRead(db);
  const rows = db.prepare(`SELECT ${COLUMNS} FROM known_certificates WHERE state NOT IN ('used', 'approved') ORDER BY first_at, address`);
  return rows.all().map((row) => {
    const waiting = asKnown(row);
    return { waiting, used: lastUsed(read(waiting.address)) };
  });
}

type ReadPage = (since: number, after: KnownPlace | null) => KnownCertificate[];

function preparePage(db: DatabaseSync): ReadPage {
  const rows = db.prepare(`
    SELECT ${COLUMNS} FROM known_certificates WHERE (address, fingerprint) > (?, ?) AND last_at >= ?
    ORDER BY address, fingerprint LIMIT ${PAGE_ROWS}`);
  return (since, after) => rows.all(after?.address ?? '', after?.fingerprint ?? '', since).map(asKnown);
}

/** For commands: as KnownStore.page, one by one. */
export function* readKnownSince(db: DatabaseSync, since: number): Generator<KnownCertificate> {
  if (schemaVersion(db) < 3) return;
  const read = preparePage(db);
  for (let page = read(since, null); page.length > 0; page = read(since, page.at(-1) ?? null)) yield* page;
}

function asKnown(row: Row): KnownCertificate {
  const state: KnownState | undefined = knownStates.find((one) => one === row['state']);
  return {
    address: text(row, 'address'),
    fingerprint: text(row, 'fingerprint'),
    state: state ?? 'damaged',
    subject: text(row, 'subject'),
    issuer: text(row, 'issuer'),
    serial: text(row, 'serial'),
    notAfter: integer(row, 'notAfter'),
    source: text(row, 'source'),
    firstAt: integer(row, 'firstAt'),
    lastAt: integer(row, 'lastAt'),
    approvedBy: textOrNull(row, 'approvedBy'),
  };
}

/** `changes` are those among the events that somebody should look at. */
export interface Recorded {
  readonly events: readonly AuditEvent[];
  readonly changes: readonly AuditEvent[];
}

export type Known = ReturnType<typeof prepareKnown>;

export function prepareKnown(db: DatabaseSync) {
  const spoilt = isSpoilt(db);
  const alone: Alone = spoilt ? () => ({ fault: SPOILT }) : prepareAlone(db, 'known');
  const [read, write, page] = [prepareRead(db), prepareWrite(db), preparePage(db)];
  /** A page of this table that makes no sense is no reason to stop the queue, as one of the rows of mail would be. */
  const guarded =
    <Ask extends unknown[], Answer>(work: (...ask: Ask) => Done<Answer>) =>
    (...ask: Ask): Done<Answer> => {
      const result = alone(() => work(...ask));
      if ('done' in result) return result.done;
      throw new SealpostError('lookup-unavailable', { detail: SPOILT });
    };
  return {
    spoilt,
    use: prepareUse(db, { alone, read, write }),
    of: guarded((address: string) => ({ answer: read(address) })),
    page: guarded((since: number, after: KnownPlace | null) => ({ answer: page(since, after) })),
    wait: guarded(makeWait(read, write)),
    approve: guarded(makeApprove(read, write)),
    forget: guarded(prepareForget(db, read)),
    prune: guarded(preparePrune(db)),
  };
}

const SPOILT = 'its known certificates cannot be read or written';

type Alone = ReturnType<typeof prepareAlone>;

/**
 * Asked at the start, of every page. After one that makes no sense SQLite takes no further write in the same transaction, whatever savepoint
 * it is in: the first mail would stop the queue, at each start anew. So nothing touches the table then (P10).
 */
function isSpoilt(db: DatabaseSync): boolean {
  try {
    db.prepare(`SELECT sum(length(CAST(subject AS TEXT) || CAST(issuer AS TEXT) || CAST(source AS TEXT))) FROM known_certificates`).get();
    db.prepare(`SELECT count(last_at) FROM known_certificates INDEXED BY known_last`).get();
    return false;
  } catch {
    return true;
  }
}

type Write = (certificate: Omit<KnownCertificate, 'state'> & { readonly state: KnownState }) => void;

function prepareWrite(db: DatabaseSync): Write {
  const replace = db.prepare(`
    INSERT OR REPLACE INTO known_certificates
      (address, fingerprint, state, subject, issuer, serial, not_after, source, first_at, last_at, approved_by)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  return (one) => {
    const [subject = '', issuer = '', serial = '', source = ''] = [one.subject, one.issuer, one.serial, one.source].map(short);
    const { address, fingerprint, state, notAfter, firstAt, lastAt, approvedBy } = one;
    replace.run(address, fingerprint, state, subject, issuer, serial, notAfter, source, firstAt, lastAt, approvedBy);
  };
}

const short = (value: string): string => value.slice(0, MAX_TEXT);

/** Says what mail was sealed to. Throws `lookup-unavailable` where a pin stands against it: then nothing of the message holds. */
function prepareUse(db: DatabaseSync, { alone, read, write }: { readonly alone: Alone; readonly read: Read; readonly write: Write }) {
  const surplus = db.prepare(`
    DELETE FROM known_certificates WHERE address = ?1 AND state <> 'waiting' AND fingerprint NOT IN (
      SELECT fingerprint FROM known_certificates WHERE address = ?1 AND state <> 'waiting' ORDER BY last_at DESC, first_at DESC LIMIT ${MAX_USED})`);
  const useAt = (address: string, uses: readonly CertificateUse[], at: number): Recorded => {
    const rows = read(address);
    const before = lastUsed(rows);
    const events: AuditEvent[] = [];
    const changes: AuditEvent[] = [];
    for (const use of uses) {
      const row = rows.find(({ fingerprint }) => fingerprint === use.fingerprint);
      const fresh = isKnownAddress(rows) && (row === undefined || row.state === 'waiting');
      if (fresh) changes.push(changed(use, before, false));
      if (row?.state === 'damaged')
        events.push({ event: 'damaged', recipient: address, reason: 'the state of a known certificate cannot be' });
      const times = { firstAt: row?.firstAt ?? at, lastAt: Math.max(at, row?.lastAt ?? at), approvedBy: row?.approvedBy ?? null };
      write({ ...use, ...times, state: 'used' });
    }
    if (rows.length + uses.length > MAX_USED) surplus.run(address);
    return { events: [...events, ...changes], changes };
  };
  const isRefused = (address: string, uses: readonly CertificateUse[]): boolean => {
    const rows = read(address);
    const approved = new Set(rows.filter(isApproved).map(({ fingerprint }) => fingerprint));
    return isKnownAddress(rows) && uses.some(({ fingerprint }) => !approved.has(fingerprint));
  };
  return (uses: readonly CertificateUse[], at: number): Recorded => {
    const recorded = [...Map.groupBy(uses, (use) => use.address)].map(([address, group]): Recorded => {
      // Asked here and not at the look-up alone: what was known then may have been forgotten since.
      const pinned = group.some((use) => use.pinned);
      const result = alone(() => (pinned && isRefused(address, group) ? undefined : useAt(address, group, at)));
      if ('done' in result && result.done !== undefined) return result.done;
      if (pinned) {
        const detail = 'done' in result ? 'a changed certificate waits for approval' : SPOILT;
        throw new SealpostError('lookup-unavailable', { detail });
      }
      // Rows that the disk spoilt are no reason to refuse mail: the `sealed` event names the certificate all the same (P9).
      return { events: [{ event: 'damaged', recipient: address, reason: SPOILT }], changes: [] };
    });
    return { events: recorded.flatMap(({ events }) => events), changes: recorded.flatMap(({ changes }) => changes) };
  };
}

function changed(use: CertificateUse, before: KnownCertificate | undefined, waits: boolean): AuditEvent {
  return {
    event: 'certificate-changed',
    ...(use.queueId === null ? {} : { queue_id: use.queueId }),
    recipient: use.address,
    old_sha256: before?.fingerprint ?? null,
    certificate_sha256: use.fingerprint,
    certificate_issuer: use.issuer,
    certificate_serial: use.serial,
    certificate_source: use.source,
    same_issuer: before?.issuer === short(use.issuer),
    waits,
  };
}

const isFull = (rows: readonly KnownCertificate[]): boolean => rows.filter(({ state }) => state === 'waiting').length >= MAX_WAITING;

function makeWait(read: Read, write: Write) {
  const isUntold = makeDaily();
  return (use: CertificateUse, at: number): Done<readonly AuditEvent[]> => {
    const rows = read(use.address);
    const row = rows.find(({ fingerprint }) => fingerprint === use.fingerprint);
    if (!isKnownAddress(rows) || (row !== undefined && row.state !== 'waiting')) return { answer: [] };
    if (row === undefined && isFull(rows)) {
      const full = isUntold(use.address, at) ? [unlisted(use)] : [];
      return { answer: full, events: full };
    }
    write({ ...use, state: 'waiting', firstAt: row?.firstAt ?? at, lastAt: at, approvedBy: null });
    const changes = row === undefined ? [changed(use, lastUsed(rows), true)] : [];
    return { answer: changes, events: changes };
  };
}

function unlisted({ address, fingerprint, issuer, serial, source }: CertificateUse): AuditEvent {
  return {
    event: 'certificate-unlisted',
    recipient: address,
    certificate_sha256: fingerprint,
    certificate_issuer: issuer,
    certificate_serial: serial,
    certificate_source: source,
    listed: MAX_WAITING,
  };
}

/** True once a day for each address. Whoever fills a source with certificates shall not fill the audit log; a new start tells again. */
function makeDaily(): (address: string, at: number) => boolean {
  const told = new Map<string, number>();
  return (address, at) => {
    const day = Math.floor(at / DAY_MS);
    if (told.get(address) === day) return false;
    told.delete(address);
    told.set(address, day);
    const [oldest] = told.keys();
    if (told.size > MAX_TOLD && oldest !== undefined) told.delete(oldest);
    return true;
  };
}

const named = (rows: readonly KnownCertificate[], { fingerprint: start }: KnownFilter): KnownCertificate[] =>
  rows.filter(({ fingerprint }) => start === null || fingerprint.startsWith(start));

function makeApprove(read: Read, write: Write) {
  /** Strangers that fill the list must not keep the honest certificate from being approved. Its texts are written when it is used. */
  const approveUnlisted = (
    rows: readonly KnownCertificate[],
    { address, fingerprint }: KnownFilter,
    { operator, at }: { readonly operator: string; readonly at: number },
  ): Done<Approval> => {
    const isKept = rows.some((row) => row.fingerprint === fingerprint);
    if (fingerprint === null || isKept || !isKnownAddress(rows) || !isFull(rows)) return { answer: { kind: 'none' } };
    if (fingerprint.length < FINGERPRINT_DIGITS) return { answer: { kind: 'unlisted' } };
    const texts = { subject: '', issuer: '', serial: '', source: '', notAfter: UNKNOWN_TIME };
    write({ ...texts, address, fingerprint, state: 'approved', firstAt: at, lastAt: at, approvedBy: operator });
    const event: AuditEvent = {
      event: 'certificate-approved',
      recipient: address,
      old_sha256: lastUsed(rows)?.fingerprint ?? null,
      certificate_sha256: fingerprint,
      certificate_issuer: null,
      certificate_serial: null,
      operator,
    };
    return { answer: { kind: 'approved', fingerprint }, events: [event] };
  };
  return (filter: KnownFilter, operator: string, at: number): Done<Approval> => {
    const rows = read(filter.address);
    const [one, ...others] = named(rows, filter).filter((row) => !isApproved(row));
    if (one === undefined) return approveUnlisted(rows, filter, { operator, at });
    if (others.length > 0) return { answer: { kind: 'several', fingerprints: [one, ...others].map(({ fingerprint }) => fingerprint) } };
    write({ ...one, state: 'approved', lastAt: at, approvedBy: operator });
    const event: AuditEvent = {
      event: 'certificate-approved',
      recipient: one.address,
      old_sha256: lastUsed(rows)?.fingerprint ?? null,
      certificate_sha256: one.fingerprint,
      certificate_issuer: one.issuer,
      certificate_serial: one.serial,
      operator,
    };
    return { answer: { kind: 'approved', fingerprint: one.fingerprint }, events: [event] };
  };
}

function prepareForget(db: DatabaseSync, read: Read) {
  const remove = db.prepare('DELETE FROM known_certificates WHERE address = ? AND fingerprint = ?');
  return (filter: KnownFilter, operator: string): Done<number> => {
    const gone = named(read(filter.address), filter);
    for (const { address, fingerprint } of gone) remove.run(address, fingerprint);
    const events = gone.map(({ address, fingerprint, state }): AuditEvent => ({
      event: 'certificate-forgotten',
      recipient: address,
      certificate_sha256: fingerprint,
      was: state,
      operator,
    }));
    return { answer: gone.length, events };
  };
}

/** Measured by the latest use, not by the clock alone: a clock that is years ahead must not make the relay forget whom it knows. */
function preparePrune(db: DatabaseSync) {
  const latest = db.prepare(`SELECT max(last_at) AS at FROM known_certificates`);
  const remove = db.prepare(`
    DELETE FROM known_certificates WHERE (address, fingerprint) IN (
      SELECT address, fingerprint FROM known_certificates
      WHERE last_at < ?1 AND (state = 'waiting' OR last_at < ?2) ORDER BY last_at LIMIT ${PRUNE_ROWS})`);
  return (at: number): Done<Step> => {
    const newest = latest.get()?.['at'];
    const until = typeof newest === 'number' ? Math.min(at, newest) : at;
    const changed = Number(remove.run(until - KEPT_WAITING_MS, until - KEPT_UNUSED_MS).changes);
    return { answer: { changed, next: changed === PRUNE_ROWS ? 0 : null } };
  };
}
