/**
 * At start: what a relay that died left behind, and what the disk made of the columns that say whether a row waits. No checksum
 * covers those, since they change with each attempt; a row that nothing looks for would wait for ever, unseen (P7, P10).
 */
import type { DatabaseSync } from 'node:sqlite';
import type { AuditEvent } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { integer, text } from './columns.ts';
import { recipientStates } from './queue.ts';
import { NOT_SET_ASIDE, type RowGuard } from './set-aside.ts';

/** More than anybody lets a message wait for its next attempt; who does gets one attempt more at a start. */
const LONGEST_WAIT_MS = 2 * 86_400_000;

const KNOWN = recipientStates.map((state) => `'${state}'`).join(', ');
/** The schema forbids it to whoever writes; a flipped bit asks nobody. */
const IMPOSSIBLE = `
  state NOT IN (${KNOWN}) OR (due_at IS NOT NULL) <> (state IN ('ready', 'deferred')) OR typeof(due_at) NOT IN ('integer', 'null')`;

/** `countAmbiguous`: adds to the total. The answer: the events of what was done. */
export function prepareRecover(db: DatabaseSync, guard: RowGuard, countAmbiguous: (events: number) => void) {
  const impossible = db.prepare(`SELECT id FROM recipients WHERE (${IMPOSSIBLE}) AND ${NOT_SET_ASIDE} ORDER BY id`);
  // Nobody could tell for whom and why it is held.
  const unexplained = db.prepare(`
    SELECT id FROM recipients WHERE state = 'held' AND ${NOT_SET_ASIDE}
      AND NOT EXISTS (SELECT 1 FROM recipient_kept WHERE row = recipients.id AND kind = 'held') ORDER BY id`);
  const overlong = db.prepare(`SELECT id FROM recipients WHERE due_at - changed_at > ? AND ${NOT_SET_ASIDE} ORDER BY id`);
  const wake = db.prepare('UPDATE recipients SET due_at = ?1, changed_at = ?1 WHERE id = ?2');
  const free = prepareFree(db, guard);
  return (at: number): { readonly answer: null; readonly events: readonly AuditEvent[] } => {
    const events: AuditEvent[] = [];
    for (const row of impossible.all())
      guard.attempt(integer(row, 'id'), at, events, () => {
        throw new SealpostError('queue-item-damaged', { detail: 'its state cannot be' });
      });
    for (const row of unexplained.all())
      guard.attempt(integer(row, 'id'), at, events, () => {
        throw new SealpostError('queue-item-damaged', { detail: 'it is held, and nothing says why' });
      });
    // What it holds has a checksum of its own: to try it early costs nothing, to set it aside would be to lose it.
    for (const row of overlong.all(LONGEST_WAIT_MS)) {
      const id = integer(row, 'id');
      guard.attempt(id, at, events, () => wake.run(at, id));
    }
    free(at, events);
    countAmbiguous(events.filter(({ event }) => event === 'ambiguous').length);
    return { answer: null, events };
  };
}

/** Rows that a relay left leased when it died are ready again; past the dot they may have been sent already (P4). */
function prepareFree(db: DatabaseSync, guard: RowGuard) {
  const lost = db.prepare(`SELECT id FROM recipients WHERE state = 'leased' AND ${NOT_SET_ASIDE} ORDER BY id`);
  const read = db.prepare('SELECT message, address, past_dot AS pastDot FROM recipients WHERE id = ?');
  const free = db.prepare(`UPDATE recipients SET state = 'ready', due_at = ?1, changed_at = ?1, past_dot = 0 WHERE id = ?2`);
  return (at: number, events: AuditEvent[]): void => {
    for (const found of lost.all()) {
      const id = integer(found, 'id');
      const freed = guard.attempt(id, at, events, () => {
        const row = read.get(id) ?? {};
        free.run(at, id);
        return { queue_id: text(row, 'message'), recipient: text(row, 'address'), pastDot: integer(row, 'pastDot') };
      });
      if (freed?.pastDot !== 1) continue;
      const { queue_id, recipient } = freed;
      events.push({ event: 'ambiguous', queue_id, recipient, because: 'the relay died past the dot' });
    }
  };
}
