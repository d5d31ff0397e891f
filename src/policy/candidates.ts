/**
 * The rules so arranged that a decision asks few of them: each rule that wants a certain sender or recipient waits under its address or
 * domain, the others are asked of all mail. What comes out is in the order of the rules, and leaves out only what cannot match.
 */
import { mailboxKey } from '../message/envelope.ts';
import { parentsOf } from '../message/reach.ts';
import type { AddressPattern } from '../message/pattern.ts';
import type { Condition, Facts } from './condition.ts';
import type { Rule, RuleSet } from './decide.ts';

/** A rule with a longer list is asked of all mail, which costs one look into its list. */
const MAX_KEYS = 1000;

type Keys = readonly string[];

export function makeCandidates(rules: readonly Rule[]): RuleSet['candidates'] {
  const choices = rules.map(({ when }) => choicesOf(when));
  const crowd = new Map<string, number>();
  for (const keys of choices.flat()) for (const key of keys) crowd.set(key, (crowd.get(key) ?? 0) + 1);
  const crowded = (keys: Keys): number => Math.max(0, ...keys.map((key) => crowd.get(key) ?? 0));

  const waiting = new Map<string, number[]>();
  const always: number[] = [];
  for (const [index, sides] of choices.entries()) {
    // Under that side where fewer others wait: ten thousand rules may share a sender, or a recipient.
    const [first, ...others] = sides;
    if (first === undefined) {
      always.push(index);
      continue;
    }
    const keys = others.reduce((best, side) => (crowded(side) < crowded(best) ? side : best), first);
    for (const key of keys) {
      const list = waiting.get(key);
      if (list === undefined) waiting.set(key, [index]);
      else list.push(index);
    }
  }
  return ({ sender, recipient }) => {
    const lists = [always];
    for (const key of [...keysOf('s', sender), ...keysOf('r', recipient)]) {
      const list = waiting.get(key);
      if (list !== undefined) lists.push(list);
    }
    return lists.length === 1 && always.length === rules.length ? rules : inOrder(lists, rules);
  };
}

/** All keys under which a rule for this mailbox may wait. */
function* keysOf(side: 's' | 'r', mailbox: Facts['sender']): Generator<string> {
  if (mailbox === null) {
    yield `${side}<>`;
    return;
  }
  yield side + mailboxKey(mailbox);
  yield `${side}@${mailbox.domain}`;
  for (const parent of parentsOf(mailbox.domain)) yield `${side}@.${parent}`;
}

/** The keys of each condition without which the rule cannot match. */
function choicesOf(when: Condition): readonly Keys[] {
  if (when.kind === 'all') return when.of.flatMap(choicesOf);
  if (when.kind !== 'sender' && when.kind !== 'recipient') return [];
  const keys = keysOfPattern(when.kind === 'sender' ? 's' : 'r', when.pattern);
  return keys === undefined ? [] : [keys];
}

function keysOfPattern(side: 's' | 'r', { reach }: AddressPattern): Keys | undefined {
  if (reach === undefined || reach.everyone) return undefined;
  const { nullSender, mailboxes, domains, below, others } = reach;
  if (mailboxes.size + domains.size + below.size + others.length > MAX_KEYS) return undefined;
  const keys = new Set<string>(nullSender ? [`${side}<>`] : []);
  for (const mailbox of mailboxes) keys.add(side + mailbox);
  for (const domain of domains) keys.add(`${side}@${domain}`);
  for (const domain of below) keys.add(`${side}@.${domain}`);
  for (const { domain } of others) {
    if (domain === undefined) return undefined;
    keys.add(`${side}@${domain}`);
  }
  return [...keys];
}

/** Merges lists of ascending numbers, each number once. */
function* inOrder(lists: readonly (readonly number[])[], rules: readonly Rule[]): Generator<Rule> {
  const heads = lists.map((list) => ({ list, at: 0 }));
  for (;;) {
    let next = Infinity;
    for (const { list, at } of heads) next = Math.min(next, list[at] ?? Infinity);
    const rule = rules[next];
    if (rule === undefined) return;
    for (const head of heads) if (head.list[head.at] === next) head.at++;
    yield rule;
  }
}
