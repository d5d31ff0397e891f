/**
 * A writer for DER (X.690 §8, §10): the structures of a sealed message are written, not built as objects, because their headers
 * must say the length of a ciphertext that streamed past and is never in memory.
 */

export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const NULL = Buffer.from([0x05, 0x00]);
export const SEQUENCE = 0x30;
export const SET = 0x31;
/** [n], constructed: EXPLICIT, or IMPLICIT around a constructed type. */
export const context = (n: number): number => 0xa0 + n;
/** [n], primitive: IMPLICIT around a primitive type. */
export const contextPrimitive = (n: number): number => 0x80 + n;

/** Tag and definite length of a value with `length` octets that the caller writes behind it. */
export function header(tag: number, length: number): Buffer {
  if (length < 0x80) return Buffer.from([tag, length]);
  const octets: number[] = [];
  // Division, not shifts: a ciphertext may be longer than 32 bits can say.
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return Buffer.from([tag, 0x80 + octets.length, ...octets]);
}

export function element(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([header(tag, length), ...content]);
}

export const sequence = (...content: readonly Uint8Array[]): Buffer => element(SEQUENCE, ...content);
export const octets = (content: Uint8Array): Buffer => element(OCTET_STRING, content);

/** SET OF: DER wants its elements in the order of their encodings (X.690 §11.6). */
export const setOf = (elements: readonly Buffer[]): Buffer => element(SET, ...[...elements].sort((a, b) => a.compare(b)));

/** A small non-negative INTEGER, as versions are. */
export const smallInteger = (value: number): Buffer => Buffer.from([INTEGER, 1, value]);

/** OBJECT IDENTIFIER from dotted form (X.690 §8.19). */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return element(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const septets = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) septets.unshift((rest % 128) + 128);
  return septets;
}
