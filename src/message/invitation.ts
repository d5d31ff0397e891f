/**
 * Whether there is an invitation among the parts of a message, as far as the look-ahead goes. The parts behind it are not read: those of
 * ordinary mail are attachments, and doubt about each of these would give all large mail to the rules for invitations. So what was not seen is
 * in doubt where the look-ahead ends before any part, in the header of one, or in text that an invitation may follow: the first part of its
 * multipart, or an alternative. How a multipart is put together may be unclear too: then any type of a calendar in it leaves doubt (A13).
 */
import { type ContentType, parseContentType } from './content-type.ts';

export type Answer = boolean | 'unclear';

/** Nested multiparts that are looked into, and parts in all. */
const MAX_DEPTH = 8;
const MAX_PARTS = 100;

/** A Content-Type, wherever it stands, that may be read as one. Linear: it goes no further than the field. */
const CALENDAR = /^content-type(?:[^\r\n]|\r\n[ \t])*?calendar/im;

const hasPieces = (parameters: ContentType['parameters'], name: string): boolean =>
  [...parameters.keys()].some((key) => key.startsWith(`${name}*`));

/** RFC 6047 §2.4: what is no more than a calendar file has no method. One in pieces (RFC 2231) is read by some. */
export function isInvitation({ type, parameters }: ContentType): Answer {
  if (type !== 'text/calendar') return false;
  return parameters.has('method') || (hasPieces(parameters, 'method') && 'unclear');
}

/** What stands in front of a part's body. */
interface PartHeader {
  /** The values of its Content-Type fields, unfolded. */
  readonly types: readonly string[];
  /** False where the look-ahead ended in it. */
  readonly complete: boolean;
}

/** The parts of one multipart so far. */
interface Progress {
  readonly count: number;
  /** That the last one is text. */
  readonly inText: boolean;
}

export class Parts {
  readonly #lines: readonly string[];
  readonly #whole: boolean;
  /** Said of an invitation where its place cannot be told. */
  readonly #mentioned: Answer;
  #at = 0;
  #seen = 0;

  /** `whole`: nothing follows the look-ahead. */
  constructor(lookAhead: Buffer, whole: boolean) {
    const text = lookAhead.toString('latin1');
    this.#lines = text.split('\r\n');
    this.#whole = whole;
    const partless = !whole && !/^content-type[ \t]*:/im.test(text);
    this.#mentioned = (partless || CALENDAR.test(text)) && 'unclear';
  }

  /** Of a Content-Type that is there twice or not as the RFC writes it. */
  unreadable(said: string): Answer {
    if (/calendar/i.test(said)) return 'unclear';
    return /multipart/i.test(said) && this.#mentioned;
  }

  /** Reads on from where the body of the multipart begins; stops behind its end. */
  invitation({ type, parameters }: ContentType, depth = 0, outer: readonly string[] = []): Answer {
    const boundary = parameters.get('boundary') ?? '';
    if (boundary === '' || hasPieces(parameters, 'boundary') || depth > MAX_DEPTH) return this.#mentioned;
    const own = `--${boundary}`;
    let answer: Answer = false;
    let progress: Progress = { count: 0, inText: false };
    while (this.#at < this.#lines.length) {
      const line = (this.#lines[this.#at] ?? '').trimEnd();
      // The end of a multipart around this one, whose own end was left out.
      if (line !== own && line !== `${own}--` && outer.some((one) => line === one || line === `${one}--`)) return answer;
      this.#at++;
      if (line === `${own}--`) return answer;
      if (line !== own) continue;
      if (++this.#seen > MAX_PARTS) return answer || this.#mentioned;
      const header = this.#header();
      const part = this.#part(header, depth, [...outer, own]);
      if (part === true) return true;
      answer ||= part;
      progress = { count: progress.count + 1, inText: isText(header) };
    }
    return answer || (!this.#whole && mayFollow(type, progress) && 'unclear');
  }

  #part({ types, complete }: PartHeader, depth: number, around: readonly string[]): Answer {
    if (!complete && !this.#whole) return 'unclear';
    const [value, ...more] = types;
    if (value === undefined) return false;
    const type = more.length === 0 ? parseContentType(value) : undefined;
    if (type === undefined) return this.unreadable(types.join(' '));
    return type.type.startsWith('multipart/') ? this.invitation(type, depth + 1, around) : isInvitation(type);
  }

  /** Of the part whose header begins here. */
  #header(): PartHeader {
    const types: string[] = [];
    let within = false;
    for (; this.#at < this.#lines.length; this.#at++) {
      const line = this.#lines[this.#at] ?? '';
      if (line === '') return { types, complete: this.#at + 1 < this.#lines.length };
      if (!/^[ \t]/.test(line)) {
        within = /^content-type[ \t]*:/i.test(line);
        if (within) types.push(line.slice(line.indexOf(':') + 1));
      } else if (within) types.push(`${types.pop() ?? ''}${line}`);
    }
    return { types, complete: false };
  }
}

/** RFC 2045 §5.2: it is text unless it says otherwise. */
const isText = ({ types: [type] }: PartHeader): boolean => type === undefined || /^\s*text\//i.test(type);

/** Whether an invitation may stand behind the end of the look-ahead. */
const mayFollow = (type: string, { count, inText }: Progress): boolean =>
  count === 0 || (inText && (count === 1 || type === 'multipart/alternative'));
