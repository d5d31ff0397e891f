/**
 * PKCS#12 (RFC 7292) for the readers of issued certificates. RSA goes with 3DES and SHA-1, the only form that gpgsm 2.2 and old
 * Windows import; the strength lies in the generated password. EC goes with AES-256 and HMAC-SHA-256: what old programs
 * choke on is the EC key itself, so nothing is won by the old ciphers.
 */
import { randomBytes, randomInt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import forge from 'node-forge';
import { SealpostError } from '../../errors.ts';
import type { Certificate } from '../certificate.ts';
import { tags } from '../der.ts';
import { explicit, implicit, integer, nullValue, octetString, oid, sequence, set, tlv, wholeNumber } from '../encode.ts';
import { certificatePem } from '../pem.ts';
import { misreadByGpgsm, pkcs12Mac } from './kdf.ts';
import { encryptPbes2 } from './pbes2.ts';

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
const sha256 = '2.16.840.1.101.3.4.2.1';

export function writePkcs12(options: Pkcs12Options): Buffer {
  const { certificate, authorities } = options;
  // node-forge knows RSA only, in every certificate of the bag.
  const classic = [certificate, ...authorities].every(({ publicKey }) => publicKey.asymmetricKeyType === 'rsa');
  try {
    return classic ? writeClassic(options) : writeModern(options);
  } catch (cause) {
    throw new SealpostError('internal', { detail: 'the PKCS#12 could not be made', cause });
  }
}

/** Written again with other salts until gpgsm can read it too; one try is nearly always enough. */
function writeClassic(options: Pkcs12Options): Buffer {
  for (;;) {
    const pfx = writeWithForge(options);
    if (!tripleDesSalts(pfx).some((salt) => misreadByGpgsm(options.passphrase, salt, ITERATIONS))) return pfx;
  }
}

function writeWithForge({ key, certificate, authorities, passphrase, friendlyName }: Pkcs12Options): Buffer {
  const pfx = forge.pkcs12.toPkcs12Asn1(
    forge.pki.privateKeyFromPem(key.export({ type: 'pkcs8', format: 'pem' }).toString()),
    [certificate, ...authorities].map((one) => forge.pki.certificateFromPem(certificatePem(one))),
    passphrase,
    { algorithm: '3des', count: ITERATIONS, friendlyName },
  );
  return Buffer.from(forge.asn1.toDer(pfx).getBytes(), 'latin1');
}

/** SEQUENCE and OCTET STRING headers in front of an eight-octet salt (RFC 7292 appendix C). */
const SALT_OFFSET = 4;
const FORGE_SALT_OCTETS = 8;

/** The salts behind each pbeWithSHAAnd3-KeyTripleDES-CBC in what forge wrote. */
function tripleDesSalts(pfx: Buffer): Buffer[] {
  const algorithm = oid(pbeWithSha1And3Des);
  const salts: Buffer[] = [];
  for (let at = pfx.indexOf(algorithm); at >= 0; at = pfx.indexOf(algorithm, at + 1)) {
    const start = at + algorithm.length + SALT_OFFSET;
    salts.push(pfx.subarray(start, start + FORGE_SALT_OCTETS));
  }
  if (salts.length === 0) throw new Error('node-forge wrote another cipher than it was asked for');
  return salts;
}

function writeModern({ key, certificate, authorities, passphrase, friendlyName }: Pkcs12Options): Buffer {
  const attributes = set(
    sequence(oid(friendlyNameAttribute), set(tlv(tags.bmpString, Buffer.from(friendlyName, 'utf16le').swap16()))),
    sequence(oid(localKeyIdAttribute), set(octetString(Buffer.from(certificate.fingerprint, 'hex')))),
  );
  // OpenSSL writes EncryptedPrivateKeyInfo with PBES2, PBKDF2 and HMAC-SHA-256.
  const shrouded = key.export({ type: 'pkcs8', format: 'der', cipher: 'aes-256-cbc', passphrase });
  const keys = sequence(sequence(oid(shroudedKeyBag), explicit(0, shrouded), attributes));
  const bagOf = ({ der }: Certificate): Buffer => explicit(0, sequence(oid(x509Certificate), explicit(0, octetString(der))));
  const certificates = sequence(
    sequence(oid(certBag), bagOf(certificate), attributes),
    ...authorities.map((authority) => sequence(oid(certBag), bagOf(authority))),
  );
  const safe = sequence(
    sequence(oid(data), explicit(0, octetString(keys))),
    sequence(oid(encryptedData), explicit(0, encrypted(certificates, passphrase))),
  );
  const salt = randomBytes(SALT_OCTETS);
  const mac = pkcs12Mac(safe, passphrase, { hash: 'sha256', salt, iterations: ITERATIONS });
  return sequence(
    integer(Buffer.from([3])), // v3, RFC 7292 §4
    sequence(oid(data), explicit(0, octetString(safe))),
    sequence(sequence(sequence(oid(sha256), nullValue), octetString(mac)), octetString(salt), iterations),
  );
}

/** EncryptedData (RFC 5652 §8). */
function encrypted(content: Buffer, passphrase: string): Buffer {
  const { algorithm, ciphertext } = encryptPbes2(content, passphrase, ITERATIONS);
  return sequence(integer(Buffer.from([0])), sequence(oid(data), algorithm, implicit(0, ciphertext)));
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
