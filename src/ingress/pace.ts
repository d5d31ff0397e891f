/**
 * The pace of one message. Time runs only while we wait for the client's octets; what our own queue takes is not counted. The
 * client falls behind by the time that passes and catches up by what its octets are worth at the floor; it is never ahead, so
 * that a fast start buys no pause. Who is behind by more than the grace has sent less than the floor over a stretch that long.
 */

/** Milliseconds behind the floor that are borne: a script that thinks, a link that stalls. */
const GRACE_MS = 60_000;
/** Of these, what a message that comes at its pace on the whole may pause before its seat can be given away. */
const PAUSE_MS = 5_000;

export interface Floor {
  /** Octets a second; 0 is no floor. */
  readonly rate: number;
  /** Milliseconds for the whole message. */
  readonly message: number;
  /** Milliseconds; a minute where it is not given. */
  readonly grace?: number;
}

export class Pace {
  readonly #floor: Floor;
  #waitsSince: number | undefined;
  #waited = 0;
  #behind = 0;
  #octets = 0;

  constructor(floor: Floor) {
    this.#floor = floor;
  }

  /** We stand ready to read. */
  waits(now: number): void {
    this.#waitsSince ??= now;
  }

  /** So many octets came; 0 at the end of the message. */
  came(octets: number, now: number): void {
    if (this.#floor.rate > 0) this.#behind = Math.max(0, this.behind(now) - (octets * 1000) / this.#floor.rate);
    this.#octets += octets;
    this.#waited = this.waited(now);
    this.#waitsSince = undefined;
  }

  /** Milliseconds for which we waited for this client so far. */
  waited(now: number): number {
    return this.#waited + this.#open(now);
  }

  /** Milliseconds that it lags behind the floor; 0 while it is we who are waited for. */
  behind(now: number): number {
    return this.#waitsSince === undefined || this.#floor.rate === 0 ? 0 : this.#behind + this.#open(now);
  }

  /** Milliseconds for which its seat counts as idle, where others want it. */
  stalled(now: number): number {
    const keepsPace = this.#octets * 1000 >= this.#floor.rate * this.waited(now);
    return keepsPace ? Math.max(0, this.behind(now) - PAUSE_MS) : this.behind(now);
  }

  overdue(now: number): 'message' | 'pace' | undefined {
    if (this.#waitsSince === undefined) return undefined;
    if (this.waited(now) >= this.#floor.message) return 'message';
    return this.behind(now) >= (this.#floor.grace ?? GRACE_MS) ? 'pace' : undefined;
  }

  #open(now: number): number {
    return this.#waitsSince === undefined ? 0 : now - this.#waitsSince;
  }
}
