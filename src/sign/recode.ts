/**
 * An entity made 7-bit as it streams by (RFC 8551 §3.1.3): for gateways on the way that would encode it themselves, and break the signature
 * with it. Parts of a multipart are walked through in order; 8-bit ones become quoted-printable or base64, what is 7-bit stays as it is.
 *
 *   header ─▶ (empty line) ─▶ body ─▶ (delimiter) ─▶ header …       one header is held, and 64 KiB of a part of which nothing is known yet
 *
 * What is held has a bound, and so has the depth; what is deeper, or is no MIME that is understood, stays as it is.
 */
import { base64Encoding, type Encoding, identityEncoding, Mending, QuotedPrintable, ShortAscii } from './encodings.ts';
import { partFields } from '../message/header.ts';
import { kindOf, sevenBitHeader } from './part.ts';
import type { Field } from '../message/header.ts';

/** Multiparts within each other; programs make four. */
const MAX_DEPTH = 32;
/** Octets of the header of a part; one that goes on longer is none. */
const MAX_PART_HEADER = 64 * 1024;
/** Octets of a part that are looked at before it is said how it is encoded. */
const HOLD = 64 * 1024;
/** RFC 2046 §5.1.1: two hyphens, 70 octets, two hyphens, and blanks. A longer line is no delimiter. */
const MAX_DELIMITER_LINE = 1000;

const NONE = Buffer.alloc(0);
const CRLF = Buffer.from('\r\n');
const LINE_HYPHENS = Buffer.from('\r\n--');

interface Level {
  readonly delimiter: Buffer;
  readonly digest: boolean;
}

/** Takes the octets of one body. */
interface Sink {
  push(octets: Buffer): void;
  end(): void;
}

/** Header first, with its empty line; then the body in order. The first buffer that comes out is the header of the entity, whole. */
export class SevenBit {
  #out: Buffer[] = [];
  #pending: Buffer = NONE;
  #inHeader = true;
  /** In a header: where the line begins that is not complete yet. */
  #line = 0;
  /** In a body: it begins here, so that a delimiter may stand here without a line end in front of it. */
  #atStart = false;
  readonly #levels: Level[] = [];
  #standard: 'text/plain' | 'message/rfc822' = 'text/plain';
  #sink: Sink = this.#sinkOf(identityEncoding());

  push(octets: Buffer): Buffer[] {
    this.#pending = this.#pending.length === 0 ? octets : Buffer.concat([this.#pending, octets]);
    return this.#run(false);
  }

  end(): Buffer[] {
    const out = this.#run(true);
    if (this.#inHeader && this.#pending.length > 0) out.push(this.#pending);
    this.#sink.end();
    out.push(...this.#out.splice(0));
    return out;
  }

  #run(final: boolean): Buffer[] {
    while (this.#inHeader ? this.#readHeader() : this.#readBody(final));
    return this.#out.splice(0);
  }

  #emit(octets: Buffer): void {
    if (octets.length > 0) this.#out.push(octets);
  }

  #consume(octets: number): void {
    this.#pending = this.#pending.subarray(octets);
  }

  /** True where there is more to do with what is pending. */
  #readHeader(): boolean {
    for (;;) {
      const eol = this.#pending.indexOf(CRLF, this.#line);
      if (eol < 0) {
        if (this.#pending.length <= MAX_PART_HEADER) return false;
        this.#beginBody(identityEncoding());
        return true;
      }
      if (eol === this.#line) {
        const header = this.#pending.subarray(0, eol);
        this.#consume(eol + CRLF.length);
        this.#begin(partFields(header));
        return true;
      }
      const found = this.#delimiterIn(this.#pending.subarray(this.#line, eol));
      if (found !== undefined) {
        // The part ends before its body begins.
        this.#emit(this.#pending.subarray(0, eol + CRLF.length));
        this.#consume(eol + CRLF.length);
        this.#sink = this.#sinkOf(identityEncoding());
        this.#pass(found);
        return true;
      }
      this.#line = eol + CRLF.length;
    }
  }

  /** Behind the empty line of a header. */
  #begin(fields: readonly Field[]): void {
    const kind = kindOf(fields, this.#standard);
    switch (kind.kind) {
      case 'multipart':
        if (this.#levels.length >= MAX_DEPTH) return this.#verbatim(fields);
        this.#emit(sevenBitHeader(fields));
        this.#levels.push({ delimiter: Buffer.from(`--${kind.boundary}`, 'latin1'), digest: kind.digest });
        return this.#beginBody(new Mending('mark'));
      case 'message':
        this.#emit(sevenBitHeader(fields));
        return this.#expectHeader('text/plain');
      case 'encoded':
        this.#emit(sevenBitHeader(fields));
        return this.#beginBody(new Mending(kind.encoding === 'base64' ? 'drop' : 'escape'));
      case 'leaf':
        this.#beginBody(identityEncoding());
        this.#sink = new Leaf(fields, kind.text, (octets) => this.#emit(octets));
        return;
      case 'verbatim':
        return this.#verbatim(fields);
    }
    return kind satisfies never;
  }

  #verbatim(fields: readonly Field[]): void {
    this.#emit(Buffer.concat([...fields.map(({ octets }) => octets), CRLF]));
    this.#beginBody(identityEncoding());
  }

