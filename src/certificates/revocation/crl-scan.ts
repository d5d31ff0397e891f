/**
 * Reading one revocation list (RFC 5280 §5): who signed what, and for which certificates it speaks. The entries stay where they
 * are: crl-index.ts walks them, once the signature has been found right. No list is too large for this to be cheap.
 *
 * What a reader must not half understand is refused whole: delta lists, lists that speak for other issuers, critical extensions
 * that nothing here knows (RFC 5280 §5.2, §5.3: such a list says nothing about any certificate).
 */
import { CONTEXT, expectTag, isContext, malformed, oidText, readDer, tags, type Tlv, UNIVERSAL } from '../der.ts';
import { DerReader, octets } from './crl-reader.ts';

/** RFC 5280 §5.2; what is not here and critical is refused. */
const extensionOids = {
  authorityKeyIdentifier: '2.5.29.35',
  issuerAltName: '2.5.29.18',
  cRLNumber: '2.5.29.20',
  deltaCRLIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
} as const;
const known: ReadonlySet<string> = new Set(Object.values(extensionOids));

export const MAX_CRL_BYTES = 64 * 1024 * 1024;
/** Everything but the entries is as small as a certificate. */
const SMALL = { bytes: 64 * 1024, nodes: 2000, depth: 32 };
const V2 = 1;

/** For which certificates a list speaks: the issuingDistributionPoint (RFC 5280 §5.2.5), or all of its issuer. */
export interface CrlScope {
  /** URLs of the point; undefined where it names none, which is every point of its issuer. Empty where its names are no URLs. */
  readonly urls: readonly string[] | undefined;
  readonly only: 'all' | 'users' | 'cas' | 'attributes';
  /** It tells of some reasons of revocation only: who is not in it may still be revoked. */
  readonly partial: boolean;
}

export interface CrlFrame {
  readonly bytes: Buffer;
  /** What is signed, by what algorithm, and the signature. */
  readonly tbs: Buffer;
  readonly algorithm: Tlv;
  readonly signature: Buffer;
  readonly issuerDer: Buffer;
  /** ms since the epoch */
  readonly thisUpdate: number;
  readonly nextUpdate: number | undefined;
  /** Where the entries begin and end in `bytes`. */
  readonly entries: { readonly from: number; readonly to: number };
  /** The SEQUENCE OF Extension. */
  readonly extensions: Tlv | undefined;
}

/** A list that is well formed and is not used. `lasting` where the next list of that place will be the same kind. */
export class CrlRefused extends Error {
  readonly lasting: boolean;
  constructor(why: string, lasting: boolean) {
    super(why);
    this.lasting = lasting;
  }
}

/** `der` is one CertificateList. Throws `certificate-malformed`. */
export function readCrlFrame(der: Buffer): CrlFrame {
  if (der.length > MAX_CRL_BYTES) throw malformed(`more than ${MAX_CRL_BYTES} octets`);
  const reader = new DerReader(der);
  reader.expect(octets.sequence, 0, der.length, 'the list');
  const { from, to } = reader;
  if (to !== der.length) throw malformed(`${der.length - to} octets stand behind its end`);
  reader.expect(octets.sequence, from, to, 'tbsCertList');
  const { start, from: tbsFrom, to: tbsTo } = reader;
  const outer = small(reader, octets.sequence, tbsTo, to, 'signatureAlgorithm');
  reader.expect(octets.bitString, reader.to, to, 'the signature');
  if (reader.to !== to) throw malformed('more than three fields');
  if (der[reader.from] !== 0) throw malformed('the signature has unused bits');
  const signature = der.subarray(reader.from + 1, reader.to);

  const head = readHead(reader, tbsFrom, tbsTo);
  // RFC 5280 §5.1.1.2: the same in both places, else the signed half says less than it seems to.
  if (!head.algorithm.bytes.equals(outer.bytes)) throw malformed('it names two different signature algorithms');
  const thisUpdate = timeAt(reader, head.end, tbsTo, 'thisUpdate');
  let at = reader.to;
  const timed = der[at] === octets.utcTime || der[at] === octets.generalizedTime;
  const nextUpdate = timed && at < tbsTo ? timeAt(reader, at, tbsTo, 'nextUpdate') : undefined;
  at = nextUpdate === undefined ? at : reader.to;
  const listed = reader.peek(octets.sequence, at, tbsTo);
  const entries = listed ? { from: reader.from, to: reader.to } : { from: at, to: at };
  at = entries.to;
  const extensions = at < tbsTo ? small(reader, octets.context0, at, tbsTo, 'crlExtensions').children[0] : undefined;
  if ((at < tbsTo ? reader.to : at) !== tbsTo) throw malformed('fields behind the last one');
  if (extensions !== undefined && !head.v2) throw malformed('extensions in a list of version 1');
  return {
    bytes: der,
    tbs: der.subarray(start, tbsTo),
    algorithm: head.algorithm,
    signature,
    issuerDer: head.issuerDer,
    thisUpdate,
    nextUpdate,
    entries,
    extensions,
  };
}

/** Whose a list is and from when, by its first octets alone; `thisUpdate` in ms since the epoch. */
export interface CrlBeginning {
  readonly issuer: Buffer;
  readonly thisUpdate: number;
}

