/**
 * Reading DER that strangers wrote, as a plain tree of exact slices: a name or serial is copied from it and never encoded anew.
 * Limits come first. It is our own reader, since asn1js takes half a second for the nodes that fit into 64 KiB, and for one
 * object identifier of that size, where an attacker may send many (A19).
 */
import { SealpostError } from '../errors.ts';

/** Tag classes, X.690 §8.1.2.2. */
export const UNIVERSAL = 0;
export const CONTEXT = 2;

/** Universal tags of X.680 §8.4 that certificates use. */
export const tags = {
  boolean: 1,
  integer: 2,
  bitString: 3,
  octetString: 4,
  null: 5,
  oid: 6,
  utf8String: 12,
  sequence: 16,
  set: 17,
  printableString: 19,
  teletexString: 20,
  ia5String: 22,
  utcTime: 23,
  generalizedTime: 24,
  universalString: 28,
  bmpString: 30,
} as const;

/** One TLV. `bytes` is the whole of it, `content` its value, both slices of the buffer that was read. */
export interface Tlv {
  readonly tagClass: number;
  readonly tag: number;
  readonly bytes: Buffer;
  readonly content: Buffer;
  /** Empty where the encoding is primitive. */
  readonly children: readonly Tlv[];
}

export interface DerLimits {
  readonly bytes: number;
  readonly nodes: number;
  readonly depth: number;
}

/** A certificate of every CA in use takes a tenth of this. */
export const CERTIFICATE_LIMITS: DerLimits = { bytes: 64 * 1024, nodes: 2000, depth: 32 };

/** OIDs in use end before 32 octets; a longer one costs quadratic time to write out (CVE-2025-66030). */
const MAX_OID_OCTETS = 64;
/** An arc below this has room for seven bits more in a number. */
const EXACT_BELOW = 2 ** 46;

export function malformed(detail: string, cause?: unknown): SealpostError {
  return new SealpostError('certificate-malformed', { detail, cause });
}

/** Exactly one TLV, nothing behind it. Throws `certificate-malformed`. */
export function readDer(bytes: Buffer, limits: DerLimits): Tlv {
  if (bytes.length > limits.bytes) throw malformed(`${bytes.length} octets, more than the ${limits.bytes} that are taken`);
  const budget = { nodes: limits.nodes };
  const tlv = readTlv(bytes, 0, bytes.length, limits.depth, budget);
  if (tlv.to !== bytes.length) throw malformed(`${bytes.length - tlv.to} octets stand behind its end`);
  return tlv;
}

const CONSTRUCTED = 0x20;
const HIGH_TAG = 0x1f;
const LONG_LENGTH = 0x80;

/** Positions, and slices made of them when they are asked for: most parts are only walked over, and a slice is a large object. */
class Part implements Tlv {
  readonly tagClass: number;
  readonly tag: number;
  readonly children: readonly Part[];
  readonly to: number;
  readonly #all: Buffer;
  readonly #start: number;
  readonly #from: number;

  constructor(all: Buffer, start: number, from: number, to: number, children: readonly Part[]) {
    const octet = all[start] ?? 0;
    this.tagClass = octet >> 6;
    this.tag = octet & HIGH_TAG;
    this.children = children;
    this.to = to;
    this.#all = all;
    this.#start = start;
    this.#from = from;
  }

  get bytes(): Buffer {
    return this.#all.subarray(this.#start, this.to);
  }

  get content(): Buffer {
    return this.#all.subarray(this.#from, this.to);
  }
}

const childless: readonly Part[] = [];

