/**
 * The algorithms sealpost writes, and the choice among them for one reader. `compatible` is what every reader opens; `strict` is
 * what should be used where every reader is known to be able (NIST SP 800-52 and -56 thinking: OAEP or ECDH, authenticated cipher).
 */
import type { Certificate } from '../certificates/certificate.ts';
import { oid } from '../certificates/encode.ts';

export const cipherNames = ['aes-256-cbc', 'aes-128-cbc', 'aes-256-gcm'] as const;
export type Cipher = (typeof cipherNames)[number];
export type Profile = 'compatible' | 'strict';
export type KeyTransport = 'rsaes-pkcs1' | 'rsaes-oaep';

export interface CipherForm {
  /** Dotted, as SMIMECapabilities list it (RFC 3565 §4.1, RFC 5084 §3.2). */
  readonly id: string;
  readonly keyOctets: 16 | 32;
  readonly ivOctets: 12 | 16;
  /** AES-GCM stands only in AuthEnvelopedData (RFC 5083, RFC 8551 §2.7); no reader takes it in EnvelopedData. */
  readonly authenticated: boolean;
  /** smime-type of the message (RFC 8551 §3.2.2); the capital E is the RFC's own. */
  readonly smimeType: 'enveloped-data' | 'authEnveloped-data';
}

export const ciphers: Readonly<Record<Cipher, CipherForm>> = {
  'aes-128-cbc': { id: '2.16.840.1.101.3.4.1.2', keyOctets: 16, ivOctets: 16, authenticated: false, smimeType: 'enveloped-data' },
  'aes-256-cbc': { id: '2.16.840.1.101.3.4.1.42', keyOctets: 32, ivOctets: 16, authenticated: false, smimeType: 'enveloped-data' },
  'aes-256-gcm': { id: '2.16.840.1.101.3.4.1.46', keyOctets: 32, ivOctets: 12, authenticated: true, smimeType: 'authEnveloped-data' },
};

/** How an EC reader's key is agreed on: the sizes of wrap and content cipher are equal (RFC 8551 §2.3, RFC 5753 §7.1.4). */
export const agreements = {
  16: { scheme: '1.3.132.1.11.1', hash: 'sha256', wrap: '2.16.840.1.101.3.4.1.5', wrapCipher: 'id-aes128-wrap' },
  32: { scheme: '1.3.132.1.11.2', hash: 'sha384', wrap: '2.16.840.1.101.3.4.1.45', wrapCipher: 'id-aes256-wrap' },
} as const;

export const ids = {
  data: oid('1.2.840.113549.1.7.1'),
  envelopedData: oid('1.2.840.113549.1.7.3'),
  authEnvelopedData: oid('1.2.840.113549.1.9.16.1.23'),
  rsaEncryption: oid('1.2.840.113549.1.1.1'),
  rsaesOaep: oid('1.2.840.113549.1.1.7'),
  mgf1: oid('1.2.840.113549.1.1.8'),
  sha256: oid('2.16.840.1.101.3.4.2.1'),
  ecPublicKey: oid('1.2.840.10045.2.1'),
} as const;

/** What one reader's message is made with. */
export interface Form {
  readonly cipher: Cipher;
  readonly keyTransport: KeyTransport;
}

/**
 * The form for one reader's certificates. In `compatible` the cipher is AES-256-CBC; SMIMECapabilities (RFC 4262) raise it to GCM
 * where every certificate lists that, and lower it to AES-128-CBC where one lists AES-128 but not AES-256. What a rule says (the last
 * argument) goes before all of it.
 */
export function chooseForm(
  certificates: readonly Pick<Certificate, 'capabilities'>[],
  standard: Profile,
  { profile = standard, ...fixed }: { readonly profile?: Profile } & Partial<Form> = {},
): Form {
  return { ...formOf(certificates, profile), ...fixed };
}

function formOf(certificates: readonly Pick<Certificate, 'capabilities'>[], profile: Profile): Form {
  if (profile === 'strict') return { cipher: 'aes-256-gcm', keyTransport: 'rsaes-oaep' };
  const lists = (certificate: Pick<Certificate, 'capabilities'>, cipher: Cipher): boolean =>
    certificate.capabilities.includes(ciphers[cipher].id);
  const keyTransport = 'rsaes-pkcs1';
  if (certificates.every((certificate) => lists(certificate, 'aes-256-gcm'))) return { cipher: 'aes-256-gcm', keyTransport };
  const only128 = certificates.some((certificate) => lists(certificate, 'aes-128-cbc') && !lists(certificate, 'aes-256-cbc'));
  return { cipher: only128 ? 'aes-128-cbc' : 'aes-256-cbc', keyTransport };
}
