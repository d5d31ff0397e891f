/**
 * What is inside a PKCS#12 (RFC 7292): private keys and certificates as the octets that were put in. node-forge reads the BER,
 * which NSS writes with indefinite lengths, and the old ciphers; the rest is node:crypto, since NSS asks for 600,000 rounds
 * three times over, which take node-forge fifteen seconds.
 */
import { createDecipheriv, pbkdf2Sync } from 'node:crypto';
import forge from 'node-forge';
import { SealpostError } from '../../errors.ts';
import { pkcs12Mac } from './kdf.ts';
import type { MacHash } from './kdf.ts';

/** There, exported and documented in node-forge, and missing from its types. */
declare module 'node-forge' {
  namespace pki.pbe {
    function getCipher(oid: string, parameters: asn1.Asn1 | undefined, passphrase: string): cipher.BlockCipher;
  }
}

export interface PfxContents {
  /** PKCS#8 PrivateKeyInfo. */
  readonly keys: readonly Buffer[];
  readonly certificates: readonly Buffer[];
}

export const WRONG_PASSPHRASE = 'the password is wrong, or the file is damaged';

export const unreadable = (detail: string, hint: string, cause?: unknown): SealpostError =>
  new SealpostError('key-malformed', { detail, hint, cause });

const notPkcs12 = (cause?: unknown): SealpostError =>
  unreadable('not a PKCS#12 file', 'a PKCS#12 ends in .p12 or .pfx; for a PEM key use --key', cause);

const otherKind = (cause?: unknown): SealpostError =>
  unreadable(
    'a PKCS#12 of a kind that is not read',
    'openssl pkcs12 -in OLD -out t.pem -nodes; openssl pkcs12 -export -in t.pem -out NEW',
    cause,
  );

const wrongPassphrase = (cause?: unknown): SealpostError =>
  unreadable(WRONG_PASSPHRASE, 'is it the password of this file? issue writes it beside the .p12, as ADDRESS.password', cause);

/** Of all key derivations of one file and password: above what anybody writes (NSS: 600,000 three times over), and a few seconds of work. */
const MAX_ITERATIONS = 3_000_000;
/**
 * Of one file, over all passwords that are tried: each costs its rounds again, before it shows to be wrong. Room for a file of NSS with the
 * right one behind eight others, and a quarter of a minute of work.
 */
const MAX_ITERATIONS_OF_FILE = 6_000_000;

/** How many rounds the attempts to open one file may still ask for. */
export interface Rounds {
  left: number;
}

export const roundsOfFile = (): Rounds => ({ left: MAX_ITERATIONS_OF_FILE });

/** `detail` of the error where the file could be opened, and the passwords before this one have used up its rounds. */
export const ROUNDS_USED_UP = 'the passwords that were tried have used up the rounds of key derivation that a file may ask for';
const MAX_NESTING = 4;

/** By the hex of the content of their OIDs. RFC 5652, RFC 7292 appendix D, RFC 8018, RFC 5754, RFC 3565. */
const types = {
  data: '2a864886f70d010701',
  encryptedData: '2a864886f70d010706',
  keyBag: '2a864886f70d010c0a0101',
  shroudedKeyBag: '2a864886f70d010c0a0102',
  certBag: '2a864886f70d010c0a0103',
  safeContentsBag: '2a864886f70d010c0a0106',
  x509Certificate: '2a864886f70d01091601',
  pbes2: '2a864886f70d01050d',
  pbkdf2: '2a864886f70d01050c',
} as const;
const macHashes: Readonly<Record<string, MacHash>> = {
  '2b0e03021a': 'sha1',
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
};
const prfs: Readonly<Record<string, string>> = {
  '2a864886f70d0207': 'sha1',
  '2a864886f70d0209': 'sha256',
  '2a864886f70d020a': 'sha384',
  '2a864886f70d020b': 'sha512',
};
const ciphers: Readonly<Record<string, { readonly name: string; readonly keyOctets: number }>> = {
  '60864801650304012a': { name: 'aes-256-cbc', keyOctets: 32 },
  '608648016503040116': { name: 'aes-192-cbc', keyOctets: 24 },
  '608648016503040102': { name: 'aes-128-cbc', keyOctets: 16 },
  '2a864886f70d0307': { name: 'des-ede3-cbc', keyOctets: 24 },
};

