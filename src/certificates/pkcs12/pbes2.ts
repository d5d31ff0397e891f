/** Encryption under a passphrase: PBES2 of PBKDF2 with HMAC-SHA-256 and AES-256-CBC (RFC 8018 §6.2), which every reader has. */
import { createCipheriv, pbkdf2Sync, randomBytes } from 'node:crypto';
import { nullValue, octetString, oid, sequence, wholeNumber } from '../encode.ts';

/** RFC 8018 appendix C; RFC 3565. */
const pbkdf2 = '1.2.840.113549.1.5.12';
const pbes2 = '1.2.840.113549.1.5.13';
const hmacWithSha256 = '1.2.840.113549.2.9';
const aes256Cbc = '2.16.840.1.101.3.4.1.42';

const SALT_OCTETS = 16;
const IV_OCTETS = 16;
const KEY_OCTETS = 32;

/** AlgorithmIdentifier and ciphertext. `iterations` below 2³¹. */
export function encryptPbes2(
  content: Buffer,
  passphrase: string,
  iterations: number,
): { readonly algorithm: Buffer; readonly ciphertext: Buffer } {
  const salt = randomBytes(SALT_OCTETS);
  const iv = randomBytes(IV_OCTETS);
  const key = pbkdf2Sync(passphrase, salt, iterations, KEY_OCTETS, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const ciphertext = Buffer.concat([cipher.update(content), cipher.final()]);
  const derivation = sequence(oid(pbkdf2), sequence(octetString(salt), wholeNumber(iterations), sequence(oid(hmacWithSha256), nullValue)));
  return { algorithm: sequence(oid(pbes2), sequence(derivation, sequence(oid(aes256Cbc), octetString(iv)))), ciphertext };
}
