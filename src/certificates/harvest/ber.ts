/**
 * BER to DER (X.690 §8.1.3.6, §8.21): programs that sign a stream write indefinite lengths and strings in pieces. What comes out has
 * definite lengths, as short as can be, and whole octet strings; nothing else is changed, so what was DER stays octet for octet.
 * Limits come first: whoever sends this may be anybody (A19).
 */
import { type DerLimits, malformed, tags } from '../der.ts';
import { header } from '../encode.ts';

interface Node {
  readonly octet: number;
  /** Of its value. */
  readonly length: number;
  /** Octets, or TLVs. */
  readonly parts: readonly (Buffer | Node)[];
}

const CONSTRUCTED = 0x20;
const HIGH_TAG = 0x1f;
const INDEFINITE = 0x80;

/** Throws `certificate-malformed`. */
export function derOfBer(bytes: Buffer, limits: DerLimits): Buffer {
  if (bytes.length > limits.bytes) throw malformed(`${bytes.length} octets, more than the ${limits.bytes} that are taken`);
  const { node, to } = readNode(bytes, 0, bytes.length, limits.depth, { nodes: limits.nodes });
  if (to !== bytes.length) throw malformed(`${bytes.length - to} octets stand behind its end`);
  const out: Buffer[] = [];
  write(node, out);
  return Buffer.concat(out);
}

function write({ octet, length, parts }: Node, out: Buffer[]): void {
  out.push(header(octet, length));
  for (const part of parts) {
    if (Buffer.isBuffer(part)) out.push(part);
    else write(part, out);
  }
}

const lengthOf = (part: Buffer | Node): number =>
  Buffer.isBuffer(part) ? part.length : header(part.octet, part.length).length + part.length;
const sum = (parts: readonly (Buffer | Node)[]): number => parts.reduce((total, part) => total + lengthOf(part), 0);

interface Read {
  readonly node: Node;
  readonly to: number;
}

function readNode(bytes: Buffer, start: number, end: number, depth: number, budget: { nodes: number }): Read {
  if (depth <= 0) throw malformed('nested too deeply');
  if (budget.nodes-- <= 0) throw malformed('too many parts');
  const octet = bytes[start] ?? 0;
  if ((octet & HIGH_TAG) === HIGH_TAG) throw malformed('a tag that CMS does not know');
  const { from, to } = readLength(bytes, start + 1, end);
  if ((octet & CONSTRUCTED) === 0) {
    if (to === undefined) throw malformed('an indefinite length of what has no parts');
    return { node: { octet, length: to - from, parts: [bytes.subarray(from, to)] }, to };
  }
  const children: Node[] = [];
  let at = from;
  // X.690 §8.1.5: two zero octets end what has no length.
  const isOver = (): boolean => (to === undefined ? at + 2 <= end && bytes[at] === 0 && bytes[at + 1] === 0 : at >= to);
  while (!isOver()) {
    const child = readNode(bytes, at, to ?? end, depth - 1, budget);
    children.push(child.node);
    at = child.to;
  }
  const node = octet === (tags.octetString | CONSTRUCTED) ? joined(children) : { octet, length: sum(children), parts: children };
  return { node, to: to ?? at + 2 };
}

/** X.690 §8.7.3: an octet string in pieces, each of which is one. */
function joined(children: readonly Node[]): Node {
  if (children.some(({ octet }) => octet !== tags.octetString)) throw malformed('a string in pieces of another kind');
  const parts = children.flatMap((child) => child.parts);
  return { octet: tags.octetString, length: sum(parts), parts };
}

/** `to` undefined: the length is indefinite. */
function readLength(bytes: Buffer, at: number, end: number): { readonly from: number; readonly to: number | undefined } {
  const form = bytes[at];
  if (form === undefined || at >= end) throw malformed('it is cut off');
  if (form === INDEFINITE) return { from: at + 1, to: undefined };
  const octets = form & INDEFINITE ? form & 0x7f : 0;
  const from = at + 1 + octets;
  if (octets > 4 || from > end) throw malformed('a length that goes beyond its end');
  const to = from + (octets === 0 ? form : bytes.readUIntBE(at + 1, octets));
  if (to > end) throw malformed('a length that goes beyond its end');
  return { from, to };
}
