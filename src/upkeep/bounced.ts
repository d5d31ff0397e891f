/**
 * When bounced rows leave: once a day, by a clock that may be wrong. What the clock said at the last clearing is kept. Where it has gone
 * on by more than two days since, the relay did not run, or the clock has leapt, and nobody here can tell: for a week then, by that clock, nothing
 * is cleared away and the log says why, at each round and over starts. Who sets it back in that week has lost nothing.
 */
import type { Logger } from 'pino';
import type { QueueStore } from '../queue/queue.ts';

export const BOUNCED = 'bounced-cleared';
const DAY_MS = 86_400_000;
/** A round is daily, and the first of a relay comes an hour after its start. */
const LEAP_MS = 2 * DAY_MS;
const DOUBT_MS = 7 * DAY_MS;
/** For somebody to set a clock right that the machine came up with. */
const FIRST_MS = 3_600_000;

export interface BouncedParts {
  readonly queue: Pick<QueueStore, 'prune' | 'records'>;
  /** Ms for which they are kept. */
  readonly kept: number;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** Ms since the epoch both: what the clock said last, and until when it is in doubt. */
interface Seen {
  readonly at: number;
  readonly doubted: number;
}

/** Clears away what is due; answers how many rows that were. Throws what the queue throws. */
export async function clearBounced({ queue, kept, now, log }: BouncedParts): Promise<number> {
  const at = now();
  const stored = await queue.records.get(BOUNCED, 'last');
  const before = stored === undefined ? { at, doubted: 0 } : readSeen(stored.value, at);
  const doubted = at - before.at > LEAP_MS ? at + DOUBT_MS : before.doubted;
  // A doubt further ahead than any begins is one of a clock that has been set back since.
  const seen = { at, doubted: doubted > at + DOUBT_MS ? 0 : doubted };
  await queue.records.change([{ kind: BOUNCED, key: 'last', value: JSON.stringify(seen) }], []);
  if (seen.doubted <= at) return queue.prune(at - kept);
  log.warn(
    { last: new Date(before.at).toISOString(), until: new Date(seen.doubted).toISOString() },
    'the clock has leapt, or the relay did not run for days: bounced messages are kept until it is certain',
  );
  return 0;
}

/** Not at the start: a clock that is ahead then would be believed before anybody has seen it. Answers how to end it. */
export function clearDaily(clear: () => void): () => void {
  const first = setTimeout(clear, FIRST_MS);
  const timer = setInterval(clear, DAY_MS);
  return () => [first, timer].forEach(clearTimeout);
}

/** A record that cannot be read says nothing; that nothing was ever cleared is no reason for a doubt. */
function readSeen(value: string, now: number): Seen {
  try {
    const parsed: unknown = JSON.parse(value);
    const { at, doubted }: Readonly<Record<string, unknown>> = { ...(typeof parsed === 'object' ? parsed : {}) };
    if (typeof at === 'number' && typeof doubted === 'number') return { at, doubted };
  } catch {
    // As below.
  }
  return { at: now, doubted: 0 };
}
