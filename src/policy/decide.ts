/**
 * One decision for one recipient: pure, from values alone (P3). The rules are asked in order and the first that matches wins; what no
 * rule matches is refused.
 *
 * Where it is unclear whether a rule matches (condition.ts), rules that seal or hold take the message; rules that refuse or pass do not,
 * and no rule behind one that is unclear passes it: clear mail is never a matter of doubt (A13). Where a source that is down keeps a rule
 * from passing a message, nothing behind it refuses that message for good: it is told to come again (P5).
 */
import { SealpostError } from '../errors.ts';
import type { NamedMailbox } from '../message/addresses.ts';
import type { Mailbox } from '../message/envelope.ts';
import type { SignPolicy } from '../message/sign-policy.ts';
import { makeCandidates } from './candidates.ts';
import { type CertificateState, type Condition, type DomainUse, type Facts, judge, type Truth } from './condition.ts';

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
  /** As it came. `sealed`: it would not pass by this rule, had it not come sealed to the recipient: what is not so to its last octet is refused. */
  | { readonly kind: 'pass'; readonly rule: string; readonly sealed: boolean; readonly envelopeFrom?: Mailbox; readonly archive?: Mailbox }
  | { readonly kind: 'refuse'; readonly rule: string | null; readonly because: 'rule' | 'missing' | 'no-rule'; readonly text?: string }
  | { readonly kind: 'retry'; readonly rule: string | null };

/** `domain`: the look-up by which it is sealed, held or refused; undefined where it stands on none. */
interface Settled {
  readonly kind: 'decided';
  readonly decision: Decision;
  readonly domain?: DomainUse;
}

/** What comes of asking: a decision, or a look-up that is needed first. */
export type Answer = Settled | { readonly kind: 'look-up'; readonly domain: DomainUse };

/** The rules in their order, so made that few of them need to be asked. */
export interface RuleSet {
  readonly rules: readonly Rule[];
  /** Those that may match, in their order. */
  candidates(facts: Pick<Facts, 'sender' | 'recipient'>): Iterable<Rule>;
}

export const makeRuleSet = (rules: readonly Rule[]): RuleSet => ({ rules, candidates: makeCandidates(rules) });

export const domainOf = (rule: Rule): DomainUse => rule.domainCertificate ?? 'never';

/** What a rule is to one message. */
export const matchRule = (rule: Rule, facts: Facts): Truth => judge(rule.when, facts, domainOf(rule));

const decided = (decision: Decision): Settled => ({ kind: 'decided', decision });

/** What is in doubt so far: whether a rule matched that was unclear, or one that a source which is down would have told of. */
class Doubt {
  #unclear = false;
  #unavailable = false;
  /** The rule that might have passed it, had the source been there. */
  missed: Rule | undefined;

