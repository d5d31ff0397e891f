/**
 * Messages that hear "too much" while others are taken: what an upstream calls a limit may be about one message, and that must
 * not wait for ever (P7). In memory: after a restart it is counted anew.
 */
import type { ReplyClass } from './classes.ts';

/** More often than an upstream without a known rate refuses one message by chance. */
const OFTEN = 8;
/** Rows that are remembered; beyond that the oldest is forgotten. */
const MOST_ROWS = 10_000;

interface Heard {
  readonly times: number;
  readonly taken: number;
}

export class Lone {
  readonly #rows = new Map<number, Heard>();

  /** Takes note of an answer; `taken` counts all messages that were delivered. True where this one is judged, and not the load. */
  hears(row: number, said: ReplyClass | undefined, taken: number): boolean {
    // Nothing was said: it was not asked, or not answered.
    if (said === undefined) return false;
    const before = this.#rows.get(row);
    this.#rows.delete(row);
    if (said !== 'throttled') return false;
    const times = before === undefined ? 1 : before.times + (taken > before.taken ? 1 : 0);
    this.#rows.set(row, { times, taken });
    for (const oldest of this.#rows.keys()) {
      if (this.#rows.size <= MOST_ROWS) break;
      this.#rows.delete(oldest);
    }
    return times > OFTEN;
  }
}
