/** What is sure to be a mistake in rules that are well written each: one that can never match, one that an earlier one hides. */
import { type Mailbox, parseMailbox } from '../message/envelope.ts';
import type { AddressPattern } from '../message/pattern.ts';
import { disjoint, implies, isEmpty } from './compare.ts';
import type { Condition } from './condition.ts';
import { domainOf, makeRuleSet, type Rule } from './decide.ts';

export type Remark =
  /** `why`: behind "can never match: ". */
  | { readonly kind: 'never'; readonly rule: string; readonly place: string | undefined; readonly why: string }
  | { readonly kind: 'hidden'; readonly rule: string; readonly place: string | undefined; readonly behind: string; readonly all: boolean };

/** In the order of the rules; at most one of each. `site`: what it makes impossible, where that is known. */
export function policyRemarks(rules: readonly Rule[], site?: SiteBounds): Remark[] {
  const positions = new Map(rules.map((rule, index) => [rule, index]));
  const set = makeRuleSet(rules);
  return rules.flatMap((rule, index): Remark[] => {
    const { name, place, when } = rule;
    const why = contradiction(when) ?? (site && contradictionOfSite(when, site));
    if (why !== undefined) return [{ kind: 'never', rule: name, place, why }];
    for (const earlier of set.candidates(witnessOf(when))) {
      if ((positions.get(earlier) ?? index) >= index) break;
      if (hides(earlier, rule)) return [{ kind: 'hidden', rule: name, place, behind: earlier.name, all: isAlways(earlier.when) }];
    }
    return [];
  });
}

export function sayRemark(remark: Remark): string {
  const rule = `${remark.place === undefined ? '' : `${remark.place}: `}the rule ${remark.rule}`;
  if (remark.kind === 'never') return `${rule} can never match: ${remark.why}`;
  return `${rule} is never reached: ${remark.behind} before it matches ${remark.all ? 'all mail' : 'all that it matches'}`;
}

const isAlways = (when: Condition): boolean => when.kind === 'all' && when.of.length === 0;

/** A sender and a recipient that meet the condition, as far as it wants certain ones; rules that hide it are asked of them too. */
function witnessOf(when: Condition): { readonly sender: Mailbox | null; readonly recipient: Mailbox } {
  // Of alternatives one will do: what hides the rule hides each of them.
  const wanted = (when.kind === 'all' ? when.of : [when]).flatMap((one) => (one.kind === 'any' ? one.of.slice(0, 1) : [one]));
  const find = (kind: 'sender' | 'recipient'): Mailbox | undefined => {
    const one = wanted.find((condition) => condition.kind === kind);
    return one?.kind === kind ? oneOf(one.pattern) : undefined;
  };
  return { sender: find('sender') ?? null, recipient: find('recipient') ?? NOBODY };
}

function mailboxOf(address: string): Mailbox | undefined {
  const verdict = parseMailbox(address);
  return verdict.kind === 'mailbox' ? verdict.mailbox : undefined;
}

/** Stands where the condition wants no certain one. */
const NOBODY: Mailbox = { localPart: 'nobody', domain: 'invalid', address: 'nobody@invalid', needsSmtputf8: false };

function oneOf({ reach }: AddressPattern): Mailbox | undefined {
  const domain = reach?.others.find((other) => other.domain !== undefined)?.domain;
  const [mailbox] = reach?.mailboxes ?? [];
  const [whole = domain] = reach?.domains ?? [];
  const [below] = reach?.below ?? [];
  const address = mailbox ?? (whole === undefined ? (below === undefined ? undefined : `x@x.${below}`) : `x@${whole}`);
  return address === undefined ? undefined : mailboxOf(address);
}

/** Kinds of conditions that may be in doubt: a rule that refuses lets such mail go by. */
const DOUBTFUL: ReadonlySet<Condition['kind']> = new Set([
  'header_from',
  'subject',
  'header',
  'calendar',
  'signed',
  'sealed',
  'certificate',
]);
const ABOUT_CERTIFICATES: ReadonlySet<Condition['kind']> = new Set(['sealed', 'certificate']);

