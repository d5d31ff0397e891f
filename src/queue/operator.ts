/**
 * What an operator sees and does: list, count, retry, remove, prune. The reading half works on a read-only connection too, so
 * that commands need no running relay.
 */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { EMPTY_HEAD, type AuditEvent, type AuditHead } from '../audit.ts';
import { type AuditRecord } from '../audit/verify.ts';
import { SealpostError } from '../errors.ts';
import { blob, integer, integerOrNull, text, textOrNull, type Row } from './columns.ts';
import { recipientStates, type EntryFilter, type Kept, type QueueEntry, type QueueStats, type RecipientState } from './queue.ts';
import type { Step } from './requests.ts';
import type { Done, Rows } from './rows.ts';
import { schemaVersion } from './schema.ts';

/** Rows in one step: about 20 ms of the worker. */
const STEP_ROWS = 500;

const KNOWN = recipientStates.map((state) => `'${state}'`).join(', ');

/** What to call a row: those that could not be marked in place, and those in a state that is none, are damaged too. */
const STATE = `CASE WHEN r.id IN (SELECT row FROM set_aside) OR r.state NOT IN (${KNOWN}) THEN 'damaged' ELSE r.state END`;

/** The last ms that a Date can tell (ECMA-262 §21.4.1.1): a flipped high bit must not keep a row from being shown. */
const LAST_MS = 8_640_000_000_000_000;
const bounded = (column: string): string => `min(max(CAST(${column} AS INTEGER), 0), ${LAST_MS})`;

interface Clause {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
}

function filterClause(filter: EntryFilter): Clause {
  const terms: [string, SQLInputValue | undefined][] = [
    ['r.message = ?', filter.queueId],
    ['r.address = ?', filter.recipient],
    [`${STATE} = ?`, filter.state],
    ['r.id IN (SELECT row FROM recipient_kept WHERE kind = ?)', filter.kept],
  ];
  const given = terms.filter((term): term is [string, SQLInputValue] => term[1] !== undefined);
  return { sql: ['1', ...given.map(([sql]) => sql)].join(' AND '), values: given.map(([, value]) => value) };
}

/** Oldest first: rows are numbered as they are accepted. */
export function listEntries(db: DatabaseSync, filter: EntryFilter, limit: number): QueueEntry[] {
  const { sql, values } = filterClause(filter);
  const rows = db
    .prepare(
      // Damaged rows are shown as far as they can be: as the type of the column, and with a message that may be gone.
      `SELECT CAST(r.message AS TEXT) AS queueId, CAST(r.address AS TEXT) AS recipient, coalesce(CAST(m.sender AS TEXT), '?') AS sender,
        ${STATE} AS state, ${bounded('coalesce(m.accepted_at, r.changed_at)')} AS acceptedAt,
        iif(a.row IS NULL, ${bounded('r.due_at')}, NULL) AS dueAt, ${bounded('r.changed_at')} AS changedAt,
        ${bounded('r.attempts')} AS attempts,
        ${bounded('coalesce(m.size, 0)')} AS size, coalesce(a.reason, r.reason) AS reason, ${noticeOf(db)} AS notice,
        ${keptColumn(db, 'kind')}, ${keptColumn(db, 'facts')}
      FROM recipients r LEFT JOIN messages m ON m.id = r.message LEFT JOIN set_aside a ON a.row = r.id
      WHERE ${sql} ORDER BY r.id LIMIT ?`,
    )
    .all(...values, limit);
  return rows.map((row) => ({
    queueId: text(row, 'queueId'),
    recipient: text(row, 'recipient'),
    sender: text(row, 'sender'),
    state: stateOf(row),
    acceptedAt: integer(row, 'acceptedAt'),
    dueAt: integerOrNull(row, 'dueAt'),
    changedAt: integer(row, 'changedAt'),
    attempts: integer(row, 'attempts'),
    size: integer(row, 'size'),
    reason: textOrNull(row, 'reason'),
    notice: textOrNull(row, 'notice'),
    kept: keptEntry(row),
  }));
}

/** A database that no relay has opened since the update has no notices, and no table for them. */
const noticeOf = (db: DatabaseSync): string =>
  schemaVersion(db) < 2 ? 'NULL' : '(SELECT CAST(notice AS TEXT) FROM message_asked WHERE message = r.message)';

const keptColumn = (db: DatabaseSync, name: 'kind' | 'facts'): string =>
  `${schemaVersion(db) < 5 ? 'NULL' : `(SELECT CAST(${name} AS TEXT) FROM recipient_kept WHERE row = r.id)`} AS ${name}`;

/** That it was released is of no use to who lists it. */
function keptEntry(row: Row): Kept | null {
  const kind = (['held', 'spooled'] as const).find((one) => one === row['kind']);
  return kind === undefined ? null : { kind, facts: textOrNull(row, 'facts') ?? '' };
}

function stateOf(row: Row): RecipientState {
  const found = recipientStates.find((state) => state === row['state']);
  if (found === undefined) throw new SealpostError('internal', { detail: 'a row with an unknown state' });
  return found;
}

