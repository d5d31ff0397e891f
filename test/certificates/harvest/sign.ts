/** Signed mail by a hand that may be careless or hostile: SignedData by our own writer and node:crypto, each part replaceable. */
import { constants, createHash, sign as signOctets, type KeyObject } from 'node:crypto';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { explicit, integer, nullValue, octetString, oid, sequence, set, setOf, tlv } from '../../../src/certificates/encode.ts';
import { ecKeys, email, issue, keyUsage, type Ca, type KeyPair, name, san } from '../pki.ts';

export const DATA = '1.2.840.113549.1.7.1';
const SIGNED_DATA = '1.2.840.113549.1.7.2';
const CONTENT_TYPE = '1.2.840.113549.1.9.3';
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const CAPABILITIES = '1.2.840.113549.1.9.15';
const KEY_PREFERENCE = '1.2.840.113549.1.9.16.2.11';

export type Hash = 'sha1' | 'sha256' | 'sha384' | 'sha512';
const digests: Readonly<Record<Hash, string>> = {
  sha1: '1.3.14.3.2.26',
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
};
const ecdsa: Readonly<Record<Hash, string>> = {
  sha1: '1.2.840.10045.4.1',
  sha256: '1.2.840.10045.4.3.2',
  sha384: '1.2.840.10045.4.3.3',
  sha512: '1.2.840.10045.4.3.4',
};

export const attribute = (type: string, ...values: readonly Buffer[]): Buffer => sequence(oid(type), set(...values));
export const contentType = (type = DATA): Buffer => attribute(CONTENT_TYPE, oid(type));
export const messageDigest = (content: Buffer, hash: Hash = 'sha256'): Buffer =>
  attribute(MESSAGE_DIGEST, octetString(createHash(hash).update(content).digest()));
export const capabilities = (...oids: readonly string[]): Buffer =>
  attribute(CAPABILITIES, sequence(...oids.map((one) => sequence(oid(one)))));
export const keyPreference = ({ issuerDer, serialDer }: Certificate): Buffer =>
  attribute(KEY_PREFERENCE, explicit(0, issuerDer, serialDer));

export interface SignerPlan {
  readonly certificate: Certificate;
  readonly key: KeyObject;
  readonly hash?: Hash;
  /** In this order, whatever DER says; contentType and messageDigest where it is not given. Null: none at all. */
  readonly attributes?: readonly Buffer[] | null;
  /** Beside the two that must be there. */
  readonly more?: readonly Buffer[];
  readonly sid?: Buffer;
  readonly digestAlgorithm?: string;
  readonly signatureAlgorithm?: Buffer;
  readonly pss?: boolean;
}

export function signerInfo(content: Buffer, plan: SignerPlan): Buffer {
  const { certificate, key, hash = 'sha256', more = [], sid = sequence(certificate.issuerDer, certificate.serialDer) } = plan;
  const attributes = plan.attributes === undefined ? [contentType(), messageDigest(content, hash), ...more] : plan.attributes;
  const sorted = plan.attributes === undefined ? setOf(attributes ?? []) : set(...(attributes ?? []));
  const signed = attributes === null ? content : sorted;
  return sequence(
    integer(Buffer.of(1)),
    sid,
    sequence(oid(plan.digestAlgorithm ?? digests[hash])),
    ...(attributes === null ? [] : [Buffer.concat([Buffer.of(0xa0), sorted.subarray(1)])]),
    plan.signatureAlgorithm ?? algorithmOf(key, hash, plan.pss === true),
    octetString(signatureOf(key, hash, signed, plan.pss === true)),
  );
}

function signatureOf(key: KeyObject, hash: Hash, signed: Buffer, pss: boolean): Buffer {
  if (key.asymmetricKeyType === 'ed25519') return signOctets(null, signed, key);
  return pss ? signOctets(hash, signed, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }) : signOctets(hash, signed, key);
}

function algorithmOf(key: KeyObject, hash: Hash, pss: boolean): Buffer {
  if (key.asymmetricKeyType === 'ed25519') return sequence(oid('1.3.101.112'));
  if (key.asymmetricKeyType === 'ec') return sequence(oid(ecdsa[hash]));
  if (!pss) return sequence(oid('1.2.840.113549.1.1.1'), nullValue);
  const hashed = sequence(oid(digests[hash]));
  const mgf = sequence(oid('1.2.840.113549.1.1.8'), hashed);
  return sequence(oid('1.2.840.113549.1.1.10'), sequence(explicit(0, hashed), explicit(1, mgf), explicit(2, integer(Buffer.of(32)))));
}

export interface DataPlan {
  readonly signers: readonly Buffer[];
  readonly bag?: readonly Buffer[];
  /** What stands within; undefined for a detached signature. */
  readonly within?: Buffer | undefined;
  readonly type?: string;
}

export const signedData = ({ signers, bag = [], within, type = DATA }: DataPlan): Buffer =>
  sequence(
    oid(SIGNED_DATA),
    explicit(
      0,
      sequence(
        integer(Buffer.of(1)),
        set(...Object.values(digests).map((digest) => sequence(oid(digest)))),
        sequence(oid(type), ...(within === undefined ? [] : [explicit(0, octetString(within))])),
        ...(bag.length === 0 ? [] : [tlv(0xa0, ...bag)]),
        set(...signers),
      ),
    ),
  );

export interface Person {
  readonly certificate: Certificate;
  readonly keys: KeyPair;
}

export const DIGITAL_SIGNATURE = 0;
export const KEY_AGREEMENT = 4;

/** Someone whom `ca` has certified for `address`; EC P-256, to sign and to be sealed to. */
export function person(
  ca: Ca,
  address: string,
  { keys = ecKeys(), usage = [DIGITAL_SIGNATURE, KEY_AGREEMENT], to, also = [] }: PersonWish = {},
): Person {
  const plan = { subject: name(['CN', address.split('@')[0] ?? '']), keys, issuer: ca.name, signer: ca.keys };
  const dates = to === undefined ? {} : { to };
  return { certificate: issue({ ...plan, ...dates, extensions: [keyUsage(...usage), san(...[address, ...also].map(email))] }), keys };
}

export interface PersonWish {
  readonly keys?: KeyPair;
  readonly usage?: readonly number[];
  readonly to?: Date;
  /** Further addresses that the certificate names. */
  readonly also?: readonly string[];
}

/** A detached signature of one person, their certificate with it. */
export const signedBy = (
  { certificate, keys }: Person,
  content: Buffer,
  plan: Partial<SignerPlan> = {},
  bag: readonly Certificate[] = [],
): Buffer =>
  signedData({
    signers: [signerInfo(content, { certificate, key: keys.privateKey, ...plan })],
    bag: [certificate, ...bag].map(({ der }) => der),
  });

/** A multipart/signed around what was signed. */
export function mailOf(content: Buffer | string, signature: Buffer, from = 'anna@clinic.example', boundary = 'b1'): Buffer {
  return Buffer.concat([
    Buffer.from(
      `From: ${from}\r\nTo: keys@relay.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="${boundary}"\r\n\r\n--${boundary}\r\n`,
    ),
    Buffer.from(content),
    Buffer.from(
      `\r\n--${boundary}\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n`,
    ),
    Buffer.from(`${(signature.toString('base64').match(/.{1,64}/g) ?? []).join('\r\n')}\r\n--${boundary}--\r\n`),
  ]);
}
