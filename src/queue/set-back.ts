/**
 * A clock that was ahead and is set back leaves rows that are due in a future that never was: accepted mail would wait for a
 * year (P7). What was written later than now is due now; how old it is, and whether it has expired, the attempt judges.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { AuditEvent } from '../audit.ts';
import { integer } from './columns.ts';
import { NOT_SET_ASIDE, type RowGuard } from './set-aside.ts';

/** NTP slews and steps by less; a row written so little ahead is due soon enough. */
const TOLERANCE_MS = 60_000;

export interface SetBack {
  /** A row may have been written at `at`, ms since the epoch. */
  wrote(at: number): void;
  /** Makes rows that wait and were written later than `now` due now. Looks at them at first, and when the clock was set back. */
  mend(now: number): AuditEvent[];
}

export function prepareSetBack(db: DatabaseSync, guard: RowGuard): SetBack {
  const future = db.prepare(`SELECT id FROM recipients WHERE due_at IS NOT NULL AND changed_at > ? AND ${NOT_SET_ASIDE}`);
  const wake = db.prepare('UPDATE recipients SET due_at = ?1, changed_at = ?1 WHERE id = ?2');
  // What an earlier relay wrote is not known.
  let latest = Infinity;
  return {
    wrote(at) {
      latest = Math.max(latest, at);
    },
    mend(now) {
      const events: AuditEvent[] = [];
      if (latest <= now + TOLERANCE_MS) return events;
      for (const row of future.all(now + TOLERANCE_MS)) {
        const id = integer(row, 'id');
        guard.attempt(id, now, events, () => wake.run(now, id));
      }
      latest = now;
      return events;
    },
  };
}
