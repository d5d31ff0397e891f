/** Opens a sealed message as its reader would. The message is in memory; nothing on the sealing path comes here. */
import { constants, createDecipheriv, createPublicKey, diffieHellman, type KeyObject, privateDecrypt, randomBytes } from 'node:crypto';
import * as asn1js from 'asn1js';
import type { Certificate } from '../certificates/certificate.ts';
import { SealpostError } from '../errors.ts';
import { agreements, type Cipher, cipherNames, ciphers } from './algorithms.ts';
import { sequence } from '../certificates/encode.ts';
import { deriveKey, KEY_WRAP_IV } from './recipients.ts';
import { algorithmId, parseSealed, type Recipient, type SealedStructure } from './structure.ts';

/** A private key, and the certificate that tells which RecipientInfo is its own; without it every one is tried. */
export interface Identity {
  readonly key: KeyObject;
  readonly certificate?: Certificate;
}

export interface Opened {
  readonly entity: Buffer;
  readonly cipher: Cipher;
  readonly recipients: readonly Recipient[];
}

/** Throws `message-not-sealed`, `message-not-for-key`, or `message-tampered` where the authentication code does not fit. */
export function openMessage(message: Buffer, identities: readonly Identity[]): Opened {
  const sealed = parseSealed(message);
  const cipher = cipherNames.find((name) => ciphers[name].id === sealed.cipherId);
  if (cipher === undefined)
    throw new SealpostError('message-not-sealed', { detail: `content cipher ${sealed.cipherId} is not one sealpost opens` });
  let failure: unknown;
  for (const { identity, recipient } of matches(identities, sealed.recipients)) {
    try {
      return {
        entity: decrypt(sealed, cipher, contentKey(recipient, identity.key, ciphers[cipher].keyOctets)),
        cipher,
        recipients: sealed.recipients,
      };
    } catch (error) {
      failure = error;
    }
  }
  if (failure instanceof SealpostError) throw failure;
  throw new SealpostError('message-not-for-key', { cause: failure });
}

function* matches(
  identities: readonly Identity[],
  recipients: readonly Recipient[],
): Generator<{ identity: Identity; recipient: Recipient }> {
  for (const identity of identities) {
    const name = identity.certificate && sequence(identity.certificate.issuerDer, identity.certificate.serialDer);
    for (const recipient of recipients) {
      const fits = (recipient.agreement === undefined) === (identity.key.asymmetricKeyType === 'rsa');
      if (fits && (name === undefined || recipient.issuerAndSerial === undefined || name.equals(recipient.issuerAndSerial)))
        yield { identity, recipient };
    }
  }
}

/**
 * The content key, as each RecipientInfo that may be for these identities gives it: `length` octets, whatever was in there, so that only
 * what it opens tells whether it is the one. None where there is no such RecipientInfo.
 */
export function* contentKeys(recipients: readonly Recipient[], identities: readonly Identity[], length: number): Generator<Buffer> {
  for (const { identity, recipient } of matches(identities, recipients)) {
    try {
      yield contentKey(recipient, identity.key, length);
    } catch (error) {
      // OAEP and key agreement find out by themselves that a key is not theirs.
      if (error instanceof SealpostError) throw error;
    }
  }
}

function contentKey(recipient: Recipient, key: KeyObject, length: number): Buffer {
  const found = recipient.agreement === undefined ? transported(recipient, key) : agreed(recipient, recipient.agreement, key);
  // RFC 3218 §2.3.2: PKCS#1 v1.5 padding answers with random bytes where it does not fit; a wrong length is treated alike.
  return found.length === length ? found : randomBytes(length);
}

const RSA_OAEP = '1.2.840.113549.1.1.7';
const hashNames: Readonly<Record<string, string>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

function transported({ algorithm, encryptedKey }: Recipient, key: KeyObject): Buffer {
  if (algorithm.id !== RSA_OAEP) return privateDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, encryptedKey);
  return privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: oaepHash(algorithm.parameters) }, encryptedKey);
}

/** RFC 8017 A.2.1: [0] hashAlgorithm, SHA-1 where it is absent. */
function oaepHash(parameters: Buffer | undefined): string {
  const block = parameters === undefined ? undefined : asn1js.fromBER(parameters).result;
  const parts = block instanceof asn1js.Sequence ? block.valueBlock.value : [];
  const hash = parts.find((part) => part.idBlock.tagNumber === 0);
  if (!(hash instanceof asn1js.Constructed)) return 'sha1';
  return hashNames[algorithmId(hash.valueBlock.value[0]).id] ?? 'sha1';
}

const kdfHashes: Readonly<Record<string, string>> = {
  '1.3.133.16.840.63.0.2': 'sha1',
  '1.3.132.1.11.0': 'sha224',
  '1.3.132.1.11.1': 'sha256',
  '1.3.132.1.11.2': 'sha384',
  '1.3.132.1.11.3': 'sha512',
};

/** RFC 5753 §3.1.3: the wrap algorithm enters the derivation as its very octets, NULL or not. */
function agreed({ algorithm, encryptedKey }: Recipient, agreement: NonNullable<Recipient['agreement']>, key: KeyObject): Buffer {
  const wrapDer = algorithm.parameters ?? Buffer.alloc(0);
  const wrapId = algorithmId(asn1js.fromBER(wrapDer).result).id;
  const wrap = Object.entries(agreements).find(([, entry]) => entry.wrap === wrapId);
  const hash = kdfHashes[algorithm.id];
  if (wrap === undefined || hash === undefined)
    throw new SealpostError('message-not-sealed', { detail: `key agreement ${algorithm.id} is not one sealpost opens` });
  const shared = diffieHellman({ privateKey: key, publicKey: publicKeyOf(agreement.originatorKey, key) });
  const keyEncryptionKey = deriveKey(hash, shared, wrapDer, Number(wrap[0]), agreement.ukm);
  const decipher = createDecipheriv(wrap[1].wrapCipher, keyEncryptionKey, KEY_WRAP_IV);
  return Buffer.concat([decipher.update(encryptedKey), decipher.final()]);
}

/** The originator's point as a key on the curve of our own. */
function publicKeyOf(point: Buffer, own: KeyObject): KeyObject {
  const { crv = '' } = own.export({ format: 'jwk' });
  const half = (point.length - 1) / 2;
  const x = point.subarray(1, 1 + half).toString('base64url');
  const y = point.subarray(1 + half).toString('base64url');
  return createPublicKey({ key: { kty: 'EC', crv, x, y }, format: 'jwk' });
}

function decrypt(sealed: SealedStructure, cipher: Cipher, key: Buffer): Buffer {
  if (cipher === 'aes-256-gcm') {
    // A shorter tag is easier to forge (RFC 5084 §3.2 allows 12 to 16 octets).
    if (sealed.tag.length < 12)
      throw new SealpostError('message-tampered', { detail: `an authentication code of ${sealed.tag.length} octets` });
    const decipher = createDecipheriv(cipher, key, sealed.iv, { authTagLength: sealed.tag.length }).setAuthTag(sealed.tag);
    if (sealed.authenticatedAttributes.length > 0) decipher.setAAD(sealed.authenticatedAttributes);
    try {
      return Buffer.concat([decipher.update(sealed.ciphertext), decipher.final()]);
    } catch (cause) {
      throw new SealpostError('message-tampered', { cause });
    }
  }
  const decipher = createDecipheriv(cipher, key, sealed.iv);
  return Buffer.concat([decipher.update(sealed.ciphertext), decipher.final()]);
}
