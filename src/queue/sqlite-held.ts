/** Held rows on the main thread: pages of them, and the ways in which they end. */
import { SealpostError } from '../errors.ts';
import { claimFiles, readStored, type BodyFolder } from './bodies.ts';
import type { KnownMemory } from './known-memory.ts';
import type { HeldRow, QueueStore } from './queue.ts';
import type { Operation, Operations, StoredHeld } from './requests.ts';
import { asHeldRow, asStored, asStoredRelease, releaseOctets, ROW_OVERHEAD, rowOctets } from './stored.ts';
import type { Turns } from './turns.ts';

export interface HeldQueueParts {
  readonly ask: <O extends Operation>(operation: O, ask: Operations[O]['ask']) => Promise<Operations[O]['answer']>;
  readonly turns: Turns;
  readonly known: Pick<KnownMemory, 'unwritten' | 'written'>;
  readonly folder: BodyFolder;
  /** Nothing that was written can be believed any more. */
  readonly failed: () => boolean;
  /** Ms since the epoch. */
  readonly now: () => number;
}

export function makeHeldQueue(parts: HeldQueueParts): Pick<QueueStore, 'heldRows' | 'readHeld' | 'release' | 'endHeld' | 'damageHeld'> {
  const { ask, turns, known, folder, now } = parts;
  // Nobody says when he is done with a row: it is forgotten with the object that he was given.
  const found = new WeakMap<HeldRow, StoredHeld>();
  const storedOf = (held: HeldRow): StoredHeld => {
    const stored = found.get(held);
    if (stored === undefined) throw new SealpostError('internal', { detail: 'a held row that the queue has not given' });
    return stored;
  };
  return {
    async heldRows(filter, after, limit) {
      for (let from: number | null = after; from !== null;) {
        const page: Operations['heldPage']['answer'] = await ask('heldPage', { filter, after: from, limit });
        if (page.rows.length > 0) return page.rows.map((stored) => remember(found, asHeldRow(stored), stored));
        from = page.next;
      }
      return [];
    },
    readHeld: (held) => readStored(storedOf(held), folder.path, (body) => ask('bodyBytes', body)),
    async release(held, as, events, named = []) {
      const stored = storedOf(held);
      const uses = known.unwritten(named);
      const octets = releaseOctets(as) + 2 * uses.length * ROW_OVERHEAD;
      await folder.assertRoom(octets);
      const bodies = as.body === undefined ? [] : [as.body];
      try {
        const answer = await turns.take(octets, () =>
          ask('release', { row: stored.row, was: stored.sha256, as: asStoredRelease(stored, as, now()), events, uses }),
        );
        if (answer === null) return false;
        known.written(uses, answer);
      } catch (error) {
        // As in `enqueue`: a commit whose sync failed may hold after a restart.
        if (parts.failed()) claimFiles(bodies, folder.unclaimed);
        throw error;
      }
      claimFiles(bodies, folder.unclaimed);
      return true;
    },
    async endHeld(held, outcome, events, telling) {
      const { row, sha256: was } = storedOf(held);
      const notice = telling?.notice ?? null;
      if (notice !== null) await folder.assertRoom(rowOctets(notice));
      const stored = telling === undefined ? null : { ofDelay: telling.ofDelay, notice: notice === null ? null : asStored(notice) };
      return ask('endHeld', { row, was, reason: outcome.reason, events, telling: stored });
    },
    damageHeld(held, reason) {
      const { row, sha256: was } = storedOf(held);
      return ask('damageHeld', { row, was, reason });
    },
  };
}

function remember(found: WeakMap<HeldRow, StoredHeld>, held: HeldRow, stored: StoredHeld): HeldRow {
  found.set(held, stored);
  return held;
}
