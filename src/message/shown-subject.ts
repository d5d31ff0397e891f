/**
 * The original Subject as the first line of a text, for readers whose mail program shows nothing of what stands inside the seal. It is put
 * in front in the charset and transfer encoding that the text has already; where that cannot be done, nothing is. Nothing is recoded, and
 * nothing goes into a part that somebody signed or sealed.
 */
import { type ContentType, parseContentType } from './content-type.ts';
import { type Field, fieldText, type Message, partFields } from './header.ts';
import { readField } from './readings.ts';

/** Octets to be put into the body, in front of the octet `at`. */
export interface Insertion {
  readonly at: number;
  readonly octets: Buffer;
}

/** Multiparts in multiparts that are looked into. */
const MAX_DEPTH = 5;
/** Of one line without its CRLF (RFC 5322 §2.1.1). */
const MAX_LINE = 998;
/** RFC 2045 §6.7. */
const QP_LINE = 76;

/** Undefined where there is no Subject, or no text into which it could go. Pure. */
export function shownSubject({ fields, lookAhead }: Pick<Message, 'fields' | 'lookAhead'>): Insertion | undefined {
  const [subject, ...others] = fields.filter(({ key }) => key === 'subject');
  const text = subject === undefined || others.length > 0 ? '' : oneLine(readField(subject).texts[0]);
  const place = text === '' ? undefined : placeIn(partOf(fields), { octets: lookAhead, at: 0 }, 0);
  if (place === undefined) return undefined;
  const line = encodeText(`Subject: ${text}`, place.charset);
  const octets = line === undefined ? undefined : transfer(line, place.encoding, place.eightBit);
  return octets === undefined ? undefined : { at: place.at, octets };
}

const oneLine = (text: string): string =>
  text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]+/gu, ' ')
    .replace(/ {2,}/g, ' ')
    .trim();

/** The MIME fields of a part; undefined where two programs may read them differently. */
interface Part {
  readonly type: ContentType;
  readonly encoding: string;
  readonly attached: boolean;
}

const PLAIN: ContentType = { type: 'text/plain', parameters: new Map() };

function partOf(fields: readonly Field[]): Part | undefined {
  const valuesOf = (wanted: string): string[] => fields.filter(({ key }) => key === wanted).map(fieldText);
  const [types, encodings] = [valuesOf('content-type'), valuesOf('content-transfer-encoding')];
  if (types.length > 1 || encodings.length > 1) return undefined;
  const [written] = types;
  const type = written === undefined ? PLAIN : parseContentType(written);
  if (type === undefined) return undefined;
  return {
    type,
    encoding: (encodings[0] ?? '7bit').trim().toLowerCase(),
    attached: valuesOf('content-disposition').some((one) => !/^inline\b/i.test(one)),
  };
}

interface Region {
  readonly octets: Buffer;
  /** Where the body of the part begins. */
  readonly at: number;
}

interface Place {
  readonly at: number;
  readonly charset: string;
  readonly encoding: string;
  /** It holds octets above 0x7f already. */
  readonly eightBit: boolean;
}

/** RFC 2046 §5.1: kinds whose first part is what people read first. */
const READ_FIRST: ReadonlySet<string> = new Set(['multipart/mixed', 'multipart/alternative', 'multipart/related']);

function placeIn(part: Part | undefined, { octets, at }: Region, depth: number): Place | undefined {
  if (part === undefined || part.attached) return undefined;
  const { type, encoding } = part;
  if (type.type === 'text/plain') {
    const eightBit = encoding === '8bit' || (depth === 0 && octets.some((octet) => octet > 0x7f));
    return { at, charset: type.parameters.get('charset')?.toLowerCase() ?? 'us-ascii', encoding, eightBit };
  }
  if (!READ_FIRST.has(type.type) || depth >= MAX_DEPTH || !['7bit', '8bit', 'binary'].includes(encoding)) return undefined;
  const first = firstPart(octets, at, type.parameters.get('boundary') ?? '');
  return first && placeIn(first.part, { octets, at: first.at }, depth + 1);
}

