/**
 * The readings of one field: what a program that shows it may make of it (A13). Encoded words (RFC 2047) that every reader decodes alike
 * are read as what they say; where they are not well made, or hide text that needed no encoding, the text as it is written is another
 * reading. What cannot be decoded at all may say anything. Linear in the field.
 */
import { type Field, fieldText } from './header.ts';
import { plainText, skeleton } from './skeleton.ts';

/** One field's value in its readings. At least one; equal ones once. */
export type TextReadings = readonly [string, ...string[]];

export interface FieldReadings {
  readonly texts: TextReadings;
  /** False where a part of it can be decoded by nobody that we know of, so that no pattern surely does not match. */
  readonly sure: boolean;
}

export function readField(field: Field): FieldReadings {
  const written = fieldText(field);
  const { texts, sure } = decodeWords(written);
  const plain = [...new Set(texts.map(plainText))];
  const [first = '', ...more] = new Set([...plain, ...plain.map(skeleton)]);
  return { texts: [first, ...more], sure };
}

/** RFC 2047 §2, with the language of RFC 2231 §5. Blanks in the text are against the RFC, and some readers decode it nevertheless. */
const ENCODED_WORD = /=\?(?<charset>[^\s?*]{1,64})(?:\*[^\s?]{0,64})?\?(?<encoding>[bq])\?(?<text>[^?]*)\?=/gi;
/** What begins as an encoded word and is none by the RFC: one reader or another takes it all the same, each in its own way. */
const BEGUN = /=\?[^?]*\?[^?\w]*[bq][^?\w]*\?/i;
/** The WHATWG names take each for little-endian; other readers ask the mark in front, or take the other order. */
const UTF_16 = /^utf-16(?:le|be)$/;

interface Piece {
  readonly octets: Buffer;
  /** Without the blanks in the text, as who takes out folding reads it. */
  readonly tight: Buffer;
  readonly charset: string;
  readonly wellMade: boolean;
}

function decodeWords(written: string): { readonly texts: readonly string[]; readonly sure: boolean } {
  if (!written.includes('=?')) return { texts: [written], sure: true };
  const joined = new Joined();
  let end = 0;
  for (const found of written.matchAll(ENCODED_WORD)) {
    const { charset = '', encoding = '', text = '' } = found.groups ?? {};
    joined.between(written.slice(end, found.index));
    joined.word(decodeWord(charset, encoding.toLowerCase(), text));
    end = found.index + found[0].length;
  }
  joined.between(written.slice(end));
  return joined.end(written);
}

/** The text with its words decoded, as it grows. */
class Joined {
  readonly #strict: string[] = [];
  readonly #loose: string[] = [];
  readonly #tight: string[] = [];
  #run: Piece[] = [];
  /** Blanks behind a word, which go where another word follows (RFC 2047 §6.2). */
  #blanks: string | undefined;
  /** Nobody reads it otherwise. */
  #plain = true;
  #sure = true;
  #last = '';

  between(text: string): void {
    if (this.#last === 'word' && /^[ \t]*$/.test(text)) {
      this.#blanks = text;
      return;
    }
    this.#flush();
    if (BEGUN.test(text)) this.#sure = false;
    // A word stands alone between blanks (RFC 2047 §5); some readers decode it elsewhere too.
    if (this.#last === 'word' && !/^[ \t]/.test(text)) this.#plain = false;
    this.#push(text, text, text);
    this.#last = text === '' ? this.#last : /[ \t]$/.test(text) ? 'blank' : 'text';
  }

  word(piece: Piece): void {
    if (this.#last === 'text' || (this.#last === 'word' && this.#blanks === '')) this.#plain = false;
    if (!piece.wellMade) this.#plain = false;
    this.#blanks = undefined;
    this.#run.push(piece);
    this.#last = 'word';
  }

  /** A character cut in two by two words is against the RFC, and some readers join them. */
  #flush(): void {
    const run = this.#run;
    this.#run = [];
    const decoded = run.map(({ octets, charset }) => decodeStrictly(octets, charset));
    const whole = decoded.every((text) => text !== undefined) ? decoded.join('') : decodeTogether(run);
    if (whole === undefined || run.some(({ charset }) => isUtf16(charset))) this.#sure = false;
    if (run.length > 0) {
      const loose = run.map(({ octets, charset }) => decodeLoosely(octets, charset)).join('');
      const tight = run.map(({ tight: octets, charset }) => ({ octets, tight: octets, charset, wellMade: false }));
      this.#push(whole ?? loose, loose, decodeTogether(tight) ?? loose);
      // Who encodes what is ASCII already may do so to hide it from whoever does not decode.
      if (whole === undefined || loose !== whole || /^[\x20-\x7e]*$/.test(whole)) this.#plain = false;
    }
    if (this.#blanks !== undefined) {
      this.#push(this.#blanks, this.#blanks, this.#blanks);
      this.#blanks = undefined;
    }
  }

  #push(strict: string, loose: string, tight: string): void {
    this.#strict.push(strict);
    this.#loose.push(loose);
    this.#tight.push(tight);
  }

  end(written: string): { readonly texts: readonly string[]; readonly sure: boolean } {
    this.#flush();
    const texts = [this.#strict.join(''), ...(this.#plain ? [] : [this.#loose.join(''), this.#tight.join(''), written])];
    return { texts, sure: this.#sure };
  }
}

function decodeWord(charset: string, encoding: string, text: string): Piece {
  if (encoding === 'q') {
    const wellMade = /^(?:[\x21-\x3c\x3e\x40-\x7e]|=[0-9A-F]{2})*$/i.test(text);
    const octets = decodeQ(text);
    // A `=` in front of the fold is the soft line break of quoted-printable.
    return { octets, tight: wellMade ? octets : decodeQ(text.replace(/=?[ \t]+/g, '')), charset, wellMade };
  }
  const octets = Buffer.from(text, 'base64');
  return { octets, tight: octets, charset, wellMade: text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text) };
}

function decodeQ(text: string): Buffer {
  const decoded = text.replaceAll('_', ' ').replace(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(decoded, 'latin1');
}

function isUtf16(charset: string): boolean {
  try {
    return UTF_16.test(new TextDecoder(charset).encoding);
  } catch {
    return false;
  }
}

function decodeTogether(run: readonly Piece[]): string | undefined {
  const [first] = run;
  if (first === undefined || run.some(({ charset }) => charset.toLowerCase() !== first.charset.toLowerCase())) return undefined;
  return decodeStrictly(Buffer.concat(run.map(({ octets }) => octets)), first.charset);
}

/** Undefined where the octets are not of the charset, or nobody knows it. */
function decodeStrictly(octets: Buffer, charset: string): string | undefined {
  try {
    return new TextDecoder(charset, { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    return undefined;
  }
}

function decodeLoosely(octets: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset, { ignoreBOM: true }).decode(octets);
  } catch {
    return octets.toString('latin1');
  }
}
