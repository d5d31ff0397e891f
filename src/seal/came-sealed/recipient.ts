/**
 * The shape of one RecipientInfo (RFC 5652 §6.2), held as tight as mail programs write it: what stands in it is not encrypted, so that
 * nothing may have room for text. A name of a reader is the one thing that anybody may choose.
 */
import { isConstructed, isContext, oidText, tags, type Tlv, UNIVERSAL } from '../../certificates/der.ts';
import { fault } from './ber.ts';
import { looksReadable } from './plausible.ts';

/** Whom it names: IssuerAndSerialNumber, or the octets of a SubjectKeyIdentifier. */
export type Rid =
  | { readonly kind: 'serial'; readonly issuer: Buffer; readonly serial: Buffer }
  | { readonly kind: 'key'; readonly keyId: Buffer };

/** RSA of 1024 to 16384 bits. */
const RSA_KEY_OCTETS = { least: 128, most: 2048 };
/** A content key of 128 bits or more, wrapped (RFC 3394, RFC 3217). */
const WRAPPED_KEY_OCTETS = { least: 24, most: 64 };
/** A point of P-521 takes 133, uncompressed; what stands in front says that no bit of the last octet is unused. */
const POINT_OCTETS = { least: 33, most: 1 + 133 };
const UKM_OCTETS = { least: 1, most: 64 };
const KEY_ID_OCTETS = { least: 1, most: 64 };
/** RFC 5280 §4.1.2.2 says 20; some had more. */
const SERIAL_OCTETS = { least: 1, most: 32 };
/** Longer names of CAs are not met. */
const MOST_ISSUER = 512;

const TRANSPORTS: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.1', // rsaEncryption
  '1.2.840.113549.1.1.7', // RSAES-OAEP (RFC 3560)
]);
/** RFC 5753 §7.1.4, RFC 8418 §2.2. */
const AGREEMENTS: ReadonlySet<string> = new Set([
  '1.3.133.16.840.63.0.2',
  '1.3.133.16.840.63.0.3',
  ...[0, 1, 2, 3].flatMap((hash) => [`1.3.132.1.11.${hash}`, `1.3.132.1.14.${hash}`]),
  ...[19, 20, 21].map((hash) => `1.2.840.113549.1.9.16.3.${hash}`),
]);
const AGREED_KEYS: ReadonlySet<string> = new Set(['1.2.840.10045.2.1', '1.3.101.110', '1.3.101.111']); // ECDH, X25519, X448
/** What parameters name: hashes, MGF1 and the label of OAEP, key wraps, curves. */
const PARAMETERS: ReadonlySet<string> = new Set([
  '1.3.14.3.2.26',
  ...[1, 2, 3, 4].map((hash) => `2.16.840.1.101.3.4.2.${hash}`),
  '1.2.840.113549.1.1.8',
  '1.2.840.113549.1.1.9',
  '1.2.840.113549.1.9.16.3.6',
  ...[5, 25, 45].map((wrap) => `2.16.840.1.101.3.4.1.${wrap}`),
  '1.2.840.10045.3.1.7',
  '1.3.132.0.34',
  '1.3.132.0.35',
  ...[7, 11, 13].map((curve) => `1.3.36.3.3.2.8.1.1.${curve}`),
]);

/** Throws Fault, and what the reader of DER throws. Neither who has a password nor who shares a key is named by a certificate. */
export function ridsOf(info: Tlv): readonly Rid[] {
  if (isA(info, tags.sequence)) return [transported(info)];
  if (!isContext(info, 1)) throw fault('a reader without a certificate');
  return agreed(info);
}

function transported({ children }: Tlv): Rid {
  const [version, rid, algorithm, key, ...more] = children;
  if (more.length > 0) throw fault('key transport of another form');
  assertVersion(version);
  assertAlgorithm(algorithm, TRANSPORTS);
  assertString(key, tags.octetString, RSA_KEY_OCTETS);
  return ridOf(rid, (keyId) => keyId);
}

