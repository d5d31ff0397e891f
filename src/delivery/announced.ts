/**
 * What an upstream said of itself when it was last spoken to. Old words do not count: an operator may have raised the limit, and
 * nobody is refused for good by what may not be so any more (P5).
 */

/** RFC 1870 §4: the largest message, in octets; `unbounded` where EHLO says no number or 0. `unknown`: not spoken to of late. */
export type Largest = number | 'unbounded' | 'unknown';

const FRESH_MS = 10 * 60_000;
/** An upstream that is down is not asked for its limits by every message. */
const ASK_AGAIN_MS = 60_000;
/** Each session of a hostile upstream might say less than the one before. */
const MOST_WORDS = 10;
/** RFC 5321 §4.5.3.1.7: every host takes as much. One that says less is odd; what it really refuses, it refuses itself. */
const LEAST_LIMIT = 64 * 1024;

/** What one EHLO said. */
interface Word {
  /** Infinity where it named no limit. */
  readonly largest: number;
  readonly at: number;
}

/**
 * The largest of the words that still count: behind one name there may be several hosts, and what one of them takes is refused to
 * nobody.
 */
export class Announced {
  readonly #now: () => number;
  /** Oldest first, each smaller than the one before: no other can come to be the largest. */
  #words: readonly Word[] = [];
  /** True where the last word was the only one that counted. */
  #alone = false;
  #askedAt = -Infinity;

  /** `now`: ms since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes note of an EHLO. */
  heard(extensions: ReadonlyMap<string, string>): void {
    const largest = sizeLimit(extensions) ?? Infinity;
    const before = this.#fresh();
    this.#alone = before.length === 0;
    this.#words = [...before.filter((word) => word.largest > largest).slice(0, MOST_WORDS - 1), { largest, at: this.#now() }];
  }

  largest(): Largest {
    const [word] = this.#fresh();
    if (word === undefined) return 'unknown';
    return word.largest === Infinity ? 'unbounded' : word.largest;
  }

  /** True where somebody should ask, and then not again for a while. A limit that one EHLO alone named is asked for once more. */
  shouldAsk(): boolean {
    const [word] = this.#fresh();
    const isSettled = word !== undefined && (!this.#alone || word.largest === Infinity || this.#isRecent(word.at));
    if (isSettled || this.#isRecent(this.#askedAt)) return false;
    this.#askedAt = this.#now();
    return true;
  }

  #fresh(): readonly Word[] {
    return this.#words.filter(({ at }) => within(this.#now() - at, FRESH_MS));
  }

  #isRecent(at: number): boolean {
    return within(this.#now() - at, ASK_AGAIN_MS);
  }
}

/** The largest message by EHLO's SIZE; undefined where it names none that can be believed. */
export function sizeLimit(extensions: ReadonlyMap<string, string>): number | undefined {
  const written = extensions.get('SIZE') ?? '';
  const limit = /^\d{1,20}$/.test(written) ? Number(written) : 0;
  return limit >= LEAST_LIMIT ? limit : undefined;
}

/** A clock that was set back makes everything old rather than young for years. */
const within = (age: number, longest: number): boolean => age >= 0 && age < longest;
