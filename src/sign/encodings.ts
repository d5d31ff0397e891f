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

/**
 * What says that it is ASCII in short lines, and need not be: octets above 0x7f and over-long lines are mended as far as they go, in
 * base64 (`drop`), quoted-printable (`escape`) and text that no reader shows (`mark`).
 */
export function mendingEncoding(how: 'drop' | 'escape' | 'mark'): Encoding {
  let column = 0;
  /** Octets of an escape that are still to come: `=C3` must not be broken. */
  let escaped = 0;
  const mend = (octets: Buffer): Buffer => {
    const out: number[] = [];
    for (const octet of octets) {
      if (octet === LF || octet === CR) column = octet === LF ? 0 : column;
      else if (column > LONGEST_LINE - 8 && escaped === 0) {
        out.push(...(how === 'escape' ? [EQUALS, CR, LF] : [CR, LF]));
        column = 0;
      }
      escaped = octet === EQUALS ? 2 : Math.max(0, escaped - 1);
      if (octet <= 0x7f) out.push(octet);
      else if (how === 'escape') out.push(EQUALS, HEX[octet >> 4] ?? 0, HEX[octet & 15] ?? 0);
      else if (how === 'mark') out.push(QUESTION);
      if (octet !== LF && octet !== CR) column += how === 'escape' && octet > 0x7f ? 3 : 1;
    }
    return Buffer.from(out);
  };
  const clean = new ShortAscii();
  let mending = false;
  return {
    push(octets) {
      const before = clean.column;
      if (!mending && clean.take(octets)) return octets;
      if (!mending) column = before;
      mending = true;
      return mend(octets);
    },
    end: () => Buffer.alloc(0),
  };
}

const QUESTION = 0x3f;

/** Whether all that came so far is ASCII in lines of at most 998 octets. */
export class ShortAscii {
  /** Octets of the line that is not at its end yet. */
  column = 0;

  take(octets: Buffer): boolean {
    let from = 0;
    for (;;) {
      const eol = octets.indexOf(LF, from);
      this.column += (eol < 0 ? octets.length : eol) - from;
      // The CR of the line's end may be among them.
      if (this.column > LONGEST_LINE + 1) return false;
      if (eol < 0) break;
      this.column = 0;
      from = eol + 1;
    }
    return isAscii(octets);
  }
}
