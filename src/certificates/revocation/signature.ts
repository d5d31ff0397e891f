/** Whether octets are signed by a key, with the algorithms that certificates are held to (oids.ts), and no weaker ones. */
import { constants, type KeyObject, verify } from 'node:crypto';
import { isContext, oidText, type Tlv } from '../der.ts';
import { rsassaPss } from '../oids.ts';

interface Algorithm {
  readonly hash: 'sha256' | 'sha384' | 'sha512' | undefined;
  /** As node:crypto names the type of the key. */
  readonly key: string;
}

/** The strong signatures of oids.ts, as node:crypto takes them. */
const algorithms: Readonly<Record<string, Algorithm>> = {
  '1.2.840.113549.1.1.11': { hash: 'sha256', key: 'rsa' },
  '1.2.840.113549.1.1.12': { hash: 'sha384', key: 'rsa' },
  '1.2.840.113549.1.1.13': { hash: 'sha512', key: 'rsa' },
  '1.2.840.10045.4.3.2': { hash: 'sha256', key: 'ec' },
  '1.2.840.10045.4.3.3': { hash: 'sha384', key: 'ec' },
  '1.2.840.10045.4.3.4': { hash: 'sha512', key: 'ec' },
  '1.3.101.112': { hash: undefined, key: 'ed25519' },
  '1.3.101.113': { hash: undefined, key: 'ed448' },
};

const hashes: Readonly<Record<string, string>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

/** `weak`: not to be believed, whoever made it. `wrong`: not by this key, or of octets that were changed. */
export type SignatureVerdict = { readonly kind: 'right' } | { readonly kind: 'weak'; readonly reason: string } | { readonly kind: 'wrong' };

/** `algorithm` is the AlgorithmIdentifier. Throws `certificate-malformed` where that cannot be read. */
export function judgeSignature(algorithm: Tlv, key: KeyObject, signed: Buffer, signature: Buffer): SignatureVerdict {
  const oid = oidText(algorithm.children[0], 'the signature algorithm');
  if (oid === rsassaPss) return judgePss(algorithm.children[1], key, signed, signature);
  const known = algorithms[oid];
  if (known === undefined) return { kind: 'weak', reason: `signed with ${oid}, which is not taken` };
  if (!isPlain(algorithm.children.slice(1), known)) return { kind: 'weak', reason: 'signed with parameters that are not known' };
  const right = key.asymmetricKeyType === known.key && isRight(() => verify(known.hash, signed, key, signature));
  return { kind: right ? 'right' : 'wrong' };
}

/**
 * RFC 4055 §5: NULL with RSA, and some leave it out; RFC 5758 §3.2, RFC 8410 §3: nothing with the others. No signature covers this
 * copy of the algorithm in an OCSP answer, so it has one spelling here.
 */
const isPlain = (parameters: readonly Tlv[], { key }: Algorithm): boolean =>
  parameters.length === 0 || (key === 'rsa' && parameters.length === 1 && parameters[0]?.bytes.toString('hex') === '0500');

/** RFC 4055 §3.1: [0] hash, [1] mask generation with its hash, [2] length of the salt. Defaults are of SHA-1, which is not taken. */
function judgePss(parameters: Tlv | undefined, key: KeyObject, signed: Buffer, signature: Buffer): SignatureVerdict {
  const field = (tag: number): Tlv | undefined => parameters?.children.find((child) => isContext(child, tag))?.children[0];
  const hash = hashOf(field(0));
  // node:crypto has one hash for both, as everybody who signs.
  if (hash === undefined || hash !== hashOf(field(1)?.children[1]))
    return { kind: 'weak', reason: 'signed with RSASSA-PSS and other hashes than SHA-2, which is not taken' };
  const salt = field(2)?.content;
  const saltLength = salt === undefined ? 20 : salt.length > 0 && salt.length <= 2 ? salt.readUIntBE(0, salt.length) : -1;
  const fits = (key.asymmetricKeyType === 'rsa' || key.asymmetricKeyType === 'rsa-pss') && saltLength >= 0;
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  const right = fits && isRight(() => verify(hash, signed, { key, padding, saltLength }, signature));
  return { kind: right ? 'right' : 'wrong' };
}

const hashOf = (identifier: Tlv | undefined): string | undefined =>
  identifier === undefined ? undefined : hashes[oidText(identifier.children[0], 'the hash of the signature')];

function isRight(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    // OpenSSL throws where the signature cannot be of this key at all.
    return false;
  }
}