/** What opens one file, and how many rounds it may still ask for. */
interface Opening {
  readonly passphrase: string;
  readonly parts: PfxParts;
  iterationsLeft: number;
  readonly rounds: Rounds;
}

/** `certificates`: keys stay locked, and each is empty in what is found. */
export type PfxParts = 'all' | 'certificates';

/** Throws `key-malformed`; its hint tells a wrong password from a file of another kind. */
export function readPfx(bytes: Buffer, passphrase: string, parts: PfxParts = 'all', rounds = roundsOfFile()): PfxContents {
  const opening: Opening = { passphrase, parts, iterationsLeft: MAX_ITERATIONS, rounds };
  const [version, authSafe, macData] = nodes(parse(bytes, notPkcs12));
  const [contentType, wrapped] = nodes(authSafe);
  if (version === undefined || octets(contentType).toString('hex') !== types.data) throw notPkcs12();
  const safe = octets(nodes(wrapped)[0]);
  if (macData !== undefined) checkMac(macData, safe, opening);
  const found = { keys: [] as Buffer[], certificates: [] as Buffer[] };
  for (const contentInfo of nodes(parse(safe, otherKind))) {
    const [type, content] = nodes(contentInfo);
    readSafeContents(plainContent(octets(type).toString('hex'), nodes(content)[0], opening), opening, found, 0);
  }
  return found;
}

/** RFC 7292 §4: DigestInfo, salt, iterations (1 where absent). */
function checkMac(macData: forge.asn1.Asn1, safe: Buffer, opening: Opening): void {
  const [digestInfo, salt, count] = nodes(macData);
  const [algorithm, digest] = nodes(digestInfo);
  const hash = macHashes[octets(nodes(algorithm)[0]).toString('hex')];
  if (hash === undefined) throw otherKind();
  const iterations = count === undefined ? 1 : iterationCount(count, opening);
  if (!pkcs12Mac(safe, opening.passphrase, { hash, salt: octets(salt), iterations }).equals(octets(digest))) throw wrongPassphrase();
}

/** Charged to the file at once, before the work is done. */
function iterationCount(count: forge.asn1.Asn1 | undefined, opening: Opening): number {
  const content = octets(count);
  const iterations = content.length > 0 && content.length <= 4 ? content.readUIntBE(0, content.length) : Infinity;
  opening.iterationsLeft -= iterations;
  if (opening.iterationsLeft < 0 || iterations < 1) throw otherKind();
  opening.rounds.left -= iterations;
  if (opening.rounds.left < 0) throw unreadable(ROUNDS_USED_UP, 'give the right password alone');
  return iterations;
}

function plainContent(type: string, content: forge.asn1.Asn1 | undefined, opening: Opening): Buffer {
  if (type === types.data) return octets(content);
  if (type !== types.encryptedData) throw otherKind();
  const [, algorithm, ciphertext] = nodes(nodes(content)[1]);
  return decrypt(algorithm, octets(ciphertext), opening);
}

function readSafeContents(der: Buffer, opening: Opening, found: { keys: Buffer[]; certificates: Buffer[] }, depth: number): void {
  if (depth > MAX_NESTING) throw otherKind();
  for (const bag of nodes(parse(der, wrongPassphrase))) {
    const [id, wrapped] = nodes(bag);
    const value = nodes(wrapped)[0];
    const type = octets(id).toString('hex');
    if (opening.parts === 'certificates' && (type === types.keyBag || type === types.shroudedKeyBag)) {
      found.keys.push(Buffer.alloc(0));
      continue;
    }
    switch (type) {
      case types.keyBag:
        found.keys.push(derOf(value));
        break;
      case types.shroudedKeyBag: {
        const [algorithm, ciphertext] = nodes(value);
        found.keys.push(decrypt(algorithm, octets(ciphertext), opening));
        break;
      }
      case types.certBag: {
        const [type, certificate] = nodes(value);
        if (octets(type).toString('hex') === types.x509Certificate) found.certificates.push(octets(nodes(certificate)[0]));
        break;
      }
      case types.safeContentsBag:
        readSafeContents(derOf(value), opening, found, depth + 1);
        break;
      default: // CRLs and secrets of other programs: nothing that opens mail
    }
  }
}