  #expectHeader(standard: 'text/plain' | 'message/rfc822'): void {
    this.#inHeader = true;
    this.#line = 0;
    this.#standard = standard;
    this.#sink = this.#sinkOf(identityEncoding());
  }

  #beginBody(encoding: Encoding): void {
    this.#inHeader = false;
    this.#atStart = true;
    this.#line = 0;
    this.#sink = this.#sinkOf(encoding);
  }

  #sinkOf(encoding: Encoding): Sink {
    return { push: (octets) => this.#emit(encoding.push(octets)), end: () => this.#emit(encoding.end()) };
  }

  /** True behind a delimiter, where a header or an epilogue begins. */
  #readBody(final: boolean): boolean {
    const pending = this.#pending;
    let from = 0;
    while (this.#levels.length > 0) {
      if (this.#atStart && pending.length < 2 && !final) return false;
      const starts = this.#atStart && pending.toString('latin1', 0, 2) === '--';
      const hit = starts ? 0 : pending.indexOf(LINE_HYPHENS, from);
      if (hit < 0) break;
      const line = starts ? 0 : hit + CRLF.length;
      const eol = pending.indexOf(CRLF, line);
      if (eol < 0 && !final && pending.length - line < MAX_DELIMITER_LINE) {
        this.#hand(hit);
        return false;
      }
      const end = eol < 0 ? pending.length : eol;
      const found = this.#delimiterIn(pending.subarray(line, end));
      if (found === undefined) {
        this.#atStart = false;
        from = line;
        continue;
      }
      this.#hand(hit);
      this.#sink.end();
      this.#emit(pending.subarray(hit, eol < 0 ? end : eol + CRLF.length));
      this.#consume(Math.min(pending.length, end + CRLF.length) - hit);
      this.#pass(found);
      return true;
    }
    // What a delimiter may begin with.
    this.#hand(final || this.#levels.length === 0 ? pending.length : Math.max(0, pending.length - LINE_HYPHENS.length + 1));
    return false;
  }

  #hand(octets: number): void {
    if (octets === 0) return;
    this.#sink.push(this.#pending.subarray(0, octets));
    this.#consume(octets);
    this.#atStart = false;
  }

  #delimiterIn(line: Buffer): { readonly level: number; readonly closes: boolean } | undefined {
    if (line.length > MAX_DELIMITER_LINE || line[0] !== HYPHEN || line[1] !== HYPHEN) return undefined;
    for (let level = this.#levels.length - 1; level >= 0; level--) {
      const delimiter = this.#levels[level]?.delimiter ?? NONE;
      if (!line.subarray(0, delimiter.length).equals(delimiter)) continue;
      const rest = line.toString('latin1', delimiter.length).trimEnd();
      if (rest === '' || rest === '--') return { level, closes: rest !== '' };
    }
    return undefined;
  }

  /** Behind a delimiter line. */
  #pass({ level, closes }: { readonly level: number; readonly closes: boolean }): void {
    this.#levels.length = closes ? level : level + 1;
    if (closes) this.#beginBody(new Mending('mark'));
    else this.#expectHeader(this.#levels[level]?.digest === true ? 'message/rfc822' : 'text/plain');
  }
}

const HYPHEN = 0x2d;

/** A part that says it is not encoded: held until it is clear that it need not be, or it is too long to hold. */
class Leaf implements Sink {
  readonly #fields: readonly Field[];
  readonly #text: boolean;
  readonly #emit: (octets: Buffer) => void;
  #held: Buffer[] = [];
  #length = 0;
  #encoding: Encoding | undefined;

  constructor(fields: readonly Field[], text: boolean, emit: (octets: Buffer) => void) {
    this.#fields = fields;
    this.#text = text;
    this.#emit = emit;
  }

  push(octets: Buffer): void {
    if (this.#encoding !== undefined) return this.#emit(this.#encoding.push(octets));
    this.#held.push(octets);
    this.#length += octets.length;
    if (this.#length > HOLD) this.#decide(false);
  }

  end(): void {
    const encoding = this.#encoding ?? this.#decide(true);
    this.#emit(encoding.end());
  }

  #decide(whole: boolean): Encoding {
    const held = Buffer.concat(this.#held.splice(0));
    const stays = whole && new ShortAscii().take(held);
    const name = stays ? undefined : this.#text ? 'quoted-printable' : 'base64';
    const labelled = stays || this.#fields.some(({ key }) => key === 'content-type');
    this.#emit(sevenBitHeader(this.#fields, { encoding: name, charset: labelled ? undefined : charsetOf(held, whole) }));
    const encoding = stays ? identityEncoding() : this.#text ? new QuotedPrintable() : base64Encoding();
    this.#encoding = encoding;
    this.#emit(encoding.push(held));
    return encoding;
  }
}

/** `whole` false: a sequence that is cut at the end is no fault. */
function charsetOf(octets: Buffer, whole: boolean): 'utf-8' | 'windows-1252' {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(octets, { stream: !whole });
    return 'utf-8';
  } catch {
    return 'windows-1252';
  }
}
