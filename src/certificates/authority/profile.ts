/**
 * What stands in a certificate of a person, after the CA/Browser Forum's S/MIME requirements (multipurpose, §7.1.2.3): the address in
 * subjectAltName, emailProtection alone, the exact key usage, no more than 825 days. The form without a name is the one that they
 * call mailbox-validated; its policy identifier is set only where all of the form is kept. Which form: nobody audits an in-house CA.
 */
import type { KeyObject } from 'node:crypto';
import type { Mailbox } from '../../message/envelope.ts';
import type { Certificate } from '../certificate.ts';
import { bitString, explicit, ia5String, implicit, octetString, oid, sequence, set, utf8String } from '../encode.ts';
import { emailAddress, emailProtection, extensionOids, smtpUtf8Mailbox } from '../oids.ts';
import { extension, keyIdOf, MAX_COMMON_NAME, nameOf } from './x509.ts';

/** What public CAs may give at most (CA/B S/MIME §6.3.2, multipurpose): renewal stays a habit. */
export const DEFAULT_DAYS = 825;

/** CA/B S/MIME §7.1.6.1: mailbox-validated, multipurpose. */
const mailboxValidatedMultipurpose = '2.23.140.1.5.1.2';

/** AES-256-CBC, AES-128-CBC (RFC 3565): what the readers of an issued certificate are told to prefer. */
const capabilities = ['2.16.840.1.101.3.4.1.42', '2.16.840.1.101.3.4.1.2'];

/** Bits of KeyUsage as the content of its BIT STRING, with the count of unused ones (RFC 5280 §4.2.1.3, RFC 5480 §3). */
const usage = {
  rsa: bitString(Buffer.from([0b1010_0000]), 5), // digitalSignature, keyEncipherment
  ec: bitString(Buffer.from([0b1000_1000]), 3), // digitalSignature, keyAgreement
};

export interface PersonContent {
  readonly mailbox: Mailbox;
  readonly name: string | undefined;
  readonly publicKey: KeyObject;
  readonly issuer: Certificate;
  readonly days: number;
  readonly crlUrl: string | undefined;
}

/** The person's name, or the address: as a common name, or where that is too short for it as a mail address (RFC 5280 appendix A.1). */
export function subjectOf({ address, needsSmtputf8 }: Mailbox, name: string | undefined): Buffer {
  if (name !== undefined || Array.from(address).length <= MAX_COMMON_NAME || needsSmtputf8) return nameOf(name ?? address);
  return sequence(set(sequence(oid(emailAddress), ia5String(address))));
}

export function personExtensions({ mailbox, name, publicKey, issuer, days, crlUrl }: PersonContent): readonly Buffer[] {
  const cutName = mailbox.needsSmtputf8 && Array.from(mailbox.address).length > MAX_COMMON_NAME;
  const mailboxValidated = name === undefined && !cutName && days <= DEFAULT_DAYS && crlUrl !== undefined;
  return [
    extension(extensionOids.subjectAltName, sequence(generalName(mailbox))),
    extension(extensionOids.keyUsage, publicKey.asymmetricKeyType === 'rsa' ? usage.rsa : usage.ec, true),
    extension(extensionOids.extKeyUsage, sequence(oid(emailProtection))),
    extension(extensionOids.basicConstraints, sequence(), true),
    extension(extensionOids.subjectKeyIdentifier, octetString(keyIdOf(publicKey))),
    ...issuerKeyId(issuer),
    ...(mailboxValidated ? [extension(extensionOids.certificatePolicies, sequence(sequence(oid(mailboxValidatedMultipurpose))))] : []),
    ...(crlUrl === undefined ? [] : [extension(extensionOids.cRLDistributionPoints, distributionPoint(crlUrl))]),
    extension(extensionOids.smimeCapabilities, sequence(...capabilities.map((capability) => sequence(oid(capability))))),
  ];
}

/** RFC 5280 §4.2.1.1, for what `issuer` signs. */
export function issuerKeyId({ subjectKeyId }: Certificate): readonly Buffer[] {
  if (subjectKeyId === undefined) return [];
  return [extension(extensionOids.authorityKeyIdentifier, sequence(implicit(0, Buffer.from(subjectKeyId, 'hex'))))];
}

/** RFC 5280 §4.2.1.13: one point, its fullName one URI. */
const distributionPoint = (url: string): Buffer => sequence(sequence(explicit(0, explicit(0, implicit(6, Buffer.from(url, 'latin1'))))));

/** RFC 9598 §3: a local part outside ASCII has a name form of its own. */
const generalName = ({ address, needsSmtputf8 }: Mailbox): Buffer =>
  needsSmtputf8 ? explicit(0, oid(smtpUtf8Mailbox), explicit(0, utf8String(address))) : implicit(1, Buffer.from(address));
