/**
 * From a certificate to an anchor (RFC 5280 §6, RFC 4158 for the building). Nothing is fetched.
 *
 * Paths grow from the certificate upwards, the shortest first. A path that ends at a certificate which none has reached before
 * goes ahead of one that comes to a known place by another way: so a mesh of CAs that certify one another is walked once, in
 * time that grows with its size, and only then, as far as the limits allow, along its other ways. Those matter: the shortest
 * way to a CA may break a pathLenConstraint or a name constraint that a longer one keeps.
 *
 * What an issuer is by itself, and whether it signed, is judged once for a search, whatever path asks. Names and lengths are
 * judged as a path grows, policies when it has arrived. Several paths are given, since revocation may refuse the first.
 */
import type { Certificate } from './certificate.ts';
import { namesOf } from './general-name.ts';
import type { ComparableName } from './general-name.ts';
import { criticalFault, isSelfIssued, isSignedBy, issuerFault, keyIdsAgree, lengthFault } from './issuer.ts';
import { constraintFault, makeComparisonBudget, MAX_COMPARISONS } from './name-constraints.ts';
import type { ComparisonBudget } from './name-constraints.ts';
import { policyFault } from './policies.ts';
import type { PolicyStep } from './policies.ts';

/** From the certificate itself to the anchor, both included. */
export type Path = readonly [Certificate, ...Certificate[]];

export type PathVerdict =
  /** `path` is the shortest; `others` are to be tried in their order where revocation refuses it. */
  | { readonly kind: 'trusted'; readonly path: Path; readonly others: readonly Path[] }
  | { readonly kind: 'untrusted'; readonly reason: string };

/** Certificates by the DER of their subject, and by fingerprint. */
export interface CertificateSet {
  issuersOf(certificate: Certificate): readonly Certificate[];
  has(fingerprint: string): boolean;
}

/** Limits of one search, for docs/trust.md and its test. */
export const PATH_LIMITS = {
  /** Certificates in a path, ends included: no CA's practice needs more. */
  length: 8,
  /** Certificates of one subject that are tried at one step. */
  issuers: 20,
  /** Signatures: the work an attacker's mesh may cost, about 20 ms. */
  signatures: 100,
  /** Issuers that are looked at, over all paths. */
  steps: 2000,
  comparisons: MAX_COMPARISONS,
  /** Paths that are given. */
  paths: 4,
} as const;

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
  if (anchors.has(certificate.fingerprint)) return { kind: 'trusted', path: [certificate], others: [] };
  const search = openSearch(anchors, intermediates, now);
  const found: Path[] = [];
  const fresh: Path[] = [[certificate]];
  const again: Path[] = [];
  const reached = new Set<string>();
  for (let path = fresh.shift(); path !== undefined; path = fresh.shift() ?? again.shift()) {
    for (const issuer of search.issuersAbove(path)) {
      const longer: Path = [...path, issuer];
      if (anchors.has(issuer.fingerprint)) {
        const missing = policyFault(longer.map(policyStep));
        if (missing === undefined) found.push(longer);
        else search.forbid(missing);
        if (found.length === PATH_LIMITS.paths) break;
        continue;
      }
      if (longer.length >= PATH_LIMITS.length) {
        search.tell(`the path is longer than ${PATH_LIMITS.length} certificates`);
        continue;
      }
      (reached.has(issuer.fingerprint) ? again : fresh).push(longer);
      reached.add(issuer.fingerprint);
    }
    if (found.length === PATH_LIMITS.paths || search.exhausted() !== undefined) break;
  }
  const [first, ...others] = found;
  if (first !== undefined) return { kind: 'trusted', path: first, others };
  return { kind: 'untrusted', reason: search.exhausted() ?? `no path to an anchor: ${search.reasons()}` };
}

const policyStep = (certificate: Certificate): PolicyStep => {
  const { subject, policies } = certificate;
  return { subject, policies, selfIssued: isSelfIssued(certificate) };
};

/** The work of one search, and what it may cost. */
interface Search {
  /** Those that may stand above this path; it stops short where a limit is reached. */
  issuersAbove(path: Path): Iterable<Certificate>;
  tell(reason: string): void;
  /** What a CA forbids stands before what is missing: it is why the way that was there failed. */
  forbid(reason: string): void;
  reasons(): string;
  /** The limit that ended the search; undefined while none did. */
  exhausted(): string | undefined;
}