export function readStats(db: DatabaseSync): QueueStats {
  const states: Record<RecipientState, number> = { ready: 0, leased: 0, deferred: 0, held: 0, bounced: 0, damaged: 0 };
  for (const row of db.prepare(`SELECT ${STATE} AS state, count(*) AS rows FROM recipients r GROUP BY 1`).all())
    states[stateOf(row)] = integer(row, 'rows');
  const totals = new Map(
    db
      .prepare('SELECT name, value FROM totals')
      .all()
      .map((row) => [text(row, 'name'), integer(row, 'value')]),
  );
  const of = (name: string): number => totals.get(name) ?? 0;
  const oldest = db.prepare('SELECT min(accepted_at) AS at FROM messages').get();
  const oldestHeld = db
    .prepare(
      `SELECT ${bounded('coalesce(m.accepted_at, r.changed_at)')} AS at FROM recipients r LEFT JOIN messages m ON m.id = r.message
      WHERE r.state = 'held' AND r.id NOT IN (SELECT row FROM set_aside) ORDER BY r.id LIMIT 1`,
    )
    .get();
  return {
    states,
    totals: {
      accepted: of('accepted'),
      delivered: of('delivered'),
      bounced: of('bounced'),
      removed: of('removed'),
      ambiguous: of('ambiguous'),
    },
    bodyBytes: of('body_bytes'),
    oldestAcceptedAt: integerOrNull(oldest ?? { at: null }, 'at'),
    oldestHeldAt: integerOrNull(oldestHeld ?? { at: null }, 'at'),
  };
}

/** How far the audit file is known to go. */
export function readAuditHead(db: DatabaseSync): AuditHead {
  const row = db.prepare('SELECT seq, hash, bytes FROM audit_head').get();
  return row === undefined ? EMPTY_HEAD : { seq: integer(row, 'seq'), hash: text(row, 'hash'), bytes: integer(row, 'bytes') };
}

/** What each kept segment of the audit log goes on from, oldest first; never none. `at`: newest time before it (ms). */
export function readAuditStarts(db: DatabaseSync): readonly SegmentStart[] {
  if (schemaVersion(db) < 6) return [{ ...EMPTY_HEAD, at: 0 }];
  const rows = db.prepare('SELECT seq, hash, bytes, at FROM audit_segments ORDER BY seq').all();
  return rows.map((row) => ({ seq: integer(row, 'seq'), hash: text(row, 'hash'), bytes: integer(row, 'bytes'), at: integer(row, 'at') }));
}

export interface SegmentStart extends AuditHead {
  readonly at: number;
}

/** The head and what waits to be appended behind it, from one moment. */
export function readAuditRecord(db: DatabaseSync): AuditRecord {
  db.exec('BEGIN');
  try {
    const lines = db.prepare('SELECT lines FROM audit_pending ORDER BY last_seq').all();
    return {
      base: readAuditStarts(db)[0] ?? EMPTY_HEAD,
      head: readAuditHead(db),
      pending: Buffer.concat(lines.map((row) => blob(row, 'lines'))),
    };
  } finally {
    db.exec('COMMIT');
  }
}

interface Target {
  readonly id: number;
  readonly message: string;
  readonly address: string;
  readonly state: RecipientState;
}

function targets(db: DatabaseSync, filter: EntryFilter, states: string, from: number): Target[] {
  const { sql, values } = filterClause(filter);
  const found = db.prepare(
    `SELECT r.id, CAST(r.message AS TEXT) AS message, CAST(r.address AS TEXT) AS address, ${STATE} AS state FROM recipients r
    WHERE ${sql} AND ${states} AND r.id >= ? ORDER BY r.id LIMIT ${STEP_ROWS}`,
  );
  return found.all(...values, from).map(asTarget);
}

const asTarget = (row: Row): Target => ({
  id: integer(row, 'id'),
  message: text(row, 'message'),
  address: text(row, 'address'),
  state: stateOf(row),
});

function stepAfter(found: readonly { readonly id: number }[]): Step {
  const last = found.at(-1);
  return { changed: found.length, next: last !== undefined && found.length === STEP_ROWS ? last.id + 1 : null };
}

export function retryStep(
  db: DatabaseSync,
  ask: { filter: EntryFilter; now: number; operator: string; from: number },
  at: number,
): Done<Step> {
  const found = targets(db, ask.filter, `r.state IN ('deferred', 'bounced') AND r.id NOT IN (SELECT row FROM set_aside)`, ask.from);
  // What bounced because it was held for too long is sealed to the hold certificate still: it waits for its release again, from now on, and
  // why it bounced says nothing of it any more.
  const isHeld = `EXISTS (SELECT 1 FROM recipient_kept WHERE row = recipients.id AND kind = 'held')`;
  const wake = db.prepare(
    `UPDATE recipients SET state = iif(${isHeld}, 'held', 'ready'), due_at = iif(${isHeld}, NULL, ?), changed_at = ?,
      reason = iif(${isHeld}, NULL, reason) WHERE id = ?`,
  );
  for (const { id } of found) wake.run(ask.now, at, id);
  return { answer: stepAfter(found), events: found.map((row) => operatorEvent('retried', row, ask.operator)) };
}

export function removeStep(db: DatabaseSync, rows: Rows, ask: { filter: EntryFilter; operator: string; from: number }): Done<Step> {
  const found = targets(db, ask.filter, `(r.state <> 'leased' OR r.id IN (SELECT row FROM set_aside))`, ask.from);
  const gone = found.flatMap(({ id }) => rows.deleteRow(id));
  rows.total('removed', found.length);
  return { answer: stepAfter(found), events: found.map((row) => operatorEvent('removed', row, ask.operator)), gone };
}

/** Bounced long ago: the sealed copy goes; that it bounced is in the audit log. */
export function pruneStep(db: DatabaseSync, rows: Rows, ask: { before: number; from: number }): Done<Step> {
  const found = db
    .prepare(`SELECT id FROM recipients WHERE state = 'bounced' AND changed_at < ? AND id >= ? ORDER BY id LIMIT ${STEP_ROWS}`)
    .all(ask.before, ask.from)
    .map((row) => ({ id: integer(row, 'id') }));
  return { answer: stepAfter(found), gone: found.flatMap(({ id }) => rows.deleteRow(id)) };
}

function operatorEvent(event: 'retried' | 'removed', row: Target, operator: string): AuditEvent {
  return { event, queue_id: row.message, recipient: row.address, was: row.state, operator };
}
