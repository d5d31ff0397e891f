/**
 * How an upstream is, and how much of it may be asked. No I/O, no timers: whoever asks brings the time.
 *
 *   well ── it cannot be talked to, or is in trouble ──▶ pause, doubled by each failure in a row ──▶ probed
 *   well ── it says that this was too much ──▶ pause, doubled each time, and half of the places ──▶ probed
 *   probed: one message at a time, until one is taken or judged ──▶ well
 *
 * Places and pauses that throttling changed come back step by step, as messages are taken: an upstream that
 * allows thirty a minute would else be overrun again every minute, as badly as the first time.
 */

/** Milliseconds. */
export interface Pauses {
  readonly coolFirst: number;
  readonly coolLongest: number;
  readonly slowFirst: number;
  readonly slowLongest: number;
  /** A connection that is not open after this long is waited for by its own message only. */
  readonly patience: number;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;

export const usualPauses: Pauses = {
  coolFirst: 5 * SECOND,
  coolLongest: 5 * MINUTE,
  slowFirst: 5 * SECOND,
  slowLongest: 10 * MINUTE,
  patience: 10 * SECOND,
};

/** Messages taken that halve the next pause, and that bring back a place: a place more is a bolder step. */
const RECOVERY = 10;
const RECOVERY_OF_PLACE = 20;
/** An upstream that has not complained for so long is met anew. */
const FORGOTTEN_MS = 60 * MINUTE;
/** 2^20 times any first pause is longer than any longest. */
const MOST_DOUBLINGS = 20;

export class Health {
  readonly #concurrency: number;
  readonly #pauses: Pauses;
  readonly #now: () => number;
  readonly #random: () => number;
  #places: number;
  #failures = 0;
  #throttles = 0;
  #taken = 0;
  #probed = false;
  #pausedSince = -Infinity;
  #pausedFor = 0;
  #slowedAt = -Infinity;

  /** `random`: uniform in [0, 1). */
  constructor(concurrency: number, pauses: Pauses, now: () => number, random: () => number) {
    this.#concurrency = concurrency;
    this.#places = concurrency;
    this.#pauses = pauses;
    this.#now = now;
    this.#random = random;
  }

  /** Milliseconds until it may be asked; 0 where it may be now. */
  get pause(): number {
    const since = this.#now() - this.#pausedSince;
    // A clock that was set back must not pause for years.
    return since < 0 ? 0 : Math.max(0, this.#pausedFor - since);
  }

  /** Messages at the same time; one while it is probed. */
  get places(): number {
    return this.#probed ? 1 : this.#places;
  }

  get probed(): boolean {
    return this.#probed;
  }

  /** Failures that began before the last was seen are part of it: three sessions that fail together count once. */
  cool(begun: number): void {
    if (begun < this.#pausedSince && this.#isPast(this.#pausedSince)) return;
    this.#rest(this.#pauses.coolFirst * 2 ** Math.min(this.#failures++, MOST_DOUBLINGS), this.#pauses.coolLongest);
  }

  /** It said that this was too much, at a message that began at `begun`. */
  slow(begun: number): void {
    if (begun <= this.#slowedAt && this.#isPast(this.#slowedAt)) return;
    this.#slowedAt = this.#now();
    this.#taken = 0;
    this.#places = Math.max(1, Math.floor(this.#places / 2));
    this.#rest(this.#pauses.slowFirst * 2 ** Math.min(this.#throttles++, MOST_DOUBLINGS), this.#pauses.slowLongest);
  }

  /** One session more was refused while `open` others work: so many it is, and no pause. */
  narrow(open: number): void {
    this.#slowedAt = this.#now();
    this.#taken = 0;
    this.#places = Math.max(1, Math.min(this.#places, open));
  }

  took(): void {
    this.judged();
    if (this.#now() - this.#slowedAt >= FORGOTTEN_MS) {
      this.#throttles = 0;
      this.#places = this.#concurrency;
    }
    this.#taken++;
    if (this.#taken % RECOVERY === 0) this.#throttles = Math.max(0, this.#throttles - 1);
    if (this.#taken % RECOVERY_OF_PLACE === 0) this.#places = Math.min(this.#concurrency, this.#places + 1);
  }

  /** It spoke about a message, so it is not the host that is ill. */
  judged(): void {
    this.#failures = 0;
    this.#probed = false;
  }

  /** An operator says that it is well. */
  revive(): void {
    this.judged();
    this.#throttles = 0;
    this.#places = this.#concurrency;
    this.#pausedFor = 0;
  }

  /** False where the clock was set back since: then nothing began before that. */
  #isPast(at: number): boolean {
    return at <= this.#now();
  }

  #rest(pause: number, longest: number): void {
    this.#probed = true;
    this.#pausedFor = Math.min(longest, pause) * (0.5 + this.#random() / 2);
    this.#pausedSince = this.#now();
  }
}