/** X.690 §8.1 with the restrictions of §10.1. `end` is where the enclosing value ends. */
function readTlv(bytes: Buffer, start: number, end: number, depth: number, budget: { nodes: number }): Part {
  if (depth <= 0) throw malformed('nested too deeply');
  if (budget.nodes-- <= 0) throw malformed('too many parts');
  const octet = bytes[start] ?? 0;
  const form = bytes[start + 1];
  if (form === undefined || start + 2 > end) throw malformed('it is cut off');
  // Nothing in X.509 has a tag number above 30.
  if ((octet & HIGH_TAG) === HIGH_TAG) throw malformed('a tag that X.509 does not know');
  let from = start + 2;
  let length = form;
  if (form >= LONG_LENGTH) {
    const octets = form & 0x7f;
    if (octets === 0) throw malformed('an indefinite length, which is not DER');
    if (octets > 4 || from + octets > end) throw malformed('a length that goes beyond its end');
    length = bytes.readUIntBE(from, octets);
    if (length < LONG_LENGTH || length < 2 ** (8 * (octets - 1)))
      throw malformed('a length that is longer than it need be, which is not DER');
    from += octets;
  }
  const to = from + length;
  if (to > end) throw malformed('a length that goes beyond its end');
  if (!(octet & CONSTRUCTED)) return new Part(bytes, start, from, to, childless);
  const children: Part[] = [];
  for (let at = from; at < to;) {
    const child = readTlv(bytes, at, to, depth - 1, budget);
    children.push(child);
    at = child.to;
  }
  return new Part(bytes, start, from, to, children);
}

/** X.690 §8.1.2.5: its content are TLVs. */
export const isConstructed = (tlv: Tlv): boolean => ((tlv.bytes[0] ?? 0) & CONSTRUCTED) !== 0;

/** The TLV where it has that tag, else a fault that names the field. In DER a universal tag has one form (X.690 §8, §10.2). */
export function expectTag(tlv: Tlv | undefined, tagClass: number, tag: number, field: string): Tlv {
  if (tlv === undefined) throw malformed(`${field} is missing`);
  if (tlv.tagClass !== tagClass || tlv.tag !== tag) throw malformed(`${field} is of the wrong type`);
  if (tagClass === UNIVERSAL && isConstructed(tlv) !== (tag === tags.sequence || tag === tags.set))
    throw malformed(`${field} is of the wrong form`);
  return tlv;
}

/**
 * Optional fields under context tags 0, 1, … that fill a SEQUENCE: each at most once, in their order and in its form. Whatever else
 * stands there is a fault: a restriction that is not seen would count as none.
 */
export function contextFields(
  fields: readonly Tlv[],
  forms: readonly ('primitive' | 'constructed')[],
  field: string,
): readonly (Tlv | undefined)[] {
  const found: (Tlv | undefined)[] = forms.map(() => undefined);
  let last = -1;
  for (const tlv of fields) {
    const form = tlv.tagClass === CONTEXT && tlv.tag > last ? forms[tlv.tag] : undefined;
    if (form === undefined || isConstructed(tlv) !== (form === 'constructed')) throw malformed(`${field} holds what does not belong there`);
    last = tlv.tag;
    found[last] = tlv;
  }
  return found;
}

export const isContext = (tlv: Tlv | undefined, tag: number): tlv is Tlv => tlv?.tagClass === CONTEXT && tlv.tag === tag;

/** `1.2.840.113549` of an OBJECT IDENTIFIER (X.690 §8.19). */
export function oidText(tlv: Tlv | undefined, field: string): string {
  const { content } = expectTag(tlv, UNIVERSAL, tags.oid, field);
  if (content.length === 0 || content.length > MAX_OID_OCTETS)
    throw malformed(`${field} is an object identifier of ${content.length} octets`);
  let text = '';
  let arc: number | bigint = 0;
  for (const octet of content) {
    const bits = octet & 0x7f;
    arc = arc < EXACT_BELOW ? Number(arc) * 128 + bits : (BigInt(arc) << 7n) | BigInt(bits);
    if (octet & 0x80) continue;
    // The first two arcs share a number.
    const first = arc < 80 ? Math.floor(Number(arc) / 40) : 2;
    if (text !== '') text += `.${arc}`;
    else text = typeof arc === 'bigint' ? `2.${arc - 80n}` : `${first}.${arc - first * 40}`;
    arc = 0;
  }
  if ((content.at(-1) ?? 0) & 0x80) throw malformed(`${field} is an object identifier that is cut off`);
  return text;
}
