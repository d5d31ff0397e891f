/**
 * So many messages in any stretch of so long, as the upstream counts them.
 *
 * It counts a message somewhere between its MAIL and the answer to its dot, by a clock of its own. So a place is taken when a
 * message begins and comes free one stretch, and a margin, after the message *ended*: whatever moment the upstream chooses,
 * no stretch of its clock holds more than it allows. A bucket that fills up would allow twice as many around its refill.
 *
 * The stretch is kept in cells: how many messages ended in each. A cell counts as if all of it had ended last, so memory does not grow
 * with the rate, and what must survive a restart is a few numbers.
 */
export interface Rate {
  readonly count: number;
  /** Milliseconds. */
  readonly per: number;
}

/** `[when the cell ends, in ms since the epoch; messages]`, oldest first. */
export type RateRecord = readonly (readonly [number, number])[];

/** One message's part of the rate. */
export interface RatePlace {
  /** The message was begun, whatever was answered: it counts from now on. */
  end(): void;
  /** Nothing of it was said: it never counted. */
  release(): void;
}

/** What counts as used up where nobody knows what was sent before: a full stretch, and of a long one its last minute. */
const UNKNOWN_MS = 60_000;

export function usedUp({ count, per }: Rate, now: number): RateRecord {
  return [[now - per + Math.min(per, UNKNOWN_MS), count]];
}

const CELLS = 60;
/** For two clocks and for what the network delays unevenly: a fiftieth, within these. */
const LEAST_MARGIN_MS = 100;
const MOST_MARGIN_MS = 2000;

export class SlidingRate {
  readonly #count: number;
  readonly #cell: number;
  /** How long a place is kept behind the end of its cell. */
  readonly #kept: number;
  readonly #now: () => number;
  #cells: [number, number][];
  #running = 0;

  /** `record`: what an earlier process wrote. */
  constructor({ count, per }: Rate, now: () => number, record: RateRecord = []) {
    this.#count = count;
    this.#cell = per / CELLS;
    this.#kept = per + Math.min(MOST_MARGIN_MS, Math.max(LEAST_MARGIN_MS, per / 50));
    this.#now = now;
    this.#cells = record.map(([end, messages]) => [end, messages]);
  }

  /** How many messages may begin now. */
  get free(): number {
    this.#forget();
    return Math.max(0, this.#count - this.#running - this.#ended());
  }

  /** Milliseconds until one may begin; Infinity where running messages hold all places, and one of them has to end first. */
  get wait(): number {
    if (this.free > 0) return 0;
    const [first] = this.#cells;
    return first === undefined ? Infinity : Math.max(0, first[0] + this.#kept - this.#now());
  }

  /** Undefined where none is free. */
  take(): RatePlace | undefined {
    if (this.free === 0) return undefined;
    this.#running++;
    let held = true;
    const leave = (): boolean => {
      if (held) this.#running--;
      const was = held;
      held = false;
      return was;
    };
    return {
      end: () => {
        if (leave()) this.#add();
      },
      release: () => void leave(),
    };
  }

  /** What a process after this one must know; messages that run now count as if they ended now. */
  get record(): RateRecord {
    this.#forget();
    const cells = this.#cells.map((cell) => [...cell] as [number, number]);
    return this.#running === 0 ? cells : [...cells, [this.#endOfCell(), this.#running]];
  }

  #add(): void {
    const end = this.#endOfCell();
    const last = this.#cells.at(-1);
    if (last?.[0] === end) last[1]++;
    else this.#cells.push([end, 1]);
  }

  #endOfCell(): number {
    return (Math.floor(this.#now() / this.#cell) + 1) * this.#cell;
  }

  /** Drops the cells that are over, and pulls into the present what a clock that was set back left in the future. */
  #forget(): void {
    const latest = this.#endOfCell();
    if (this.#cells.some(([end]) => end > latest)) this.#cells = this.#cells.map(([end, messages]) => [Math.min(end, latest), messages]);
    while (this.#cells[0] !== undefined && this.#cells[0][0] + this.#kept <= this.#now()) this.#cells.shift();
  }

  #ended(): number {
    return this.#cells.reduce((sum, [, messages]) => sum + messages, 0);
  }
}
