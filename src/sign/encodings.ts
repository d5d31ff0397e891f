/** Content encodings that turn 8-bit octets and long lines into short lines of ASCII (RFC 2045 §6), as octets stream by. */
import { isAscii } from 'node:buffer';
import { Base64Lines } from './lines.ts';

/** Octets in, octets out; `end` once, behind the last. */
export interface Encoding {
  push(octets: Buffer): Buffer;
  end(): Buffer;
}

/** As it is. */
export const identityEncoding = (): Encoding => ({ push: (octets) => octets, end: () => Buffer.alloc(0) });

export const base64Encoding = (): Encoding => {
  const lines = new Base64Lines();
  return { push: (octets) => lines.push(octets), end: () => lines.end() };
};

const CR = 0x0d;
const LF = 0x0a;
const TAB = 0x09;
const SPACE = 0x20;
const EQUALS = 0x3d;
const HYPHEN = 0x2d;
const TILDE = 0x7e;
/** RFC 2045 §6.7 (5): at most 76 columns with the `=` of a soft line break. */
const COLUMNS = 75;
const HEX = Buffer.from('0123456789ABCDEF');

/** Quoted-printable of text with CRLF line ends (RFC 2045 §6.7). */
export class QuotedPrintable implements Encoding {
  #column = 0;
  /** Behind a soft line break. */
  #wrapped = false;
  /** A CR whose LF has not come yet, and a blank that may be the last of its line. */
  #held: number | undefined;
  #out = Buffer.alloc(0);
  #at = 0;

  push(octets: Buffer): Buffer {
    // Three for one, and three for each soft break, of which each takes 25 escaped octets at least.
    this.#out = Buffer.allocUnsafe(4 * octets.length + 64);
    this.#at = 0;
    for (let index = 0; index < octets.length; index++) this.#take(octets[index] ?? 0);
    return this.#out.subarray(0, this.#at);
  }

  end(): Buffer {
    this.#out = Buffer.allocUnsafe(16);
    this.#at = 0;
    if (this.#held !== undefined) this.#escape(this.#held);
    this.#held = undefined;
    return this.#out.subarray(0, this.#at);
  }

  #take(octet: number): void {
    const held = this.#held;
    this.#held = undefined;
    if (held === CR && octet === LF) return this.#lineEnd();
    if (held === CR) this.#escape(CR);
    else if (held !== undefined) {
      // A blank at the end of a line is lost on the way.
      if (octet === CR) this.#escape(held);
      else this.#plain(held);
    }
    if (octet === CR || octet === SPACE || octet === TAB) this.#held = octet;
    // `--` behind a soft break could look like a delimiter that is none of this message.
    else if (octet > TILDE || octet < SPACE || octet === EQUALS || (octet === HYPHEN && this.#wrapped)) this.#escape(octet);
    else this.#plain(octet);
  }

  #lineEnd(): void {
    this.#put(CR);
    this.#put(LF);
    this.#column = 0;
    this.#wrapped = false;
  }

  #plain(octet: number): void {
    if (this.#column + 1 > COLUMNS) this.#softBreak();
    this.#put(octet);
    this.#column++;
    this.#wrapped = false;
  }

  #escape(octet: number): void {
    if (this.#column + 3 > COLUMNS) this.#softBreak();
    this.#put(EQUALS);
    this.#put(HEX[octet >> 4] ?? 0);
    this.#put(HEX[octet & 15] ?? 0);
    this.#column += 3;
    this.#wrapped = false;
  }

  #softBreak(): void {
    this.#put(EQUALS);
    this.#put(CR);
    this.#put(LF);
    this.#column = 0;
    this.#wrapped = true;
  }

  #put(octet: number): void {
    this.#out[this.#at++] = octet;
  }
}

/** RFC 5322 §2.1.1, octets without CRLF. */
export const LONGEST_LINE = 998;

/** A line is broken here, where an escape may stand behind it. */
const BREAK_AT = LONGEST_LINE - 8;

/**
 * What says that it is ASCII in short lines, and need not be: octets above 0x7f and over-long lines are mended as far as they go, in
 * base64 (`drop`), quoted-printable (`escape`) and text that no reader shows (`mark`).
 */
export class Mending implements Encoding {
  readonly #how: 'drop' | 'escape' | 'mark';
  readonly #clean = new ShortAscii(BREAK_AT);
  #mending = false;
  #column = 0;
  /** Octets of an escape that are still to come: `=C3` must not be broken. */
  #escaped = 0;
  /** The last two octets, while nothing had to be mended. */
  #last = Buffer.alloc(0);

  constructor(how: 'drop' | 'escape' | 'mark') {
    this.#how = how;
  }

  push(octets: Buffer): Buffer {
    if (this.#mending) return this.#mend(octets);
    const before = this.#clean.column;
    if (this.#clean.take(octets)) {
      this.#last = Buffer.concat([this.#last, octets.subarray(-2)]).subarray(-2);
      return octets;
    }
    this.#mending = true;
    this.#column = before;
    this.#escaped = this.#last.at(-1) === EQUALS ? 2 : this.#last.at(-2) === EQUALS ? 1 : 0;
    return this.#mend(octets);
  }

  end(): Buffer {
    return Buffer.alloc(0);
  }

  #mend(octets: Buffer): Buffer {
    const escapes = this.#how === 'escape';
    const out: number[] = [];
    for (const octet of octets) {
      const ends = octet === CR || octet === LF;
      if (!ends && this.#column >= BREAK_AT && this.#escaped === 0) {
        out.push(...(escapes ? [EQUALS, CR, LF] : [CR, LF]));
        this.#column = 0;
      }
      this.#escaped = octet === EQUALS ? 2 : Math.max(0, this.#escaped - 1);
      const written =
        octet <= 0x7f ? [octet] : escapes ? [EQUALS, HEX[octet >> 4] ?? 0, HEX[octet & 15] ?? 0] : this.#how === 'mark' ? [QUESTION] : [];
      out.push(...written);
      this.#column = octet === LF ? 0 : this.#column + (octet === CR ? 0 : written.length);
    }
    return Buffer.from(out);
  }
}

const QUESTION = 0x3f;

/**
 * Whether all that came so far is ASCII in lines of at most so many octets. NUL, and CR or LF alone, are not looked for (RFC 2045 §2.7):
 * message/lines.ts lets none of them in.
 */
export class ShortAscii {
  readonly #longest: number;
  /** Octets of the line that is not at its end yet, its CR not counted. */
  column = 0;

  constructor(longest = LONGEST_LINE) {
    this.#longest = longest;
  }

  take(octets: Buffer): boolean {
    if (!isAscii(octets)) return false;
    let from = 0;
    for (;;) {
      const eol = octets.indexOf(LF, from);
      const end = eol < 0 ? octets.length : eol;
      this.column += end - from - (end > from && octets[end - 1] === CR ? 1 : 0);
      if (this.column > this.#longest) return false;
      if (eol < 0) return true;
      this.column = 0;
      from = eol + 1;
    }
  }
}
