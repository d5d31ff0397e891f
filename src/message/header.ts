/**
 * The top header block of a message and a look at the start of its body (RFC 5322 §2.2). Both are held; the rest of the body is
 * never held and never parsed, so a MIME bomb costs what any other body of its size costs (P6).
 */
import { SealpostError } from '../errors.ts';
import { canonicalLines } from './lines.ts';

/** More header than any program writes. A script that forgets the empty line sends its whole body as header. */
export const MAX_HEADER = 256 * 1024;
export const LOOK_AHEAD = 64 * 1024;
/** Real mail has fewer than a hundred; each costs work in one turn of the event loop. */
const MAX_FIELDS = 2000;

/** One field, its octets untouched. */
export interface Field {
  /** As written, without the colon and blanks before it. */
  readonly name: string;
  /** Lower case, for comparing. */
  readonly key: string;
  /** The whole field: name, colon, value, folding, and the CRLF at its end. */
  readonly octets: Buffer;
}

export interface Message {
  readonly fields: readonly Field[];
  /** The first octets of the body, at most LOOK_AHEAD of them; `body` holds them too. */
  readonly lookAhead: Buffer;
  /** True where the body ended within the look-ahead. */
  readonly whole: boolean;
  /** The body with CRLF line ends, to be read once. */
  readonly body: AsyncIterable<Buffer>;
}

/**
 * Reads the header block and the look-ahead of a message; line ends are made canonical on the way, and `onBareEnd` hears where they were
 * not, up to the end of the body. Throws `header-too-big`.
 */
export async function readMessage(source: AsyncIterable<Buffer>, onBareEnd?: () => void): Promise<Message> {
  const chunks = canonicalLines(source, onBareEnd)[Symbol.asyncIterator]();
  const held = new GrowingBuffer();
  const scan = new HeaderScan();
  let end: HeaderEnd | undefined;
  let ended = false;
  while (end === undefined || (!ended && held.length - end.body < LOOK_AHEAD)) {
    const next = await chunks.next();
    if (next.done === true) ended = true;
    else held.append(next.value);
    end ??= scan.next(held.octets, ended);
    if ((end?.header ?? held.length) > MAX_HEADER) throw new SealpostError('header-too-big', { detail: `more than ${MAX_HEADER} octets` });
  }
  const octets = held.octets;
  const { header, body, proper } = end;
  if (!proper) assertNoHiddenBcc(octets.subarray(body, body + LOOK_AHEAD));
  return {
    fields: splitFields(octets.subarray(0, header)),
    lookAhead: octets.subarray(body, body + LOOK_AHEAD),
    whole: ended && octets.length - body <= LOOK_AHEAD,
    body: continueWith(octets.subarray(body), chunks),
  };
}

/** Octets that are no visible ASCII may stand about the name: blanks, a no-break space, a byte order mark; behind it a fold too. */
const BCC = /^[^\x21-\x7e\r\n]*(?:[!-9;-~]+-)?bcc(?:[^\x21-\x7e\r\n]|\r\n[ \t])*:/im;

/** Behind a line that is no field the header went on, it seems. As body text a Bcc would be shown to every reader (P8). */
function assertNoHiddenBcc(body: Buffer): void {
  const [block = ''] = body.toString('latin1').split('\r\n\r\n', 1);
  if (!BCC.test(block)) return;
  throw new SealpostError('header-malformed', { detail: 'a Bcc field stands behind a line that is none' });
}

async function* continueWith(start: Buffer, chunks: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (start.length > 0) yield start;
  for (;;) {
    const next = await chunks.next();
    if (next.done === true) return;
    yield next.value;
  }
}

/** Appends without copying all of it each time, whatever size the client's packets have. */
class GrowingBuffer {
  #space = Buffer.allocUnsafe(16 * 1024);
  length = 0;

  get octets(): Buffer {
    return this.#space.subarray(0, this.length);
  }

  append(chunk: Buffer): void {
    if (this.length + chunk.length > this.#space.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#space.length * 2, this.length + chunk.length));
      this.octets.copy(larger);
      this.#space = larger;
    }
    chunk.copy(this.#space, this.length);
    this.length += chunk.length;
  }
}

interface HeaderEnd {
  /** Octets of the header block, its empty line not counted. */
  readonly header: number;
  /** Where the body starts. */
  readonly body: number;
  /** False where a line that is no field ended the block. */
  readonly proper: boolean;
}

/**
 * Finds where the header block ends: at the empty line; else at the first line that is neither a field nor a continuation, as
 * every MTA mends a script that forgot the empty line; else at the end of the message. It remembers how far it looked, so a
 * client that sends single octets costs no more than another.
 */
class HeaderScan {
  #line = 0; // start of the line that is not complete yet
  #searched = 0; // no CRLF starts before here on that line

