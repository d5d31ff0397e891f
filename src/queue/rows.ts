/**
 * What the relay does with rows: enqueue, claim, mark, settle. Each function runs inside the worker's transaction and answers
 * with the audit events and the body files that its commit brings about; nothing outside the database happens here.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { AuditEvent } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { blob, integer, integerOrNull, text, textOrNull } from './columns.ts';
import { prepareHeld } from './held-rows.ts';
import type { Outcome } from './queue.ts';
import { prepareRecover } from './recover.ts';
import type { LeasedAsQueued, LeasedRow, StoredBodyRow, StoredMessage, StoredRecipient, StoredTelling } from './requests.ts';
import { NOT_SET_ASIDE, prepareGuard, type RowGuard } from './set-aside.ts';
import { prepareSetBack, type SetBack } from './set-back.ts';
import { prepareReadRow, type ReadRow } from './stored-row.ts';

/** What one request did. `gone`: names of body files that no row names any more, to unlink after the commit. */
export interface Done<Answer> {
  readonly answer: Answer;
  readonly events?: readonly AuditEvent[];
  readonly gone?: readonly string[];
}

export type Total = 'accepted' | 'delivered' | 'bounced' | 'removed' | 'ambiguous' | 'body_bytes';

/** A reason is for people; an upstream's reply may be long. UTF-16 code units. */
const MAX_REASON = 1000;

export type Rows = ReturnType<typeof prepareRows>;

/** Prepares the statements once. */
export function prepareRows(db: DatabaseSync) {
  const addTotal = db.prepare('UPDATE totals SET value = value + ? WHERE name = ?');
  const total = (name: Total, by: number): void => {
    if (by !== 0) addTotal.run(by, name);
  };
  const dropBody = prepareDropBody(db, total);
  const deleteRow = prepareDelete(db, dropBody);
  const guard = prepareGuard(db);
  const setBack = prepareSetBack(db, guard);
  const addBody = prepareAddBody(db);
  const enqueue = prepareEnqueue(db, total, addBody, setBack);
  const read = prepareReadRow(db);
  return {
    total,
    deleteRow,
    wrote: (at: number): void => setBack.wrote(at),
    enqueue,
    claim: prepareClaim(db, guard, read, setBack),
    held: prepareHeld(db, { guard, total, read, enqueue: (notice) => enqueue(notice, []), addBody, dropBody }),
    settle: prepareSettle(db, total, deleteRow, enqueue),
    passDot: preparePassDot(db),
    nextDue: prepareNextDue(db),
    bodyBytes: prepareBodyBytes(db),
    recover: prepareRecover(db, guard, (events) => total('ambiguous', events)),
    namesFile: prepareNamesFile(db),
  };
}

export type AddTotal = (name: Total, by: number) => void;
type DeleteRow = (row: number) => string[];

type AddBody = (body: StoredBodyRow) => number | bigint;

function prepareAddBody(db: DatabaseSync): AddBody {
  const insert = db.prepare('INSERT INTO bodies (length, sha256, file, bytes) VALUES (?, ?, ?, ?)');
  return (body) => insert.run(body.length, body.sha256, body.file, body.bytes).lastInsertRowid;
}

/** `lease`: as many of its rows as can be sent at most begin as `leased`; they are the answer. */
type Enqueue = (added: StoredMessage, events: readonly AuditEvent[], lease?: number) => Done<readonly LeasedAsQueued[]>;

