/**
 * BER that streams past (X.690 §8.1): a reader written as if all octets were there, which waits for each few that it asks for. What it
 * holds is what it asked for, so that a message of any size costs the same memory, and whatever lengths say is held against the
 * lengths around it (A19).
 */

/** Why it is not what it says; a fixed text, nothing of the content. */
export class Fault extends Error {}

export const fault = (reason: string): Fault => new Fault(reason);

/** How many octets a reader waits for, in one piece. */
type Wish = number;

/** A part of a reader; `yield*` joins them. */
export type Reading<T> = Generator<Wish, T, Buffer>;

/** Whose parts are read: they end at `bound`, or where two zero octets say so, which is before it then. */
export interface Container {
  readonly bound: number;
  readonly indefinite: boolean;
}

export interface Head {
  /** Class, form and number. */
  readonly octet: number;
  readonly bytes: Buffer;
  /** Undefined where it is indefinite. */
  readonly length: number | undefined;
}

export const ROOT: Container = { bound: Infinity, indefinite: false };

const CONSTRUCTED = 0x20;
const HIGH_TAG = 0x1f;
const INDEFINITE = 0x80;
/** Octets of a length: 2⁴⁸ is beyond all mail. */
const MAX_LENGTH_OCTETS = 6;
const MAX_DEPTH = 16;
const NOTHING = Buffer.alloc(0);

export class BerReader {
  #at = 0;

  *octets(count: number, within: Container): Reading<Buffer> {
    if (this.#at + count > within.bound) throw fault('a length goes beyond what it stands in');
    const octets = count === 0 ? NOTHING : yield count;
    this.#at += count;
    return octets;
  }

  /** The next part; undefined at the end. */
  *next(within: Container): Reading<Head | undefined> {
    if (!within.indefinite && this.#at === within.bound) return undefined;
    const first = yield* this.octets(2, within);
    const [octet = 0, form = 0] = first;
    if (octet === 0 && form === 0 && within.indefinite) return undefined;
    if (octet === 0 || (octet & HIGH_TAG) === HIGH_TAG) throw fault('a tag that CMS does not know');
    if (form < INDEFINITE) return this.#checked({ octet, bytes: Buffer.from(first), length: form }, within);
    if (form === INDEFINITE) {
      if ((octet & CONSTRUCTED) === 0) throw fault('an indefinite length of what has no parts');
      return { octet, bytes: Buffer.from(first), length: undefined };
    }
    const count = form & 0x7f;
    if (count > MAX_LENGTH_OCTETS) throw fault('a length beyond all bounds');
    const bytes = Buffer.concat([first, yield* this.octets(count, within)]);
    return this.#checked({ octet, bytes, length: bytes.readUIntBE(2, count) }, within);
  }

  #checked(head: Head, within: Container): Head {
    if (this.#at + (head.length ?? 0) > within.bound) throw fault('a length goes beyond what it stands in');
    return head;
  }

  /** The next part, which must be there. */
  *some(within: Container): Reading<Head> {
    const head = yield* this.next(within);
    if (head === undefined) throw fault('a part is missing');
    return head;
  }

  /** The next part as what holds others. */
  *enter(octet: number, within: Container): Reading<Container> {
    const head = yield* this.some(within);
    if (head.octet !== octet) throw fault('a part of another kind than CMS wants');
    return this.inside(head, within);
  }

  inside({ length }: Head, within: Container): Container {
    return length === undefined ? { bound: within.bound, indefinite: true } : { bound: this.#at + length, indefinite: false };
  }

  /** Nothing more may stand in it. */
  *leave(within: Container): Reading<void> {
    if ((yield* this.next(within)) !== undefined) throw fault('a part that CMS does not know there');
  }

  /** All octets of a small part, its head included; `most` in all. */
  *whole(head: Head, within: Container, most: number, depth = MAX_DEPTH): Reading<Buffer> {
    if ((head.length ?? 0) > most) throw fault('a part is too large');
    if (head.length !== undefined) return Buffer.concat([head.bytes, yield* this.octets(head.length, within)]);
    if (depth <= 0) throw fault('nested too deeply');
    const inside = this.inside(head, within);
    const parts: Buffer[] = [head.bytes];
    let left = most;
    for (let part = yield* this.next(inside); part !== undefined; part = yield* this.next(inside)) {
      const octets = yield* this.whole(part, inside, left, depth - 1);
      left -= octets.length;
      if (left < 0) throw fault('a part is too large');
      parts.push(octets);
    }
    return Buffer.concat([...parts, Buffer.alloc(2)]);
  }
}

/** Hands octets to a reader as they come. */
export class Feed {
  readonly #reading: Reading<void>;
  #wish: Wish | undefined;
  #gathered: Buffer[] = [];
  #length = 0;

  /** Throws Fault, here and in `push`. */
  constructor(reading: Reading<void>) {
    this.#reading = reading;
    this.#wish = this.#resume();
  }

  /** True where the reader has all it wants. */
  get done(): boolean {
    return this.#wish === undefined;
  }

  push(octets: Buffer): void {
    for (let at = 0; at < octets.length;) {
      if (this.#wish === undefined) throw fault('octets stand behind its end');
      const count = this.#wish;
      const piece = octets.subarray(at, at + count - this.#length);
      at += piece.length;
      this.#length += piece.length;
      // A copy: the chunk belongs to whoever brought it.
      this.#gathered.push(this.#length === count && this.#gathered.length === 0 ? piece : Buffer.from(piece));
      if (this.#length === count) this.#wish = this.#resume(this.#take());
    }
  }

  #take(): Buffer {
    const [only = NOTHING, ...more] = this.#gathered;
    const octets = more.length === 0 ? only : Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#length = 0;
    return octets;
  }

  #resume(octets: Buffer = NOTHING): Wish | undefined {
    const { done, value } = this.#reading.next(octets);
    return done === true ? undefined : value;
  }
}
