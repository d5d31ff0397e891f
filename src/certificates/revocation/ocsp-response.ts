/**
 * What an OCSP responder answered (RFC 6960 §4.2). The octets came from anybody, over clear HTTP: limits first, then the signature,
 * then that it speaks of our certificate, now. An answer that fails in any of this is no answer: `unknown` with its reason, never
 * `good` (A23), and the reason holds nothing of the answer.
 *
 * It is signed by the issuer's own key, or by a responder whose certificate comes along and was issued for that by this very key:
 * id-kp-OCSPSigning (§4.2.2.2). Who else signs, even another CA that we trust, is refused.
 */
import { X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { parseCertificate } from '../certificate.ts';
import type { Certificate } from '../certificate.ts';
import { CONTEXT, isContext, malformed, oidText, readDer, tags } from '../der.ts';
import type { DerLimits, Tlv } from '../der.ts';
import { SEQUENCE } from '../encode.ts';
import { ocspBasic, ocspNonce, ocspSigning } from '../oids.ts';
import { caKeyFault } from '../publickey.ts';
import { validityFault } from '../usability.ts';
import { idSha1, keyHashOf } from './ocsp-request.ts';
import type { CertId } from './ocsp-request.ts';
import { judgeSignature, type SignatureVerdict } from './signature.ts';

/** An answer with a chain of certificates takes a tenth of this. */
export const OCSP_LIMITS: DerLimits = { bytes: 64 * 1024, nodes: 4000, depth: 24 };
/** Clocks differ: so far an answer may come from the future, and so long it counts beyond its nextUpdate. */
const SKEW_MS = 5 * 60_000;
/** Without nextUpdate newer word is there at any time (§4.2.2.1): how old such an answer may be. */
const UNDATED_AGE_MS = 24 * 3_600_000;
/** Such an answer is asked for anew after this, and so is one by a responder whose own revocation nobody can tell. */
const SHORT_MS = 3_600_000;
/** However long a CA says its answer lasts; public CAs may say ten days (CA/B S/MIME requirements §4.9.10). */
const LONGEST_MS = 10 * 24 * 3_600_000;
/** Certificates in one answer that are looked at. */
const MAX_SIGNERS = 8;

interface Answered {
  readonly since: number;
  readonly until: number;
  /** The responder's certificate where the issuer did not sign itself; whether it was revoked is not asked here. */
  readonly signer: Certificate | undefined;
}

export type OcspVerdict =
  | (Answered & { readonly kind: 'good' })
  | (Answered & { readonly kind: 'revoked'; readonly at: Date; readonly reason: string })
  /** `since` only where all is right with the answer but its time. */
  | { readonly kind: 'unknown'; readonly why: string; readonly since?: number };

export interface OcspQuestion {
  readonly id: CertId;
  readonly issuer: Certificate;
  /** ms */
  readonly now: number;
  /** It was believed once, when it came: the certificate of its responder may have ended since. */
  readonly kept?: boolean;
}

/** What is revoked stays so, however old the word of it; only a hold may be lifted (RFC 5280 §5.3.1). */
export const isFinal = (reason: string): boolean => reason !== 'certificateHold' && reason !== 'removeFromCRL';

type Unknown = Extract<OcspVerdict, { kind: 'unknown' }>;

/** Never throws. In ms: `since` is its thisUpdate, `until` when to ask anew. */
export function judgeOcspResponse(octets: Buffer, question: OcspQuestion): OcspVerdict {
  try {
    return judge(octets, question);
  } catch {
    return unknown('its answer is malformed');
  }
}

const unknown = (why: string): Unknown => ({ kind: 'unknown', why });

const ENUMERATED = 10;

/** OCSPResponseStatus, §4.2.1; 4 is not used. Nobody signs it: anybody on the way may say so, and it is true of this answer only. */
const refusals: Readonly<Record<number, string>> = {
  1: 'it finds our request malformed',
  2: 'it has an internal error',
  3: 'it asks us to try later',
  5: 'it wants signed requests, which are not sent',
  6: 'it does not answer for this certificate or for us',
};

function judge(octets: Buffer, question: OcspQuestion): OcspVerdict {
  const [status, wrapped, ...rest] = only(readDer(octets, OCSP_LIMITS), SEQUENCE).children;
  const code = only(status, ENUMERATED).content;
  const refusal = code.length === 1 ? refusals[code[0] ?? 0] : undefined;
  if (refusal !== undefined) return unknown(refusal);
  if (code.length !== 1 || code[0] !== 0 || rest.length > 0) throw malformed('responseStatus');
  const [type, response, ...more] = only(only(wrapped, EXPLICIT_0).children[0], SEQUENCE).children;
  if (more.length > 0 || only(wrapped, EXPLICIT_0).children.length > 1) throw malformed('responseBytes');
  if (oidText(only(type, tags.oid), 'responseType') !== ocspBasic) return unknown('its answer is of a kind that is not known');
  const basic = readBasic(readDer(only(response, tags.octetString).content, OCSP_LIMITS));
  const by = (key: KeyObject): SignatureVerdict => judgeSignature(basic.algorithm, key, basic.signed, basic.signature);
  const own = by(question.issuer.publicKey);
  if (own.kind === 'weak') return unknown(`its answer is ${own.reason}`);
  const signer = findSigner(basic, question, (key) => by(key).kind === 'right');
  return signer.kind === 'fault' ? unknown(signer.why) : judgeSingle(basic, question, signer.certificate);
}

const EXPLICIT_0 = 0xa0;
const EXPLICIT_1 = 0xa1;
const EXPLICIT_2 = 0xa2;
/** SingleResponse's nextUpdate and the two names of a responder share their tags with other fields. */
const isAt = (tlv: Tlv | undefined, octet: number): tlv is Tlv => tlv?.bytes[0] === octet;

/**
 * The TLV where it begins with exactly this octet: class, form and number. Some of what is read here no signature covers, and one
 * value in two spellings is one too many.
 */
function only(tlv: Tlv | undefined, octet: number): Tlv {
  if (!isAt(tlv, octet)) throw malformed('a field is of the wrong type');
  return tlv;
}

interface Basic {
  /** tbsResponseData, whole. */
  readonly signed: Buffer;
  readonly algorithm: Tlv;
  readonly signature: Buffer;
  readonly certificates: readonly Tlv[];
  /** [1] byName or [2] byKey. */
  readonly responder: Tlv;
  readonly producedAt: number;
  readonly singles: readonly Tlv[];
  readonly extensions: Tlv | undefined;
}

function readBasic(tlv: Tlv): Basic {
  const [data, algorithm, signature, certs, ...rest] = only(tlv, SEQUENCE).children;
  const bits = only(signature, tags.bitString).content;
  if (rest.length > 0 || bits[0] !== 0) throw malformed('BasicOCSPResponse');
  const fields = [...only(data, SEQUENCE).children];
  if (isAt(fields[0], EXPLICIT_0)) fields.shift(); // version: there is only v1
  const [responder, producedAt, responses, extensions, ...more] = fields;
  if (responder === undefined || more.length > 0) throw malformed('ResponseData');
  return {
    signed: only(data, SEQUENCE).bytes,
    algorithm: only(algorithm, SEQUENCE),
    signature: bits.subarray(1),
    certificates: certs === undefined ? [] : only(only(certs, EXPLICIT_0).children[0], SEQUENCE).children,
    responder,
    producedAt: timeOf(producedAt),
    singles: only(responses, SEQUENCE).children,
    extensions: extensions === undefined ? undefined : only(extensions, EXPLICIT_1),
  };
}

/** GeneralizedTime as RFC 5280 §4.1.2.5.2 wants it, which RFC 6960 §4.2.2.1 points to; ms. */
function timeOf(tlv: Tlv | undefined): number {
  const text = only(tlv, tags.generalizedTime).content.subarray(0, 16).toString('latin1');
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  const time = parts === null ? Number.NaN : Date.parse(`${parts[1]}-${parts[2]}-${parts[3]}T${parts[4]}:${parts[5]}:${parts[6]}Z`);
  if (Number.isNaN(time)) throw malformed('a time');
  return time;
}

type Signer =
  /** `certificate` is undefined where the issuer signed itself. */
  { readonly kind: 'signer'; readonly certificate: Certificate | undefined } | { readonly kind: 'fault'; readonly why: string };

function findSigner(basic: Basic, { issuer, now, kept = false }: OcspQuestion, isBy: (key: KeyObject) => boolean): Signer {
  const fault = (why: string): Signer => ({ kind: 'fault', why });
  if (isNamedBy(basic.responder, issuer) && isBy(issuer.publicKey)) return { kind: 'signer', certificate: undefined };
  if (basic.certificates.length > MAX_SIGNERS) return fault('its answer carries too many certificates');
  let refused: string | undefined;
  for (const { bytes } of basic.certificates) {
    const certificate = parseCertificate(bytes);
    if (!isNamedBy(basic.responder, certificate)) continue;
    // First whether the issuer vouches for it: with a key of a stranger's choice one signature takes as long as a hundred.
    const why = delegateFault(certificate, issuer, kept ? Math.min(basic.producedAt, now) : now);
    if (why === undefined && isBy(certificate.publicKey)) return { kind: 'signer', certificate };
    refused ??= why;
  }
  if (refused !== undefined) return fault(`the responder that its answer names ${refused}`);
  return fault('the signature on its answer is not by the issuer, nor by a responder that came along');
}

function isNamedBy(responder: Tlv, certificate: Certificate): boolean {
  const name = responder.children[0];
  if (isAt(responder, EXPLICIT_1)) return name?.bytes.equals(certificate.subjectDer) === true;
  return isAt(responder, EXPLICIT_2) && isAt(name, tags.octetString) && name.content.equals(keyHashOf(certificate));
}

/** Why the issuer did not make this one its responder (§4.2.2.2). */
function delegateFault(certificate: Certificate, issuer: Certificate, now: number): string | undefined {
  if (!certificate.issuerDer.equals(issuer.subjectDer)) return 'was not authorised by the issuer: another CA issued its certificate';
  if (certificate.signatureFault !== undefined) return `has a certificate ${certificate.signatureFault}`;
  if (!isIssuedBy(certificate, issuer.publicKey)) return 'was not authorised by the issuer: its certificate is not signed by it';
  // anyExtendedKeyUsage does not count: the right to speak for a CA is given by name.
  if (certificate.extendedKeyUsage?.includes(ocspSigning) !== true) return 'is not authorised (its extended key usage lacks OCSPSigning)';
  if (certificate.keyUsage !== undefined && !certificate.keyUsage.includes('digitalSignature')) return 'may not sign (key usage)';
  if (certificate.unknownCritical.length > 0) return 'has a certificate with a critical extension that is not understood';
  const weak = caKeyFault(certificate.publicKey);
  if (weak !== undefined) return `holds ${weak}`;
  return validityFault(certificate, now)?.replace(/^it (expired|is)/, 'has a certificate that $1');
}

function isIssuedBy(certificate: Certificate, key: KeyObject): boolean {
  try {
    return new X509Certificate(certificate.der).verify(key);
  } catch {
    return false;
  }
}

/** `signer` is undefined where the issuer signed itself. */
function judgeSingle(basic: Basic, { id, now }: OcspQuestion, signer: Certificate | undefined): OcspVerdict {
  const wrong = extensionFault(basic.extensions);
  if (wrong !== undefined) return unknown(wrong);
  const [single, second] = basic.singles.filter((one) => isFor(only(one, SEQUENCE).children[0], id));
  if (single === undefined) return unknown('its answer is for another certificate');
  if (second !== undefined) return unknown('its answer speaks of the certificate twice');
  const [, status, thisUpdate, ...optional] = single.children;
  const next = isAt(optional[0], EXPLICIT_0) ? optional.shift() : undefined;
  const odd = extensionFault(isAt(optional[0], EXPLICIT_1) ? optional.shift() : undefined);
  if (odd !== undefined) return unknown(odd);
  if (optional.length > 0 || status?.tagClass !== CONTEXT) throw malformed('SingleResponse');
  const [from, to] = [timeOf(thisUpdate), next === undefined ? undefined : timeOf(next.children[0])];
  if (from > now + SKEW_MS || basic.producedAt > now + SKEW_MS) return unknown('its answer is from the future: which clock is wrong?');
  const ends = to ?? from + UNDATED_AGE_MS;
  const signerEnds = signer?.notAfter.getTime() ?? Infinity;
  const revocation = isAt(status, EXPLICIT_1) ? revocationOf(status) : undefined;
  if (Math.min(ends, signerEnds) + SKEW_MS < now && (revocation === undefined || !isFinal(revocation.reason)))
    return { ...unknown(`its answer is stale, it was good until ${minute(Math.min(ends, signerEnds))}`), since: from };
  // Nobody says whether a responder is revoked that carries no id-pkix-ocsp-nocheck, and asking would go in a circle.
  const brief = to === undefined || (signer !== undefined && !signer.ocspNoCheck);
  const until = Math.min(Math.max(ends, now), now + (brief ? SHORT_MS : LONGEST_MS), signerEnds);
  if (revocation !== undefined) return { kind: 'revoked', since: from, until, signer, ...revocation };
  if (isContext(status, 2)) return unknown('it does not know the certificate');
  if (!isContext(status, 0)) throw malformed('certStatus');
  return { kind: 'good', since: from, until, signer };
}

const minute = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;

function isFor(certId: Tlv | undefined, id: CertId): boolean {
  const [algorithm, name, key, serial] = only(certId, SEQUENCE).children;
  return (
    oidText(only(algorithm, SEQUENCE).children[0], 'hashAlgorithm') === idSha1 &&
    only(name, tags.octetString).content.equals(id.nameHash) &&
    only(key, tags.octetString).content.equals(id.keyHash) &&
    serial?.bytes.equals(id.serialDer) === true
  );
}

/** RFC 5280 §5.3.1; 7 is not used. */
const reasons: readonly (string | undefined)[] = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  undefined,
  'removeFromCRL',
  'privilegeWithdrawn',
  'aACompromise',
];

/** RevokedInfo. What is on hold is revoked: mail sealed today would still be there when the key turns out to be lost. */
function revocationOf({ children: [time, reason] }: Tlv): { readonly at: Date; readonly reason: string } {
  const code = reason === undefined ? 0 : (only(only(reason, EXPLICIT_0).children[0], ENUMERATED).content[0] ?? 0);
  return { at: new Date(timeOf(time)), reason: reasons[code] ?? 'for a reason that is not known' };
}

/** We sent no nonce: an answer with one was made for somebody else, at a time that only they know. */
function extensionFault(list: Tlv | undefined): string | undefined {
  for (const extension of list?.children[0]?.children ?? []) {
    const [type, ...rest] = only(extension, SEQUENCE).children;
    if (oidText(type, 'an extension') === ocspNonce) return 'its answer was made for the request of somebody else (nonce)';
    // §4.4: those that are defined are not critical, but for what a request asked for.
    if (isAt(rest[0], tags.boolean)) return 'its answer carries a critical extension that is not understood';
  }
  return undefined;
}
