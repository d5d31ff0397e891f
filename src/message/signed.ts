/**
 * Signed mail (RFC 8551 §3.5, RFC 1847): the octets that were signed and the signature over them, where the message itself is signed,
 * not a part of it. Mail like this comes from anybody, and everything that two readers could take differently is refused: the signature
 * must be over what the reader of the verdict believes it is over. Pure but for reading its source.
 */
import { setImmediate } from 'node:timers/promises';
import { SealpostError } from '../errors.ts';
import { parseContentType, type ContentType } from './content-type.ts';
import { type Mailbox, parseMailbox } from './envelope.ts';
import { type Field, fieldText, partFields, readMessage } from './header.ts';

export type SignedVerdict =
  /** `content`: what was signed, where it stands beside the signature; CRLF line ends. `signature`: ContentInfo, DER or BER. */
  | { readonly kind: 'signed'; readonly from: Mailbox; readonly content: Buffer | undefined; readonly signature: Buffer }
  | { readonly kind: 'refused'; readonly reason: string };

/** Octets of a message: it is held in memory, and in clear nowhere else. */
export const MAX_SIGNED_MESSAGE = 10 * 1024 * 1024;
/** Octets of a signature beside its content: fifty certificates and more. */
export const MAX_SIGNATURE = 1024 * 1024;

const refused = (reason: string): SignedVerdict => ({ kind: 'refused', reason });

/** Throws what `source` throws, and `message-too-big`. */
export async function readSigned(source: AsyncIterable<Buffer>): Promise<SignedVerdict> {
  let fields: readonly Field[];
  const chunks: Buffer[] = [];
  try {
    const message = await readMessage(bounded(source));
    fields = message.fields;
    for await (const chunk of message.body) chunks.push(chunk);
  } catch (error) {
    if (error instanceof SealpostError && unreadable.has(error.code)) return refused(error.message);
    throw error;
  }
  const from = onlyFrom(fields);
  // What comes below may be ten megabytes, and other sessions may have come as far.
  await setImmediate();
  return 'reason' in from ? refused(from.reason) : readEntity(fields, Buffer.concat(chunks), from.mailbox);
}

/** What is wrong with the message for good. */
const unreadable: ReadonlySet<string> = new Set(['header-too-big', 'header-malformed', 'message-has-nul']);

async function* bounded(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let octets = 0;
  for await (const chunk of source) {
    octets += chunk.length;
    if (octets > MAX_SIGNED_MESSAGE)
      throw new SealpostError('message-too-big', {
        detail: `more than ${MAX_SIGNED_MESSAGE} octets`,
        hint: 'a short signed mail without attachments does',
      });
    yield chunk;
  }
}

/** RFC 8550 §3 compares its address with the certificate. More than one author, or none, leaves open whose certificate it would be. */
function onlyFrom(fields: readonly Field[]): { readonly mailbox: Mailbox } | { readonly reason: string } {
  const [from, ...more] = fields.filter(({ key }) => key === 'from');
  if (from === undefined) return { reason: 'it has no From field' };
  if (more.length > 0) return { reason: `it has ${more.length + 1} From fields` };
  const address = onlyAddress(fieldText(from));
  if (address === undefined) return { reason: 'its From field names not exactly one mailbox' };
  const verdict = parseMailbox(address);
  // RFC 2047 §5: an encoded word must not stand in an address, though its letters all might.
  if (verdict.kind === 'fault' || address.includes('=?'))
    return { reason: `its From field names no mail address: ${verdict.kind === 'fault' ? verdict.fault : 'it is encoded'}` };
  return { mailbox: verdict.mailbox };
}

/** `name <address>`, `<address>` or `address`; comments left out. Groups, lists and anything behind the bracket are no single mailbox. */
function onlyAddress(text: string): string | undefined {
  let phrase = '';
  let angle: string | undefined;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? '';
    if (character === '"' || character === '(' || character === '<') {
      const end = closing(text, at);
      if (end === undefined || (angle !== undefined && character !== '(')) return undefined;
      if (character === '<') angle = text.slice(at + 1, end);
      else if (character === '"') phrase += text.slice(at, end + 1);
      at = end;
    } else if (',;:>)'.includes(character) || (angle !== undefined && character !== ' ' && character !== '\t')) return undefined;
    else phrase += character;
  }
  return (angle ?? phrase).trim();
}

const closers: Readonly<Record<string, string>> = { '"': '"', '(': ')', '<': '>' };

