/** An X.509 certificate as octets: what is signed, and its signature (RFC 5280 §4.1). What stands in it, issue.ts says. */
import { createHash, randomBytes, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { CERTIFICATE_LIMITS, expectTag, readDer, tags, UNIVERSAL } from '../der.ts';
import { bitString, explicit, integer, nullValue, octetString, oid, sequence, set, time, tlv, trueValue, utf8String } from '../encode.ts';

/** CA/B S/MIME requirements §7.1: at least 64 bits from a CSPRNG, so that no attacker foresees what the CA signs. */
const SERIAL_OCTETS = 16;
/** ub-common-name of RFC 5280 appendix A.1. */
export const MAX_COMMON_NAME = 64;

const commonName = '2.5.4.3';
const sha256WithRsa = '1.2.840.113549.1.1.11';
const ecdsaWithSha256 = '1.2.840.10045.4.3.2';

/** A name of one common name, cut where it is too long. */
export const nameOf = (text: string): Buffer =>
  sequence(set(sequence(oid(commonName), utf8String(Array.from(text).slice(0, MAX_COMMON_NAME).join('')))));

export const extension = (type: string, value: Buffer, critical = false): Buffer =>
  sequence(oid(type), ...(critical ? [trueValue] : []), octetString(value));

const spkiOf = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });

/** RFC 5280 §4.2.1.2 (1): SHA-1 over the key's bits. A label, no proof: nothing rests on its strength. */
export function keyIdOf(key: KeyObject): Buffer {
  const bits = expectTag(readDer(spkiOf(key), CERTIFICATE_LIMITS).children[1], UNIVERSAL, tags.bitString, 'the public key');
  return createHash('sha1').update(bits.content.subarray(1)).digest();
}

export interface CertificateContent {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly publicKey: KeyObject;
  readonly signer: KeyObject;
  /** ms since the epoch */
  readonly from: number;
  readonly to: number;
  readonly extensions: readonly Buffer[];
}

/** A certificate with a random serial number. */
export function signCertificate({ issuer, subject, publicKey, signer, from, to, extensions }: CertificateContent): Buffer {
  const algorithm = signatureAlgorithm(signer);
  const serial = randomBytes(SERIAL_OCTETS);
  // Positive and of full length, whatever was drawn: 126 bits of it are random.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const tbs = sequence(
    explicit(0, tlv(tags.integer, Buffer.from([2]))), // v3
    integer(serial),
    algorithm,
    issuer,
    sequence(time(new Date(from)), time(new Date(to))),
    subject,
    spkiOf(publicKey),
    explicit(3, sequence(...extensions)),
  );
  return signTbs(tbs, signer);
}

/** AlgorithmIdentifier of what `signer` signs with: SHA-256, since every reader verifies it (RFC 4055 §5, RFC 5758 §3.2). */
export const signatureAlgorithm = (signer: KeyObject): Buffer =>
  signer.asymmetricKeyType === 'rsa' ? sequence(oid(sha256WithRsa), nullValue) : sequence(oid(ecdsaWithSha256));

/** The form that certificates and lists share: what is signed, the algorithm, the signature (RFC 5280 §4.1.1, §5.1.1). */
export const signTbs = (tbs: Buffer, signer: KeyObject): Buffer =>
  sequence(tbs, signatureAlgorithm(signer), bitString(sign('sha256', tbs, signer)));
