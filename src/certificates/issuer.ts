/** Whether one certificate may stand above others in a path (RFC 5280 §6.1.4), the names and policies of the path apart. */
import { type Certificate, readX509 } from './certificate.ts';
import { anyExtendedKeyUsage, emailProtection } from './oids.ts';
import { caKeyFault } from './publickey.ts';
import { validityFault } from './usability.ts';

/** A CA's change of key or of policy (RFC 5280 §3.2): the limits on what stands between do not count it. */
export const isSelfIssued = ({ subjectDer, issuerDer }: Certificate): boolean => subjectDer.equals(issuerDer);

/** Both name the key, and not the same one (RFC 5280 §4.2.1.1): another key of the same CA. */
export const keyIdsAgree = (child: Certificate, issuer: Certificate): boolean =>
  child.authorityKeyId === undefined || issuer.subjectKeyId === undefined || child.authorityKeyId === issuer.subjectKeyId;

/** What `issuer` itself lacks, wherever it stands. `now` in ms. To be read behind its name. */
export function issuerFault(issuer: Certificate, now: number): string | undefined {
  // A version 1 certificate has no extensions, and so no basicConstraints: it is no CA, as RFC 5280 §6.1.4 (k) wants it.
  if (!issuer.ca) return 'is not a CA (basicConstraints)';
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.includes('keyCertSign')) return 'may not sign certificates (key usage)';
  // What public CAs are held to (CA/B S/MIME requirements §7.1.2.2): a CA for servers does not speak for mail.
  const purposes = issuer.extendedKeyUsage;
  if (purposes !== undefined && !purposes.includes(emailProtection) && !purposes.includes(anyExtendedKeyUsage)) {
    return 'is a CA for other things than mail (extended key usage)';
  }
  const invalid = validityFault(issuer, now)?.replace(/^it /, '');
  if (invalid !== undefined) return invalid;
  const weak = caKeyFault(issuer.publicKey);
  return weak === undefined ? criticalFault(issuer) : `holds ${weak}`;
}

/** pathLenConstraint against the certificates below `issuer`. RFC 5280 §6.1.4 (l): self-issued ones do not count. */
export function lengthFault(issuer: Certificate, below: readonly Certificate[]): string | undefined {
  const between = below.slice(1).filter((certificate) => !isSelfIssued(certificate)).length;
  return issuer.pathLength !== undefined && between > issuer.pathLength
    ? `allows ${issuer.pathLength} CAs below it, here are ${between}`
    : undefined;
}

const MAX_LISTED = 3;

export const criticalFault = ({ unknownCritical }: Certificate): string | undefined =>
  unknownCritical.length === 0
    ? undefined
    : `carries a critical extension that is not understood: ${unknownCritical.slice(0, MAX_LISTED).join(', ')}`;

export function isSignedBy(child: Certificate, issuer: Certificate): boolean {
  try {
    return readX509(child.der).verify(issuer.publicKey);
  } catch {
    // OpenSSL throws where the algorithm of the signature does not fit the key: it is not by this key.
    return false;
  }
}