/** The header of the first part, and where its body begins; undefined where the look-ahead ends before. */
function firstPart(octets: Buffer, from: number, boundary: string): { readonly part: Part | undefined; readonly at: number } | undefined {
  // RFC 2046 §5.1.1; other characters would have been mended by some readers and not by others.
  if (!/^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/.test(boundary)) return undefined;
  let line = from;
  for (;;) {
    const end = octets.indexOf('\r\n', line, 'latin1');
    if (end < 0) return undefined;
    const text = octets.toString('latin1', line, end).trimEnd();
    line = end + 2;
    if (text === `--${boundary}--`) return undefined;
    if (text === `--${boundary}`) break;
  }
  const empty = octets.subarray(line, line + 2).toString('latin1') === '\r\n';
  const end = empty ? line : octets.indexOf('\r\n\r\n', line, 'latin1');
  if (end < 0) return undefined;
  return { part: partOf(partFields(octets.subarray(line, end))), at: end + (empty ? 2 : 4) };
}

/** Charsets of one octet a character, with ASCII in its place; what else they hold is found by decoding. */
const SINGLE_OCTET = /^(?:iso-8859-(?:[1-9]|1[03-6])|windows-125[0-8]|koi8-[ru])$/;

/** Undefined where the charset has not all of its characters. */
function encodeText(text: string, charset: string): Buffer | undefined {
  if (charset === 'utf-8') return Buffer.from(text);
  const ascii = /^[\x20-\x7e]*$/.test(text);
  if (charset === 'us-ascii') return ascii ? Buffer.from(text) : undefined;
  if (!SINGLE_OCTET.test(charset)) return undefined;
  // Below 0xa0 some readers take ISO 8859 for windows-1252, others for controls.
  const first = charset.startsWith('iso') ? 0xa0 : 0x80;
  const letters = new TextDecoder(charset).decode(Buffer.from(Array.from({ length: 0x100 - first }, (_, index) => first + index)));
  const octets: number[] = [];
  for (const character of text) {
    const index = letters.indexOf(character);
    if (character <= '\x7e') octets.push(character.charCodeAt(0));
    else if (index < 0 || character === '\ufffd') return undefined;
    else octets.push(first + index);
  }
  return Buffer.from(octets);
}

/** The line and an empty one behind it; undefined where it does not fit the encoding. */
function transfer(line: Buffer, encoding: string, eightBit: boolean): Buffer | undefined {
  if (encoding === 'quoted-printable') return Buffer.from(`${quotedPrintable(line)}\r\n\r\n`, 'latin1');
  if (encoding !== '7bit' && encoding !== '8bit') return undefined;
  if (line.length > MAX_LINE || (!eightBit && line.some((octet) => octet > 0x7f))) return undefined;
  return Buffer.concat([line, Buffer.from('\r\n\r\n')]);
}

/** RFC 2045 §6.7; the line has no blank at its end. */
function quotedPrintable(line: Buffer): string {
  let out = '';
  let column = 0;
  for (const octet of line) {
    const plain = octet >= 0x20 && octet <= 0x7e && octet !== 0x3d;
    const written = plain ? String.fromCharCode(octet) : `=${octet.toString(16).toUpperCase().padStart(2, '0')}`;
    if (column + written.length >= QP_LINE) {
      out += '=\r\n';
      column = 0;
    }
    out += written;
    column += written.length;
  }
  return out;
}

/** A body with the insertion in it, chunk by chunk; `end` gives what no chunk was there for. */
export interface Inserting {
  push(chunk: Buffer): readonly Buffer[];
  end(): readonly Buffer[];
}

export function makeInserting({ at, octets }: Insertion): Inserting {
  let left: number | undefined = at;
  return {
    push(chunk) {
      if (left === undefined) return [chunk];
      if (chunk.length <= left) {
        left -= chunk.length;
        return [chunk];
      }
      const parts = [chunk.subarray(0, left), octets, chunk.subarray(left)];
      left = undefined;
      return parts;
    },
    end: () => (left === undefined ? [] : [octets]),
  };
}
