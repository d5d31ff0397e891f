/** Where certificates of recipients come from: one interface, a file for each kind of source (files.ts, …). */
import type { Mailbox } from '../message/envelope.ts';
import type { Certificate } from './certificate.ts';

/** A certificate and where it was found, for people: `recipients/anna.pem#2`. */
export interface Candidate {
  readonly certificate: Certificate;
  /** The name of its source; where that is several folders, of the one it stands in. */
  readonly source: string;
  readonly place: string;
  /** Who vouches for it in place of an anchor; where undefined, trust asks for a path as for any other. */
  readonly vouched?: 'DNSSEC';
}

/**
 * `absent` is a fact: the source was asked and has nothing. What could not be asked, or answered in part, is `unavailable` (P5).
 * `until`: ms since the epoch after which the answer may not be kept, where the source says so. `remarks`: what people should know
 * of the answer and no candidate tells: `anna's entry holds a value that is no certificate`. No personal data but names of places.
 * `again`: the answer is a remembered one, which may help and proves no absence (P5); this asks the source itself.
 * `incomplete`: why the source may hold others for this mailbox that it could not read. What was found may be used; where none of it
 * can be, that is no proof of absence.
 */
export type SourceAnswer =
  | {
      readonly kind: 'found';
      readonly candidates: readonly Candidate[];
      readonly incomplete?: Error;
      readonly until?: number;
      readonly remarks?: readonly string[];
      readonly again?: (signal: AbortSignal) => Promise<SourceAnswer>;
    }
  | { readonly kind: 'absent'; readonly until?: number; readonly remarks?: readonly string[] }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

/**
 * Asked by the directory for one mailbox; never throws: a failure is `unavailable`. Once `signal` is aborted nobody waits for the
 * answer any more. A candidate need not be usable, trusted or even name the mailbox: the directory judges each.
 */
export interface CertificateSource {
  /** For people and logs: `files certs/recipients`. */
  readonly name: string;
  /** What its answer depends on, where two mailboxes that are compared as equal may have two answers; else the mailbox's own key. */
  keyOf?(mailbox: Mailbox): string;
  lookup(mailbox: Mailbox, signal: AbortSignal): Promise<SourceAnswer>;
  /** Lets go of what it holds: connections, timers, threads. */
  close(): Promise<void> | void;
}
