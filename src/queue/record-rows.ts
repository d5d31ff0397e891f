/** Records in the database, inside the worker's transactions. A damaged page of this table stops nobody's mail (P10). */
import type { DatabaseSync } from 'node:sqlite';
import type { AuditEvent } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { integer, text, textOrNull, type Row } from './columns.ts';
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

/** For commands. A database that no relay has opened since the update has none. */
export const readRecords = (db: DatabaseSync, kind: string): StoredRecord[] => (schemaVersion(db) < SINCE ? [] : prepareList(db)(kind));

export type Records = ReturnType<typeof prepareRecords>;

export function prepareRecords(db: DatabaseSync) {
  const alone = prepareAlone(db, 'records');
  const guarded =
    <Ask extends unknown[], Answer>(work: (...ask: Ask) => Done<Answer>) =>
    (...ask: Ask): Done<Answer> => {
      const result = alone(() => work(...ask));
      if ('done' in result) return result.done;
      throw new SealpostError('storage-failed', { detail: 'the records of the relay cannot be read or written', cause: result.fault });
    };
  const list = prepareList(db);
  const taken = db.prepare('UPDATE records SET value = ?, at = ? WHERE kind = ? AND key = ?');
  const one = db.prepare(`SELECT ${COLUMNS} FROM records WHERE kind = ? AND key = ?`);
  return {
    list: guarded((kind: string) => ({ answer: list(kind) })),
    get: guarded((kind: string, key: string) => {
      const row = one.get(kind, key);
      return { answer: row === undefined ? null : asRecord(row) };
    }),
    change: guarded(prepareChange(db)),
    /** An upstream has taken that message: noted where somebody waits for it. Without the note it counts as lost, which is mended. */
    delivered: (queueId: string, at: number): void => {
      alone(() => taken.run(followedStates.delivered, at, FOLLOWED, queueId));
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
