/** From the octets of a list to what is kept of it. Runs in the thread for lists, where hashing 25 MB holds up nobody. */
import { createPublicKey } from 'node:crypto';
import { SealpostError } from '../../errors.ts';
import { malformed } from '../der.ts';
import { type CrlIndex, indexEntries } from './crl-index.ts';
import { CrlRefused, type CrlScope, readCrlFrame, readCrlScope } from './crl-scan.ts';
import { type CrlSubjects, scopeFault } from './crl-scope.ts';
import { judgeSignature } from './signature.ts';

export interface Crl {
  /** ms since the epoch */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly scope: CrlScope;
  readonly index: CrlIndex;
}

/** `refused`: for people, `lasting` where the next list of that place will be the same kind. */
export type CrlReading =
  | { readonly kind: 'list'; readonly list: Crl }
  | { readonly kind: 'refused'; readonly why: string; readonly lasting: boolean };

/** Whose list it must be: the DER of the subject and the SubjectPublicKeyInfo of the issuer of the certificate asked about. */
export interface CrlIssuer {
  readonly name: Uint8Array;
  readonly spki: Uint8Array;
  /** Tells it from all others. */
  readonly id: string;
}

/** What must be known of a list to tell whether another may take its place. */
export type CrlHeld = Pick<Crl, 'thisUpdate' | 'scope'>;

/** Why a list of the same place does not take the place of the one that is held: it would undo what that one says. */
export function successionFault(next: CrlHeld, held: CrlHeld | undefined): string | undefined {
  if (held === undefined) return undefined;
  if (next.thisUpdate < held.thisUpdate) return 'what is served is older than this one';
  return next.scope.partial && !held.scope.partial ? 'what is served covers some reasons only' : undefined;
}

const PEM = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----/;
const DASH = 0x2d;

/** DER, or the first list of a PEM file; one that does not speak for `subjects` is refused, where these are given. Never throws. */
export function readCrl(octets: Buffer, issuer: CrlIssuer, subjects?: CrlSubjects): CrlReading {
  try {
    return { kind: 'list', list: read(crlDer(octets), issuer, subjects) };
  } catch (error) {
    if (error instanceof CrlRefused) return { kind: 'refused', why: error.message, lasting: error.lasting };
    // Half of a list may have come, and all of it comes next time.
    const detail = error instanceof SealpostError ? error.detail : undefined;
    return { kind: 'refused', why: `it cannot be read: ${detail ?? 'it is not a list'}`, lasting: false };
  }
}

export function crlDer(octets: Buffer): Buffer {
  if (octets[0] !== DASH) return octets;
  const [, base64] = PEM.exec(octets.toString('latin1')) ?? [];
  if (base64 === undefined) throw malformed('it is PEM of something else than a list');
  return Buffer.from(base64, 'base64');
}

/** The signature comes before the entries: the work that these cost is only done for a CA that the certificate chains to. */
function read(der: Buffer, { name, spki }: CrlIssuer, subjects: CrlSubjects | undefined): Crl {
  const frame = readCrlFrame(der);
  if (!frame.issuerDer.equals(name)) throw new CrlRefused('it is by another issuer', false);
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  const verdict = judgeSignature(frame.algorithm, key, frame.tbs, frame.signature);
  if (verdict.kind === 'weak') throw new CrlRefused(`it is ${verdict.reason}`, true);
  if (verdict.kind === 'wrong') throw new CrlRefused('its signature is not by the issuer of the certificate', false);
  const scope = readCrlScope(frame.extensions);
  const outside = subjects && scopeFault(scope, subjects);
  if (outside !== undefined) throw new CrlRefused(`it ${outside}`, false);
  // RFC 5280 §5.1.2.5 wants it there: without it nobody can tell a fresh list from one that was held back (A23).
  if (frame.nextUpdate === undefined) throw new CrlRefused('it does not say when the next one comes (nextUpdate)', true);
  return { thisUpdate: frame.thisUpdate, nextUpdate: frame.nextUpdate, scope, index: indexEntries(frame.bytes, frame.entries) };
}
