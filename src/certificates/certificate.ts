import type { KeyObject } from 'node:crypto';

export type PublicKeyKind =
  | { readonly type: 'rsa'; readonly bits: number }
  | { readonly type: 'ec'; readonly curve: 'P-256' | 'P-384' | 'P-521' };

/** One X.509 certificate, read once. Everything that sealing, trust and choice ask of it. */
export interface Certificate {
  readonly der: Buffer;
  /** SHA-256 over `der`, lower-case hex. */
  readonly fingerprint: string;
  /** For people: RFC 4514-like, control characters escaped. */
  readonly subject: string;
  readonly issuer: string;
  /** Lower-case hex. */
  readonly serial: string;
  /** The exact TLVs of the certificate, copied and never re-encoded (INTEROP A9). */
  readonly issuerDer: Buffer;
  readonly serialDer: Buffer;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** mailboxKey() forms of the SAN rfc822Name and SmtpUTF8Mailbox entries. */
  readonly addresses: readonly string[];
  readonly publicKey: KeyObject;
  /** Undefined where the key is of no kind that mail is sealed to; usability says so. */
  readonly key: PublicKeyKind | undefined;
  /** OIDs of SMIMECapabilities (RFC 4262), most preferred first; empty where the certificate has none. */
  readonly capabilities: readonly string[];
}