  /** Whether the rule decides. Asked of the rules in their order. */
  letsTake(rule: Rule, match: Truth): boolean {
    const certain = match === 'yes';
    if (rule.then === 'pass' ? certain && !this.#unclear && !this.#unavailable : certain || rule.then !== 'refuse') return true;
    if (match === 'unclear') this.#unclear = true;
    if (match === 'unavailable') this.#unavailable = true;
    if (rule.then === 'pass' && !this.#unclear) this.missed ??= rule;
    return false;
  }
}

/** The decision at DATA, when everything is known but look-ups. */
export function decide(rules: RuleSet, facts: Facts): Answer {
  const doubt = new Doubt();
  for (const rule of rules.candidates(facts)) {
    const match = matchRule(rule, facts);
    if (match === 'no') continue;
    if (match === 'ask') return { kind: 'look-up', domain: domainOf(rule) };
    if (match === 'later') throw new SealpostError('internal', { detail: 'a decision without the header' });
    if (!doubt.letsTake(rule, match)) continue;
    const answer = conclude(rule, facts);
    if (answer.kind === 'decided' && answer.decision.kind === 'pass')
      return decided({ ...answer.decision, sealed: restsOnSealed(rules, facts, rule) });
    return doubt.missed !== undefined && isRefusal(answer) ? decided({ kind: 'retry', rule: doubt.missed.name }) : answer;
  }
  if (doubt.missed !== undefined) return decided({ kind: 'retry', rule: doubt.missed.name });
  return decided({ kind: 'refuse', rule: null, because: 'no-rule' });
}

/**
 * Only the start of a message is known here, and behind a start that is sealed may follow anything (A12). So it is asked once more as if
 * it were not sealed: where this rule would not pass it then, whichever rule asked and however, the pass rests on what its end shows.
 */
function restsOnSealed(rules: RuleSet, facts: Facts, rule: Rule): boolean {
  const entries = Object.entries(facts.lookedUp);
  if (!entries.some(([, found]) => found.sealedFor)) return false;
  const lookedUp = Object.fromEntries(entries.map(([domain, found]) => [domain, { ...found, sealedFor: false }]));
  const answer = decide(rules, { ...facts, lookedUp });
  return !(answer.kind === 'decided' && answer.decision.kind === 'pass' && answer.decision.rule === rule.name);
}

/**
 * Whether what was decided to pass would pass by the same rule if MAIL had declared the octets that came: what a client declares, or does
 * not, is no reason to let anything out in clear. Where that would want another look-up it does not.
 */
export function passesAt(rules: RuleSet, facts: Facts, passed: Decision & { readonly kind: 'pass' }, octets: number): boolean {
  if (facts.size === octets) return true;
  const answer = decide(rules, { ...facts, size: octets });
  if (answer.kind === 'look-up' || answer.decision.kind !== 'pass' || answer.decision.rule !== passed.rule) return false;
  return passed.sealed || !answer.decision.sealed;
}

const isRefusal = (answer: Answer): boolean => answer.kind === 'decided' && answer.decision.kind === 'refuse';

/**
 * At RCPT, when only the envelope is known: `taken` where a rule that may still match would take the message, else that it must be tried
 * again, where a source is down that a rule wants, else the refusal that is certain. The candidates are all rules up to the first that
 * decides whatever the header says.
 */
export function foresee(rules: RuleSet, facts: Facts): Answer | { readonly kind: 'taken' } {
  const doubt = new Doubt();
  let refusal: Decision | undefined;
  let retry: Decision | undefined;
  for (const rule of rules.candidates(facts)) {
    const match = matchRule(rule, facts);
    if (match === 'no') continue;
    if (match === 'ask') return { kind: 'look-up', domain: domainOf(rule) };
    // What is unavailable now has nothing open in it that the header could still answer.
    if (!doubt.letsTake(rule, match === 'later' ? 'yes' : match)) continue;
    const answer = conclude(rule, facts);
    if (answer.kind === 'look-up') return answer;
    const { decision } = answer;
    if (decision.kind === 'retry') retry ??= decision;
    // The rule that matches whatever the header says has the last word of those that refuse.
    else if (decision.kind === 'refuse') refusal = decision;
    else return { kind: 'taken' };
    if (match !== 'later') break;
  }
  if (doubt.missed !== undefined) retry ??= { kind: 'retry', rule: doubt.missed.name };
  return decided(retry ?? refusal ?? { kind: 'refuse', rule: null, because: 'no-rule' });
}

/** What the rule that matches does. Whether a pass rests on the seal it came in is for `decide`, which knows the other rules. */
export function conclude(rule: Rule, facts: Facts): Answer {
  if (rule.then === 'refuse')
    return decided({ kind: 'refuse', rule: rule.name, because: 'rule', ...(rule.text === undefined ? {} : { text: rule.text }) });
  if (rule.then === 'hold') return decided({ kind: 'hold', rule: rule.name, because: 'rule', ...dressFor(rule, facts) });
  if (rule.then === 'pass') {
    const { envelopeFrom, archive } = rule;
    return decided({
      kind: 'pass',
      rule: rule.name,
      sealed: false,
      ...(envelopeFrom === undefined ? {} : { envelopeFrom }),
      ...(archive === undefined ? {} : { archive }),
    });
  }
  const domain = domainOf(rule);
  const found = facts.lookedUp[domain];
  return found === undefined ? { kind: 'look-up', domain } : { ...decided(sealOr(rule, facts, found.state)), domain };
}

/** Of a rule that seals, by what the look-up said. */
function sealOr(rule: Rule, facts: Facts, state: CertificateState): Decision {
  const { name, text } = rule;
  switch (state) {
    case 'found':
      return { kind: 'seal', rule: name, ...dressFor(rule, facts) };
    case 'absent':
      if (rule.missing === 'hold') return { kind: 'hold', rule: name, because: 'missing', ...dressFor(rule, facts) };
      return { kind: 'refuse', rule: name, because: 'missing', ...(text === undefined ? {} : { text }) };
    case 'unavailable':
      if (rule.unavailable === 'hold') return { kind: 'hold', rule: name, because: 'unavailable', ...dressFor(rule, facts) };
      return { kind: 'retry', rule: name };
  }
}

/** A rule that takes what is in doubt does not sign for an author who is: that one of several, say, is in the certificate. */
function dressFor(rule: Rule, { content }: Facts): Dress {
  const { sign, ...others } = dressOf(rule);
  const unsure = rule.from === undefined && content?.from === 'unclear';
  return sign === undefined || unsure ? others : { ...others, sign };
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

/** What the script is told of a decision that takes nothing: the site's own words, and the rule that decided. */
export function refusal(decision: Decision & { readonly kind: 'refuse' | 'retry' }): SealpostError {
  const by = decision.rule === null ? 'no rule matches' : `rule ${decision.rule}`;
  if (decision.kind === 'retry') return new SealpostError('lookup-unavailable', { detail: by });
  const detail = decision.text === undefined ? by : `${decision.text} (${by})`;
  return new SealpostError(decision.because === 'missing' ? 'certificate-missing' : 'policy-refused', { detail });
}