/** The key of the sender is made for this message: one that lasts would be named here. */
function agreed({ children }: Tlv): readonly Rid[] {
  const [version, originator, ...rest] = children;
  const ukm = isContext(rest[0], 1) ? rest.shift() : undefined;
  const [algorithm, keys, ...more] = rest;
  if (more.length > 0) throw fault('key agreement of another form');
  assertVersion(version);
  assertOriginator(originator);
  if (ukm !== undefined) assertString(only(ukm), tags.octetString, UKM_OCTETS);
  assertAlgorithm(algorithm, AGREEMENTS);
  if (keys === undefined || !isA(keys, tags.sequence) || keys.children.length === 0) throw fault('key agreement with nobody');
  return keys.children.map((one) => {
    const [rid, key, ...others] = one.children;
    if (others.length > 0) throw fault('key agreement of another form');
    assertString(key, tags.octetString, WRAPPED_KEY_OCTETS);
    // RecipientKeyIdentifier: a date or another key attribute would be text to whoever likes.
    return ridOf(rid, only);
  });
}

/** [0] { [1] OriginatorPublicKey }. */
function assertOriginator(part: Tlv | undefined): void {
  const key = part !== undefined && isContext(part, 0) ? only(part) : undefined;
  if (!isContext(key, 1)) throw fault('key agreement with a key that lasts');
  const [algorithm, point, ...more] = key.children;
  if (more.length > 0) throw fault('key agreement of another form');
  assertAlgorithm(algorithm, AGREED_KEYS);
  assertString(point, tags.bitString, POINT_OCTETS);
}

function ridOf(rid: Tlv | undefined, keyIdOf: (rid: Tlv) => Tlv | undefined): Rid {
  if (rid === undefined) throw fault('a reader without a name');
  const [issuer, serial, ...more] = rid.children;
  if (isContext(rid, 0)) {
    const keyId = keyIdOf(rid);
    if (keyId === undefined || isConstructed(keyId)) throw fault('a reader whose name has another form');
    return { kind: 'key', keyId: opaque(keyId.content, KEY_ID_OCTETS) };
  }
  if (!isA(rid, tags.sequence) || !isA(issuer, tags.sequence) || more.length > 0) throw fault('a reader whose name has another form');
  if (issuer.bytes.length > MOST_ISSUER) throw fault('a reader whose name is too long');
  assertString(serial, tags.integer, SERIAL_OCTETS);
  return { kind: 'serial', issuer: issuer.bytes, serial: serial.bytes };
}

function assertVersion(part: Tlv | undefined): void {
  if (!isA(part, tags.integer) || part.content.length !== 1) throw fault('a reader of another version than CMS knows');
}

/** Parameters are made of names that are known, of NULL and of nothing: the label of OAEP is empty in mail. */
function assertAlgorithm(part: Tlv | undefined, known: ReadonlySet<string>): void {
  const [algorithm, parameters, ...more] = isA(part, tags.sequence) ? part.children : [];
  if (more.length > 0 || !known.has(oidText(algorithm, 'an algorithm'))) throw fault('a key under an algorithm that is not known');
  if (parameters !== undefined) assertNamesNothing(parameters);
}

function assertNamesNothing(part: Tlv): void {
  if (isConstructed(part)) part.children.forEach(assertNamesNothing);
  else if (part.content.length > 0 && !(isA(part, tags.oid) && PARAMETERS.has(oidText(part, 'a parameter'))))
    throw fault('a key under an algorithm whose parameters are not known');
}

function assertString(part: Tlv | undefined, tag: number, bounds: Bounds): asserts part is Tlv {
  if (!isA(part, tag) || isConstructed(part)) throw fault('a reader of another form');
  opaque(part.content, bounds);
}

interface Bounds {
  readonly least: number;
  readonly most: number;
}

/** What is no text, as far as its length lets tell. */
function opaque(octets: Buffer, { least, most }: Bounds): Buffer {
  if (octets.length < least || octets.length > most) throw fault('a part of a reader has an impossible length');
  if (looksReadable(octets)) throw fault('a part of a reader can be read');
  return octets;
}

const isA = (part: Tlv | undefined, tag: number): part is Tlv => part?.tagClass === UNIVERSAL && part.tag === tag;
const only = ({ children }: Tlv): Tlv | undefined => (children.length === 1 ? children[0] : undefined);
