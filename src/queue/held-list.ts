/** Held rows as whoever has the key elsewhere reads them, past a running relay: what must be unwrapped, and nothing that can be changed. */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { blob, integer, text } from './columns.ts';
import { isRowFault } from './failure.ts';
import type { EntryFilter, HeldRow } from './queue.ts';
import { schemaVersion } from './schema.ts';

export type ListedHeld = Pick<HeldRow, 'row' | 'queueId' | 'recipient' | 'prefix' | 'suffix' | 'bodyLength'>;

/** The first release that holds mail. */
const HOLDS_SINCE = 5;

/**
 * Behind the row `after`, in their order. Of a damaged row what cannot be read is empty: it comes to nothing where it is unwrapped, and
 * costs the others nothing.
 */
export function listHeld(
  db: DatabaseSync,
  { queueId, recipient }: Pick<EntryFilter, 'queueId' | 'recipient'>,
  after: number,
  limit: number,
): ListedHeld[] {
  if (schemaVersion(db) < HOLDS_SINCE) return [];
  const terms: [string, SQLInputValue | undefined][] = [
    ['r.message = ?', queueId],
    ['r.address = ?', recipient],
  ];
  const given = terms.filter((term): term is [string, SQLInputValue] => term[1] !== undefined);
  const found = db.prepare(
    `SELECT r.id, coalesce(CAST(r.message AS TEXT), '') AS message, coalesce(CAST(r.address AS TEXT), '') AS address FROM recipients r
    WHERE ${['r.state = ?', 'r.id > ?', ...given.map(([sql]) => sql)].join(' AND ')} AND r.id NOT IN (SELECT row FROM set_aside)
    ORDER BY r.id LIMIT ?`,
  );
  const sealed = db.prepare(
    `SELECT CAST(r.prefix AS BLOB) AS prefix, CAST(r.suffix AS BLOB) AS suffix, CAST(b.length AS INTEGER) AS length
    FROM recipients r JOIN bodies b ON b.id = r.body WHERE r.id = ?`,
  );
  return found.all('held', after, ...given.map(([, value]) => value), limit).map((row) => {
    const id = integer(row, 'id');
    return { row: id, queueId: text(row, 'message'), recipient: text(row, 'address'), ...readSealed(sealed, id) };
  });
}

const NOTHING = Buffer.alloc(0);

function readSealed(statement: StatementSync, id: number): Pick<ListedHeld, 'prefix' | 'suffix' | 'bodyLength'> {
  try {
    const row = statement.get(id) ?? {};
    return { prefix: Buffer.from(blob(row, 'prefix')), suffix: Buffer.from(blob(row, 'suffix')), bodyLength: integer(row, 'length') };
  } catch (error) {
    if (!isRowFault(error)) throw error;
    return { prefix: NOTHING, suffix: NOTHING, bodyLength: 0 };
  }
}
