/**
 * Held rows (queue.ts): read for their release, released, ended for their age, or set aside. Who releases reads first and changes later, with a
 * decision and much cryptography in between: so each change names the checksum of what was read, and comes to nothing where the row is
 * another by then. Inside the worker's transaction, as rows.ts.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { AuditEvent } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { blob, integer, text } from './columns.ts';
import type { EntryFilter } from './queue.ts';
import type { HeldAs, HeldPage, StoredBodyRow, StoredHeld, StoredMessage, StoredRelease, StoredTelling } from './requests.ts';
import type { AddTotal, Done } from './rows.ts';
import { NOT_SET_ASIDE, type RowGuard } from './set-aside.ts';
import type { ReadRow } from './stored-row.ts';

/** Rows looked at in one step, and those of them that are read and held to their checksum: some ms of the worker, whatever is asked for. */
const STEP_ROWS = 500;
const PAGE_ROWS = 100;
/** Octets of headers and prefixes in one page, about. */
const PAGE_OCTETS = 4 * 1024 * 1024;
/** A reason is for people. UTF-16 code units. */
const MAX_REASON = 1000;

export interface HeldParts {
  readonly guard: RowGuard;
  readonly total: AddTotal;
  readonly read: ReadRow;
  readonly enqueue: (notice: StoredMessage) => unknown;
  readonly addBody: (body: StoredBodyRow) => number | bigint;
  /** Takes the body away where no row names it any more; answers the names of its files. */
  readonly dropBody: (body: number) => string[];
}

export function prepareHeld(db: DatabaseSync, parts: HeldParts) {
  const stillHeld = prepareStillHeld(db, parts);
  return {
    page: preparePage(db, parts),
    release: prepareRelease(db, parts, stillHeld),
    end: prepareEnd(db, parts, stillHeld),
    damage: prepareDamage(stillHeld),
  };
}

/** The guard marks it and tells of it, as where the row itself is found damaged. */
function prepareDamage(stillHeld: StillHeld) {
  return (as: HeldAs & { readonly reason: string }, at: number): Done<boolean> => {
    const events: AuditEvent[] = [];
    stillHeld(as, at, events, () => {
      throw new SealpostError('queue-item-damaged', { detail: as.reason });
    });
    return { answer: events.length > 0, events };
  };
}

function preparePage(db: DatabaseSync, { guard, read }: HeldParts) {
  const columns = 'SELECT id, CAST(message AS TEXT) AS message, CAST(address AS TEXT) AS address FROM recipients';
  const all = db.prepare(`${columns} WHERE state = 'held' AND id > ? AND ${NOT_SET_ASIDE} ORDER BY id LIMIT ${STEP_ROWS}`);
  // Not by the index of the states: there may be a million held rows, and of one message there are few.
  const ofMessage = db.prepare(
    `${columns} WHERE +state = 'held' AND id > ? AND message = ? AND ${NOT_SET_ASIDE} ORDER BY id LIMIT ${STEP_ROWS}`,
  );
  return (filter: EntryFilter, after: number, limit: number, at: number): Done<HeldPage> => {
    const events: AuditEvent[] = [];
    const rows: StoredHeld[] = [];
    const most = Math.min(limit, PAGE_ROWS);
    let octets = 0;
    const found = filter.queueId === undefined ? all.all(after) : ofMessage.all(after, filter.queueId);
    for (const one of found) {
      const id = integer(one, 'id');
      if (rows.length >= most || octets >= PAGE_OCTETS) return { answer: { rows, next: id - 1 }, events };
      if (filter.recipient !== undefined && filter.recipient !== text(one, 'address')) continue;
      const row = guard.attempt(id, at, events, () => assertHeld(read(id)));
      if (row === undefined) continue;
      rows.push(row);
      octets += row.header.length + row.prefix.length + row.suffix.length;
    }
    const last = found.at(-1);
    return { answer: { rows, next: last !== undefined && found.length === STEP_ROWS ? integer(last, 'id') : null }, events };
  };
}

function assertHeld(row: StoredHeld): StoredHeld {
  if (row.kept?.kind !== 'held') throw new SealpostError('queue-item-damaged', { detail: 'it is held, and nothing says why' });
  return row;
}

/** The row, changed by `write`, where it is held as it was read; undefined where it is not, and where it is damaged. */
type StillHeld = (as: HeldAs, at: number, events: AuditEvent[], write: () => unknown) => StoredHeld | undefined;

function prepareStillHeld(db: DatabaseSync, { guard, read }: HeldParts): StillHeld {
  const found = db.prepare(`SELECT sha256 FROM recipients WHERE id = ? AND state = 'held' AND ${NOT_SET_ASIDE}`);
  return ({ row, was }, at, events, write) =>
    guard.attempt(row, at, events, () => {
      const now = found.get(row);
      if (now === undefined || Buffer.compare(blob(now, 'sha256'), was) !== 0) return undefined;
      const held = assertHeld(read(row));
      write();
      return held;
    });
}

function prepareRelease(db: DatabaseSync, { total, addBody, dropBody }: HeldParts, stillHeld: StillHeld) {
  const ready = db.prepare(`
    UPDATE recipients SET state = 'ready', due_at = ?1, changed_at = ?1, past_dot = 0, reason = NULL,
      needs_smtputf8 = ?2, sha256 = ?3, header = ?4, prefix = ?5, suffix = ?6
    WHERE id = ?7`);
  const released = db.prepare(`UPDATE recipient_kept SET kind = 'released', facts = ? WHERE row = ?`);
  const sender = db.prepare(`
    INSERT INTO recipient_asked (row, sender) VALUES (?1, ?2) ON CONFLICT (row) DO UPDATE SET sender = excluded.sender`);
  const exchange = db.prepare('UPDATE recipients SET body = ? WHERE id = ?');
  return (as: HeldAs & { readonly as: StoredRelease; readonly events: readonly AuditEvent[] }, at: number): Done<boolean> => {
    const events: AuditEvent[] = [];
    const { row } = as;
    const to = as.as;
    const held = stillHeld(as, at, events, () => {
      ready.run(to.at, to.needsSmtputf8 ? 1 : 0, to.sha256, to.header, to.prefix, to.suffix, row);
      released.run(String(to.at), row);
    });
    if (held === undefined) return { answer: false, events };
    if (to.sender !== held.sender) sender.run(row, to.sender === held.originalSender ? null : to.sender);
    if (to.body === null) return { answer: true, events: as.events };
    exchange.run(addBody(to.body), row);
    total('body_bytes', to.body.length);
    return { answer: true, events: as.events, gone: dropBody(held.body) };
  };
}

function prepareEnd(db: DatabaseSync, { total, enqueue }: HeldParts, stillHeld: StillHeld) {
  const end = db.prepare(`UPDATE recipients SET state = 'bounced', changed_at = ?, reason = ? WHERE id = ?`);
  return (
    as: HeldAs & { readonly reason: string; readonly events: readonly AuditEvent[]; readonly telling: StoredTelling | null },
    at: number,
  ): Done<boolean> => {
    const events: AuditEvent[] = [];
    const held = stillHeld(as, at, events, () => end.run(at, as.reason.slice(0, MAX_REASON), as.row));
    if (held === undefined) return { answer: false, events };
    if (as.telling !== null && as.telling.notice !== null) enqueue(as.telling.notice);
    total('bounced', 1);
    return { answer: true, events: as.events };
  };
}
