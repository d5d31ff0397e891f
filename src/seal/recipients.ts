/**
 * RecipientInfos (RFC 5652 §6.2): the content key, once for each certificate of the one reader a message is for.
 */
import { constants, createCipheriv, createHash, diffieHellman, generateKeyPairSync, type KeyObject, publicEncrypt } from 'node:crypto';
import type { Certificate } from '../certificates/certificate.ts';
import { SealpostError } from '../errors.ts';
import { agreements, ids, type KeyTransport } from './algorithms.ts';
import { bitString, explicit, integer, nullValue, octetString, oid, sequence } from '../certificates/encode.ts';

/** One RecipientInfo for one certificate. Always issuerAndSerialNumber: gpgsm cannot find a key by subjectKeyIdentifier. */
export function recipientInfo(certificate: Certificate, contentKey: Buffer, keyTransport: KeyTransport): Buffer {
  switch (certificate.key?.type) {
    case 'rsa':
      return keyTransRecipientInfo(certificate, contentKey, keyTransport);
    case 'ec':
      return keyAgreeRecipientInfo(certificate, contentKey);
    case undefined:
      throw new SealpostError('certificate-unusable', { detail: `${certificate.fingerprint}: a key of a kind that mail is not sealed to` });
  }
}

/** The issuer's octets are the certificate's own, never re-encoded: readers compare them octet for octet. */
const issuerAndSerialNumber = (certificate: Certificate): Buffer => sequence(certificate.issuerDer, certificate.serialDer);

const sha256Algorithm = sequence(ids.sha256, nullValue);

/** RFC 8017 A.2.1: both hashes written out, since the defaults are SHA-1 and readers differ in what they take an absent one for. */
const keyTransports = {
  'rsaes-pkcs1': {
    algorithm: sequence(ids.rsaEncryption, nullValue),
    padding: { padding: constants.RSA_PKCS1_PADDING },
  },
  'rsaes-oaep': {
    algorithm: sequence(ids.rsaesOaep, sequence(explicit(0, sha256Algorithm), explicit(1, sequence(ids.mgf1, sha256Algorithm)))),
    padding: { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
  },
} as const;

/** RFC 5652 §6.2.1. */
function keyTransRecipientInfo(certificate: Certificate, contentKey: Buffer, keyTransport: KeyTransport): Buffer {
  const { algorithm, padding } = keyTransports[keyTransport];
  const encryptedKey = publicEncrypt({ key: certificate.publicKey, ...padding }, contentKey);
  return sequence(integer(Buffer.from([0])), issuerAndSerialNumber(certificate), algorithm, octetString(encryptedKey));
}

/** RFC 5652 §6.2.2 with RFC 5753 §3.1: ephemeral-static ECDH; the ephemeral key serves this one RecipientInfo. */
function keyAgreeRecipientInfo(certificate: Certificate, contentKey: Buffer): Buffer {
  const agreement = agreements[contentKey.length === 16 ? 16 : 32];
  // NULL behind the wrap algorithm: Outlook cannot decrypt without it, and it enters the derivation below.
  const wrapAlgorithm = sequence(oid(agreement.wrap), nullValue);
  const ephemeral = generateKeyPairSync('ec', { namedCurve: namedCurve(certificate.publicKey) });
  const shared = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: certificate.publicKey });
  const keyEncryptionKey = deriveKey(agreement.hash, shared, wrapAlgorithm, contentKey.length);
  const wrapped = wrapKey(agreement.wrapCipher, keyEncryptionKey, contentKey);
  const originatorKey = explicit(1, sequence(ids.ecPublicKey), bitString(publicPoint(ephemeral.publicKey)));
  return explicit(
    1,
    integer(Buffer.from([3])),
    explicit(0, originatorKey),
    sequence(oid(agreement.scheme), wrapAlgorithm),
    sequence(sequence(issuerAndSerialNumber(certificate), octetString(wrapped))),
  );
}

function namedCurve(key: KeyObject): string {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve === undefined) throw new SealpostError('certificate-unusable', { detail: 'an EC key without a named curve' });
  return curve;
}

/** The uncompressed point (SEC 1 §2.3.3); JWK coordinates have the full length of the field. */
function publicPoint(key: KeyObject): Buffer {
  const { x, y } = key.export({ format: 'jwk' });
  return Buffer.concat([Buffer.from([4]), Buffer.from(x ?? '', 'base64url'), Buffer.from(y ?? '', 'base64url')]);
}

/** X9.63 KDF over ECC-CMS-SharedInfo (RFC 5753 §7.2) */
export function deriveKey(hash: string, shared: Buffer, wrapAlgorithm: Buffer, length: number, ukm?: Buffer): Buffer {
  const bits = Buffer.alloc(4);
  bits.writeUInt32BE(length * 8);
  const entityInfo = ukm === undefined ? [] : [explicit(0, octetString(ukm))];
  const sharedInfo = sequence(wrapAlgorithm, ...entityInfo, explicit(2, octetString(bits)));
  const blocks: Buffer[] = [];
  for (let counter = 1, have = 0; have < length; counter++) {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(counter);
    const block = createHash(hash).update(shared).update(count).update(sharedInfo).digest();
    blocks.push(block);
    have += block.length;
  }
  return Buffer.concat(blocks).subarray(0, length);
}

/** RFC 3394 §2.2.3.1. */
export const KEY_WRAP_IV = Buffer.alloc(8, 0xa6);

function wrapKey(cipherName: string, keyEncryptionKey: Buffer, contentKey: Buffer): Buffer {
  const cipher = createCipheriv(cipherName, keyEncryptionKey, KEY_WRAP_IV);
  return Buffer.concat([cipher.update(contentKey), cipher.final()]);
}
