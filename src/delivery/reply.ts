/**
 * Replies of an upstream (RFC 5321 §4.2): hostile text, read with limits, kept short and printable (A33).
 */
import { SealpostError } from '../errors.ts';
import { spoken } from './spoken.ts';

export interface UpstreamReply {
  readonly code: number;
  /** RFC 2034 enhanced status, where the reply has one whose class fits its code. */
  readonly status: string | undefined;
  /** Printable ASCII, all lines in one, at most 200 characters. */
  readonly text: string;
  /** What the host says in its own words, in lower case and without the addresses it quotes: what a class may be read from. */
  readonly words: string;
  /** The text of each line behind its code, as sent: what EHLO keywords are read from. At most MAX_REPLY octets in all. */
  readonly lines: readonly string[];
}

/** RFC 5321 §4.5.3.1.5 says 512 octets a line; nobody who sends more than this is answering a command. */
const MAX_LINE = 8 * 1024;
const MAX_REPLY = 64 * 1024;
const MAX_TEXT = 200;
const LF = 0x0a;

/** §4.2: the first digit 2 to 5 is what a client must act on, so one like 571 is a refusal; `-` says another line follows. */
const LINE = /^([2-5]\d\d)(?:([ -])(.*))?$/s;
const STATUS = /^([245])\.\d{1,3}\.\d{1,3}(?=\s|$)/;

/** `250 2.0.0 queued`, for reasons and the audit log. */
export function replyText(reply: UpstreamReply): string {
  return [String(reply.code), reply.status, reply.text].filter((part) => part !== undefined && part !== '').join(' ');
}

/** Printable ASCII of at most 200 characters: no reply may write lines, colours or another direction into a log. */
export function printable(text: string): string {
  const clean = text.slice(0, MAX_TEXT + 1).replace(/[^\x20-\x7e]/g, '?');
  return clean.length > MAX_TEXT ? `${clean.slice(0, MAX_TEXT - 3)}...` : clean;
}

/** As much of a secret as gives it away: an upstream may quote half a line. */
const TELLING = 6;

/** What of `text` is a secret, or the beginning of one, struck out. */
function strike(text: string, secrets: readonly string[]): string {
  let clean = text;
  for (const secret of secrets) {
    const parts: string[] = [];
    const head = secret.slice(0, TELLING);
    let start = 0;
    for (let at = head === '' ? -1 : clean.indexOf(head); at >= 0; at = clean.indexOf(head, start)) {
      let length = head.length;
      while (length < secret.length && secret[length] === clean[at + length]) length++;
      parts.push(clean.slice(start, at), '***');
      start = at + length;
    }
    clean = parts.join('') + clean.slice(start);
  }
  return clean;
}

/** Makes a reply of its lines; `code` is the one all of them bear. `secrets`, octets as latin1, do not stand in its text. */
export function makeReply(code: number, lines: readonly string[], secrets: readonly string[] = []): UpstreamReply {
  const found = STATUS.exec(lines[0] ?? '');
  const status = found !== null && found[1] === String(code)[0] ? found[0] : undefined;
  const bare = status === undefined ? lines : lines.map((line) => (line.startsWith(status) ? line.slice(status.length).trimStart() : line));
  return { code, status, text: printable(strike(bare.join(' ').trim(), secrets)), words: spoken(lines), lines };
}

/**
 * Reads octets as they come, however they were cut. `push` gives the replies that became whole, to be taken to the end; behind
 * them it throws `upstream-protocol` where what comes is no reply or passes a limit, and the connection is of no use any more.
 */
export class ReplyReader {
  /** Struck from the text of replies; octets as latin1. */
  secrets: readonly string[] = [];
  #tail: Buffer[] = [];
  #tailLength = 0;
  #lines: string[] = [];
  #size = 0;
  #code: string | undefined;

  /** True where half a reply was read: nothing else may be asked of this connection. */
  get midway(): boolean {
    return this.#tailLength > 0 || this.#code !== undefined;
  }

  *push(chunk: Buffer): Generator<UpstreamReply, void, undefined> {
    let start = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      this.#keep(chunk.subarray(start, end));
      start = end + 1;
      const reply = this.#line(this.#takeTail());
      if (reply !== undefined) yield reply;
    }
    // Copied: the rest of the socket's buffer must not be kept alive for half a line.
    if (start < chunk.length) this.#keep(Buffer.from(chunk.subarray(start)));
  }

  #keep(piece: Buffer): void {
    this.#tailLength += piece.length;
    this.#size += piece.length;
    if (this.#tailLength > MAX_LINE) throw garbage(`a reply line over ${MAX_LINE} octets`);
    if (this.#size > MAX_REPLY) throw garbage(`a reply over ${MAX_REPLY} octets`);
    if (piece.length > 0) this.#tail.push(piece);
    // One octet at a time must not cost one Buffer each.
    if (this.#tail.length > 64) this.#tail = [Buffer.concat(this.#tail)];
  }

  #takeTail(): string {
    const line = Buffer.concat(this.#tail).toString('latin1');
    this.#tail = [];
    this.#tailLength = 0;
    this.#size += 2;
    return line.endsWith('\r') ? line.slice(0, -1) : line;
  }

  #line(line: string): UpstreamReply | undefined {
    const found = LINE.exec(line);
    if (found === null) throw garbage('a line that is no SMTP reply');
    const [, code, separator, text = ''] = found;
    if (this.#code !== undefined && this.#code !== code) throw garbage('a reply of lines with different codes');
    this.#lines.push(text);
    this.#code = code;
    if (separator === '-') return undefined;
    const reply = makeReply(Number(code), this.#lines, this.secrets);
    this.#code = undefined;
    this.#lines = [];
    this.#size = 0;
    return reply;
  }
}

function garbage(detail: string): SealpostError {
  return new SealpostError('upstream-protocol', { detail });
}
