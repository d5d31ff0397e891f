/** Private keys as readers keep them: PKCS#12 from openssl, NSS, Windows and ourselves, and PEM. For `open` and `issue`. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { parseCertificate } from '../certificate.ts';
import type { Certificate } from '../certificate.ts';
import { readPfx, unreadable, WRONG_PASSPHRASE } from './pfx.ts';

/** A key and the certificate that names it; `others` is what else the PKCS#12 held, mostly CAs. */
export interface KeyPair {
  readonly key: KeyObject;
  readonly certificate: Certificate;
  readonly others: readonly Certificate[];
}

const MAX_KEY_FILE = 1024 * 1024;

/**
 * Every key of the PKCS#12 that has its certificate beside it, in the order of the file; never an empty list. Throws
 * `key-malformed`, whose hint tells a wrong password from a file of another kind.
 */
export function openPkcs12(bytes: Buffer, passphrase: string): readonly KeyPair[] {
  if (bytes.length > MAX_KEY_FILE) throw unreadable(`more than ${MAX_KEY_FILE} octets`, 'that is no PKCS#12 of a person');
  const contents = readPfx(bytes, passphrase);
  const keys = contents.keys.map(keyOf);
  const certificates = contents.certificates.map(parseCertificate);
  const pairs = keys.flatMap((key) => {
    const certificate = certificates.find((candidate) => isKeyOf(key, candidate));
    return certificate === undefined ? [] : [{ key, certificate, others: certificates.filter((other) => other !== certificate) }];
  });
  if (pairs.length === 0) {
    throw unreadable(
      `${keys.length} keys and ${certificates.length} certificates, none of which belong together`,
      'export it with its private key',
    );
  }
  return pairs;
}

function keyOf(pkcs8: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  } catch (cause) {
    throw unreadable('a private key of a kind that is not read', 'RSA and EC keys are', cause);
  }
}

/** A private key in PEM (PKCS#8, PKCS#1, SEC 1), or PKCS#8 DER; `passphrase` where it is encrypted. Throws `key-malformed`. */
export function readKeyPem(bytes: Buffer, passphrase?: string): KeyObject {
  if (bytes.length > MAX_KEY_FILE) throw unreadable(`more than ${MAX_KEY_FILE} octets`, 'that is no private key');
  const text = bytes.toString('latin1');
  const encrypted = text.includes('ENCRYPTED');
  if (encrypted && passphrase === undefined)
    throw unreadable(
      'it is encrypted and no password was given',
      'give the password of the key: a command takes --passphrase file:PATH or env:NAME',
    );
  try {
    if (text.includes('-----BEGIN'))
      return createPrivateKey({ key: text, format: 'pem', ...(passphrase === undefined ? {} : { passphrase }) });
    return createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8', ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (cause) {
    if (encrypted) throw unreadable(WRONG_PASSPHRASE, 'is it the password of this key?', cause);
    throw unreadable('not a private key in PEM', 'it begins with -----BEGIN PRIVATE KEY-----; for a .p12 use --p12', cause);
  }
}

/** Whether the private key belongs to the certificate. */
export const isKeyOf = (key: KeyObject, certificate: Certificate): boolean =>
  publicHalf(key).equals(certificate.publicKey.export({ type: 'spki', format: 'der' }));

const publicHalf = (key: KeyObject): Buffer =>
  createPublicKey(key.export({ type: 'pkcs8', format: 'pem' })).export({ type: 'spki', format: 'der' });
