/**
 * What kind of message it is, as far as its Content-Type and the look-ahead tell: an invitation, signed, sealed. Where the type is one that
 * two readers may read differently, it is unclear.
 */
import { type ContentType, parseContentType } from './content-type.ts';
import { type Field, fieldText, type Message } from './header.ts';
import { type Answer, isInvitation, Parts } from './invitation.ts';

export interface MessageKind {
  readonly calendar: Answer;
  readonly signed: Answer;
  /** True where it says that it is sealed, and what it begins with is an EnvelopedData or AuthEnvelopedData. */
  readonly claimsSealed: boolean;
}

/** RFC 5652 §6.1, RFC 5083 §2.1, RFC 5652 §5.1: the content types, in DER. */
const ENVELOPED = ['06092a864886f70d010703', '060b2a864886f70d0109100117'].map((hex) => Buffer.from(hex, 'hex'));
const SIGNED = [Buffer.from('06092a864886f70d010702', 'hex')];

/** `whole` left out: the body ends with the look-ahead. */
export function kindOf({ fields, lookAhead, whole = true }: Pick<Message, 'fields' | 'lookAhead'> & Partial<Message>): MessageKind {
  const types = fields.filter(({ key }) => key === 'content-type');
  const [field] = types;
  if (field === undefined) return { calendar: false, signed: false, claimsSealed: false };
  const type = types.length === 1 ? parseContentType(fieldText(field)) : undefined;
  if (type === undefined) {
    const said = types.map((one) => fieldText(one).toLowerCase()).join(' ');
    const calendar = new Parts(lookAhead, whole).unreadable(said);
    return { calendar, signed: /signed|pkcs7/.test(said) && 'unclear', claimsSealed: false };
  }
  if (/^application\/(?:x-)?pkcs7-mime$/.test(type.type)) return { calendar: false, ...kindOfPkcs7(type, fields, lookAhead) };
  const calendar = type.type.startsWith('multipart/') ? new Parts(lookAhead, whole).invitation(type) : isInvitation(type);
  return { calendar, signed: type.type === 'multipart/signed', claimsSealed: false };
}

function kindOfPkcs7({ parameters }: ContentType, fields: readonly Field[], lookAhead: Buffer): Omit<MessageKind, 'calendar'> {
  const start = startOf(fields, lookAhead);
  const said = parameters.get('smime-type')?.toLowerCase();
  if (start !== undefined && begins(start, ENVELOPED)) return { signed: said === 'signed-data' && 'unclear', claimsSealed: true };
  // A bag of certificates is a SignedData that nobody signed (RFC 8551 §3.2.2).
  if (start === undefined) return { signed: said === 'signed-data' || 'unclear', claimsSealed: false };
  return { signed: said === 'signed-data' || (begins(start, SIGNED) && said !== 'certs-only'), claimsSealed: false };
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