function openSearch(anchors: CertificateSet, intermediates: CertificateSet, now: number): Search {
  const told = new Set<string>();
  const forbidden = new Set<string>();
  const own = remembered((issuer) => issuerFault(issuer, now));
  const names = remembered((certificate) => namesOf(certificate));
  const budget = makeComparisonBudget();
  const signatures = new Map<string, boolean>();
  let steps = 0;
  let exhausted: string | undefined;

  const belowAnchor = remembered((certificate) => anchors.issuersOf(certificate).length > 0);
  /** The anchors first, then what an anchor may have certified: among many of one name, those lead somewhere. */
  const namesakesOf = (child: Certificate): readonly Certificate[] => {
    const others = intermediates.issuersOf(child).filter(({ fingerprint }) => !anchors.has(fingerprint));
    return [...anchors.issuersOf(child), ...others.filter(belowAnchor), ...others.filter((issuer) => !belowAnchor(issuer))];
  };
  const isSigned = (child: Certificate, issuer: Certificate): boolean | undefined => {
    // By key: many certificates of one CA are one question.
    const pair = `${child.fingerprint} ${issuer.spkiDer.toString('latin1')}`;
    const known = signatures.get(pair);
    if (known !== undefined) return known;
    if (signatures.size >= PATH_LIMITS.signatures) return undefined;
    const signed = isSignedBy(child, issuer);
    signatures.set(pair, signed);
    return signed;
  };
  function* issuersAbove(path: Path): Generator<Certificate, void> {
    const child = path.at(-1) ?? path[0];
    const namesakes = namesakesOf(child).filter((issuer) => keyIdsAgree(child, issuer));
    if (namesakes.length === 0) told.add(unknownIssuer(child));
    let tried = 0;
    for (const issuer of namesakes) {
      if (++steps > PATH_LIMITS.steps) return void (exhausted = `no path to an anchor within ${PATH_LIMITS.steps} steps`);
      if (path.some((below) => isSameEntity(below, issuer))) continue;
      const fault = child.signatureFault ?? own(issuer) ?? lengthFault(issuer, path);
      if (fault !== undefined) {
        told.add(`${child.signatureFault === undefined ? issuer.subject : child.subject} ${fault}`);
        continue;
      }
      if (++tried > PATH_LIMITS.issuers) return void told.add(`more than ${PATH_LIMITS.issuers} issuers are called ${issuer.subject}`);
      const signed = isSigned(child, issuer);
      if (signed === undefined) return void (exhausted = `no path to an anchor within ${PATH_LIMITS.signatures} signatures`);
      const forbids = signed ? namesFault(issuer, path, names, budget) : undefined;
      if (!signed) told.add(`the signature on ${child.subject} is not by ${issuer.subject}`);
      else if (forbids !== undefined) forbidden.add(forbids);
      else yield issuer;
    }
  }
  return {
    issuersAbove,
    forbid: (reason) => void forbidden.add(reason),
    tell: (reason) => void told.add(reason),
    reasons: () => [...forbidden, ...told].slice(0, MAX_REASONS).join('; ') || 'the CAs lead in a circle',
    exhausted: () => exhausted,
  };
}

function remembered<Answer>(ask: (certificate: Certificate) => Answer): (certificate: Certificate) => Answer {
  const answers = new Map<string, { readonly answer: Answer }>();
  return (certificate) => {
    const known = answers.get(certificate.fingerprint);
    if (known !== undefined) return known.answer;
    const answer = ask(certificate);
    answers.set(certificate.fingerprint, { answer });
    return answer;
  };
}

/** RFC 4158 §2.4.2: a path that comes back to the same name and key has gained nothing, and would run in circles. */
const isSameEntity = (one: Certificate, other: Certificate): boolean =>
  one.subjectDer.equals(other.subjectDer) && one.spkiDer.equals(other.spkiDer);

/**
 * An anchor's own constraints count too, which RFC 5280 §6.2 leaves open. §6.1.3 (b): self-issued CAs are exempt, the last
 * certificate never is.
 */
function namesFault(
  issuer: Certificate,
  below: Path,
  names: (certificate: Certificate) => readonly ComparableName[],
  budget: ComparisonBudget,
): string | undefined {
  if (issuer.nameConstraints === undefined) return undefined;
  for (const [index, certificate] of below.entries()) {
    if (index > 0 && isSelfIssued(certificate)) continue;
    const fault = constraintFault(issuer.nameConstraints, names(certificate), budget);
    if (fault !== undefined) return `${issuer.subject} ${fault}, and refuses ${certificate.subject}`;
  }
  return undefined;
}

const unknownIssuer = ({ subject, issuer, subjectDer, issuerDer }: Certificate): string =>
  subjectDer.equals(issuerDer) ? `${subject} is self-signed and not among the anchors` : `the issuer of ${subject} is not known: ${issuer}`;
