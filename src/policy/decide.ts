/**
 * One decision for one recipient: pure, from values alone (P3). The rules are asked in order and the first that matches wins; what no
 * rule matches is refused.
 *
 * Where it is unclear whether a rule matches (condition.ts), rules that seal or hold take the message; rules that refuse or pass do not,
 * and no rule behind one that is unclear passes it: clear mail is never a matter of doubt (A13).
 */
import { SealpostError } from '../errors.ts';
import type { NamedMailbox } from '../message/addresses.ts';
import type { Mailbox } from '../message/envelope.ts';
import type { SignPolicy } from '../message/sign-policy.ts';
import { type Condition, type DomainUse, type Facts, judge, type LookedUp, type Truth } from './condition.ts';

/** How the visible Subject is made. `replace` is a template: {queue_id}, {sender}, {sender_domain}, {recipient}; `show` puts the original one into the text. */
export type SubjectPolicy = { readonly kind: 'keep' } | { readonly kind: 'replace'; readonly template: string; readonly show?: true };

/** Another author outside; the original one stands inside, and in Reply-To where it says so and the message has none. */
export interface FromPolicy {
  readonly replace: NamedMailbox;
  readonly original: 'reply_to' | 'inside';
}

/** What a rule says of the algorithms, beside what certificates say themselves. */
export interface AlgorithmPolicy {
  readonly profile?: 'compatible' | 'strict';
  readonly cipher?: 'aes-256-cbc' | 'aes-128-cbc' | 'aes-256-gcm';
  readonly keyTransport?: 'rsaes-pkcs1' | 'rsaes-oaep';
}

/** How a sealed message looks outside, where it is not as the script wrote it. */
export interface Dress {
  readonly subject: SubjectPolicy;
  readonly from?: FromPolicy;
  /** MAIL FROM towards the upstream; the null sender stays null. */
  readonly envelopeFrom?: Mailbox;
  /** Each recipient gets a Message-ID of its own. */
  readonly messageId?: 'per_recipient';
  readonly sign?: SignPolicy;
  readonly algorithms?: AlgorithmPolicy;
  /** Who gets a separate message of the same, sealed to a certificate of its own. */
  readonly archive?: Mailbox;
}

export interface Rule extends Dress {
  readonly name: string;
  readonly when: Condition;
  readonly then: 'seal' | 'pass' | 'refuse' | 'hold';
  /** Where there is no usable certificate. */
  readonly missing: 'refuse' | 'hold';
  /** Where nobody knows whether there is one. */
  readonly unavailable: 'retry' | 'hold';
  /** Whether the certificate of the recipient's domain is used: where the recipient has none, or always; never where undefined. */
  readonly domainCertificate?: 'fallback' | 'only';
  /** The site's own words for a refusal; undefined where the table's stand. */
  readonly text?: string;
  /** Where it is written, `90-default.yaml:4:5`; undefined where it is in no file. */
  readonly place?: string;
}

export type Decision =
  | ({ readonly kind: 'seal'; readonly rule: string } & Dress)
  /** Sealed to the site's hold certificate, and kept until it is released or its time is over. */
  | ({ readonly kind: 'hold'; readonly rule: string; readonly because: 'rule' | 'missing' | 'unavailable' } & Dress)
  /** As it came. `sealed`: it came sealed to the recipient, and what is not so to its last octet is refused. */
  | { readonly kind: 'pass'; readonly rule: string; readonly sealed: boolean; readonly envelopeFrom?: Mailbox; readonly archive?: Mailbox }
  | { readonly kind: 'refuse'; readonly rule: string | null; readonly because: 'rule' | 'missing' | 'no-rule'; readonly text?: string }
  | { readonly kind: 'retry'; readonly rule: string | null };

/** What comes of asking: a decision, or a look-up that is needed first. */
export type Answer = { readonly kind: 'decided'; readonly decision: Decision } | { readonly kind: 'look-up'; readonly domain: DomainUse };

/** The rules in their order, so made that few of them need to be asked. */
export interface RuleSet {
  readonly rules: readonly Rule[];
  /** Those that may match, in their order. */
  candidates(facts: Pick<Facts, 'sender' | 'recipient'>): Iterable<Rule>;
}

export const makeRuleSet = (rules: readonly Rule[]): RuleSet => ({ rules, candidates: () => rules });

export const domainOf = (rule: Rule): DomainUse => rule.domainCertificate ?? 'never';

/** What a rule is to one message. */
export const matchRule = (rule: Rule, facts: Facts): Truth => judge(rule.when, facts, domainOf(rule));

type Doubt = 'none' | 'unclear' | 'unavailable';

const asDoubt = (doubt: Doubt): Doubt => doubt;