/** Index of what closes the quote, comment or bracket at `open`; undefined where nothing does. */
function closing(text: string, open: number): number | undefined {
  const opener = text[open] ?? '';
  const closer = closers[opener];
  let depth = 1;
  let quoted = false;
  for (let at = open + 1; at < text.length; at++) {
    const character = text[at];
    if (character === '\\' && (opener !== '<' || quoted)) at++;
    else if (opener === '<' && character === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (character === closer && --depth === 0) return at;
    else if (character === opener && opener === '(') depth++;
    else if (character === '<' && opener === '<') return undefined;
  }
  return undefined;
}

const detached: ReadonlySet<string> = new Set(['application/pkcs7-signature', 'application/x-pkcs7-signature']);
const opaque: ReadonlySet<string> = new Set(['application/pkcs7-mime', 'application/x-pkcs7-mime']);

async function readEntity(fields: readonly Field[], body: Buffer, from: Mailbox): Promise<SignedVerdict> {
  const type = contentType(fields);
  if (type === undefined) return refused('its Content-Type cannot be read');
  if (type.type === 'multipart/signed') return readParts(type, fields, body, from);
  if (opaque.has(type.type)) return readOpaque(type, fields, body, from);
  if (type.type.startsWith('multipart/'))
    return refused(
      `it is not signed as a whole but ${spoken(type.type)}, as mailing lists and programs that add a footer make it: take the mail as it was sent`,
    );
  return refused(`it is not signed but ${spoken(type.type)}`);
}

/** What a reason may call by its name. Anything else is text of whoever wrote the mail, and reasons go into the log (P2). */
const spokenOf: ReadonlySet<string> = new Set([
  'text/plain',
  'text/html',
  'multipart/mixed',
  'multipart/alternative',
  'multipart/related',
  'multipart/report',
  'multipart/encrypted',
  'application/pgp-signature',
  'enveloped-data',
  'authenveloped-data',
  'compressed-data',
  'certs-only',
]);

const spoken = (name: string): string =>
  spokenOf.has(name) ? name : name.startsWith('multipart/') ? 'another multipart' : 'something else';

/** RFC 2045 §5.2: what has none is text. More than one is no answer. */
function contentType(fields: readonly Field[]): ContentType | undefined {
  const [field, ...more] = fields.filter(({ key }) => key === 'content-type');
  if (more.length > 0) return undefined;
  return parseContentType(field === undefined ? 'text/plain' : fieldText(field));
}

async function readOpaque(type: ContentType, fields: readonly Field[], body: Buffer, from: Mailbox): Promise<SignedVerdict> {
  const kind = type.parameters.get('smime-type')?.toLowerCase() ?? 'signed-data'; // some programs leave it out
  if (kind !== 'signed-data') return refused(`it is not signed but ${spoken(kind)}`);
  const signature = encodingOf(fields) === 'base64' ? await decodeBase64(body) : undefined;
  return signature === undefined ? refused('its content is not in base64') : { kind: 'signed', from, content: undefined, signature };
}

const plainEncodings: ReadonlySet<string> = new Set(['7bit', '8bit', 'binary']);

async function readParts(type: ContentType, fields: readonly Field[], body: Buffer, from: Mailbox): Promise<SignedVerdict> {
  // RFC 2045 §6.4: a multipart has no encoding of its own.
  if (!plainEncodings.has(encodingOf(fields))) return refused('a multipart/signed that is encoded as a whole');
  const protocol = type.parameters.get('protocol')?.toLowerCase();
  if (protocol === undefined || !detached.has(protocol))
    return refused(`it is not signed by S/MIME but by ${protocol === undefined ? 'something unnamed' : spoken(protocol)}`);
  const boundary = type.parameters.get('boundary');
  // RFC 2046 §5.1.1; one in pieces (RFC 2231) is under another name here.
  if (boundary === undefined || !/^[\x20-\x7e]{0,69}[\x21-\x7e]$/.test(boundary)) return refused('its boundary cannot be read');
  const parts = splitParts(body, boundary);
  if (typeof parts === 'string') return refused(parts);
  const [content, last] = parts;
  const split = splitPart(last);
  const inner = split && contentType(split.fields);
  if (split === undefined || inner === undefined || !detached.has(inner.type)) return refused('its second part is no S/MIME signature');
  const signature = encodingOf(split.fields) === 'base64' ? await decodeBase64(split.body) : undefined;
  if (signature === undefined) return refused('its signature is not in base64');
  if (signature.length > MAX_SIGNATURE) return refused(`its signature has more than ${MAX_SIGNATURE} octets`);
  return { kind: 'signed', from, content, signature };
}

const CRLF = Buffer.from('\r\n');

/**
 * The two parts between three delimiter lines, or why there are not two. A line that begins as a delimiter and goes on as another is
 * one for some programs and none for others (RFC 2046 §5.1.1), so it is a fault.
 */
function splitParts(body: Buffer, boundary: string): readonly [Buffer, Buffer] | string {
  const delimiter = `--${boundary}`;
  const starts: { readonly line: number; readonly end: number; readonly closes: boolean }[] = [];
  // With the line end before it: a search for the delimiter alone would stop at each of millions of hits within lines.
  const next = (from: number): number => {
    const found = body.indexOf(`\r\n${delimiter}`, from, 'latin1');
    return found < 0 ? found : found + CRLF.length;
  };
  const begins = body.toString('latin1', 0, delimiter.length) === delimiter;
  for (let at = begins ? 0 : next(0); at >= 0; at = next(at)) {
    const eol = body.indexOf(CRLF, at);
    const rest = body.toString('latin1', at + delimiter.length, eol < 0 ? body.length : eol).trimEnd();
    if (rest !== '' && rest !== '--') return 'a line of it is like its boundary and goes on';
    starts.push({ line: at, end: eol < 0 ? body.length : eol + 2, closes: rest === '--' });
    if (starts.length > 3) break;
  }
  const [first, second, third, more] = starts;
  if (first === undefined || second === undefined || third === undefined || more !== undefined) return 'it has not exactly two parts';
  if (first.closes || second.closes || !third.closes) return 'its parts are not closed as they should be';
  // The line end before a delimiter belongs to the delimiter.
  const between = (from: number, to: number): Buffer => body.subarray(from, Math.max(from, to - CRLF.length));
  return [between(first.end, second.line), between(second.end, third.line)];
}

/** The header and the body of the part that holds the signature, small as it is. */
function splitPart(part: Buffer): { readonly fields: readonly Field[]; readonly body: Buffer } | undefined {
  const end = part.indexOf('\r\n\r\n', 0, 'latin1');
  if (end < 0 || end > MAX_PART_HEADER) return undefined;
  const fields = partFields(part.subarray(0, end));
  return fields.every(({ name }) => name !== '') ? { fields, body: part.subarray(end + 4) } : undefined;
}

const MAX_PART_HEADER = 16 * 1024;

/** RFC 2045 §6.1: 7bit where nothing is said; '' where it is said twice. */
function encodingOf(fields: readonly Field[]): string {
  const [field, ...more] = fields.filter(({ key }) => key === 'content-transfer-encoding');
  if (more.length > 0) return '';
  return field === undefined ? '7bit' : fieldText(field).toLowerCase();
}

/**
 * Strictly: Buffer's own reader skips what it does not know, where another program may stop. One pass, since it may be ten megabytes, and
 * others get a turn at each of them.
 */
async function decodeBase64(octets: Buffer): Promise<Buffer | undefined> {
  const digits = Buffer.allocUnsafe(octets.length);
  let length = 0;
  let padding = 0;
  for (let at = 0; at < octets.length; at++) {
    if (at % OCTETS_A_TURN === OCTETS_A_TURN - 1) await setImmediate();
    // By index: an iterator takes half a second for ten megabytes.
    const octet = octets[at] ?? 0;
    const kind = kinds[octet];
    if (kind === BLANK) continue;
    if (kind === PAD) padding++;
    else if (kind !== DIGIT || padding > 0) return undefined;
    digits[length++] = octet;
  }
  if (length === 0 || length % 4 !== 0 || padding > 2) return undefined;
  return Buffer.from(digits.toString('latin1', 0, length), 'base64');
}

const OCTETS_A_TURN = 1024 * 1024;
const BLANK = 1;
const PAD = 2;
const DIGIT = 3;
/** What an octet is in base64 (RFC 2045 §6.8); 0 for what does not belong there. */
const kinds = Uint8Array.from({ length: 256 }, (_, octet) => {
  const character = String.fromCharCode(octet);
  if (/[A-Za-z0-9+/]/.test(character)) return DIGIT;
  return character === '=' ? PAD : /[\r\n \t]/.test(character) ? BLANK : 0;
});