function prepareEnqueue(db: DatabaseSync, total: AddTotal, addBody: AddBody, setBack: SetBack): Enqueue {
  const message = db.prepare('INSERT INTO messages (id, accepted_at, sender, size) VALUES (?, ?, ?, ?)');
  const recipient = db.prepare(`
    INSERT INTO recipients (message, body, address, state, due_at, changed_at, needs_smtputf8, sha256, header, prefix, suffix)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  const askedOfMessage = db.prepare('INSERT INTO message_asked (message, envid, submitter, notice) VALUES (?, ?, ?, ?)');
  const askedOfRecipient = db.prepare('INSERT INTO recipient_asked (row, sender, notify, orcpt) VALUES (?, ?, ?, ?)');
  const kept = db.prepare('INSERT INTO recipient_kept (row, kind, facts) VALUES (?, ?, ?)');
  const keepAsked = (row: number | bigint, one: StoredRecipient, original: string): void => {
    const sender = one.sender === original ? null : one.sender;
    if (sender !== null || one.notify !== null || one.orcpt !== null) askedOfRecipient.run(row, sender, one.notify, one.orcpt);
  };
  return (added, events, lease = 0) => {
    const leased: LeasedAsQueued[] = [];
    const named = new Set(added.recipients.map((one) => one.body));
    // A body that no row names would never be deleted.
    if (named.size !== added.bodies.length) throw new SealpostError('internal', { detail: 'a body without a recipient' });
    message.run(added.id, added.acceptedAt, added.sender, added.size);
    if (added.envid !== null || added.submitter !== null || added.notice !== null)
      askedOfMessage.run(added.id, added.envid, added.submitter, added.notice);
    const ids = added.bodies.map(addBody);
    for (const [index, one] of added.recipients.entries()) {
      const id = ids[one.body];
      if (id === undefined) throw new SealpostError('internal', { detail: 'a recipient names a body that is not there' });
      const smtputf8 = one.needsSmtputf8 ? 1 : 0;
      const at = added.acceptedAt;
      const [state, due] = one.kept?.kind === 'held' ? ['held', null] : leased.length < lease ? ['leased', null] : ['ready', at];
      const row = recipient.run(added.id, id, one.address, state, due, at, smtputf8, one.sha256, one.header, one.prefix, one.suffix);
      keepAsked(row.lastInsertRowid, one, added.sender);
      if (one.kept !== null) kept.run(row.lastInsertRowid, one.kept.kind, one.kept.facts);
      if (state === 'leased') leased.push({ row: Number(row.lastInsertRowid), recipient: index });
    }
    setBack.wrote(added.acceptedAt);
    total('accepted', added.recipients.length);
    total(
      'body_bytes',
      added.bodies.reduce((sum, one) => sum + one.length, 0),
    );
    return { answer: leased, events };
  };
}

function prepareClaim(db: DatabaseSync, guard: RowGuard, read: ReadRow, setBack: SetBack) {
  const bytes = prepareBodyBytes(db);
  const due = db.prepare(`SELECT id FROM recipients WHERE due_at <= ? AND ${NOT_SET_ASIDE} ORDER BY due_at, id LIMIT ?`);
  const lease = db.prepare(`UPDATE recipients SET state = 'leased', due_at = NULL, changed_at = ?, past_dot = 0 WHERE id = ?`);
  return (now: number, limit: number, at: number): Done<LeasedRow[]> => {
    const answer: LeasedRow[] = [];
    const events = setBack.mend(now);
    for (const found of due.all(now, limit)) {
      const id = integer(found, 'id');
      const leased = guard.attempt(id, at, events, (): LeasedRow => {
        // Before anybody is told its recipient: an upstream that refuses a changed address would make a bounce of the damage.
        const row = read(id);
        // Only a release makes it due: sealed as it is, its reader could not open it.
        if (row.kept?.kind === 'held')
          throw new SealpostError('queue-item-damaged', { detail: 'it is held, and its state says that it is due' });
        lease.run(at, id);
        return row.bodyFile === null ? { ...row, bytes: bytes(row.body).answer } : row;
      });
      if (leased !== undefined) answer.push(leased);
    }
    return { answer, events };
  };
}

function preparePassDot(db: DatabaseSync) {
  const mark = db.prepare(`UPDATE recipients SET past_dot = 1 WHERE id = ? AND state = 'leased'`);
  return (row: number): Done<null> => {
    if (mark.run(row).changes !== 1) throw notLeased();
    return { answer: null };
  };
}

const notLeased = (): SealpostError => new SealpostError('internal', { detail: 'a row that is not leased cannot be marked or settled' });

function prepareSettle(db: DatabaseSync, total: AddTotal, deleteRow: DeleteRow, enqueue: Enqueue) {
  const leased = db.prepare(`SELECT 1 FROM recipients WHERE id = ? AND state = 'leased'`);
  const end = db.prepare(`
    UPDATE recipients SET state = ?, due_at = ?, changed_at = ?, reason = ?, attempts = attempts + ?, past_dot = 0 WHERE id = ?`);
  const delayed = db.prepare(`
    INSERT INTO recipient_asked (row, delay_noticed) VALUES (?, 1) ON CONFLICT (row) DO UPDATE SET delay_noticed = 1`);
  return (row: number, outcome: Outcome, events: readonly AuditEvent[], telling: StoredTelling | null, at: number): Done<null> => {
    if (leased.get(row) === undefined) throw notLeased();
    if (telling !== null && telling.notice !== null) enqueue(telling.notice, []);
    if (telling?.ofDelay === true) delayed.run(row);
    total('ambiguous', events.filter((event) => event.event === 'ambiguous').length);
    if (outcome.kind === 'delivered') {
      total('delivered', 1);
      return { answer: null, events, gone: deleteRow(row) };
    }
    if (outcome.kind === 'bounced') total('bounced', 1);
    const dueAt = outcome.kind === 'deferred' ? Math.ceil(outcome.dueAt) : null;
    const counted = outcome.kind === 'deferred' && outcome.counts === false ? 0 : 1;
    end.run(outcome.kind, dueAt, at, outcome.reason.slice(0, MAX_REASON), counted, row);
    return { answer: null, events };
  };
}

/** Takes the row away, and with it the message and the body that no other row names. Answers the body's file, if it had one. */
function prepareDelete(db: DatabaseSync, dropBody: (body: number) => string[]): DeleteRow {
  const row = db.prepare('DELETE FROM recipients WHERE id = ? RETURNING message, body');
  const beside = ['set_aside', 'recipient_asked', 'recipient_kept'].map((table) => db.prepare(`DELETE FROM ${table} WHERE row = ?`));
  const askedOfMessage = db.prepare('DELETE FROM message_asked WHERE message = ?');
  const message = db.prepare('DELETE FROM messages WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM recipients WHERE message = ?1)');
  return (id) => {
    const named = row.get(id);
    if (named === undefined) return [];
    for (const statement of beside) statement.run(id);
    if (message.run(text(named, 'message')).changes > 0) askedOfMessage.run(text(named, 'message'));
    return dropBody(integer(named, 'body'));
  };
}

function prepareDropBody(db: DatabaseSync, total: AddTotal): (body: number) => string[] {
  const drop = db.prepare(
    'DELETE FROM bodies WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM recipients WHERE body = ?1) RETURNING length, file',
  );
  return (id) => {
    const gone = drop.get(id);
    if (gone === undefined) return [];
    total('body_bytes', -integer(gone, 'length'));
    const file = textOrNull(gone, 'file');
    return file === null ? [] : [file];
  };
}

function prepareNextDue(db: DatabaseSync) {
  const first = db.prepare(`SELECT due_at AS due FROM recipients WHERE due_at IS NOT NULL AND ${NOT_SET_ASIDE} ORDER BY due_at LIMIT 1`);
  return (): Done<number | null> => ({ answer: integerOrNull(first.get() ?? { due: null }, 'due') });
}

function prepareBodyBytes(db: DatabaseSync) {
  const read = db.prepare('SELECT bytes FROM bodies WHERE id = ?');
  return (id: number): Done<Uint8Array | null> => {
    const row = read.get(id);
    return { answer: row === undefined || row['bytes'] === null ? null : blob(row, 'bytes') };
  };
}

function prepareNamesFile(db: DatabaseSync) {
  const named = db.prepare('SELECT 1 FROM bodies WHERE file = ?');
  return (name: string): boolean => named.get(name) !== undefined;
}
