/** What keys mail is sealed to, and what keys may sign certificates (A20). */
import type { KeyObject } from 'node:crypto';
import { oidText } from './der.ts';
import type { Tlv } from './der.ts';
import { curves, ecPublicKey, rsaEncryption } from './oids.ts';

export type PublicKeyKind =
  | { readonly type: 'rsa'; readonly bits: number }
  | { readonly type: 'ec'; readonly curve: 'P-256' | 'P-384' | 'P-521' };

/** SP 800-57 part 1: below 2048 is broken within the life of a mail. */
const MIN_RSA_BITS = 2048;
/** A larger key takes milliseconds for each message, in which the relay does nothing else (CVE-2023-30588). */
const MAX_RSA_BITS = 8192;
/** FIPS 186-5 §5.1: odd, above 2^16. 1 would encrypt nothing, and 3 is broken by careless padding. */
const MIN_RSA_EXPONENT = 65_537n;
/** FIPS 186-5 allows 2^256, yet OpenSSL refuses above 64 bits under a modulus of more than 3072, and not before it encrypts or verifies. */
const MAX_RSA_EXPONENT = 1n << 64n;
/** A CA key only verifies, where 3 is safe and old roots use it; and once, since verdicts are remembered. */
const MIN_CA_EXPONENT = 3n;
const MAX_CA_BITS = 16_384;

export type KeyVerdict = { readonly kind: 'key'; readonly key: PublicKeyKind } | { readonly kind: 'fault'; readonly fault: string };

const fault = (text: string): KeyVerdict => ({ kind: 'fault', fault: text });

/** `spki` is the SubjectPublicKeyInfo that `key` was made of. */
export function judgeSealingKey(spki: Tlv, key: KeyObject): KeyVerdict {
  const [algorithm, point] = spki.children;
  const oid = oidText(algorithm?.children[0], 'the algorithm of the public key');
  if (oid === rsaEncryption) {
    const wrong = rsaFault(key, MIN_RSA_EXPONENT, MAX_RSA_BITS);
    return wrong === undefined ? { kind: 'key', key: { type: 'rsa', bits: key.asymmetricKeyDetails?.modulusLength ?? 0 } } : fault(wrong);
  }
  if (oid !== ecPublicKey) return fault(`a key of type ${key.asymmetricKeyType ?? oid}, which mail cannot be sealed to`);
  const parameters = algorithm?.children[1];
  // RFC 5480 §2.1.1: namedCurve only. Explicit parameters let the certificate bring its own, weak, curve.
  if (parameters?.tag !== 6) return fault('an EC key with explicit parameters instead of a named curve');
  const curve = curves[oidText(parameters, 'the curve of the public key')];
  if (curve === undefined) return fault('an EC key on another curve than P-256, P-384 and P-521');
  // OpenSSL refuses points off the curve while reading; infinity is one octet and passes there.
  const octets = (point?.content.length ?? 0) - 1;
  if (octets !== 1 + 2 * curve.octets && octets !== 1 + curve.octets) return fault('an EC key that is no point of its curve');
  return { kind: 'key', key: { type: 'ec', curve: curve.curve } };
}

/** Why certificates signed by this key are not believed; undefined where they are. */
export function caKeyFault(key: KeyObject): string | undefined {
  const type = key.asymmetricKeyType ?? 'unknown';
  if (type === 'rsa' || type === 'rsa-pss') return rsaFault(key, MIN_CA_EXPONENT, MAX_CA_BITS);
  if (type === 'ed25519' || type === 'ed448') return undefined;
  if (type !== 'ec') return `a key of type ${type}, which is not taken for signatures`;
  return caCurves.has(key.asymmetricKeyDetails?.namedCurve ?? '') ? undefined : 'an EC key on another curve than P-256, P-384 and P-521';
}

/** As OpenSSL names them. */
const caCurves: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);

function rsaFault(key: KeyObject, least: bigint, mostBits: number): string | undefined {
  const { modulusLength: bits = 0, publicExponent: exponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (bits < MIN_RSA_BITS) return `an RSA key of ${bits} bits, ${MIN_RSA_BITS} are the least`;
  if (bits > mostBits) return `an RSA key of ${bits} bits, ${mostBits} are the most`;
  if (exponent % 2n === 0n) return 'an RSA key with an even exponent';
  if (exponent < least) return `an RSA key with the exponent ${exponent}, ${least} is the least`;
  return exponent < MAX_RSA_EXPONENT ? undefined : 'an RSA key with an exponent that is too large';
}
