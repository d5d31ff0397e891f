/**
 * What the answers about revocation mean for a path: `hard`, `soft` and `off`.
 *
 * Each certificate of the path is asked about but the anchor, which nobody stands above. Lists come first: a list is the same for
 * all of a CA's certificates and tells nobody whom we write to, while a responder hears of each reader by name (of the
 * certificate, over clear HTTP). OCSP is asked where no list answers.
 *
 * `revoked` refuses under `soft` and `hard` alike. They differ in what is not known. Under `soft` the certificate is taken, and that
 * is said and logged: a CA whose server is down must not stop the mail of a clinic. Under `hard` it is not: for now where asking
 * again may help (451), for good where it cannot, as with a certificate that names neither list nor responder (P5, A23).
 */
import type { Logger } from 'pino';
import type { Certificate } from '../certificate.ts';
import type { Path } from '../path.ts';
import { heeding } from '../time-box.ts';
import { day } from '../usability.ts';
import type { RevocationSource, RevocationStatus } from './revocation.ts';

/** The strictest first. */
export const revocationModes = ['hard', 'soft', 'off'] as const;
export type RevocationMode = (typeof revocationModes)[number];

export type RevocationVerdict =
  /** `text` is what people and the audit log read: `good: CRL http://…`. */
  | { readonly kind: 'taken'; readonly text: string }
  /**
   * To be taken where no other path is better: `unknown: …`. `tell` logs that it was, of mail. `provisional`: under `hard`, by `atHandOnly`,
   * and not known.
   */
  | { readonly kind: 'unsure'; readonly text: string; readonly tell: () => void; readonly provisional?: true }
  /** `itself`: the certificate that all is about was revoked, whatever path leads on from it. */
  | { readonly kind: 'refused'; readonly reason: string; readonly itself: boolean }
  | { readonly kind: 'unavailable'; readonly cause: Error };

/** ms that are left of what may be waited for answers under `soft`. */
export type SoftPatience = () => number;

/** Never throws. `soft` goes for all that it is given to. */
export interface RevocationPolicy {
  judge(path: Path, mode: RevocationMode, signal: AbortSignal, soft?: SoftPatience): Promise<RevocationVerdict>;
}

export interface RevocationPolicyOptions {
  readonly crl: RevocationSource;
  readonly ocsp: RevocationSource;
  readonly log: Logger;
  /** What is not at hand is not waited for and refuses nothing: for who looks at many certificates and seals to none. */
  readonly atHandOnly?: boolean;
}

/** A look at ten thousand certificates, once a day, would bury in the log what mail was sealed to; `certs list` says the same. */
const noOne = (): void => {};

/**
 * Under `soft` nobody waits longer for answers than this, about all certificates of a look-up together: they come in the background,
 * and the next look-up has them. Beyond the three seconds that lists are waited for, since a responder comes after them.
 */
const SOFT_PATIENCE_MS = 4000;
const MAX_LOGGED = 10_000;

/** It begins when it is asked for first. */
export function makeSoftPatience(): SoftPatience {
  let ends: number | undefined;
  return () => (ends ??= performance.now() + SOFT_PATIENCE_MS) - performance.now();
}

/** One certificate of a path and what was found. `name`: undefined for the first, which is what all is about. */
interface Finding {
  readonly certificate: Certificate;
  readonly name: string | undefined;
  readonly status: RevocationStatus;
}

type Found<Kind> = Finding & { readonly status: { readonly kind: Kind } };

