/**
 * A message as it goes on the wire: the outer header, and the p7m in base64 lines (RFC 2045 §6.8). Made while sending and
 * never stored, so a retry is byte-identical by construction (P4) and memory is constant (P6).
 */
import { SealpostError } from '../errors.ts';

/** One recipient's message around the shared ciphertext. */
export interface WireParts {
  /** The outer header block with its empty line, CRLF. */
  readonly header: Buffer;
  /** The octets of the p7m in front of the ciphertext, and behind it. */
  readonly prefix: Buffer;
  readonly suffix: Buffer;
}

/** 57 octets make one base64 line of 76 (RFC 2045 §6.8), so cutting at multiples of 57 never leaves padding in the middle. */
const LINE_OCTETS = 57;
const LINE_COLUMNS = 76;
/** Lines made in one step: what 64 KiB of ciphertext fill, as bodies are read, so that each read becomes one write of the socket. */
const BLOCK_LINES = 1150;
const CR = 0x0d;
const LF = 0x0a;
/** RFC 5322 §2.1.1: octets of a line without its CRLF. */
const MAX_HEADER_LINE = 998;

/**
 * Exact octets that wireForm gives for a header of `headerLength` and a p7m of `innerLength` octets: what SIZE= announces
 * (RFC 1870 §6.1; dot-stuffing does not count).
 */
export function wireSize(headerLength: number, innerLength: number): number {
  const base64 = 4 * Math.ceil(innerLength / 3);
  return headerLength + base64 + 2 * Math.ceil(base64 / LINE_COLUMNS);
}

/**
 * Header, then base64 of prefix ‖ ciphertext ‖ suffix in lines of 76 columns, CRLF, ending in CRLF; not dot-stuffed. An error
 * of `ciphertext` is thrown on as it is: what ended without one is whole. Throws `header-malformed` before the first octet
 * where the header could end the message early or break its lines (A2).
 */
export async function* wireForm({ header, prefix, suffix }: WireParts, ciphertext: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  assertHeader(header);
  yield header;
  const encoder = new LineEncoder();
  yield* encoder.push(prefix);
  for await (const chunk of ciphertext) yield* encoder.push(chunk);
  yield* encoder.push(suffix);
  const rest = encoder.end();
  if (rest.length > 0) yield rest;
}

/** Throws `header-malformed`. Every line ends in CRLF, no CR, LF or NUL stands elsewhere, the last line is empty: the header made nothing else. */
export function assertHeader(header: Buffer): void {
  const refuse = (detail: string): never => {
    throw new SealpostError('header-malformed', { detail: `outer header: ${detail}` });
  };
  let start = 0;
  let last = -1;
  while (start < header.length) {
    const end = header.indexOf(LF, start);
    if (end < 0 || end === start || header[end - 1] !== CR) refuse('a line without CRLF');
    const line = header.subarray(start, end - 1);
    if (line.includes(CR) || line.includes(0)) refuse('a bare CR or a NUL');
    if (line.length > MAX_HEADER_LINE) refuse('a line over 998 octets');
    last = line.length;
    start = end + 1;
  }
  if (last !== 0) refuse('no empty line at its end');
}

/** Keeps the octets that do not fill a line yet; everything else leaves at once. */
class LineEncoder {
  readonly #pending = Buffer.allocUnsafe(LINE_OCTETS);
  /** Base64 of one block without line ends; reused, since it never leaves this object. */
  readonly #scratch = Buffer.allocUnsafe(BLOCK_LINES * LINE_COLUMNS);
  #pendingLength = 0;

  *push(chunk: Buffer): Iterable<Buffer> {
    let at = 0;
    for (;;) {
      const lines = Math.min(BLOCK_LINES, Math.floor((this.#pendingLength + chunk.length - at) / LINE_OCTETS));
      if (lines === 0) break;
      const end = at + lines * LINE_OCTETS - this.#pendingLength;
      yield this.#block(chunk, at, end);
      at = end;
    }
    this.#pendingLength += chunk.copy(this.#pending, this.#pendingLength, at);
  }

  /** The last, shorter line with its padding; empty where nothing is left. */
  end(): Buffer {
    return this.#cut(this.#encode(this.#pending, 0, this.#pendingLength, 0));
  }

  /** Whole lines of what is pending and of `chunk` from `at` to `end`. */
  #block(chunk: Buffer, at: number, end: number): Buffer {
    if (this.#pendingLength === 0) return this.#cut(this.#encode(chunk, at, end, 0));
    const rest = at + chunk.copy(this.#pending, this.#pendingLength, at);
    this.#pendingLength = 0;
    const columns = this.#encode(this.#pending, 0, LINE_OCTETS, 0);
    return this.#cut(this.#encode(chunk, rest, end, columns));
  }

  /** Base64 of `source` from `start` to `end` into the scratch at `columns`; answers how many columns stand there then. */
  #encode(source: Buffer, start: number, end: number, columns: number): number {
    return columns + this.#scratch.write(source.toString('base64', start, end), columns, 'latin1');
  }

  /** The first `columns` of the scratch in lines. A fresh Buffer every time: the socket still holds the one before. */
  #cut(columns: number): Buffer {
    const out = Buffer.allocUnsafeSlow(columns + 2 * Math.ceil(columns / LINE_COLUMNS));
    let to = 0;
    for (let from = 0; from < columns; from += LINE_COLUMNS) {
      to += this.#scratch.copy(out, to, from, Math.min(from + LINE_COLUMNS, columns));
      out[to++] = CR;
      out[to++] = LF;
    }
    return out;
  }
}
