/**
 * PKCS#12 (RFC 7292) for the readers of issued certificates. RSA goes with 3DES and SHA-1, the only form that gpgsm 2.2 and old
 * Windows import; the strength lies in the generated password. EC goes with AES-256 and HMAC-SHA-256: what old programs
 * choke on is the EC key itself, so nothing is won by the old ciphers.
 */
import { createCipheriv, randomBytes, randomInt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SealpostError } from '../../errors.ts';
import type { Certificate } from '../certificate.ts';
import { tags } from '../der.ts';
import { explicit, implicit, integer, nullValue, octetString, oid, sequence, set, tlv, wholeNumber } from '../encode.ts';
import { misreadByGpgsm, pkcs12Mac, tripleDesKey } from './kdf.ts';
import { encryptPbes2, type Encrypted } from './pbes2.ts';

export interface Pkcs12Options {
  readonly key: KeyObject;
  readonly certificate: Certificate;
  /** Those of the CAs from the one that signed it up to the root, so that the reader's program can show a path and offer to trust it. */
  readonly authorities: readonly Certificate[];
  readonly passphrase: string;
  /** What key stores show: the address. */
  readonly friendlyName: string;
}

/** openssl's own default; the passphrase is random and wants no stretching. */
const ITERATIONS = 2048;
const iterations = wholeNumber(ITERATIONS);
const SALT_OCTETS = 16;
/** What everybody writes with 3DES. */
const TRIPLE_DES_SALT_OCTETS = 8;

/** RFC 7292 appendix D: bag types; RFC 2985 §5.5: attributes that tie a key to its certificate. */
const shroudedKeyBag = '1.2.840.113549.1.12.10.1.2';
const certBag = '1.2.840.113549.1.12.10.1.3';
const friendlyNameAttribute = '1.2.840.113549.1.9.20';
const localKeyIdAttribute = '1.2.840.113549.1.9.21';
const pbeWithSha1And3Des = '1.2.840.113549.1.12.1.3';
const x509Certificate = '1.2.840.113549.1.9.22.1';
/** RFC 5652 §4, §8; RFC 5754. */
const data = '1.2.840.113549.1.7.1';
const encryptedData = '1.2.840.113549.1.7.6';
const hashOids = { sha1: '1.3.14.3.2.26', sha256: '2.16.840.1.101.3.4.2.1' } as const;

/** How a PKCS#12 is closed: keys and certificates each encrypted, all of it under a MAC. */
interface Protection {
  readonly encrypt: (content: Buffer, passphrase: string) => Encrypted;
  readonly mac: 'sha1' | 'sha256';
}

export function writePkcs12(options: Pkcs12Options): Buffer {
  try {
    return write(options, options.key.asymmetricKeyType === 'rsa' ? classic : modern);
  } catch (cause) {
    throw new SealpostError('internal', { detail: 'the PKCS#12 could not be made', cause });
  }
}

const classic: Protection = { encrypt: encryptTripleDes, mac: 'sha1' };
const modern: Protection = { encrypt: (content, passphrase) => encryptPbes2(content, passphrase, ITERATIONS), mac: 'sha256' };

/** RFC 7292 appendix C. Once more with another salt until gpgsm reads it too; one try is nearly always enough. */
function encryptTripleDes(content: Buffer, passphrase: string): Encrypted {
  let salt = randomBytes(TRIPLE_DES_SALT_OCTETS);
  while (misreadByGpgsm(passphrase, salt, ITERATIONS)) salt = randomBytes(TRIPLE_DES_SALT_OCTETS);
  const { key, iv } = tripleDesKey(passphrase, salt, ITERATIONS);
  const cipher = createCipheriv('des-ede3-cbc', key, iv);
  const ciphertext = Buffer.concat([cipher.update(content), cipher.final()]);
  return { algorithm: sequence(oid(pbeWithSha1And3Des), sequence(octetString(salt), iterations)), ciphertext };
}

/** In the order of openssl. Certificates are encrypted as well: of several in the clear gpgsm 2.2 takes the first alone. */
function write({ key, certificate, authorities, passphrase, friendlyName }: Pkcs12Options, { encrypt, mac }: Protection): Buffer {
  const attributes = set(
    sequence(oid(friendlyNameAttribute), set(tlv(tags.bmpString, Buffer.from(friendlyName, 'utf16le').swap16()))),
    sequence(oid(localKeyIdAttribute), set(octetString(Buffer.from(certificate.fingerprint, 'hex')))),
  );
  const bagOf = ({ der }: Certificate): Buffer => explicit(0, sequence(oid(x509Certificate), explicit(0, octetString(der))));
  const certificates = encrypt(
    sequence(
      sequence(oid(certBag), bagOf(certificate), attributes),
      ...authorities.map((authority) => sequence(oid(certBag), bagOf(authority))),
    ),
    passphrase,
  );
  const shrouded = encrypt(key.export({ type: 'pkcs8', format: 'der' }), passphrase);
  // EncryptedData (RFC 5652 §8), and EncryptedPrivateKeyInfo (RFC 5958 §3).
  const closed = sequence(integer(Buffer.from([0])), sequence(oid(data), certificates.algorithm, implicit(0, certificates.ciphertext)));
  const keyInfo = sequence(shrouded.algorithm, octetString(shrouded.ciphertext));
  const safe = sequence(
    sequence(oid(encryptedData), explicit(0, closed)),
    sequence(oid(data), explicit(0, octetString(sequence(sequence(oid(shroudedKeyBag), explicit(0, keyInfo), attributes))))),
  );
  const salt = randomBytes(SALT_OCTETS);
  const tag = pkcs12Mac(safe, passphrase, { hash: mac, salt, iterations: ITERATIONS });
  return sequence(
    integer(Buffer.from([3])), // v3, RFC 7292 §4
    sequence(oid(data), explicit(0, octetString(safe))),
    sequence(sequence(sequence(oid(hashOids[mac]), nullValue), octetString(tag)), octetString(salt), iterations),
  );
}

/** Letters and figures that nobody takes for another when a password is read out on the telephone. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';
const GROUPS = 5;
const GROUP_LETTERS = 4;

/** `abcd-efgh-jkmn-pqrs-tuvw`: 99 bits. */
export const generatePassphrase = (): string =>
  Array.from({ length: GROUPS }, () => Array.from({ length: GROUP_LETTERS }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')).join(
    '-',
  );
