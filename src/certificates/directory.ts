/**
 * The certificates of a recipient: sources asked in order, candidates judged by usability and trust, one choice (P9).
 * `absent` is a fact: every source was asked and answered. `unavailable` is never read as absent (P5).
 */
import type { Mailbox } from '../message/envelope.ts';
import type { Certificate } from './certificate.ts';

/** A certificate and where it was found, for people: `recipients/anna.pem#2`. */
export interface Candidate {
  readonly certificate: Certificate;
  readonly source: string;
  readonly place: string;
}

export type SourceAnswer =
  | { readonly kind: 'found'; readonly candidates: readonly Candidate[] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

/** Asked by the directory for one mailbox; never throws: a failure is `unavailable`. */
export interface CertificateSource {
  readonly name: string;
  lookup(mailbox: Mailbox): Promise<SourceAnswer>;
}

/** A candidate that is not used, and why: `expired on 2026-01-01`, `for signing only`, `no path to an anchor: …`. */
export interface Rejection extends Candidate {
  readonly reason: string;
}

/** `chosen`: one to three, the newest first, all of its key type (INTEROP A14). `rejected` is kept for explain and the log. */
export type Lookup =
  | { readonly kind: 'found'; readonly chosen: readonly [Candidate, ...Candidate[]]; readonly rejected: readonly Rejection[] }
  | { readonly kind: 'absent'; readonly rejected: readonly Rejection[] }
  | { readonly kind: 'unavailable'; readonly source: string; readonly cause: unknown };

/** What relay and explain ask. Never throws. */
export interface Directory {
  lookup(mailbox: Mailbox): Promise<Lookup>;
}
