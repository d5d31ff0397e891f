/** Private keys as readers keep them: PKCS#12 from openssl, NSS, Windows and ourselves, and PEM. For `open` and `issue`. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import forge from 'node-forge';
import { SealpostError } from '../errors.ts';
import { parseCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { pkcs12Mac } from './pkcs12mac.ts';
import type { MacHash } from './pkcs12mac.ts';

/** A key and the certificate that names it; `others` is what else the PKCS#12 held, mostly CAs. */
export interface KeyPair {
  readonly key: KeyObject;
  readonly certificate: Certificate;
  readonly others: readonly Certificate[];
}

const MAX_KEY_FILE = 1024 * 1024;
const WRONG_PASSPHRASE = 'the password is wrong, or the file is damaged';

const unreadable = (detail: string, hint: string, cause?: unknown): SealpostError =>
  new SealpostError('key-malformed', { detail, hint, cause });

/**
 * Every key of the PKCS#12 that has its certificate beside it, in the order of the file; never an empty list. Throws
 * `key-malformed`, whose hint tells a wrong password from a file of another kind.
 */
export function openPkcs12(bytes: Buffer, passphrase: string): readonly KeyPair[] {
  if (bytes.length > MAX_KEY_FILE) throw unreadable(`more than ${MAX_KEY_FILE} octets`, 'that is no PKCS#12 of a person');
  const pfx = parsePfx(bytes);
  checkMac(pfx, passphrase);
  // RFC 7292 derives its own keys from UTF-16 and those of PBES2 from UTF-8, and node-forge takes what it is given for both.
  const { keys, certificates } = decrypt(pfx, bytes.includes(PBES2) ? Buffer.from(passphrase).toString('latin1') : passphrase);
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

function parsePfx(bytes: Buffer): forge.asn1.Asn1 {
  try {
    return forge.asn1.fromDer(forge.util.createBuffer(bytes.toString('latin1')));
  } catch (cause) {
    throw notPkcs12(cause);
  }
}

const notPkcs12 = (cause?: unknown): SealpostError =>
  unreadable('not a PKCS#12 file', 'a PKCS#12 ends in .p12 or .pfx; for a PEM key use --key', cause);

/**
 * Checks the MAC (RFC 7292 §4) and takes it out of `pfx`, so that node-forge does not spend its ten seconds on it. A file
 * without one is left to fail at its first encrypted bag.
 */
function checkMac(pfx: forge.asn1.Asn1, passphrase: string): void {
  const [, authSafe, macData] = nodes(pfx);
  const content = octets(nodes(nodes(authSafe)[1])[0]);
  if (authSafe === undefined || content === undefined) throw notPkcs12();
  if (macData === undefined) return;
  const [digestInfo, saltNode, iterationsNode] = nodes(macData);
  const [algorithm, digest] = nodes(digestInfo);
  const [mac, salt, count] = [octets(digest), octets(saltNode), iterationsNode === undefined ? Buffer.from([1]) : octets(iterationsNode)];
  const hash = macHashes[octets(nodes(algorithm)[0])?.toString('hex') ?? ''];
  if (mac === undefined || salt === undefined || count === undefined || hash === undefined) throw otherKind();
  if (count.length === 0 || count.length > 4 || count.readUIntBE(0, count.length) > MAX_ITERATIONS) throw otherKind();
  const expected = pkcs12Mac(content, passphrase, { hash, salt, iterations: count.readUIntBE(0, count.length) });
  if (!expected.equals(mac))
    throw unreadable(WRONG_PASSPHRASE, 'is it the password of this file? issue writes it beside the .p12, as ADDRESS.password');
  nodes(pfx).splice(2, 1);
}

/** Digest algorithms of MacData by the content of their OID. */
const macHashes: Readonly<Record<string, MacHash>> = {
  '2b0e03021a': 'sha1',
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
};
/** id-PBES2, RFC 8018 appendix A.4. */
const PBES2 = Buffer.from('2a864886f70d01050d', 'hex');
/** Ten seconds of work; NSS, the most careful of them, writes 600,000. */
const MAX_ITERATIONS = 10_000_000;

const nodes = (value: forge.asn1.Asn1 | undefined): forge.asn1.Asn1[] => (Array.isArray(value?.value) ? value.value : []);

/** The octets of a string, put together where BER cut it in pieces, as NSS does. */
function octets(value: forge.asn1.Asn1 | undefined): Buffer | undefined {
  if (value === undefined) return undefined;
  if (typeof value.value === 'string') return Buffer.from(value.value, 'latin1');
  return Buffer.concat(nodes(value).map((part) => octets(part) ?? Buffer.alloc(0)));
}

const otherKind = (cause?: unknown): SealpostError =>
  unreadable(
    'a PKCS#12 of a kind that is not read',
    'openssl pkcs12 -in OLD -out t.pem -nodes; openssl pkcs12 -export -in t.pem -out NEW',
    cause,
  );

function decrypt(pfx: forge.asn1.Asn1, passphrase: string): { keys: readonly KeyObject[]; certificates: readonly Certificate[] } {
  let bags: forge.pkcs12.Bag[];
  try {
    bags = forge.pkcs12.pkcs12FromAsn1(pfx, false, passphrase).safeContents.flatMap((contents) => contents.safeBags);
  } catch (cause) {
    throw otherKind(cause);
  }
  const { pkcs8ShroudedKeyBag, keyBag, certBag } = forge.pki.oids;
  return {
    keys: bags.filter(({ type }) => type === pkcs8ShroudedKeyBag || type === keyBag).map(keyOf),
    certificates: bags
      .filter(({ type }) => type === certBag)
      .map((bag) => parseCertificate(derOf(bag.cert ? forge.pki.certificateToAsn1(bag.cert) : bag.asn1))),
  };
}

const derOf = (value: forge.asn1.Asn1): Buffer => Buffer.from(forge.asn1.toDer(value).getBytes(), 'latin1');

/** node-forge reads RSA keys itself and leaves the others as the PKCS#8 they are. */
function keyOf(bag: forge.pkcs12.Bag): KeyObject {
  const pkcs8 = bag.key ? forge.pki.wrapRsaPrivateKey(forge.pki.privateKeyToAsn1(bag.key)) : bag.asn1;
  try {
    return createPrivateKey({ key: derOf(pkcs8), format: 'der', type: 'pkcs8' });
  } catch (cause) {
    throw unreadable('a private key of a kind that is not read', 'RSA and EC keys are', cause);
  }
}

/** A private key in PEM (PKCS#8, PKCS#1, SEC 1), or PKCS#8 DER; `passphrase` where it is encrypted. Throws `key-malformed`. */
export function readKeyPem(bytes: Buffer, passphrase?: string): KeyObject {
  if (bytes.length > MAX_KEY_FILE) throw unreadable(`more than ${MAX_KEY_FILE} octets`, 'that is no private key');
  const text = bytes.toString('latin1');
  const encrypted = text.includes('ENCRYPTED');
  if (encrypted && passphrase === undefined) throw unreadable('it is encrypted and no password was given', 'give the password of the key');
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