/** Of a list of which only the first octets are there. */
export function readCrlBeginning(beginning: Buffer, length: number): CrlBeginning {
  const reader = new DerReader(beginning);
  // The lengths speak of what is not here, so each header is read as if it were.
  const enter = (at: number): number => {
    const octet = beginning[at + 1] ?? 0;
    const header = 2 + (octet & 0x80 ? octet & 0x7f : 0);
    if (beginning[at] !== octets.sequence || header > 6 || at + header > length) throw malformed('it is not a list');
    return at + header;
  };
  const { issuerDer, end } = readHead(reader, enter(enter(0)), beginning.length);
  return { issuer: Buffer.from(issuerDer), thisUpdate: timeAt(reader, end, beginning.length, 'thisUpdate') };
}

function readHead(reader: DerReader, from: number, to: number): { v2: boolean; algorithm: Tlv; issuerDer: Buffer; end: number } {
  const v2 = reader.peek(octets.integer, from, to);
  if (v2 && (reader.to - reader.from !== 1 || reader.bytes[reader.from] !== V2)) throw malformed('it is of a version that is not known');
  const algorithm = small(reader, octets.sequence, v2 ? reader.to : from, to, 'the signature algorithm');
  reader.expect(octets.sequence, reader.to, to, 'issuer');
  return { v2, algorithm, issuerDer: reader.whole(), end: reader.to };
}

function small(reader: DerReader, octet: number, at: number, end: number, field: string): Tlv {
  reader.expect(octet, at, end, field);
  return readDer(reader.whole(), SMALL);
}

function timeAt(reader: DerReader, at: number, end: number, field: string): number {
  if (at >= end) throw malformed(`${field} is missing`);
  reader.read(at, end);
  return reader.seconds(field) * 1000;
}

/** Throws CrlRefused for what is not used at all, `certificate-malformed` for what cannot be read. */
export function readCrlScope(extensions: Tlv | undefined): CrlScope {
  const values = new Map<string, Buffer>();
  for (const extension of extensions?.children ?? []) {
    const { oid, critical, value } = readCrlExtension(extension);
    if (values.has(oid)) throw malformed(`the extension ${oid} stands there twice`);
    values.set(oid, value);
    if (oid === extensionOids.deltaCRLIndicator) throw new CrlRefused('it is a delta list, which is not taken', true);
    if (critical && !known.has(oid)) throw new CrlRefused(`it carries a critical extension that is not understood: ${oid}`, true);
  }
  const point = values.get(extensionOids.issuingDistributionPoint);
  return point === undefined ? { urls: undefined, only: 'all', partial: false } : readPoint(readDer(point, SMALL));
}

export function readCrlExtension(extension: Tlv): { oid: string; critical: boolean; value: Buffer } {
  const [type, ...rest] = expectTag(extension, UNIVERSAL, tags.sequence, 'an extension').children;
  const oid = oidText(type, 'the type of an extension');
  if (rest.length > 2) throw malformed(`the extension ${oid} has more than three fields`);
  const flag = rest.length > 1 ? expectTag(rest[0], UNIVERSAL, tags.boolean, `criticality of ${oid}`) : undefined;
  return {
    oid,
    critical: flag !== undefined && flag.content[0] !== 0,
    value: expectTag(rest.at(-1), UNIVERSAL, tags.octetString, `the extension ${oid}`).content,
  };
}

/** GeneralName, RFC 5280 §4.2.1.6. */
const URI_NAME = 6;

const LAST_FIELD = 5;
const onlyKinds: Readonly<Record<number, CrlScope['only']>> = { 1: 'users', 2: 'cas', 5: 'attributes' };

/** IssuingDistributionPoint, RFC 5280 §5.2.5: [0] name, [1] users, [2] CAs, [3] some reasons, [4] indirect, [5] attributes. */
function readPoint(point: Tlv): CrlScope {
  expectTag(point, UNIVERSAL, tags.sequence, 'issuingDistributionPoint');
  let urls: readonly string[] | undefined;
  let partial = false;
  const only: CrlScope['only'][] = [];
  for (const field of point.children) {
    if (field.tagClass !== CONTEXT || field.tag > LAST_FIELD) throw malformed('issuingDistributionPoint has a field that is not known');
    // Absent is the default FALSE, and DER does not write that; whoever does is taken at his word.
    const isSet = field.content.some((octet) => octet !== 0);
    const kind = onlyKinds[field.tag];
    if (field.tag === 0) {
      const full = field.children.find((child) => isContext(child, 0))?.children ?? [];
      urls = full.filter((name) => isContext(name, URI_NAME)).map(({ content }) => content.toString('latin1'));
    } else if (field.tag === 3) {
      partial = true;
    } else if (field.tag === 4 && isSet) {
      throw new CrlRefused('it is an indirect list, which is not taken', true);
    } else if (kind !== undefined && isSet) {
      only.push(kind);
    }
  }
  // RFC 5280 §5.2.5: at most one of them.
  if (only.length > 1) throw malformed('it speaks for users only and for CAs only');
  return { urls, only: only[0] ?? 'all', partial };
}
