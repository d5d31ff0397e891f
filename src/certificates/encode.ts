/** Writing DER (X.690 §10) for the certificates that the in-house CA issues. Parts are whole TLVs. */
import { tags } from './der.ts';

const CONSTRUCTED = 0x20;
const CONTEXT_CLASS = 0x80;

export function tlv(octet: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const length = content.length < 0x80 ? Buffer.from([content.length]) : longLength(content.length);
  return Buffer.concat([Buffer.from([octet]), length, content]);
}

function longLength(length: number): Buffer {
  const octets = Buffer.from(
    length.toString(16).padStart(length > 0xff_ffff ? 8 : length > 0xffff ? 6 : length > 0xff ? 4 : 2, '0'),
    'hex',
  );
  return Buffer.concat([Buffer.from([0x80 | octets.length]), octets]);
}

export const sequence = (...parts: readonly Buffer[]): Buffer => tlv(tags.sequence | CONSTRUCTED, ...parts);
export const set = (...parts: readonly Buffer[]): Buffer => tlv(tags.set | CONSTRUCTED, ...parts);
export const explicit = (tag: number, ...parts: readonly Buffer[]): Buffer => tlv(CONTEXT_CLASS | CONSTRUCTED | tag, ...parts);
export const implicit = (tag: number, content: Buffer): Buffer => tlv(CONTEXT_CLASS | tag, content);
export const octetString = (content: Buffer): Buffer => tlv(tags.octetString, content);
export const utf8String = (text: string): Buffer => tlv(tags.utf8String, Buffer.from(text));
export const bitString = (content: Buffer, unusedBits = 0): Buffer => tlv(tags.bitString, Buffer.from([unusedBits]), content);
export const nullValue = Buffer.from('0500', 'hex');
export const trueValue = Buffer.from('0101ff', 'hex');

/** Of a positive number, most significant octet first, without superfluous zeros. */
export const integer = (magnitude: Buffer): Buffer =>
  tlv(tags.integer, (magnitude[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.from([0]), magnitude]) : magnitude);

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
