/**
 * What kind of message it is, as far as its Content-Type and the look-ahead tell: an invitation, signed, sealed. Where the type is one that
 * two readers may read differently, it is unclear.
 */
import { type ContentType, parseContentType } from './content-type.ts';
import { type Field, fieldText, type Message } from './header.ts';

export interface MessageKind {
  readonly calendar: boolean | 'unclear';
  readonly signed: boolean | 'unclear';
  /** True where it says that it is sealed, and what it begins with is an EnvelopedData or AuthEnvelopedData. */
  readonly claimsSealed: boolean;
}

/** RFC 5652 §6.1, RFC 5083 §2.1, RFC 5652 §5.1: the content types, in DER. */
const ENVELOPED = ['06092a864886f70d010703', '060b2a864886f70d0109100117'].map((hex) => Buffer.from(hex, 'hex'));
const SIGNED = [Buffer.from('06092a864886f70d010702', 'hex')];

/** Nested multiparts that are looked into, and parts in all. */
const MAX_DEPTH = 8;
const MAX_PARTS = 100;

export function kindOf({ fields, lookAhead }: Pick<Message, 'fields' | 'lookAhead'>): MessageKind {
  const types = fields.filter(({ key }) => key === 'content-type');
  const [field] = types;
  if (field === undefined) return { calendar: false, signed: false, claimsSealed: false };
  const type = types.length === 1 ? parseContentType(fieldText(field)) : undefined;
  if (type === undefined) {
    const said = types.map((one) => fieldText(one).toLowerCase()).join(' ');
    const calendar = said.includes('calendar') || (said.includes('multipart') && /text\/calendar/i.test(lookAhead.toString('latin1')));
    return { calendar: calendar && 'unclear', signed: /signed|pkcs7/.test(said) && 'unclear', claimsSealed: false };
  }
  if (/^application\/(?:x-)?pkcs7-mime$/.test(type.type)) return { calendar: false, ...kindOfPkcs7(type, fields, lookAhead) };
  const calendar = isInvitation(type) || (type.type.startsWith('multipart/') && new Parts(lookAhead).holdInvitation(type, 0));
  return { calendar, signed: type.type === 'multipart/signed', claimsSealed: false };
}

/** RFC 6047 §2.4: what is no more than a calendar file has no method. */
const isInvitation = ({ type, parameters }: ContentType): boolean => type === 'text/calendar' && parameters.has('method');

function kindOfPkcs7({ parameters }: ContentType, fields: readonly Field[], lookAhead: Buffer): Omit<MessageKind, 'calendar'> {
  const start = startOf(fields, lookAhead);
  const said = parameters.get('smime-type')?.toLowerCase();
  if (start !== undefined && begins(start, ENVELOPED)) return { signed: said === 'signed-data' && 'unclear', claimsSealed: true };
  // A bag of certificates is a SignedData that nobody signed (RFC 8551 §3.2.2).
  const signed = said === 'signed-data' || (start !== undefined && begins(start, SIGNED) && said !== 'certs-only');
  return { signed, claimsSealed: false };
}

/** More than the header of a ContentInfo takes. */
const START = 64;

/** The first octets of what is encoded; undefined where nothing can be read. */
function startOf(fields: readonly Field[], lookAhead: Buffer): Buffer | undefined {
  const encodings = fields.filter(({ key }) => key === 'content-transfer-encoding').map((field) => fieldText(field).toLowerCase());
  const [encoding = '7bit'] = encodings;
  if (encodings.length > 1) return undefined;
  if (encoding !== 'base64') return ['7bit', '8bit', 'binary'].includes(encoding) ? lookAhead.subarray(0, START) : undefined;
  const text = lookAhead.toString('latin1', 0, START * 4).replace(/\s+/g, '');
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? Buffer.from(text, 'base64').subarray(0, START) : undefined;
}

const SEQUENCE = 0x30;
const EXPLICIT_0 = 0xa0;

/** ContentInfo (RFC 5652 §3) of one of these types, with a content that is a SEQUENCE. Lengths may be indefinite. */
function begins(start: Buffer, types: readonly Buffer[]): boolean {
  const oid = behindLength(start, 0, SEQUENCE);
  if (oid === undefined) return false;
  const type = types.find((one) => start.subarray(oid, oid + one.length).equals(one));
  const content = type === undefined ? undefined : behindLength(start, oid + type.length, EXPLICIT_0);
  return content !== undefined && behindLength(start, content, SEQUENCE) !== undefined;
}

/** Where the content of the element begins that starts at `at` with `tag`. */
function behindLength(der: Buffer, at: number, tag: number): number | undefined {
  const length = der[at + 1];
  if (der[at] !== tag || length === undefined) return undefined;
  return length < 0x80 ? at + 2 : length <= 0x84 ? at + 2 + (length - 0x80) : undefined;
}

/** The first parts of a multipart, as far as the look-ahead goes. */
class Parts {
  readonly #lines: readonly string[];
  #at = 0;
  #seen = 0;

  constructor(lookAhead: Buffer) {
    this.#lines = lookAhead.toString('latin1').split('\r\n');
  }

  /** Reads on from where the body of the multipart begins; stops behind its end. */
  holdInvitation({ parameters }: ContentType, depth: number, outer: readonly string[] = []): boolean {
    const boundary = parameters.get('boundary');
    if (boundary === undefined || boundary === '' || depth > MAX_DEPTH) return false;
    const own = `--${boundary}`;
    const around = [...outer, own];
    while (this.#at < this.#lines.length) {
      const line = (this.#lines[this.#at] ?? '').trimEnd();
      if (line === `${own}--`) {
        this.#at++;
        return false;
      }
      if (line !== own) {
        // The end of a multipart around this one, whose own end was left out.
        if (outer.some((one) => line === one || line === `${one}--`)) return false;
        this.#at++;
        continue;
      }
      this.#at++;
      if (++this.#seen > MAX_PARTS) return false;
      const type = this.#header();
      if (type === undefined) continue;
      if (isInvitation(type)) return true;
      if (type.type.startsWith('multipart/') && this.holdInvitation(type, depth + 1, around)) return true;
    }
    return false;
  }

  /** The Content-Type of the part whose header begins here. */
  #header(): ContentType | undefined {
    let value: string | undefined;
    let within = false;
    for (; this.#at < this.#lines.length; this.#at++) {
      const line = this.#lines[this.#at] ?? '';
      if (line === '') break;
      if (/^[ \t]/.test(line)) {
        if (within && value !== undefined) value += line;
        continue;
      }
      within = value === undefined && /^content-type[ \t]*:/i.test(line);
      if (within) value = line.slice(line.indexOf(':') + 1);
    }
    return value === undefined ? undefined : parseContentType(value);
  }
}
