/**
 * Which segments of the audit log are old enough to be deleted. The database says from where on the log is kept, in the same transaction
 * as the event that tells of it; the files go after the commit, and what a relay that died leaves of them goes at the next start.
 *
 * The clock. A machine that comes up a year ahead must not take a year of the record with it. So what the clock says is believed step by
 * step: in each round, of which there is one a day, at most two days of it, in either direction. After a leap forward by a year it takes
 * the better part of a year to be believed; after a year in which no relay ran old files stay for that much longer.
 */
import type { DatabaseSync } from 'node:sqlite';
import { integer } from './columns.ts';
import { readAuditStarts } from './operator.ts';
import type { Done } from './rows.ts';

const DAY_MS = 86_400_000;
/** A round a day, and as much again, so that what was slept through is caught up with. */
const BELIEVED_MS = 2 * DAY_MS;

/** Answers how many segments are not kept any more. `keep`: ms; `at`: what the clock says (ms). */
export function pruneAudit(db: DatabaseSync, keep: number, at: number): Done<number> {
  const starts = readAuditStarts(db);
  const newest = starts.at(-1);
  // With one segment there is nothing to delete, and nothing written from which to tell the time.
  if (newest === undefined || starts.length < 2) return { answer: 0 };
  const before = db.prepare('SELECT at FROM audit_clock').get();
  const believed = step(before === undefined ? newest.at : integer(before, 'at'), at);
  db.prepare('INSERT INTO audit_clock (one, at) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET at = excluded.at').run(believed);
  const limit = Math.min(believed, at) - keep;
  // What is told of a segment is the newest time in the lines before the next one: the one that is written has no next.
  const gone = starts.slice(1).findIndex((next) => next.at >= limit);
  const count = gone < 0 ? starts.length - 1 : gone;
  const [first, base] = [starts[0], starts[count]];
  if (count === 0 || first === undefined || base === undefined) return { answer: 0 };
  db.prepare('DELETE FROM audit_segments WHERE seq < ?').run(base.seq);
  const lines = { first_seq: first.seq + 1, last_seq: base.seq, last_sha256: base.hash, newest: new Date(base.at).toISOString() };
  return { answer: count, events: [{ event: 'audit-pruned', segments: count, ...lines }] };
}

const step = (from: number, to: number): number => Math.min(Math.max(to, from - BELIEVED_MS), from + BELIEVED_MS);