  next(octets: Buffer, ended: boolean): HeaderEnd | undefined {
    while (this.#line < octets.length) {
      const eol = octets.indexOf('\r\n', this.#searched, 'latin1');
      this.#searched = Math.max(this.#line, octets.length - 1);
      if (eol < 0 && !ended) return undefined;
      const lineEnd = eol < 0 ? octets.length : eol;
      if (lineEnd === this.#line) return { header: this.#line, body: eol + 2, proper: true };
      if (!isHeaderLine(octets, this.#line, lineEnd)) return { header: this.#line, body: this.#line, proper: false };
      this.#line = eol < 0 ? octets.length : eol + 2;
      this.#searched = this.#line;
    }
    return ended ? { header: octets.length, body: octets.length, proper: true } : undefined;
  }
}

const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

function isHeaderLine(octets: Buffer, start: number, end: number): boolean {
  const first = octets[start];
  if (first === SPACE || first === TAB) return start > 0;
  if (start === 0 && isMboxLine(octets)) return true;
  return nameLength(octets, start, end) > 0;
}

/** RFC 5322 §2.1.1. */
const LONGEST_LINE = 998;

/** `From a@b Mon Jan 1 …` in front of the header: what a program wrote that thought of a mailbox file. Left out. */
function isMboxLine(octets: Buffer): boolean {
  return /^>?From [ \t]*[^ \t:]/.test(octets.toString('latin1', 0, LONGEST_LINE));
}

/** Octets of a field name (RFC 5322 §2.2: printable ASCII but the colon), 0 where none stands here; §4.5.1 lets blanks precede the colon. */
function nameLength(octets: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && isNameOctet(octets[at] ?? SPACE)) at++;
  const length = at - start;
  while (at < end && (octets[at] === SPACE || octets[at] === TAB)) at++;
  return at < end && octets[at] === COLON ? length : 0;
}

function isNameOctet(octet: number): boolean {
  return octet > SPACE && octet < 0x7f && octet !== COLON;
}

function splitFields(block: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  while (at < block.length) {
    let next = at;
    do {
      const eol = block.indexOf('\r\n', next, 'latin1');
      next = eol < 0 ? block.length : eol + 2;
    } while (next < block.length && (block[next] === SPACE || block[next] === TAB));
    if (fields.length === MAX_FIELDS) throw new SealpostError('header-too-big', { detail: `more than ${MAX_FIELDS} fields` });
    const name = block.toString('latin1', at, at + nameLength(block, at, next));
    const octets = block.subarray(at, next);
    if (at > 0 || !isMboxLine(block))
      fields.push({ name, key: name.toLowerCase(), octets: octets.subarray(-2).equals(CRLF) ? octets : Buffer.concat([octets, CRLF]) });
    at = next;
  }
  return fields;
}

/** The fields of a part's header, with or without its empty line: it is not the message's own, and nothing of it is mended. What is no field has no name. */
export function partFields(header: Buffer): Field[] {
  const lines = header
    .toString('latin1')
    .split(/\r\n(?![ \t])/)
    .filter((line) => line !== '');
  return lines.map((line) => {
    const name = /^([\x21-\x39\x3b-\x7e]+)[ \t]*:/.exec(line)?.[1] ?? '';
    return { name, key: name.toLowerCase(), octets: Buffer.from(`${line}\r\n`, 'latin1') };
  });
}

const CRLF = Buffer.from('\r\n');

/** The value of a field as text: unfolded (RFC 5322 §2.2.3), UTF-8 where it is valid UTF-8, else windows-1252. */
export function fieldText(field: Field): string {
  const value = field.octets.subarray(field.octets.indexOf(COLON) + 1);
  return decodeText(value)
    .replace(/\r\n(?=[ \t])/g, '')
    .replace(/\r\n$/, '')
    .trim();
}

/** UTF-8 where it is valid, else windows-1252: what scripts without a charset send in practice. Never fails. */
export function decodeText(octets: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    return new TextDecoder('windows-1252').decode(octets);
  }
}
