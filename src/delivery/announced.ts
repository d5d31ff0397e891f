/**
 * What an upstream said of itself when it was last spoken to. Old words do not count: an operator may have raised the limit, and
 * nobody is refused for good by what may not be so any more (P5).
 */

/** RFC 1870 §4: the largest message, in octets; `unbounded` where EHLO says no number or 0. `unknown`: not spoken to of late. */
export type Largest = number | 'unbounded' | 'unknown';

const FRESH_MS = 10 * 60_000;
/** An upstream that is down is not asked for its limits by every message. */
const ASK_AGAIN_MS = 60_000;

export class Announced {
  readonly #now: () => number;
  #largest: Largest = 'unknown';
  #heardAt = -Infinity;
  #askedAt = -Infinity;

  /** `now`: ms since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes note of an EHLO. */
  heard(extensions: ReadonlyMap<string, string>): void {
    this.#largest = sizeLimit(extensions) ?? 'unbounded';
    this.#heardAt = this.#now();
  }

  largest(): Largest {
    return within(this.#now() - this.#heardAt, FRESH_MS) ? this.#largest : 'unknown';
  }

  /** True where somebody should ask, and then not again for a while. */
  shouldAsk(): boolean {
    if (this.largest() !== 'unknown' || within(this.#now() - this.#askedAt, ASK_AGAIN_MS)) return false;
    this.#askedAt = this.#now();
    return true;
  }
}

/** The largest message by EHLO's SIZE; undefined where it names none. */
export function sizeLimit(extensions: ReadonlyMap<string, string>): number | undefined {
  const written = extensions.get('SIZE') ?? '';
  const limit = /^\d{1,20}$/.test(written) ? Number(written) : 0;
  return limit > 0 ? limit : undefined;
}

/** A clock that was set back makes everything old rather than young for years. */
const within = (age: number, longest: number): boolean => age >= 0 && age < longest;
