/** Records in the database, inside the worker's transactions. A damaged page of this table stops nobody's mail (P10). */
import type { DatabaseSync } from 'node:sqlite';
import type { AuditEvent } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { integer, text, textOrNull, type Row } from './columns.ts';
import { resultCode, SQLITE_ERROR } from './failure.ts';
import { FOLLOWED, followedStates, MAX_RECORD, type RecordChange, type StoredRecord } from './records.ts';
import type { Done } from './rows.ts';
import { schemaVersion } from './schema.ts';
import { prepareAlone } from './set-aside.ts';

const COLUMNS = 'CAST(key AS TEXT) AS key, CAST(value AS TEXT) AS value, CAST(at AS INTEGER) AS at';
/** The schema that brought the table. */
const SINCE = 4;

const asRecord = (row: Row): StoredRecord => ({ key: text(row, 'key'), value: text(row, 'value'), at: integer(row, 'at') });

const prepareList = (db: DatabaseSync) => {
  const rows = db.prepare(`SELECT ${COLUMNS} FROM records WHERE kind = ? ORDER BY key`);
  return (kind: string): StoredRecord[] => rows.all(kind).map(asRecord);
};

/** For commands. A database that no relay has opened since the update has none. Throws `storage-failed`. */
export function readRecords(db: DatabaseSync, kind: string): StoredRecord[] {
  if (schemaVersion(db) < SINCE) return [];
  try {
    return prepareList(db)(kind);
  } catch (fault) {
    throw unusable(fault);
  }
}

/** For check: reads every page of the table, whatever lies in it. Throws `storage-failed`. */
export function assertReadable(db: DatabaseSync): void {
  if (schemaVersion(db) < SINCE) return;
  try {
    // The length of a text alone would leave the pages behind its first unread.
    db.prepare(`SELECT sum(length(CAST(kind AS TEXT) || CAST(key AS TEXT) || CAST(value AS TEXT))) FROM records`).get();
  } catch (fault) {
    throw unusable(fault);
  }
}

/** Without the result code of SQLite: by that the worker tells what stops the queue, and this is no reason to (P10). */
function unusable(fault: unknown): SealpostError {
  return new SealpostError('storage-failed', {
    detail: 'the records of the relay cannot be read or written',
    hint: 'mail goes on; sealpost check says what is damaged, and a backup of the data folder mends it',
    cause: fault instanceof Error && resultCode(fault) !== undefined ? new Error(fault.message) : fault,
  });
}

export type Records = ReturnType<typeof prepareRecords>;

export function prepareRecords(db: DatabaseSync) {
  const alone = prepareAlone(db, 'records');
  // At the first use: where the table is gone, nothing can be prepared on it, and the relay starts all the same.
  let statements: ReturnType<typeof prepareStatements> | undefined;
  const guarded =
    <Ask extends unknown[], Answer>(choose: (from: ReturnType<typeof prepareStatements>) => (...ask: Ask) => Done<Answer>) =>
    (...ask: Ask): Done<Answer> => {
      try {
        statements ??= prepareStatements(db);
        const work = choose(statements);
        const result = alone(() => work(...ask));
        if ('done' in result) return result.done;
        throw unusable(result.fault);
      } catch (error) {
        throw resultCode(error) === SQLITE_ERROR ? unusable(error) : error;
      }
    };
  const delivered = guarded((from) => from.delivered);
  return {
    list: guarded(({ list }) => list),
    get: guarded(({ get }) => get),
    change: guarded(({ change }) => change),
    /** An upstream has taken that message: noted where somebody waits for it. Without the note it counts as lost, which is mended. */
    delivered: (queueId: string, at: number): void => {
      try {
        delivered(queueId, at);
      } catch (error) {
        // The message is delivered all the same.
        if (!(error instanceof SealpostError)) throw error;
      }
    },
  };
}

function prepareStatements(db: DatabaseSync) {
  const list = prepareList(db);
  const taken = db.prepare('UPDATE records SET value = ?, at = ? WHERE kind = ? AND key = ?');
  const one = db.prepare(`SELECT ${COLUMNS} FROM records WHERE kind = ? AND key = ?`);
  return {
    list: (kind: string): Done<StoredRecord[]> => ({ answer: list(kind) }),
    get: (kind: string, key: string): Done<StoredRecord | null> => {
      const row = one.get(kind, key);
      return { answer: row === undefined ? null : asRecord(row) };
    },
    change: prepareChange(db),
    delivered: (queueId: string, at: number): Done<null> => {
      taken.run(followedStates.delivered, at, FOLLOWED, queueId);
      return { answer: null };
    },
  };
}

function prepareChange(db: DatabaseSync) {
  const now = db.prepare('SELECT CAST(value AS TEXT) AS value FROM records WHERE kind = ? AND key = ?');
  const write = db.prepare('INSERT OR REPLACE INTO records (kind, key, value, at) VALUES (?, ?, ?, ?)');
  const remove = db.prepare('DELETE FROM records WHERE kind = ? AND key = ?');
  const valueOf = (row: Row | undefined): string | null => (row === undefined ? null : textOrNull(row, 'value'));
  const holds = ({ kind, key, was }: RecordChange): boolean => was === undefined || valueOf(now.get(kind, key)) === was;
  return (changes: readonly RecordChange[], events: readonly AuditEvent[], at: number): Done<boolean> => {
    if (!changes.every(holds)) return { answer: false };
    for (const { kind, key, value } of changes) {
      if (value === null) remove.run(kind, key);
      else if (value.length > MAX_RECORD) throw new SealpostError('internal', { detail: `a record of more than ${MAX_RECORD} characters` });
      else write.run(kind, key, value, at);
    }
    return { answer: true, events };
  };
}
