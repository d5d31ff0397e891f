/**
 * Reading DER that strangers wrote. asn1js finds the structure under limits that are checked before anything is built; what
 * comes out is a plain tree of exact slices, so that a name or serial is copied and never encoded anew (INTEROP A9, A19).
 */
import { Constructed, fromBER } from 'asn1js';
import type { BaseBlock } from 'asn1js';
import { SealpostError } from '../errors.ts';

/** Tag classes of X.690 §8.1.2.2, numbered as asn1js numbers them. */
export const UNIVERSAL = 1;
export const CONTEXT = 3;

/** Universal tags of X.680 §8.4 that certificates use. */
export const tags = {
  boolean: 1,
  integer: 2,
  bitString: 3,
  octetString: 4,
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
export const CERTIFICATE_LIMITS: DerLimits = { bytes: 64 * 1024, nodes: 10_000, depth: 32 };

/** OIDs in use end before 32 octets; a longer one costs quadratic time to write out (CVE-2025-66030). */
const MAX_OID_OCTETS = 64;

export function malformed(detail: string, cause?: unknown): SealpostError {
  return new SealpostError('certificate-malformed', { detail, cause });
}

/** Exactly one TLV, nothing behind it. Throws `certificate-malformed`. */
export function readDer(bytes: Buffer, limits: DerLimits): Tlv {
  if (bytes.length > limits.bytes) throw malformed(`${bytes.length} octets, more than the ${limits.bytes} that are taken`);
  let answer: ReturnType<typeof fromBER>;
  try {
    answer = fromBER(bytes, {
      maxDepth: limits.depth,
      maxNodes: limits.nodes,
      maxContentLength: limits.bytes,
      parseEmbedded: false,
    });
  } catch (cause) {
    throw malformed('not ASN.1', cause);
  }
  if (answer.offset === -1) throw malformed(`not ASN.1: ${answer.result.error}`);
  if (answer.offset !== bytes.length) throw malformed(`${bytes.length - answer.offset} octets stand behind its end`);
  return toTlv(answer.result);
}

function toTlv(block: BaseBlock): Tlv {
  // DER has definite lengths only (X.690 §10.1); an indefinite one would be copied into messages that promise DER.
  if (block.lenBlock.isIndefiniteForm) throw malformed('an indefinite length, which is not DER');
  const view = block.valueBeforeDecodeView;
  const bytes = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  const children = block instanceof Constructed ? block.valueBlock.value : [];
  return {
    tagClass: block.idBlock.tagClass,
    tag: block.idBlock.tagNumber,
    bytes,
    content: bytes.subarray(block.idBlock.blockLength + block.lenBlock.blockLength),
    children: children.map(toTlv),
  };
}

/** The TLV where it has that tag, else a fault that names the field. */
export function expectTag(tlv: Tlv | undefined, tagClass: number, tag: number, field: string): Tlv {
  if (tlv === undefined) throw malformed(`${field} is missing`);
  if (tlv.tagClass !== tagClass || tlv.tag !== tag) throw malformed(`${field} is of the wrong type`);
  return tlv;
}

export const isContext = (tlv: Tlv | undefined, tag: number): tlv is Tlv => tlv?.tagClass === CONTEXT && tlv.tag === tag;

/** `1.2.840.113549` of an OBJECT IDENTIFIER (X.690 §8.19). */
export function oidText(tlv: Tlv | undefined, field: string): string {
  const { content } = expectTag(tlv, UNIVERSAL, tags.oid, field);
  if (content.length === 0 || content.length > MAX_OID_OCTETS)
    throw malformed(`${field} is an object identifier of ${content.length} octets`);
  const arcs: bigint[] = [];
  let arc = 0n;
  for (const [index, octet] of content.entries()) {
    arc = (arc << 7n) | BigInt(octet & 0x7f);
    if (octet & 0x80) {
      if (index === content.length - 1) throw malformed(`${field} is an object identifier that is cut off`);
      continue;
    }
    if (arcs.length === 0) {
      const first = arc < 80n ? arc / 40n : 2n;
      arcs.push(first, arc - first * 40n);
    } else {
      arcs.push(arc);
    }
    arc = 0n;
  }
  return arcs.join('.');
}
