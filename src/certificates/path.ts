/**
 * From a certificate to an anchor (RFC 5280 §6, RFC 4158 for the building). The search goes breadth first and visits every
 * certificate once: a mesh of CAs that certify one another costs one visit each and has no circle to run in, and the first path
 * that arrives is the shortest, which is the one most likely to keep every pathLenConstraint.
 *
 * Name constraints are not understood yet: a CA that carries them is refused, with that reason. Nothing is fetched.
 */
import { X509Certificate } from 'node:crypto';
import type { Certificate } from './certificate.ts';
import { anyExtendedKeyUsage, emailProtection } from './oids.ts';
import { caKeyFault } from './publickey.ts';
import { validityFault } from './usability.ts';

export type PathVerdict =
  /** From the certificate itself to the anchor, both included. */
  | { readonly kind: 'trusted'; readonly path: readonly [Certificate, ...Certificate[]] }
  | { readonly kind: 'untrusted'; readonly reason: string };

/** Certificates by the DER of their subject, and by fingerprint. */
export interface CertificateSet {
  issuersOf(certificate: Certificate): readonly Certificate[];
  has(fingerprint: string): boolean;
}

/** A path of more than this many certificates, ends included, is no CA's practice. */
const MAX_PATH = 8;
/** Certificates of one subject that are tried at one step. */
const MAX_ISSUERS = 20;
/** Signatures that are checked for one verdict: the work an attacker's mesh may cost, about 20 ms. */
const MAX_SIGNATURES = 100;
/** Reasons that a verdict names; more help nobody. */
const MAX_REASONS = 3;

export function makeCertificateSet(certificates: readonly Certificate[]): CertificateSet {
  const bySubject = new Map<string, Certificate[]>();
  const fingerprints = new Set<string>();
  for (const certificate of certificates) {
    if (fingerprints.has(certificate.fingerprint)) continue;
    fingerprints.add(certificate.fingerprint);
    const subject = certificate.subjectDer.toString('latin1');
    const namesakes = bySubject.get(subject);
    if (namesakes === undefined) bySubject.set(subject, [certificate]);
    else namesakes.push(certificate);
  }
  return {
    // Names are compared octet for octet: stricter than RFC 5280 §7.1, and what every CA writes.
    issuersOf: ({ issuerDer }) => bySubject.get(issuerDer.toString('latin1')) ?? [],
    has: (fingerprint) => fingerprints.has(fingerprint),
  };
}

/** `now` in ms. The dates of `certificate` itself are usability's; those of every issuer are judged here. */
export function buildPath(certificate: Certificate, anchors: CertificateSet, intermediates: CertificateSet, now: number): PathVerdict {
  const fault = criticalFault(certificate);
  if (fault !== undefined) return { kind: 'untrusted', reason: `it ${fault}` };
  // The operator laid this very certificate among the anchors: nobody else needs to vouch for it.
  if (anchors.has(certificate.fingerprint)) return { kind: 'trusted', path: [certificate] };
  const reasons: string[] = [];
  const visited = new Set([certificate.fingerprint]);
  const open: (readonly [Certificate, ...Certificate[]])[] = [[certificate]];
  let signatures = 0;
  for (let path = open.shift(); path !== undefined; path = open.shift()) {
    const last = path.at(-1) ?? certificate;
    const known = [...anchors.issuersOf(last), ...intermediates.issuersOf(last)].filter((issuer) => keyIdsAgree(last, issuer));
    if (known.length === 0) reasons.push(unknownIssuer(last));
    for (const issuer of known.slice(0, MAX_ISSUERS)) {
      if (visited.has(issuer.fingerprint)) continue;
      const wrong = last.signatureFault ?? issuerFault(issuer, path, now);
      if (wrong !== undefined) {
        reasons.push(`${last.signatureFault === undefined ? issuer.subject : last.subject} ${wrong}`);
        continue;
      }
      if (++signatures > MAX_SIGNATURES) return { kind: 'untrusted', reason: `no path to an anchor within ${MAX_SIGNATURES} signatures` };
      if (!isSignedBy(last, issuer)) {
        reasons.push(`the signature on ${last.subject} is not by ${issuer.subject}`);
        continue;
      }
      visited.add(issuer.fingerprint);
      if (anchors.has(issuer.fingerprint)) return { kind: 'trusted', path: [...path, issuer] };
      if (path.length + 1 < MAX_PATH) open.push([...path, issuer]);
      else reasons.push(`the path is longer than ${MAX_PATH} certificates`);
    }
  }
  const distinct = [...new Set(reasons)].slice(0, MAX_REASONS);
  return { kind: 'untrusted', reason: `no path to an anchor: ${distinct.length > 0 ? distinct.join('; ') : 'the CAs lead in a circle'}` };
}

const unknownIssuer = ({ subject, issuer, subjectDer, issuerDer }: Certificate): string =>
  subjectDer.equals(issuerDer) ? `${subject} is self-signed and not among the anchors` : `the issuer of ${subject} is not known: ${issuer}`;

/** Both name the key, and not the same one (RFC 5280 §4.2.1.1): another key of the same CA. */
const keyIdsAgree = (child: Certificate, issuer: Certificate): boolean =>
  child.authorityKeyId === undefined || issuer.subjectKeyId === undefined || child.authorityKeyId === issuer.subjectKeyId;

/** Why `issuer` may not stand above `path` (RFC 5280 §6.1.4); undefined where it may, its signature apart. */
function issuerFault(issuer: Certificate, path: readonly Certificate[], now: number): string | undefined {
  if (!issuer.ca) return 'is not a CA (basicConstraints)';
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.includes('keyCertSign')) return 'may not sign certificates (key usage)';
  // What public CAs are held to (CA/B S/MIME requirements §7.1.2.2): a CA for servers does not speak for mail.
  const purposes = issuer.extendedKeyUsage;
  if (purposes !== undefined && !purposes.includes(emailProtection) && !purposes.includes(anyExtendedKeyUsage)) {
    return 'is a CA for other things than mail (extended key usage)';
  }
  // RFC 5280 §6.1.4 (l): self-issued certificates, a CA's change of key, do not count.
  const between = path.slice(1).filter(({ subjectDer, issuerDer }) => !subjectDer.equals(issuerDer)).length;
  if (issuer.pathLength !== undefined && between > issuer.pathLength)
    return `allows ${issuer.pathLength} CAs below it, here are ${between}`;
  const invalid = validityFault(issuer, now)?.replace(/^it /, '');
  if (invalid !== undefined) return invalid;
  const weak = caKeyFault(issuer.publicKey);
  if (weak !== undefined) return `holds ${weak}`;
  if (issuer.nameConstraints) return 'carries name constraints, which are not understood yet';
  return criticalFault(issuer);
}

const criticalFault = ({ unknownCritical }: Certificate): string | undefined =>
  unknownCritical.length === 0
    ? undefined
    : `carries a critical extension that is not understood: ${unknownCritical.slice(0, MAX_REASONS).join(', ')}`;

function isSignedBy(child: Certificate, issuer: Certificate): boolean {
  try {
    return new X509Certificate(child.der).verify(issuer.publicKey);
  } catch {
    // OpenSSL throws where the algorithm of the signature does not fit the key: it is not by this key.
    return false;
  }
}
