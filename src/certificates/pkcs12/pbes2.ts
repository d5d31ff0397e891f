/** Encryption under a passphrase: PBES2 of PBKDF2 with HMAC-SHA-256 and AES-256-CBC (RFC 8018 §6.2), which every reader has. */
import { createCipheriv, createDecipheriv, pbkdf2 as derive, pbkdf2Sync, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { readDer } from '../der.ts';
import { nullValue, octetString, oid, sequence, wholeNumber } from '../encode.ts';

/** RFC 8018 appendix C; RFC 3565. */
const pbkdf2 = '1.2.840.113549.1.5.12';
const pbes2 = '1.2.840.113549.1.5.13';
const hmacWithSha256 = '1.2.840.113549.2.9';
const aes256Cbc = '2.16.840.1.101.3.4.1.42';

const SALT_OCTETS = 16;
const IV_OCTETS = 16;
const KEY_OCTETS = 32;

export interface Encrypted {
  /** The AlgorithmIdentifier with its parameters. */
  readonly algorithm: Buffer;
  readonly ciphertext: Buffer;
}

/** `iterations` below 2³¹. */
export function encryptPbes2(content: Buffer, passphrase: string, iterations: number): Encrypted {
  const salt = randomBytes(SALT_OCTETS);
  const iv = randomBytes(IV_OCTETS);
  const key = pbkdf2Sync(passphrase, salt, iterations, KEY_OCTETS, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const ciphertext = Buffer.concat([cipher.update(content), cipher.final()]);
  return { algorithm: algorithmOf(salt, iterations, iv), ciphertext };
}

function algorithmOf(salt: Buffer, iterations: number, iv: Buffer): Buffer {
  const derivation = sequence(oid(pbkdf2), sequence(octetString(salt), wholeNumber(iterations), sequence(oid(hmacWithSha256), nullValue)));
  return sequence(oid(pbes2), sequence(derivation, sequence(oid(aes256Cbc), octetString(iv))));
}

/** An EncryptedPrivateKeyInfo (RFC 5958 §3) is a fortieth of it. */
const LIMITS = { bytes: 64 * 1024, nodes: 100, depth: 8 };
const MAX_ITERATIONS = 10_000_000;
const deriveApart = promisify(derive);

/**
 * What an EncryptedPrivateKeyInfo of just this form holds, its rounds counted on another thread; undefined where it has another form.
 * Throws where the passphrase does not open it, mostly: what comes of a wrong one may look well padded by chance.
 */
export async function decryptPbes2(der: Buffer, passphrase: string): Promise<Buffer | undefined> {
  const found = readOwnForm(der);
  if (found === undefined) return undefined;
  const { salt, iterations, iv, ciphertext } = found;
  const key = await deriveApart(passphrase, salt, iterations, KEY_OCTETS, 'sha256');
  const decipher = createDecipheriv('aes-256-cbc', key, iv);
  const [begin, end] = [decipher.update(ciphertext), decipher.final()];
  const content = Buffer.concat([begin, end]);
  for (const part of [begin, end, key]) part.fill(0);
  return content;
}

function readOwnForm(der: Buffer) {
  try {
    const [algorithm, ciphertext] = readDer(der, LIMITS).children;
    const [derivation, encryption] = algorithm?.children[1]?.children ?? [];
    const [salt, count] = derivation?.children[1]?.children ?? [];
    const iv = encryption?.children[1]?.content;
    if (algorithm === undefined || ciphertext === undefined || salt === undefined || count === undefined || iv === undefined)
      return undefined;
    const iterations = count.content.length <= 4 && count.content.length > 0 ? count.content.readUIntBE(0, count.content.length) : 0;
    if (iterations < 1 || iterations > MAX_ITERATIONS || iv.length !== IV_OCTETS) return undefined;
    // Written anew from its three variables it is the same, or it is another form.
    if (!algorithmOf(salt.content, iterations, iv).equals(algorithm.bytes)) return undefined;
    return { salt: salt.content, iterations, iv, ciphertext: ciphertext.content };
  } catch {
    return undefined; // no DER: whoever reads every form says what is wrong with it
  }
}