/** The decision at DATA, when everything is known but look-ups. */
export function decide(rules: RuleSet, facts: Facts): Answer {
  let doubt = asDoubt('none');
  for (const rule of rules.candidates(facts)) {
    const match = matchRule(rule, facts);
    if (match === 'no') continue;
    if (match === 'ask') return { kind: 'look-up', domain: domainOf(rule) };
    if (match === 'later') throw new SealpostError('internal', { detail: 'a decision without the header' });
    const certain = match === 'yes';
    if (certain ? rule.then !== 'pass' || doubt === 'none' : rule.then === 'seal' || rule.then === 'hold') return conclude(rule, facts);
    if (match === 'unavailable') doubt = 'unavailable';
    else if (match === 'unclear' && doubt === 'none') doubt = 'unclear';
  }
  // Nobody is refused for good because a source is down (P5).
  if (doubt === 'unavailable') return { kind: 'decided', decision: { kind: 'retry', rule: null } };
  return { kind: 'decided', decision: { kind: 'refuse', rule: null, because: 'no-rule' } };
}

/**
 * At RCPT, when only the envelope is known: `taken` where a rule that may still match would take the message, else the refusal that is
 * certain, or that it must be tried again. The candidates are all rules up to the first that matches.
 */
export function foresee(rules: RuleSet, facts: Facts): Answer | { readonly kind: 'taken' } {
  let refusal: Decision | undefined;
  let retry: Decision | undefined;
  for (const rule of rules.candidates(facts)) {
    const match = matchRule(rule, facts);
    if (match === 'no') continue;
    if (match === 'ask') return { kind: 'look-up', domain: domainOf(rule) };
    const answer = conclude(rule, facts);
    if (answer.kind === 'look-up') return answer;
    const { decision } = answer;
    if (decision.kind === 'retry') retry ??= decision;
    else if (decision.kind === 'refuse') refusal = decision;
    else return { kind: 'taken' };
    if (match === 'yes') break;
    if (match === 'unavailable') retry ??= { kind: 'retry', rule: rule.name };
  }
  return { kind: 'decided', decision: retry ?? refusal ?? { kind: 'refuse', rule: null, because: 'no-rule' } };
}

/** What the rule that matches does. */
export function conclude(rule: Rule, facts: Facts): Answer {
  const decided = (decision: Decision): Answer => ({ kind: 'decided', decision });
  const text = rule.text === undefined ? {} : { text: rule.text };
  if (rule.then === 'refuse') return decided({ kind: 'refuse', rule: rule.name, because: 'rule', ...text });
  if (rule.then === 'hold') return decided({ kind: 'hold', rule: rule.name, because: 'rule', ...dressOf(rule) });
  const found: LookedUp | undefined = facts.lookedUp[domainOf(rule)];
  if (rule.then === 'pass') {
    const sealed = asksForSealed(rule.when);
    if (sealed && found === undefined && facts.content !== undefined) return { kind: 'look-up', domain: domainOf(rule) };
    const { envelopeFrom, archive } = rule;
    return decided({
      kind: 'pass',
      rule: rule.name,
      sealed,
      ...(envelopeFrom === undefined ? {} : { envelopeFrom }),
      ...(archive === undefined ? {} : { archive }),
    });
  }
  if (found === undefined) return { kind: 'look-up', domain: domainOf(rule) };
  switch (found.state) {
    case 'found':
      return decided({ kind: 'seal', rule: rule.name, ...dressOf(rule) });
    case 'absent':
      if (rule.missing === 'hold') return decided({ kind: 'hold', rule: rule.name, because: 'missing', ...dressOf(rule) });
      return decided({ kind: 'refuse', rule: rule.name, because: 'missing', ...text });
    case 'unavailable':
      if (rule.unavailable === 'hold') return decided({ kind: 'hold', rule: rule.name, because: 'unavailable', ...dressOf(rule) });
      return decided({ kind: 'retry', rule: rule.name });
  }
}

/** True where the rule cannot match but what came sealed. */
function asksForSealed(when: Condition): boolean {
  if (when.kind === 'sealed') return when.is;
  if (when.kind === 'all') return when.of.some(asksForSealed);
  return when.kind === 'any' && when.of.length > 0 && when.of.every(asksForSealed);
}

/** Without the keys that the rule has not. */
export function dressOf({ subject, from, envelopeFrom, messageId, sign, algorithms, archive }: Dress): Dress {
  return {
    subject,
    ...(from === undefined ? {} : { from }),
    ...(envelopeFrom === undefined ? {} : { envelopeFrom }),
    ...(messageId === undefined ? {} : { messageId }),
    ...(sign === undefined ? {} : { sign }),
    ...(algorithms === undefined ? {} : { algorithms }),
    ...(archive === undefined ? {} : { archive }),
  };
}

/** What the script is told of a decision that takes nothing: the site's own words, else the rule that decided. */
export function refusal(decision: Decision & { readonly kind: 'refuse' | 'retry' }): SealpostError {
  const by = decision.rule === null ? 'no rule matches' : `rule ${decision.rule}`;
  if (decision.kind === 'retry') return new SealpostError('lookup-unavailable', { detail: by });
  return new SealpostError(decision.because === 'missing' ? 'certificate-missing' : 'policy-refused', { detail: decision.text ?? by });
}

/** Rules that no mail reaches, since one before them matches everything; `check` tells of them. */
export function unreachable(rules: readonly Rule[]): { readonly rule: string; readonly behind: string }[] {
  const all = rules.findIndex(({ when }) => when.kind === 'all' && when.of.length === 0);
  const behind = rules[all]?.name;
  return behind === undefined ? [] : rules.slice(all + 1).map((rule) => ({ rule: rule.name, behind }));
}
