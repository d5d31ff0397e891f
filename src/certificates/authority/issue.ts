/**
 * The in-house CA, for sites that have none: a root, an issuing CA below it, and certificates of people, whose form profile.ts says.
 * Both CAs are RSA-3072 with SHA-256, since every reader verifies that; gpgsm 2.2 and old Windows stumble over EC in a PKCS#12.
 */
import { generateKeyPair } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { SealpostError } from '../../errors.ts';
import type { Mailbox } from '../../message/envelope.ts';
import { parseCertificate } from '../certificate.ts';
import type { Certificate } from '../certificate.ts';
import { bitString, octetString, oid, sequence, trueValue, wholeNumber } from '../encode.ts';
import { anyPolicy, emailProtection, extensionOids } from '../oids.ts';
import { issuerKeyId, personExtensions, subjectOf } from './profile.ts';
import { extension, keyIdOf, nameOf, signCertificate } from './x509.ts';

export interface Authority {
  readonly certificate: Certificate;
  readonly key: KeyObject;
}

export const keyChoices = ['rsa', 'rsa3072', 'rsa4096', 'ec', 'p384', 'p521'] as const;
/** `rsa` is RSA-2048, `ec` is P-256, the curve every EC reader has. */
export type KeyChoice = (typeof keyChoices)[number];

/** How people and records name a key of each kind. */
export const keyNames: Readonly<Record<KeyChoice, string>> = {
  rsa: 'RSA-2048',
  rsa3072: 'RSA-3072',
  rsa4096: 'RSA-4096',
  ec: 'P-256',
  p384: 'P-384',
  p521: 'P-521',
};

export interface Issued {
  readonly certificate: Certificate;
  readonly key: KeyObject;
}

export const DAY_MS = 86_400_000;
const SECOND_MS = 1000;
const AUTHORITY_DAYS = 3652;
export const MAX_DAYS = 3652;
/** Clocks of readers run behind: a certificate that is not valid yet reads as broken. */
const BACKDATED_MS = 5 * 60_000;
const AUTHORITY_RSA_BITS = 3072;

const keyPair = promisify(generateKeyPair);

/** keyCertSign, cRLSign (RFC 5280 §4.2.1.3). */
const authorityUsage = bitString(Buffer.from([0b0000_0110]), 1);

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
      extension(extensionOids.keyUsage, authorityUsage, true),
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
      extension(extensionOids.keyUsage, authorityUsage, true),
      extension(extensionOids.extKeyUsage, sequence(oid(emailProtection))),
      extension(extensionOids.certificatePolicies, sequence(sequence(oid(anyPolicy)))),
      extension(extensionOids.subjectKeyIdentifier, octetString(keyIdOf(publicKey))),
      ...issuerKeyId(root.certificate),
    ],
  });
  return { certificate: parseCertificate(der), key };
}

export interface IssueOptions {
  readonly authority: Authority;
  readonly mailbox: Mailbox;
  /** For people, shown by mail programs; the address where undefined. */
  readonly name?: string | undefined;
  readonly key: KeyChoice;
  readonly days: number;
  /** Where readers of its signatures, and other relays, find the CA's revocation list: `http:`. */
  readonly crlUrl?: string | undefined;
  /** ms */
  readonly now: number;
}

/** A key pair and a certificate for one mailbox. It does not outlive the CA: where it would, it ends with it. */
export async function issueCertificate({ authority, mailbox, name, key: choice, days, crlUrl, now }: IssueOptions): Promise<Issued> {
  const caEnds = authority.certificate.notAfter.getTime();
  if (caEnds < now) {
    const detail = `the in-house CA expired on ${authority.certificate.notAfter.toISOString().slice(0, 10)}`;
    throw new SealpostError('certificate-unusable', { detail, hint: 'make a new one: sealpost init in an empty folder does' });
  }
  const { publicKey, privateKey: key } = await makeKeyPair(choice);
  const from = now - BACKDATED_MS;
  const der = signCertificate({
    issuer: authority.certificate.subjectDer,
    subject: subjectOf(mailbox, name),
    publicKey,
    signer: authority.key,
    from,
    // The last second counts as well (RFC 5280 §4.1.2.5).
    to: Math.min(from + days * DAY_MS - SECOND_MS, caEnds),
    extensions: personExtensions({ mailbox, name, publicKey, issuer: authority.certificate, days, crlUrl }),
  });
  return { certificate: parseCertificate(der), key };
}

/** 3072 in years to come; today 2048 keeps old smart cards and phones reading, and is what public CAs issue. */
const rsaBits: Readonly<Record<string, number>> = { rsa: 2048, rsa3072: 3072, rsa4096: 4096 };
const namedCurves: Readonly<Record<string, string>> = { p384: 'P-384', p521: 'P-521' };

function makeKeyPair(choice: KeyChoice): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> {
  const modulusLength = rsaBits[choice];
  if (modulusLength !== undefined) return keyPair('rsa', { modulusLength });
  return keyPair('ec', { namedCurve: namedCurves[choice] ?? 'P-256' });
}
