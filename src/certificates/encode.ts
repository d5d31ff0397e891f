/**
 * Writing DER (X.690 §8, §10): certificates and PKCS#12 that the in-house CA issues, and the structures around a ciphertext, whose
 * headers must say the length of something that streamed past and is never in memory. Parts are whole TLVs.
 */
import { tags } from './der.ts';

const CONSTRUCTED = 0x20;
const CONTEXT_CLASS = 0x80;
export const SEQUENCE = tags.sequence | CONSTRUCTED;
export const SET = tags.set | CONSTRUCTED;

/** Tag and definite length of a value of `length` octets that the caller writes behind it. */
export function header(octet: number, length: number): Buffer {
  if (length < 0x80) return Buffer.from([octet, length]);
  const octets: number[] = [];
  // Division, not shifts: a ciphertext may be longer than 32 bits can say.
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return Buffer.from([octet, 0x80 | octets.length, ...octets]);
}

export function tlv(octet: number, ...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([header(octet, length), ...parts]);
}

export const sequence = (...parts: readonly Buffer[]): Buffer => tlv(SEQUENCE, ...parts);
export const set = (...parts: readonly Buffer[]): Buffer => tlv(SET, ...parts);
/** SET OF: DER wants its elements in the order of their encodings (X.690 §11.6). */
export const setOf = (elements: readonly Buffer[]): Buffer => set(...[...elements].sort((a, b) => a.compare(b)));
/** [tag] EXPLICIT; the same octets are [tag] IMPLICIT around a SEQUENCE or SET of the parts. */
export const explicit = (tag: number, ...parts: readonly Buffer[]): Buffer => tlv(CONTEXT_CLASS | CONSTRUCTED | tag, ...parts);
/** [tag] IMPLICIT around a primitive type. */
export const implicit = (tag: number, content: Buffer): Buffer => tlv(CONTEXT_CLASS | tag, content);
export const octetString = (content: Buffer): Buffer => tlv(tags.octetString, content);
export const utf8String = (text: string): Buffer => tlv(tags.utf8String, Buffer.from(text));
export const ia5String = (text: string): Buffer => tlv(tags.ia5String, Buffer.from(text, 'latin1'));
export const bitString = (content: Buffer, unusedBits = 0): Buffer => tlv(tags.bitString, Buffer.from([unusedBits]), content);
export const nullValue = Buffer.from('0500', 'hex');
export const trueValue = Buffer.from('0101ff', 'hex');

/** Of a positive number, most significant octet first, without superfluous zeros. */
export const integer = (magnitude: Buffer): Buffer =>
  tlv(tags.integer, (magnitude[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.from([0]), magnitude]) : magnitude);

/** INTEGER of a number from 0 to 2³²−1. */
export function wholeNumber(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(value);
  const first = octets.findIndex((octet) => octet !== 0);
  return integer(octets.subarray(first === -1 ? octets.length - 1 : first));
}

export function oid(text: string): Buffer {
  const [first = 0n, second = 0n, ...rest] = text.split('.').map(BigInt);
  return tlv(tags.oid, ...[first * 40n + second, ...rest].map(base128));
}

function base128(arc: bigint): Buffer {
  const octets = [Number(arc & 0x7fn)];
  for (let left = arc >> 7n; left > 0n; left >>= 7n) octets.unshift(Number(left & 0x7fn) | 0x80);
  return Buffer.from(octets);
}

/** RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from then on; whole seconds. */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/\.\d+|[-:T]/g, '');
  return date.getUTCFullYear() < 2050 ? tlv(tags.utcTime, Buffer.from(digits.slice(2))) : tlv(tags.generalizedTime, Buffer.from(digits));
}
