/**
 * Certificates of every kind, made by our own writer and node:crypto, so that thousands cost a second: what openssl(1) would take
 * minutes for, and much that it refuses to make. Strangers judge them in the tests that use this.
 */
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import {
  bitString,
  explicit,
  implicit,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
  set,
  time,
  tlv,
  trueValue,
  utf8String,
} from '../../src/certificates/encode.ts';
import { emailProtection, extensionOids } from '../../src/certificates/oids.ts';

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}
export const ecKeys = (namedCurve = 'P-256'): KeyPair => generateKeyPairSync('ec', { namedCurve });
export const rsaKeys = (modulusLength: number): KeyPair => generateKeyPairSync('rsa', { modulusLength });

const attribute = { CN: '2.5.4.3', O: '2.5.4.10', OU: '2.5.4.11', C: '2.5.4.6', emailAddress: '1.2.840.113549.1.9.1' } as const;
type Attribute = readonly [keyof typeof attribute, string, ('printable' | 'utf8')?];

const PRINTABLE_STRING = 0x13;
const IA5_STRING = 0x16;

/** `[['O', 'Clinic'], ['CN', 'anna']]`, from the top down; a third word asks for PrintableString. */
export const name = (...attributes: readonly Attribute[]): Buffer =>
  sequence(
    ...attributes.map(([type, text, kind]) =>
      set(
        sequence(
          oid(attribute[type]),
          type === 'emailAddress'
            ? tlv(IA5_STRING, Buffer.from(text))
            : kind === 'printable'
              ? tlv(PRINTABLE_STRING, Buffer.from(text))
              : utf8String(text),
        ),
      ),
    ),
  );

export const extension = (type: string, value: Buffer, critical = false): Buffer =>
  sequence(oid(type), ...(critical ? [trueValue] : []), octetString(value));

export const number = (value: number): Buffer => integer(Buffer.from([value]));
export const ca = (pathLength?: number): Buffer =>
  extension(extensionOids.basicConstraints, sequence(trueValue, ...(pathLength === undefined ? [] : [number(pathLength)])), true);
/** Bits of RFC 5280 §4.2.1.3, by their number. */
export function keyUsage(...bits: readonly number[]): Buffer {
  const octet = bits.reduce((sum, bit) => sum | (0x80 >> bit), 0);
  const unused = octet === 0 ? 0 : 31 - Math.clz32(octet & -octet);
  return extension(extensionOids.keyUsage, bitString(Buffer.from([octet]), unused), true);
}
export const KEY_CERT_SIGN = 5;
export const CRL_SIGN = 6;
export const purposes = (...oids: readonly string[]): Buffer => extension(extensionOids.extKeyUsage, sequence(...oids.map(oid)));
export { emailProtection };
export const serverAuth = '1.3.6.1.5.5.7.3.1';

export const email = (text: string): Buffer => implicit(1, Buffer.from(text));
export const host = (text: string): Buffer => implicit(2, Buffer.from(text));
export const directory = (of: Buffer): Buffer => explicit(4, of);
export const uri = (text: string): Buffer => implicit(6, Buffer.from(text));
export const ip = (...octets: readonly number[]): Buffer => implicit(7, Buffer.from(octets));
export const utf8Mailbox = (text: string): Buffer => explicit(0, oid('1.3.6.1.5.5.7.8.9'), explicit(0, utf8String(text)));
export const san = (...names: readonly Buffer[]): Buffer => extension(extensionOids.subjectAltName, sequence(...names));

/** Each entry of a list is a GeneralName, or a GeneralSubtree with its bounds in a list of its own. */
export function nameConstraints(permitted: readonly Buffer[], excluded: readonly Buffer[] = [], ...bounds: readonly Buffer[]): Buffer {
  const list = (tag: number, names: readonly Buffer[]): readonly Buffer[] =>
    names.length === 0 ? [] : [explicit(tag, ...names.map((base) => sequence(base, ...bounds)))];
  return extension(extensionOids.nameConstraints, sequence(...list(0, permitted), ...list(1, excluded)), true);
}

export const policies = (...oids: readonly string[]): Buffer =>
  extension(extensionOids.certificatePolicies, sequence(...oids.map((one) => sequence(oid(one)))));
export const mappings = (...pairs: readonly (readonly [string, string])[]): Buffer =>
  extension(extensionOids.policyMappings, sequence(...pairs.map(([from, to]) => sequence(oid(from), oid(to)))), true);
export const policyConstraints = (requireExplicit?: number, inhibitMapping?: number): Buffer =>
  extension(
    extensionOids.policyConstraints,
    sequence(
      ...[requireExplicit, inhibitMapping].flatMap((count, tag) => (count === undefined ? [] : [implicit(tag, Buffer.from([count]))])),
    ),
    true,
  );
export const inhibitAnyPolicy = (count: number): Buffer => extension(extensionOids.inhibitAnyPolicy, number(count), true);

export const keyIdOf = (key: KeyObject): Buffer =>
  createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest();
export const subjectKeyId = (id: Buffer): Buffer => extension(extensionOids.subjectKeyIdentifier, octetString(id));
export const authorityKeyId = (id: Buffer): Buffer => extension(extensionOids.authorityKeyIdentifier, sequence(implicit(0, id)));

