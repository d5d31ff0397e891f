/**
 * Whether a certificate has been revoked. This file holds the words that the parts share; crl.ts and ocsp.ts each ask in their
 * own way, fetch.ts gets documents for them, and policy.ts says what an answer means under `hard`, `soft` and `off`.
 */
import type { Certificate } from '../certificate.ts';

/**
 * What one way of asking found for one certificate. `from`: the list or responder, for people: `CRL http://…`, `OCSP http://…`.
 * `unknown` is no answer, with its reason; `lasting` where asking again later can change nothing: the certificate names no list,
 * an indirect list, a scheme that is not fetched; never for what came over the network. Else the list may be there in a minute, and under `hard` that is
 * unavailable, not absent (P5).
 */
export type RevocationStatus =
  | { readonly kind: 'good'; readonly from: string; readonly until: Date }
  | { readonly kind: 'revoked'; readonly from: string; readonly at: Date; readonly reason: string }
  | { readonly kind: 'unknown'; readonly why: string; readonly lasting: boolean };

/** One way of asking. Never throws. `issuer` is the next certificate in the path, whose signature on `certificate` has been checked. */
export interface RevocationSource {
  status(certificate: Certificate, issuer: Certificate, signal: AbortSignal): Promise<RevocationStatus>;
  close(): Promise<void> | void;
}

export interface FetchRequest {
  readonly url: string;
  /** Sent as POST where there is one, with its Content-Type. */
  readonly body?: { readonly type: string; readonly octets: Buffer };
  /** The CA that is asked for, in a word that tells it from others: none takes all the places there are. */
  readonly of?: string;
  /** Octets of the answer; what is longer is not taken. */
  readonly maxBytes: number;
}

/** Throws an Error whose message tells people why; it holds nothing of the answer. */
export type FetchDocument = (request: FetchRequest, signal: AbortSignal) => Promise<Buffer>;
