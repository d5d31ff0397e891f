/**
 * One decision for one recipient: pure, from values alone (P3). The rules are asked in order and the first that matches wins;
 * what no rule matches is refused.
 */
import { SealpostError } from '../errors.ts';
import type { NamedMailbox } from '../message/addresses.ts';
import type { Mailbox } from '../message/envelope.ts';
import type { AddressPattern } from '../message/pattern.ts';

/** What the certificate look-up said, as a value: policy knows no certificates. */
export type CertificateState = 'found' | 'absent' | 'unavailable';

/** How the visible Subject is made. `replace` is a template: {queue_id}, {sender}, {sender_domain}, {recipient}. */
export type SubjectPolicy = { readonly kind: 'keep' } | { readonly kind: 'replace'; readonly template: string };

/** Another author outside; the original one stands inside, and in Reply-To where it says so and the message has none. */
export interface FromPolicy {
  readonly replace: NamedMailbox;
  readonly original: 'reply_to' | 'inside';
}

/** How a sealed message looks outside, where it is not as the script wrote it. */
export interface Dress {
  readonly subject: SubjectPolicy;
  readonly from?: FromPolicy;
  /** MAIL FROM towards the upstream; the null sender stays null. */
  readonly envelopeFrom?: Mailbox;
  /** Each recipient gets a Message-ID of its own. */
  readonly messageId?: 'per_recipient';
}

export interface Rule extends Dress {
  readonly name: string;
  readonly when: { readonly sender?: AddressPattern; readonly recipient?: AddressPattern };
  readonly then: 'seal' | 'refuse';
  readonly missing: 'refuse';
  /** Whether the certificate of the recipient's domain is used: where the recipient has none, or always; never where undefined. */
  readonly domainCertificate?: 'fallback' | 'only';
  /** The site's own words for a refusal; undefined where the table's stand. */
  readonly text?: string;
}

export type Decision =
  | ({ readonly kind: 'seal'; readonly rule: string } & Dress)
  | { readonly kind: 'refuse'; readonly rule: string | null; readonly because: 'rule' | 'missing' | 'no-rule'; readonly text?: string }
  | { readonly kind: 'retry'; readonly rule: string };

export interface Facts {
  readonly sender: Mailbox | null;
  readonly recipient: Mailbox;
  readonly certificate: CertificateState;
}

/** How a rule answers to a sender and a recipient; a mismatch names the side, for `explain`. */
export type Match =
  | { readonly kind: 'matches' }
  | { readonly kind: 'differs'; readonly side: 'sender' | 'recipient'; readonly pattern: AddressPattern };

export type Parties = Pick<Facts, 'sender' | 'recipient'>;

export function matchRule(rule: Rule, parties: Parties): Match {
  const { sender, recipient } = rule.when;
  if (sender !== undefined && !sender.matches(parties.sender)) return { kind: 'differs', side: 'sender', pattern: sender };
  if (recipient !== undefined && !recipient.matches(parties.recipient)) return { kind: 'differs', side: 'recipient', pattern: recipient };
  return { kind: 'matches' };
}

/** The rule that decides; where it seals, a certificate has to be looked up before `decide` can be asked. */
export function firstMatch(rules: readonly Rule[], parties: Parties): Rule | undefined {
  return rules.find((rule) => matchRule(rule, parties).kind === 'matches');
}

export function decide(rules: readonly Rule[], facts: Facts): Decision {
  const rule = firstMatch(rules, facts);
  if (rule === undefined) return { kind: 'refuse', rule: null, because: 'no-rule' };
  const text = rule.text === undefined ? {} : { text: rule.text };
  if (rule.then === 'refuse') return { kind: 'refuse', rule: rule.name, because: 'rule', ...text };
  const decisions: Readonly<Record<CertificateState, Decision>> = {
    found: { kind: 'seal', rule: rule.name, ...dressOf(rule) },
    absent: { kind: rule.missing, rule: rule.name, because: 'missing', ...text },
    unavailable: { kind: 'retry', rule: rule.name },
  };
  return decisions[facts.certificate];
}

/** Without the keys that the rule has not. */
function dressOf({ subject, from, envelopeFrom, messageId }: Rule): Dress {
  return {
    subject,
    ...(from === undefined ? {} : { from }),
    ...(envelopeFrom === undefined ? {} : { envelopeFrom }),
    ...(messageId === undefined ? {} : { messageId }),
  };
}

/** What the script is told of a decision that does not seal: the site's own words, else the rule that decided. */
export function refusal(decision: Exclude<Decision, { kind: 'seal' }>): SealpostError {
  if (decision.kind === 'retry') return new SealpostError('lookup-unavailable', { detail: `rule ${decision.rule}` });
  const detail = decision.text ?? (decision.rule === null ? 'no rule matches' : `rule ${decision.rule}`);
  return new SealpostError(decision.because === 'missing' ? 'certificate-missing' : 'policy-refused', { detail });
}

/** Rules that no mail reaches, since one before them matches everything; `check` tells of them. */
export function unreachable(rules: readonly Rule[]): { readonly rule: string; readonly behind: string }[] {
  const all = rules.findIndex((rule) => rule.when.sender === undefined && rule.when.recipient === undefined);
  const behind = rules[all]?.name;
  return behind === undefined ? [] : rules.slice(all + 1).map((rule) => ({ rule: rule.name, behind }));
}
