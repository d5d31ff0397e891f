/**
 * Rows that the disk changed (P10): one of them must cost itself alone, never the claim of all others. Each row is read and
 * written under a savepoint of its own; where that fails the row becomes `damaged`, and is told of in the audit log.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { AuditEvent } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { textOrNull, type Row } from './columns.ts';
import { isRowFault } from './failure.ts';

/** Not in the table of rows that cannot be written. */
export const NOT_SET_ASIDE = 'id NOT IN (SELECT row FROM set_aside)';

export interface RowGuard {
  /**
   * `work` for one row, or nothing of it. Undefined where the row is damaged: then it was set aside, and `events` has one more.
   * Throws what is no fault of the row.
   */
  attempt<T>(id: number, at: number, events: AuditEvent[], work: () => T): T | undefined;
}

export function prepareGuard(db: DatabaseSync): RowGuard {
  const alone = prepareAlone(db, 'one_row');
  // STRICT judges every column of a row that is written. A flipped serial type leaves the octets: a cast makes them storable,
  // and the checksum still tells that they were damaged.
  const mark = db.prepare(`
    UPDATE recipients SET state = 'damaged', due_at = NULL, changed_at = ?, past_dot = 0, reason = ?,
      address = coalesce(CAST(address AS TEXT), ''), attempts = coalesce(CAST(attempts AS INTEGER), 0),
      needs_smtputf8 = coalesce(CAST(needs_smtputf8 AS INTEGER), 0), sha256 = coalesce(CAST(sha256 AS BLOB), x''),
      header = coalesce(CAST(header AS BLOB), x''), prefix = coalesce(CAST(prefix AS BLOB), x''),
      suffix = coalesce(CAST(suffix AS BLOB), x'')
    WHERE id = ?`);
  const note = db.prepare('INSERT OR REPLACE INTO set_aside (row, reason) VALUES (?, ?)');
  const name = db.prepare('SELECT CAST(message AS TEXT) AS message, CAST(address AS TEXT) AS address FROM recipients WHERE id = ?');

  const setAside = (id: number, at: number, fault: unknown): AuditEvent => {
    const reason = fault instanceof SealpostError ? String(fault.detail) : 'the database cannot read or write its row';
    if ('fault' in alone(() => mark.run(at, reason, id))) note.run(id, reason);
    const read = alone(() => namesOf(name.get(id)));
    return { event: 'damaged', ...('done' in read ? read.done : {}), row: id, reason };
  };
  return {
    attempt(id, at, events, work) {
      const result = alone(work);
      if ('done' in result) return result.done;
      events.push(setAside(id, at, result.fault));
      return undefined;
    },
  };
}

/** Runs `work` under a savepoint of this name, or nothing of it where the fault may be a row's. Throws what is no fault of a row. */
export function prepareAlone(db: DatabaseSync, name: string) {
  const savepoint = db.prepare(`SAVEPOINT ${name}`);
  const release = db.prepare(`RELEASE ${name}`);
  const undo = db.prepare(`ROLLBACK TO ${name}`);
  return <T>(work: () => T): { readonly done: T } | { readonly fault: unknown } => {
    savepoint.run();
    try {
      const done = work();
      release.run();
      return { done };
    } catch (fault) {
      // What is no fault of one row loses the whole request; its own savepoint, or the transaction, undoes this one too.
      if (!isRowFault(fault) || !db.isTransaction) throw fault;
      undo.run();
      release.run();
      return { fault };
    }
  };
}

function namesOf(row: Row | undefined): { queue_id?: string; recipient?: string } {
  if (row === undefined) return {};
  const queueId = textOrNull(row, 'message');
  const recipient = textOrNull(row, 'address');
  return { ...(queueId === null ? {} : { queue_id: queueId }), ...(recipient === null ? {} : { recipient }) };
}