/** The sources stay the caller's, to close. */
export function makeRevocationPolicy({ crl, ocsp, log, atHandOnly = false }: RevocationPolicyOptions): RevocationPolicy {
  const logged = new Set<string>();
  const tell = ({ certificate, status }: Finding & { readonly status: Unknown }): void => {
    const once = `${certificate.fingerprint} ${status.why}`;
    if (logged.has(once)) return;
    if (logged.size >= MAX_LOGGED) logged.clear();
    logged.add(once);
    const about = { certificate_sha256: certificate.fingerprint, why: status.why };
    const message = 'revocation is unknown, the certificate is taken';
    // Every certificate of an in-house CA that names nobody to ask: nothing has happened, and nobody can mend it today.
    if (status.lasting) log.info(about, message);
    else log.warn(about, message);
  };
  const ask = async (certificate: Certificate, issuer: Certificate, signal: AbortSignal): Promise<RevocationStatus> => {
    const listed = await statusOf(crl, certificate, issuer, signal);
    if (listed.kind !== 'unknown') return listed;
    const answered = await statusOf(ocsp, certificate, issuer, signal);
    return answered.kind === 'unknown' ? neither(certificate, listed, answered) : answered;
  };
  return {
    judge: async (path, mode, signal, soft = makeSoftPatience()) => {
      if (mode === 'off') return { kind: 'taken', text: 'off' };
      if (path.length === 1) return { kind: 'taken', text: 'not asked: it is an anchor itself' };
      const askAll = (enough: AbortSignal): Promise<Finding[]> =>
        Promise.all(
          path.slice(0, -1).map(async (certificate, at): Promise<Finding> => {
            const name = at === 0 ? undefined : certificate.subject;
            return { certificate, name, status: await ask(certificate, path[at + 1] ?? certificate, enough) };
          }),
        );
      const findings = await heeding(signal, mode === 'soft' ? soft() : Infinity, askAll);
      const revoked = findings.find((finding) => isOf(finding, 'revoked'));
      if (revoked !== undefined && isOf(revoked, 'revoked'))
        return { kind: 'refused', reason: revokedText(revoked), itself: revoked.name === undefined };
      const unknown = findings.filter((finding) => isOf(finding, 'unknown'));
      if (unknown.length === 0) return { kind: 'taken', text: `good: ${sourcesOf(findings)}` };
      const text = `unknown: ${unknown.map(unknownText).join('; ')}`;
      const lasting = unknown.find(({ status }) => status.lasting);
      if (mode === 'hard' && lasting !== undefined)
        return { kind: 'refused', reason: `its revocation cannot be known: ${unknownText(lasting)}`, itself: false };
      if (mode === 'hard' && !atHandOnly) return { kind: 'unavailable', cause: new Error(`revocation is ${text}`) };
      return {
        kind: 'unsure',
        text,
        tell: atHandOnly ? noOne : () => unknown.forEach(tell),
        ...(mode === 'hard' ? { provisional: true } : {}),
      };
    },
  };
}

type Unknown = Extract<RevocationStatus, { kind: 'unknown' }>;

function isOf<Kind extends RevocationStatus['kind']>(
  finding: Finding,
  kind: Kind,
): finding is Found<Kind> & { readonly status: Extract<RevocationStatus, { kind: Kind }> } {
  return finding.status.kind === kind;
}

/** A source promises not to throw; where one does, that is no proof of anything. */
async function statusOf(
  source: RevocationSource,
  certificate: Certificate,
  issuer: Certificate,
  signal: AbortSignal,
): Promise<RevocationStatus> {
  try {
    return await source.status(certificate, issuer, signal);
  } catch {
    return { kind: 'unknown', why: 'a fault while asking', lasting: false };
  }
}

/** Where the certificate does not name the one way, its silence is no reason beside that of the other. */
function neither({ crlPoints, ocspUrls }: Certificate, listed: Unknown, answered: Unknown): Unknown {
  if (crlPoints.length === 0 && ocspUrls.length === 0 && listed.lasting)
    return { kind: 'unknown', why: `${listed.why}; ${answered.why}`, lasting: answered.lasting };
  if (ocspUrls.length === 0) return listed;
  if (crlPoints.length === 0 && listed.lasting) return answered;
  return { kind: 'unknown', why: `${listed.why}; ${answered.why}`, lasting: listed.lasting && answered.lasting };
}

const whose = (name: string | undefined): string => (name === undefined ? '' : `${name}: `);
const unknownText = ({ name, status }: Finding & { readonly status: Unknown }): string => `${whose(name)}${status.why}`;

function revokedText({ name, status }: Finding & { readonly status: Extract<RevocationStatus, { kind: 'revoked' }> }): string {
  return `${name ?? 'it'} was revoked on ${day(status.at)} (${status.reason}), says ${status.from}`;
}

const sourcesOf = (findings: readonly Finding[]): string =>
  [...new Set(findings.flatMap(({ status }) => (status.kind === 'good' ? [status.from] : [])))].join(', ');
