/**
 * Reading BER as LDAP uses it (RFC 4511 §5.1): definite lengths only, tag numbers below 31. It is no DER: Active Directory writes
 * every length in four octets. A server is believed no more than any other stranger: each length is held to what encloses it before
 * anything is taken from it, and nothing is read deeper than the caller asks for, so that depth costs nothing (A26).
 */
import { unavailable } from './fault.ts';

/** One TLV; `content` is a slice of what was read. */
export interface Element {
  /** The identifier octet: class, form and number. */
  readonly tag: number;
  readonly content: Buffer;
}

const HIGH_TAG = 0x1f;
const LONG_LENGTH = 0x80;
const MAX_LENGTH_OCTETS = 4;

interface Header {
  readonly tag: number;
  /** Where the content begins and ends. */
  readonly from: number;
  readonly to: number;
}

/** The header at `start`; undefined where it is not there in full. Throws `lookup-unavailable`. */
function readHeader(bytes: Buffer, start: number): Header | undefined {
  const [tag, form] = [bytes[start], bytes[start + 1]];
  if (tag === undefined || form === undefined) return undefined;
  if ((tag & HIGH_TAG) === HIGH_TAG) throw malformed();
  const from = start + 2;
  if (form < LONG_LENGTH) return { tag, from, to: from + form };
  const octets = form & 0x7f;
  if (octets === 0 || octets > MAX_LENGTH_OCTETS) throw malformed();
  if (bytes.length < from + octets) return undefined;
  return { tag, from: from + octets, to: from + octets + bytes.readUIntBE(from, octets) };
}

/** Where the element that begins at `start` ends, be it there or not; undefined while its header is not there. Throws as above. */
export const endOfElement = (bytes: Buffer, start: number): number | undefined => readHeader(bytes, start)?.to;

/** Where its content begins, likewise. */
export const startOfContent = (bytes: Buffer, start: number): number | undefined => readHeader(bytes, start)?.from;

/** What stands in `content`, one after the other; lazily, so that whoever has enough stops. Throws `lookup-unavailable`. */
export function* elements(content: Buffer): Generator<Element, void, void> {
  for (let at = 0; at < content.length;) {
    const header = readHeader(content, at);
    if (header === undefined || header.to > content.length) throw malformed();
    yield { tag: header.tag, content: content.subarray(header.from, header.to) };
    at = header.to;
  }
}

/** The content of the next element. Throws `lookup-unavailable` where it is missing or of another tag. */
export function next(from: Iterator<Element, void>, tag: number): Buffer {
  const { done, value } = from.next();
  if (done === true || value?.tag !== tag) throw malformed();
  return value.content;
}

/** INTEGER and ENUMERATED as far as LDAP has them: 0 to 2^31-1 (RFC 4511 §4.1.1). */
export function wholeNumber(content: Buffer): number {
  if (content.length === 0 || content.length > MAX_LENGTH_OCTETS) throw malformed();
  const value = content.readIntBE(0, content.length);
  if (value < 0) throw malformed();
  return value;
}

export const malformed = (): Error => unavailable('the directory server does not speak LDAP as it should');
