/**
 * What an OCSP responder is asked (RFC 6960 §4.1, RFC 5019 §2.1): one certificate, named by the hashes of its issuer and its serial
 * number. SHA-1 is only a name here, which nobody gains by forging, and the one that every responder knows.
 *
 * No nonce is sent. RFC 5019 responders sign ahead of time and ignore it, some refuse it, and what it would buy, that an old `good`
 * is not played again, the times of the answer bound just as those of a revocation list do.
 */
import { createHash } from 'node:crypto';
import type { Certificate } from '../certificate.ts';
import { CERTIFICATE_LIMITS, expectTag, isContext, readDer, tags, UNIVERSAL } from '../der.ts';
import { nullValue, octetString, oid, sequence } from '../encode.ts';

/** RFC 3279 §2.2.1. */
export const idSha1 = '1.3.14.3.2.26';

/** CertID, RFC 6960 §4.1.1. */
export interface CertId {
  /** SHA-1 over the DER of the issuer's name. */
  readonly nameHash: Buffer;
  /** SHA-1 over the bits of the issuer's key, without tag, length and count of unused bits. */
  readonly keyHash: Buffer;
  /** The INTEGER as it stands in the certificate. */
  readonly serialDer: Buffer;
}

export function certIdOf(certificate: Certificate, issuer: Certificate): CertId {
  return { nameHash: sha1(issuer.subjectDer), keyHash: keyHashOf(issuer), serialDer: certificate.serialDer };
}

/** Also how a responder names itself by its key (RFC 6960 §4.2.1, KeyHash). */
export function keyHashOf(certificate: Certificate): Buffer {
  const fields = [...(readDer(certificate.der, CERTIFICATE_LIMITS).children[0]?.children ?? [])];
  if (isContext(fields[0], 0)) fields.shift();
  // Behind serial, algorithm, issuer, validity and subject.
  const bits = expectTag(fields[5]?.children[1], UNIVERSAL, tags.bitString, 'the public key');
  return sha1(bits.content.subarray(1));
}

export const ocspRequestType = 'application/ocsp-request';

/** OCSPRequest with one Request and nothing else. */
export function ocspRequest({ nameHash, keyHash, serialDer }: CertId): Buffer {
  const certId = sequence(sequence(oid(idSha1), nullValue), octetString(nameHash), octetString(keyHash), serialDer);
  return sequence(sequence(sequence(sequence(certId))));
}

const sha1 = (octets: Buffer): Buffer => createHash('sha1').update(octets).digest();
