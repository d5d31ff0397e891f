/**
 * One decision for one recipient: pure, from values alone (P3). The rules are asked in order and the first that matches wins;
 * what no rule matches is refused.
 */
import type { Mailbox } from '../message/envelope.ts';

/** What the certificate look-up said, as a value: policy knows no certificates. */
export type CertificateState = 'found' | 'absent' | 'unavailable';

/** How the visible Subject is made. `replace` is a template: {queue_id}, {sender}, {sender_domain}, {recipient}. */
export type SubjectPolicy = { readonly kind: 'keep' } | { readonly kind: 'replace'; readonly template: string };

export interface Rule {
  readonly name: string;
  readonly when: { readonly sender?: AddressPattern; readonly recipient?: AddressPattern };
  readonly then: 'seal' | 'refuse';
  readonly missing: 'refuse';
  readonly subject: SubjectPolicy;
  /** The site's own words for a refusal; undefined where the table's stand. */
  readonly text?: string;
}

/** Made by rules.ts from a glob such as `*@clinic.example`; the null sender matches only where the pattern says `<>`. */
export interface AddressPattern {
  readonly source: string;
  matches(mailbox: Mailbox | null): boolean;
}

export type Decision =
  | { readonly kind: 'seal'; readonly rule: string; readonly subject: SubjectPolicy }
  | { readonly kind: 'refuse'; readonly rule: string | null; readonly because: 'rule' | 'missing' | 'no-rule'; readonly text?: string }
  | { readonly kind: 'retry'; readonly rule: string };

export interface Facts {
  readonly sender: Mailbox | null;
  readonly recipient: Mailbox;
  readonly certificate: CertificateState;
}
