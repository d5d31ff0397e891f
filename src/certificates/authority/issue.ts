/**
 * The in-house CA, for sites that have none: a root, and certificates for mail in the spirit of the CA/Browser Forum's S/MIME
 * requirements (the address in subjectAltName, emailProtection, exact key usage). The root is RSA-3072 with SHA-256, since every
 * reader verifies that; gpgsm 2.2 and old Windows stumble over EC in a PKCS#12.
 */
import { generateKeyPair } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { SealpostError } from '../../errors.ts';
import type { Mailbox } from '../../message/envelope.ts';
import { parseCertificate } from '../certificate.ts';
import type { Certificate } from '../certificate.ts';
import { bitString, explicit, implicit, octetString, oid, sequence, trueValue, utf8String, wholeNumber } from '../encode.ts';
import { anyPolicy, emailProtection, extensionOids, smtpUtf8Mailbox } from '../oids.ts';
import { extension, keyIdOf, nameOf, signCertificate } from './x509.ts';

export interface Authority {
  readonly certificate: Certificate;
  readonly key: KeyObject;
}

export const keyChoices = ['rsa', 'ec', 'p384', 'p521'] as const;
/** `ec` is P-256, the curve every EC reader has. */
export type KeyChoice = (typeof keyChoices)[number];

export interface Issued {
  readonly certificate: Certificate;
  readonly key: KeyObject;
}

export const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3652;
/** What public CAs may give at most (CA/B S/MIME requirements §6.3.2): renewal stays a habit. */
export const DEFAULT_DAYS = 825;
export const MAX_DAYS = 3652;
/** Clocks of readers run behind: a certificate that is not valid yet reads as broken. */
const BACKDATED_MS = 5 * 60_000;
const AUTHORITY_RSA_BITS = 3072;
/** 3072 in years to come; today 2048 keeps old smart cards and phones reading, and is what public CAs issue. */
const RSA_BITS = 2048;

const keyPair = promisify(generateKeyPair);

/** AES-256-CBC, AES-128-CBC (RFC 3565): what the readers of an issued certificate are told to prefer. */
const capabilities = ['2.16.840.1.101.3.4.1.42', '2.16.840.1.101.3.4.1.2'];

/** Bits of KeyUsage as the content of its BIT STRING, with the count of unused ones (RFC 5280 §4.2.1.3). */
const usage = {
  authority: bitString(Buffer.from([0b0000_0110]), 1), // keyCertSign, cRLSign
  rsa: bitString(Buffer.from([0b1010_0000]), 5), // digitalSignature, keyEncipherment
  ec: bitString(Buffer.from([0b1000_1000]), 3), // digitalSignature, keyAgreement
};

interface AuthorityOptions {
  readonly name: string;
  /** ms */
  readonly now: number;
}

/** A new root, valid for ten years. One issuing CA may stand below it, and certificates of people. */
export async function makeAuthority({ name, now }: AuthorityOptions): Promise<Authority> {
  const { publicKey, privateKey: key } = await keyPair('rsa', { modulusLength: AUTHORITY_RSA_BITS });
  const subject = nameOf(name);
  const der = signCertificate({
    issuer: subject,
    subject,
    publicKey,
    signer: key,
    from: now - BACKDATED_MS,
    to: now + AUTHORITY_DAYS * DAY_MS,
    extensions: [
      extension(extensionOids.basicConstraints, sequence(trueValue, wholeNumber(1)), true),
      extension(extensionOids.keyUsage, usage.authority, true),
      extension(extensionOids.subjectKeyIdentifier, octetString(keyIdOf(publicKey))),
    ],
  });
  return { certificate: parseCertificate(der), key };
}

/** The CA below a root that signs the certificates of people, for mail alone; it ends with the root (CA/B S/MIME §7.1.2.2). */
export async function makeIssuing({ root, name, now }: AuthorityOptions & { readonly root: Authority }): Promise<Authority> {
  const { publicKey, privateKey: key } = await keyPair('rsa', { modulusLength: AUTHORITY_RSA_BITS });
  const der = signCertificate({
    issuer: root.certificate.subjectDer,
    subject: nameOf(name),
    publicKey,
    signer: root.key,
    from: now - BACKDATED_MS,
    to: root.certificate.notAfter.getTime(),
    extensions: [
      extension(extensionOids.basicConstraints, sequence(trueValue, wholeNumber(0)), true),
      extension(extensionOids.keyUsage, usage.authority, true),
      extension(extensionOids.extKeyUsage, sequence(oid(emailProtection))),
      extension(extensionOids.certificatePolicies, sequence(sequence(oid(anyPolicy)))),
      extension(extensionOids.subjectKeyIdentifier, octetString(keyIdOf(publicKey))),
      ...issuerKeyId(root),
    ],
  });
  return { certificate: parseCertificate(der), key };
}

/** RFC 5280 §4.2.1.1, for what `authority` signs. */
function issuerKeyId({ certificate: { subjectKeyId } }: Authority): Buffer[] {
  if (subjectKeyId === undefined) return [];
  return [extension(extensionOids.authorityKeyIdentifier, sequence(implicit(0, Buffer.from(subjectKeyId, 'hex'))))];
}

export interface IssueOptions {
  readonly authority: Authority;
  readonly mailbox: Mailbox;
  /** For people, shown by mail programs; the address where undefined. */
  readonly name?: string | undefined;
  readonly key: KeyChoice;
  readonly days: number;
  /** ms */
  readonly now: number;
}

/** A key pair and a certificate for one mailbox. It does not outlive the CA: where it would, it ends with it. */
export async function issueCertificate({ authority, mailbox, name, key: choice, days, now }: IssueOptions): Promise<Issued> {
  const caEnds = authority.certificate.notAfter.getTime();
  if (caEnds < now) {
    const detail = `the in-house CA expired on ${authority.certificate.notAfter.toISOString().slice(0, 10)}`;
    throw new SealpostError('certificate-unusable', { detail, hint: 'make a new one: sealpost init in an empty folder does' });
  }
  const { publicKey, privateKey: key } = await makeKeyPair(choice);
  const der = signCertificate({
    issuer: authority.certificate.subjectDer,
    subject: nameOf(name ?? mailbox.address),
    publicKey,
    signer: authority.key,
    from: now - BACKDATED_MS,
    to: Math.min(now + days * DAY_MS, caEnds),
    extensions: [
      extension(extensionOids.subjectAltName, sequence(generalName(mailbox))),
      extension(extensionOids.keyUsage, choice === 'rsa' ? usage.rsa : usage.ec, true),
      extension(extensionOids.extKeyUsage, sequence(oid(emailProtection))),
      extension(extensionOids.basicConstraints, sequence(), true),
      extension(extensionOids.subjectKeyIdentifier, octetString(keyIdOf(publicKey))),
      ...issuerKeyId(authority),
      extension(extensionOids.smimeCapabilities, sequence(...capabilities.map((capability) => sequence(oid(capability))))),
    ],
  });
  return { certificate: parseCertificate(der), key };
}

function makeKeyPair(choice: KeyChoice): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> {
  if (choice === 'rsa') return keyPair('rsa', { modulusLength: RSA_BITS });
  return keyPair('ec', { namedCurve: { ec: 'P-256', p384: 'P-384', p521: 'P-521' }[choice] });
}

/** RFC 9598 §3: a local part outside ASCII has a name form of its own. */
const generalName = ({ address, needsSmtputf8 }: Mailbox): Buffer =>
  needsSmtputf8 ? explicit(0, oid(smtpUtf8Mailbox), explicit(0, utf8String(address))) : implicit(1, Buffer.from(address));
