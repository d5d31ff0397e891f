/**
 * The octets of messages between 354 and their verdict, over all sessions (A30). What a client declared is reserved before 354,
 * what it did not declare counts as it comes. A reservation that its client does not use lapses: else a few clients that declare
 * much and send little would keep all others out.
 */
import { SealpostError } from '../errors.ts';

export interface Reservation {
  /**
   * So many octets more came. Throws `too-busy` where they have no room, and gives back what it held at once: were it held until
   * what is stored of the message is gone, every other message that comes meanwhile would find no room either, and none get in.
   */
  came(octets: number): void;
  /** From now on only what came counts, whatever was declared. */
  lapse(): void;
  /** Gives all of it back; once is enough, twice does no harm. */
  release(): void;
}

export class InFlight {
  readonly #limit: number;
  #held = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Octets counted now. */
  get held(): number {
    return this.#held;
  }

  /** Throws `too-busy` where a message of `declared` octets has no room now; takes none. */
  assertRoom(declared: number): void {
    if (this.#held + declared > this.#limit) throw new SealpostError('too-busy');
  }

  /** Throws `too-busy`. Whoever reserves releases, whatever comes. */
  reserve(declared: number): Reservation {
    this.assertRoom(declared);
    let reserved = declared;
    let arrived = 0;
    let released = false;
    this.#held += reserved;
    const set = (octets: number): void => {
      this.#held += octets - reserved;
      reserved = octets;
    };
    const release = (): void => {
      if (!released) set(0);
      released = true;
    };
    return {
      came: (octets) => {
        if (released) return;
        arrived += octets;
        if (arrived <= reserved) return;
        try {
          this.assertRoom(arrived - reserved);
        } catch (error) {
          release();
          throw error;
        }
        set(arrived);
      },
      lapse: () => {
        if (!released && arrived < reserved) set(arrived);
      },
      release,
    };
  }
}
