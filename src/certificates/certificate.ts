/** Reading one X.509 certificate (RFC 5280 §4.1). It may come from anybody: limits first, then structure, then keys. */
import { createHash, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SealpostError } from '../errors.ts';
import { CERTIFICATE_LIMITS, expectTag, isContext, malformed, oidText, readDer, tags, UNIVERSAL } from './der.ts';
import type { Tlv } from './der.ts';
import { readExtensions } from './extensions.ts';
import type { Extensions } from './extensions.ts';
import { nameText } from './name.ts';
import { rsassaPss, strongHashes, strongSignatures } from './oids.ts';
import { judgeSealingKey } from './publickey.ts';
import type { PublicKeyKind } from './publickey.ts';

export type { PublicKeyKind } from './publickey.ts';

/** One X.509 certificate, read once. Everything that sealing, trust and choice ask of it. */
export interface Certificate extends Extensions {
  readonly der: Buffer;
  /** SHA-256 over `der`, lower-case hex. */
  readonly fingerprint: string;
  /** For people: RFC 4514-like, control characters escaped. */
  readonly subject: string;
  readonly issuer: string;
  /** Lower-case hex. */
  readonly serial: string;
  /** The exact TLVs of the certificate, copied and never re-encoded. */
  readonly issuerDer: Buffer;
  readonly serialDer: Buffer;
  readonly subjectDer: Buffer;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** mailboxKey() forms of the SAN rfc822Name and SmtpUTF8Mailbox entries. */
  readonly addresses: readonly string[];
  readonly publicKey: KeyObject;
  /** SubjectPublicKeyInfo as it stands there: equal octets are the same key. */
  readonly spkiDer: Buffer;
  /** Undefined where the key is of no kind that mail is sealed to; `keyFault` says why. */
  readonly key: PublicKeyKind | undefined;
  readonly keyFault: string | undefined;
  /** Why the signature on this certificate is not believed, whoever made it; undefined where its algorithm is sound. */
  readonly signatureFault: string | undefined;
  /** OIDs of SMIMECapabilities (RFC 4262), most preferred first; empty where the certificate has none. */
  readonly capabilities: readonly string[];
}

/** Throws `certificate-malformed` with the reason, whatever the octets; takes a copy of them. */
export function parseCertificate(der: Buffer): Certificate {
  try {
    return read(Buffer.from(der.subarray(0, CERTIFICATE_LIMITS.bytes + 1)));
  } catch (error) {
    throw error instanceof SealpostError ? error : malformed('it is not an X.509 certificate', error);
  }
}

function read(der: Buffer): Certificate {
  const whole = expectTag(readDer(der, CERTIFICATE_LIMITS), UNIVERSAL, tags.sequence, 'the certificate');
  const [tbs, outerAlgorithm] = whole.children;
  const fields = [...expectTag(tbs, UNIVERSAL, tags.sequence, 'tbsCertificate').children];
  if (isContext(fields[0], 0)) fields.shift(); // version: v1 has none, and nothing here depends on it
  const [serial, algorithm, issuer, validity, subject, spki, ...optional] = fields;
  const serialTlv = expectTag(serial, UNIVERSAL, tags.integer, 'serialNumber');
  const issuerTlv = expectTag(issuer, UNIVERSAL, tags.sequence, 'issuer');
  const subjectTlv = expectTag(subject, UNIVERSAL, tags.sequence, 'subject');
  const spkiTlv = expectTag(spki, UNIVERSAL, tags.sequence, 'subjectPublicKeyInfo');
  const times = expectTag(validity, UNIVERSAL, tags.sequence, 'validity').children;
  // RFC 5280 §4.1.1.2: the same in both places, else the signed half says less than it seems to.
  if (algorithm === undefined || outerAlgorithm?.bytes.equals(algorithm.bytes) !== true) {
    throw malformed('it names two different signature algorithms');
  }
  const [subjectText, issuerText] = [nameText(subjectTlv), nameText(issuerTlv)];
  const extensions = readExtensions(optional.find((field) => isContext(field, 3))?.children[0]);
  // Last, since OpenSSL has no limits of its own.
  const publicKey = readPublicKey(der);
  const verdict = judgeSealingKey(spkiTlv, publicKey);
  return {
    der,
    fingerprint: createHash('sha256').update(der).digest('hex'),
    subject: subjectText,
    issuer: issuerText,
    serial: serialTlv.content.toString('hex').replace(/^00(?=.)/, ''),
    issuerDer: issuerTlv.bytes,
    serialDer: serialTlv.bytes,
    subjectDer: subjectTlv.bytes,
    notBefore: readTime(times[0], 'notBefore'),
    notAfter: readTime(times[1], 'notAfter'),
    publicKey,
    spkiDer: spkiTlv.bytes,
    key: verdict.kind === 'key' ? verdict.key : undefined,
    keyFault: verdict.kind === 'fault' ? verdict.fault : undefined,
    signatureFault: signatureFault(algorithm),
    ...extensions,
  };
}

let latest: X509Certificate | undefined;
let latestDer: Buffer | undefined;

/**
 * What OpenSSL reads of `der`, the octets of a Certificate. It takes as long as a signature, and the one that was parsed last is mostly the
 * one that is judged next: that one is kept, and no more, since each takes kilobytes.
 */
export function readX509(der: Buffer): X509Certificate {
  if (latest === undefined || latestDer !== der) [latest, latestDer] = [new X509Certificate(der), der];
  return latest;
}

function readPublicKey(der: Buffer): KeyObject {
  try {
    return readX509(der).publicKey;
  } catch (cause) {
    // OpenSSL checks here that a point lies on its curve.
    throw malformed('its public key cannot be read', cause);
  }
}

/** UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5), nothing else. */
function readTime(tlv: Tlv | undefined, field: string): Date {
  if (tlv?.tag !== tags.utcTime && tlv?.tag !== tags.generalizedTime) throw malformed(`${field} is not a time`);
  let text = tlv.content.subarray(0, 16).toString('latin1');
  // RFC 5280 §4.1.2.5.1: two digits from 50 on are the last century.
  if (tlv.tag === tags.utcTime) text = (text < '50' ? '20' : '19') + text;
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  const date = parts === null ? undefined : new Date(`${parts[1]}-${parts[2]}-${parts[3]}T${parts[4]}:${parts[5]}:${parts[6]}Z`);
  if (date === undefined || Number.isNaN(date.getTime())) throw malformed(`${field} is not a time in UTC`);
  return date;
}

function signatureFault(algorithm: Tlv): string | undefined {
  const oid = oidText(algorithm.children[0], 'the signature algorithm');
  if (strongSignatures.has(oid)) return undefined;
  if (oid !== rsassaPss) return `signed with ${weakNames[oid] ?? oid}, which is not taken`;
  const hash = algorithm.children[1]?.children.find((field) => isContext(field, 0))?.children[0];
  return hash !== undefined && strongHashes.has(oidText(hash.children[0], 'the hash of the signature'))
    ? undefined
    : 'signed with RSASSA-PSS and SHA-1, which is not taken';
}

const weakNames: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.2': 'MD2',
  '1.2.840.113549.1.1.4': 'MD5',
  '1.2.840.113549.1.1.5': 'SHA-1',
  '1.2.840.10045.4.1': 'SHA-1',
};