function decrypt(algorithm: forge.asn1.Asn1 | undefined, ciphertext: Buffer, opening: Opening): Buffer {
  const [type, parameters] = nodes(algorithm);
  try {
    if (octets(type).toString('hex') === types.pbes2) return decryptPbes2(parameters, ciphertext, opening);
    // RFC 7292 appendix C: 3DES and RC2, with keys from appendix B. node-forge finds them by their OID.
    iterationCount(nodes(parameters)[1], opening);
    const cipher = forge.pki.pbe.getCipher(forge.asn1.derToOid(octets(type).toString('latin1')), parameters, opening.passphrase);
    cipher.update(forge.util.createBuffer(ciphertext.toString('latin1')));
    if (!cipher.finish()) throw wrongPassphrase();
    return Buffer.from(cipher.output.getBytes(), 'latin1');
  } catch (error) {
    if (error instanceof SealpostError) throw error;
    // Bad padding is what a wrong password looks like; an unknown cipher says "unsupported".
    throw error instanceof Error && /unsupported|cannot read/i.test(error.message) ? otherKind(error) : wrongPassphrase(error);
  }
}

/** RFC 8018 §6.2: PBKDF2 over the UTF-8 of the passphrase. */
function decryptPbes2(parameters: forge.asn1.Asn1 | undefined, ciphertext: Buffer, opening: Opening): Buffer {
  const [derivation, encryption] = nodes(parameters);
  const [derivationType, derivationParameters] = nodes(derivation);
  const [salt, count, ...optional] = nodes(derivationParameters);
  // keyLength INTEGER OPTIONAL, prf AlgorithmIdentifier DEFAULT hmacWithSHA1 (RFC 8018 appendix A.2).
  const prf = optional.find((field) => field.type === forge.asn1.Type.SEQUENCE);
  const hash = prf === undefined ? 'sha1' : prfs[octets(nodes(prf)[0]).toString('hex')];
  const [cipherType, iv] = nodes(encryption);
  const cipher = ciphers[octets(cipherType).toString('hex')];
  if (octets(derivationType).toString('hex') !== types.pbkdf2 || hash === undefined || cipher === undefined) throw otherKind();
  const key = pbkdf2Sync(opening.passphrase, octets(salt), iterationCount(count, opening), cipher.keyOctets, hash);
  const decipher = createDecipheriv(cipher.name, key, octets(iv));
  return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
}

function parse(bytes: Buffer, fault: (cause: unknown) => SealpostError): forge.asn1.Asn1 {
  try {
    // Strict about lengths: a file that is cut would lose its MAC first, and then be read as far as it goes.
    return forge.asn1.fromDer(forge.util.createBuffer(bytes.toString('latin1')), true);
  } catch (cause) {
    throw fault(cause);
  }
}

const derOf = (value: forge.asn1.Asn1 | undefined): Buffer => {
  if (value === undefined) throw otherKind();
  return Buffer.from(forge.asn1.toDer(value).getBytes(), 'latin1');
};

/** What a constructed value holds; nothing where it is none, which the reader of the parts then finds missing. */
const nodes = (value: forge.asn1.Asn1 | undefined): readonly forge.asn1.Asn1[] => (Array.isArray(value?.value) ? value.value : []);

/** The octets of a primitive value, put together where BER cut it in pieces, as NSS does; empty where it is missing. */
function octets(value: forge.asn1.Asn1 | undefined): Buffer {
  if (value === undefined) return Buffer.alloc(0);
  return typeof value.value === 'string' ? Buffer.from(value.value, 'latin1') : Buffer.concat(nodes(value).map(octets));
}
