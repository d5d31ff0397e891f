/**
 * Signatures on what a CA signs beside certificates: revocation lists and OCSP answers. The same algorithms are taken as on
 * certificates, and the parameters are read strictly: what a signature does not cover, its AlgorithmIdentifier among it, has one
 * spelling here, so that no changed octet passes.
 */
import { constants, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isContext, oidText, tags } from './der.ts';
import type { Tlv } from './der.ts';
import { rsassaPss, strongHashes } from './oids.ts';

interface Way {
  readonly keys: readonly string[];
  /** As node:crypto names it; null where the algorithm brings its own. */
  readonly hash: string | null;
}

const rsa = (hash: string): Way => ({ keys: ['rsa'], hash });
const ecdsa = (hash: string): Way => ({ keys: ['ec'], hash });

const ways: Readonly<Record<string, Way>> = {
  '1.2.840.113549.1.1.11': rsa('sha256'), // RFC 4055 §5
  '1.2.840.113549.1.1.12': rsa('sha384'),
  '1.2.840.113549.1.1.13': rsa('sha512'),
  '1.2.840.10045.4.3.2': ecdsa('sha256'), // RFC 5758 §3.2
  '1.2.840.10045.4.3.3': ecdsa('sha384'),
  '1.2.840.10045.4.3.4': ecdsa('sha512'),
  '1.3.101.112': { keys: ['ed25519'], hash: null }, // RFC 8410 §3
  '1.3.101.113': { keys: ['ed448'], hash: null },
};

const hashNames: Readonly<Record<string, string>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

/** How to verify what this AlgorithmIdentifier stands on; undefined where the algorithm is not taken: SHA-1, MD5, the unknown. */
export type SignatureCheck = (signed: Buffer, signature: Buffer, key: KeyObject) => boolean;

export function signatureCheck(algorithm: Tlv): SignatureCheck | undefined {
  const [type, parameters, ...rest] = algorithm.children;
  const name = oidText(type, 'the signature algorithm');
  if (rest.length > 0) return undefined;
  if (name === rsassaPss) return parameters === undefined ? undefined : pssCheck(parameters);
  const way = ways[name];
  if (way === undefined) return undefined;
  // RFC 4055 §5: NULL with RSA, and some leave it out; RFC 5758 §3.2 and RFC 8410 §3: nothing with the others.
  const plain = parameters === undefined || (way.keys.includes('rsa') && parameters.bytes.toString('hex') === '0500');
  if (!plain) return undefined;
  return (signed, signature, key) =>
    way.keys.includes(key.asymmetricKeyType ?? '') && quietly(() => verify(way.hash, signed, key, signature));
}

/** RFC 4055 §3.1: [0] hash, [1] mask generation, [2] length of the salt, which is 20 where it is not said. */
function pssCheck(parameters: Tlv): SignatureCheck | undefined {
  const field = (tag: number): Tlv | undefined => parameters.children.find((child) => isContext(child, tag))?.children[0];
  const oid = field(0) === undefined ? undefined : oidText(field(0)?.children[0], 'the hash of the signature');
  const salt = field(2);
  const hash = oid !== undefined && strongHashes.has(oid) ? hashNames[oid] : undefined;
  if (hash === undefined || salt?.tag !== tags.integer || salt.content.length !== 1) return undefined;
  const saltLength = salt.content[0] ?? 0;
  return (signed, signature, key) =>
    ['rsa', 'rsa-pss'].includes(key.asymmetricKeyType ?? '') &&
    quietly(() => verify(hash, signed, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }, signature));
}

/** OpenSSL throws where a signature is not even of the right form: it is not by this key. */
function quietly(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    return false;
  }
}