function hides(earlier: Rule, rule: Rule): boolean {
  // What a rule passes in clear it does only where nothing is in doubt; behind it others still get their turn.
  if (earlier.then === 'pass' || (earlier.then === 'refuse' && asks(earlier.when, DOUBTFUL))) return false;
  if (domainOf(earlier) !== domainOf(rule) && asks(earlier.when, ABOUT_CERTIFICATES)) return false;
  return implies(rule.when, earlier.when);
}

function asks(when: Condition, kinds: ReadonlySet<Condition['kind']>): boolean {
  if (when.kind === 'not') return asks(when.of, kinds);
  if (when.kind === 'all' || when.kind === 'any') return when.of.some((one) => asks(one, kinds));
  return kinds.has(when.kind);
}

/** Why nothing meets the condition; undefined where something may. */
function contradiction(when: Condition): string | undefined {
  const parts = when.kind === 'all' ? when.of : [when];
  for (const [index, one] of parts.entries()) {
    const alone = contradictionOf(one);
    if (alone !== undefined) return alone;
    for (const other of parts.slice(0, index)) {
      const together = contradictionBetween(other, one);
      if (together !== undefined) return together;
    }
  }
  return undefined;
}

function contradictionOf(one: Condition): string | undefined {
  switch (one.kind) {
    case 'sender':
    case 'recipient':
    case 'header_from':
      return one.pattern.reach !== undefined && isEmpty(one.pattern.reach) ? emptyList(one.pattern.source) : undefined;
    case 'subject':
    case 'header':
      return one.pattern.nothing === true ? emptyList(one.pattern.source) : undefined;
    case 'client':
    case 'user':
      return one.nothing === true ? emptyList(one.source) : undefined;
    case 'size':
      return contradictionOfSize(one.over, one.under);
    case 'any': {
      const each = one.of.map(contradiction);
      return each.every((why) => why !== undefined) ? each[0] : undefined;
    }
    case 'all':
      return contradiction(one);
    case 'not':
      return isAlways(one.of) ? 'not of all mail' : undefined;
    case 'calendar':
    case 'signed':
    case 'sealed':
    case 'certificate':
      return undefined;
  }
}

const emptyList = (source: string): string => `the list ${source} is empty`;

const contradictionOfSize = (over = -1, under = Infinity): string | undefined =>
  under - over <= 1 ? `no size is over ${over} and under ${under} octets` : undefined;

function contradictionBetween(a: Condition, b: Condition): string | undefined {
  if (a.kind === 'not' && implies(b, a.of)) return 'one condition takes back another';
  if (b.kind === 'not' && implies(a, b.of)) return 'one condition takes back another';
  if (a.kind === 'size' && b.kind === 'size')
    return contradictionOfSize(Math.max(a.over ?? -1, b.over ?? -1), Math.min(a.under ?? Infinity, b.under ?? Infinity));
  if (sealedForNobody(a, b) || sealedForNobody(b, a)) return 'nothing is sealed to who has no certificate';
  if (a.kind !== b.kind) return undefined;
  if ('is' in a && 'is' in b && a.is !== b.is) return `${a.kind} is not ${String(a.is)} and ${String(b.is)} at once`;
  if (!ofAddresses(a) || !ofAddresses(b) || !disjoint(a.pattern, b.pattern)) return undefined;
  return `no ${a.kind} is both ${a.pattern.source} and ${b.pattern.source}`;
}

const sealedForNobody = (a: Condition, b: Condition): boolean =>
  a.kind === 'sealed' && a.is && b.kind === 'certificate' && b.is === 'absent';

/** What a site makes impossible. */
export interface SiteBounds {
  /** Octets of the largest message that is taken. */
  readonly largest: number;
  /** Whether anybody can log in. */
  readonly users: boolean;
}

function contradictionOfSite(when: Condition, { largest, users }: SiteBounds): string | undefined {
  for (const one of when.kind === 'all' ? when.of : [when]) {
    if (one.kind === 'size' && one.over !== undefined && one.over >= largest)
      return `no message of more than ${largest} octets is taken (limits.message_bytes)`;
    if (one.kind === 'user' && !users && !one.matches(null)) return 'nobody can log in: clients.users names no file';
  }
  return undefined;
}

type OfAddresses = Extract<Condition, { readonly pattern: AddressPattern }>;

const ofAddresses = (one: Condition): one is OfAddresses => one.kind === 'sender' || one.kind === 'recipient' || one.kind === 'header_from';
