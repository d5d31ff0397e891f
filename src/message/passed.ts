/**
 * A message that goes on as it came, by a rule: its header with our trace in front and without what names a Bcc recipient (P8), its body
 * untouched. What no upstream may be handed as it is (RFC 5321 §4.5.2, §4.5.3.1.6) is told, never mended: a signature may stand on it.
 */
import { isAscii } from 'node:buffer';
import { isDropped } from './entity.ts';
import type { Field } from './header.ts';
import { type OuterOptions, receivedLine, showReceived } from './outer.ts';

/** Octets of a line without its CRLF. */
const MAX_LINE = 998;
const CR = 0x0d;
const LF = 0x0a;
const CRLF = Buffer.from('\r\n');

/** The header with its empty line. */
export function passedHeader(fields: readonly Field[], options: OuterOptions): Buffer {
  const kept = fields.flatMap((field) => {
    if (isDropped(field.key)) return [];
    if (field.key !== 'received') return [field.octets];
    // A `for` clause names one recipient to all of them (A16).
    const shown = showReceived(field);
    return shown === undefined ? [] : [Buffer.from(shown)];
  });
  return Buffer.concat([Buffer.from(receivedLine(options)), ...kept, CRLF]);
}

/** What can be told of a message once all of it has gone by. */
export interface Seen {
  readonly octets: number;
  readonly eightBit: boolean;
  /** False where a line is longer than any host must take. */
  readonly linesFit: boolean;
  /** False where its last line has no end. */
  readonly ended: boolean;
}

/** Looks at octets with CRLF line ends as they go by, in chunks cut anywhere. */
export class Watch {
  #octets = 0;
  #line = 0; // octets of the line that is not complete yet, its CR counted
  #longest = 0;
  #last = 0;
  #eightBit = false;

  write(chunk: Buffer): void {
    this.#octets += chunk.length;
    let start = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      const before = end > 0 ? chunk[end - 1] : this.#last;
      this.#longest = Math.max(this.#longest, this.#line + end - start - (before === CR ? 1 : 0));
      this.#line = 0;
      start = end + 1;
    }
    this.#line += chunk.length - start;
    this.#last = chunk.at(-1) ?? this.#last;
    this.#eightBit ||= !isAscii(chunk);
  }

  seen(): Seen {
    const longest = Math.max(this.#longest, this.#line);
    return { octets: this.#octets, eightBit: this.#eightBit, linesFit: longest <= MAX_LINE, ended: this.#line === 0 };
  }
}

/** RFC 6532 §3.2: a header outside ASCII is UTF-8, or none at all. */
export function charsetOf(header: Buffer): 'ascii' | 'utf-8' | 'neither' {
  if (isAscii(header)) return 'ascii';
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(header);
    return 'utf-8';
  } catch {
    return 'neither';
  }
}
