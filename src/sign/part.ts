/**
 * The header of one entity within a message (RFC 2045 §3), and what becomes of it where everything must be 7-bit: which parts are walked
 * into, which are encoded anew, and which are nobody's to change.
 */
import { isAscii } from 'node:buffer';
import { parseContentType } from '../message/content-type.ts';
import { decodeText, type Field, fieldText } from '../message/header.ts';
import { encodeWords } from '../message/words.ts';

export type PartKind =
  /** As it is, to its last octet: signed or encrypted by somebody else, or nothing that is understood. */
  | { readonly kind: 'verbatim' }
  | { readonly kind: 'multipart'; readonly boundary: string; readonly digest: boolean }
  /** A message in a message: a header follows. */
  | { readonly kind: 'message' }
  /** Says that it is encoded already. */
  | { readonly kind: 'encoded'; readonly encoding: 'base64' | 'quoted-printable' }
  | { readonly kind: 'leaf'; readonly text: boolean };

/** Undone by any change inside (RFC 1847, RFC 8551 §3.5, RFC 3156). */
const untouchable: ReadonlySet<string> = new Set([
  'multipart/signed',
  'multipart/encrypted',
  'application/pkcs7-mime',
  'application/x-pkcs7-mime',
]);
const messages: ReadonlySet<string> = new Set(['message/rfc822', 'message/global']);
/** RFC 2045 §6.2: those that encode nothing. */
const plain: ReadonlySet<string> = new Set(['', '7bit', '8bit', 'binary']);
/** RFC 2046 §5.1.1. */
const MAX_BOUNDARY = 70;

/** `standard`: what a part without Content-Type is. */
export function kindOf(fields: readonly Field[], standard: 'text/plain' | 'message/rfc822'): PartKind {
  const written = valuesOf(fields, 'content-type');
  // Readers differ on which of several holds; what is no part for us would be for them.
  if (written.length > 1) return { kind: 'verbatim' };
  // RFC 2045 §5.1: a blank or a comment may stand around the slash.
  const text = (written[0] ?? standard).replace(/^([^\s;/]+)\s*\/\s*/, '$1/');
  const read = parseContentType(text);
  const type = read?.type ?? /^[^\s;/]+\/[^\s;/]+/.exec(text)?.[0]?.toLowerCase() ?? 'text/plain';
  const encoding = encodingOf(fields);
  if (untouchable.has(type)) return { kind: 'verbatim' };
  if (type.startsWith('multipart/')) {
    const boundary = boundaryOf(read?.parameters ?? new Map());
    if (!/^[\x20-\x7e]+$/.test(boundary) || boundary.length > MAX_BOUNDARY || !plain.has(encoding)) return { kind: 'verbatim' };
    return { kind: 'multipart', boundary, digest: type === 'multipart/digest' };
  }
  if (messages.has(type) && plain.has(encoding)) return { kind: 'message' };
  if (encoding === 'base64' || encoding === 'quoted-printable') return { kind: 'encoded', encoding };
  return plain.has(encoding) ? { kind: 'leaf', text: type.startsWith('text/') || type.startsWith('message/') } : { kind: 'verbatim' };
}

/** The empty one where there is none; where several differ, one that is none. Some scripts put it into quotes, and readers take it so. */
function encodingOf(fields: readonly Field[]): string {
  const names = new Set(valuesOf(fields, ENCODING).map((text) => (/^"?([^\s;"]*)/.exec(text)?.[1] ?? '').toLowerCase()));
  const [name = '', ...others] = names;
  return others.length === 0 ? name : 'unclear';
}

/** Whole, or in pieces that encode nothing (RFC 2231 §3); empty where it is neither, or both. */
function boundaryOf(parameters: ReadonlyMap<string, string>): string {
  const whole = parameters.get('boundary');
  const said = [...parameters.keys()].filter((name) => name.startsWith('boundary*'));
  const pieces = said.map((_, index) => parameters.get(`boundary*${index}`));
  if (whole !== undefined) return pieces.length === 0 ? whole.trimEnd() : '';
  return pieces.includes(undefined) ? '' : pieces.join('').trimEnd();
}

/** What the fields of one name say, each once, without comments. */
const valuesOf = (fields: readonly Field[], wanted: string): string[] => [
  ...new Set(fields.filter(({ key }) => key === wanted).map((field) => withoutComments(fieldText(field)).trim())),
];

/** RFC 5322 §3.2.2: they nest, and stand in no quoted string. */
function withoutComments(text: string): string {
  let out = '';
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? '';
    const escapes = character === '\\' && (quoted || depth > 0);
    if (!quoted && character === '(') depth++;
    else if (depth === 0) out += escapes ? text.slice(at, at + 2) : character;
    else if (character === ')') depth--;
    if (depth === 0 && character === '"') quoted = !quoted;
    if (escapes) at++;
  }
  return out;
}

const ENCODING = 'content-transfer-encoding';
const CRLF = '\r\n';

export interface HeaderWish {
  /** What takes the place of Content-Transfer-Encoding; undefined leaves what says no more than 7bit as it is. */
  readonly encoding?: 'quoted-printable' | 'base64' | undefined;
  /** Set where there is no Content-Type, for text in this charset. */
  readonly charset?: 'utf-8' | 'windows-1252' | undefined;
}

/** The header as it stands over 7-bit content, with its empty line. */
export function sevenBitHeader(fields: readonly Field[], { encoding, charset }: HeaderWish = {}): Buffer {
  const declared = encodingOf(fields);
  const other = encoding ?? (declared === '8bit' || declared === 'binary' ? '7bit' : undefined);
  const lines: Buffer[] = [];
  let said = other === undefined;
  for (const field of fields) {
    if (field.key !== ENCODING || other === undefined) lines.push(inAscii(field));
    else if (!said) {
      lines.push(encodingLine(other));
      said = true;
    }
  }
  if (charset !== undefined) lines.push(Buffer.from(`Content-Type: text/plain; charset=${charset}${CRLF}`));
  if (!said && other !== undefined) lines.push(encodingLine(other));
  return Buffer.concat([...lines, Buffer.from(CRLF)]);
}

const encodingLine = (encoding: string): Buffer => Buffer.from(`Content-Transfer-Encoding: ${encoding}${CRLF}`);

/**
 * Words outside ASCII as encoded words (RFC 2047). In quoted strings, such as file names, they are none by the letter; every reader takes
 * them there, and raw octets would not come through.
 */
function inAscii({ octets }: Field): Buffer {
  if (isAscii(octets)) return octets;
  const text = decodeText(octets);
  return Buffer.from(text.replace(/[^\s"<>(),;:\\=]*[^\x00-\x7f][^\s"<>(),;:\\=]*/gu, (word) => encodeWords(word).join(`${CRLF} `)));
}