export interface Plan {
  readonly subject: Buffer;
  readonly keys: KeyPair;
  readonly issuer: Buffer;
  readonly signer: KeyPair;
  /** Undefined makes a certificate of version 1. */
  readonly extensions: readonly Buffer[] | undefined;
  readonly from?: Date;
  readonly to?: Date;
  readonly hash?: 'sha1' | 'sha256' | 'sha384';
  /** Turns a bit of the signature. */
  readonly forged?: boolean;
}

const algorithms = {
  rsa: { sha1: '1.2.840.113549.1.1.5', sha256: '1.2.840.113549.1.1.11', sha384: '1.2.840.113549.1.1.12' },
  ec: { sha1: '1.2.840.10045.4.1', sha256: '1.2.840.10045.4.3.2', sha384: '1.2.840.10045.4.3.3' },
} as const;

let serial = 1;

export function issueDer({ subject, keys, issuer, signer, extensions, from, to, hash = 'sha256', forged = false }: Plan): Buffer {
  const type = signer.privateKey.asymmetricKeyType === 'rsa' ? 'rsa' : 'ec';
  const algorithm = sequence(oid(algorithms[type][hash]), ...(type === 'rsa' ? [nullValue] : []));
  const count = Buffer.alloc(5);
  count.writeUInt32BE(serial++, 1);
  count[0] = 1;
  const tbs = sequence(
    ...(extensions === undefined ? [] : [explicit(0, number(2))]),
    integer(count),
    algorithm,
    issuer,
    sequence(time(from ?? new Date('2020-01-01')), time(to ?? new Date('2049-01-01'))),
    subject,
    keys.publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions === undefined || extensions.length === 0 ? [] : [explicit(3, sequence(...extensions))]),
  );
  const signature = sign(hash, tbs, signer.privateKey);
  if (forged) signature[signature.length - 1] = (signature.at(-1) ?? 0) ^ 1;
  return sequence(tbs, algorithm, bitString(signature));
}

export interface ListPlan {
  readonly issuer: Buffer;
  readonly signer: KeyPair;
  readonly from: Date;
  /** Undefined leaves nextUpdate out. */
  readonly until: Date | undefined;
  /** INTEGERs, as certificates have them. */
  readonly revoked: readonly Buffer[];
  /** A critical extension that nobody knows. */
  readonly critical?: boolean;
  readonly delta?: boolean;
}

/** A revocation list, RFC 5280 §5. */
export function crlDer({ issuer, signer, from, until, revoked, critical = false, delta = false }: ListPlan): Buffer {
  const rsa = signer.privateKey.asymmetricKeyType === 'rsa';
  const algorithm = sequence(oid(algorithms[rsa ? 'rsa' : 'ec'].sha256), ...(rsa ? [nullValue] : []));
  const extensions = [
    authorityKeyId(keyIdOf(signer.publicKey)),
    extension('2.5.29.20', number(2)),
    ...(critical ? [extension('1.3.6.1.4.1.99999.7', nullValue, true)] : []),
    ...(delta ? [extension('2.5.29.27', number(1), true)] : []),
  ];
  const tbs = sequence(
    number(1),
    algorithm,
    issuer,
    time(from),
    ...(until === undefined ? [] : [time(until)]),
    ...(revoked.length === 0 ? [] : [sequence(...revoked.map((serial) => sequence(serial, time(from))))]),
    explicit(0, sequence(...extensions)),
  );
  return sequence(tbs, algorithm, bitString(sign('sha256', tbs, signer.privateKey)));
}

export const issue = (plan: Plan): Certificate => parseCertificate(issueDer(plan));

/** An ordinary CA of one name and key, and what it issues. */
export interface Ca {
  readonly certificate: Certificate;
  readonly name: Buffer;
  readonly keys: KeyPair;
  /** A CA below it; `extensions` beside basicConstraints and keyUsage. */
  sub(common: string, ...extensions: readonly Buffer[]): Ca;
  /** Certified by this one too. */
  cross(other: Ca, ...extensions: readonly Buffer[]): Certificate;
  leaf(address: string, ...extensions: readonly Buffer[]): Certificate;
}

const caBasics = (extensions: readonly Buffer[]): readonly Buffer[] => [ca(), keyUsage(KEY_CERT_SIGN, CRL_SIGN), ...extensions];

export function root(common: string, ...extensions: readonly Buffer[]): Ca {
  const keys = ecKeys();
  const subject = name(['CN', common]);
  return caOf(issue({ subject, keys, issuer: subject, signer: keys, extensions: caBasics(extensions) }), subject, keys);
}

const caOf = (certificate: Certificate, subject: Buffer, keys: KeyPair): Ca => ({
  certificate,
  name: subject,
  keys,
  sub: (common, ...extensions) => {
    const below = { subject: name(['CN', common]), keys: ecKeys() };
    return caOf(issue({ ...below, issuer: subject, signer: keys, extensions: caBasics(extensions) }), below.subject, below.keys);
  },
  cross: (other, ...extensions) =>
    issue({ subject: other.name, keys: other.keys, issuer: subject, signer: keys, extensions: caBasics(extensions) }),
  leaf: (address, ...extensions) =>
    issue({
      subject: name(['CN', 'anna']),
      keys: leafKeys,
      issuer: subject,
      signer: keys,
      extensions: [...(address === '' ? [] : [san(email(address))]), ...extensions],
    }),
});

const leafKeys = ecKeys();
