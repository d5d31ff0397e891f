/**
 * Why a rule matches or does not, in words: each of its conditions with its answer. For people who ask (`explain`, `policies test`);
 * what decides is condition.ts and decide.ts, which are asked here once more for every condition.
 */
import { type Condition, type DomainUse, type Facts, isTooLong, judge, type Truth } from './condition.ts';
import { domainOf, matchRule, type Rule } from './decide.ts';

/** One condition as `--json` prints it; `of` where it joins others. */
export interface TracedCondition {
  readonly condition: string;
  readonly match: Truth;
  readonly because: string;
  readonly of?: readonly TracedCondition[];
}

export interface TracedRule {
  readonly rule: string;
  readonly match: Truth;
  /** What made it so, in a line: all of its conditions where it matches, else those that stand against it. */
  readonly because: string;
  readonly conditions: readonly TracedCondition[];
}

/** The rules in their order up to `last`, which decides; all of them where none does. */
export function traceRules(rules: readonly Rule[], facts: Facts, last: string | null): TracedRule[] {
  const end = last === null ? -1 : rules.findIndex(({ name }) => name === last);
  return (end < 0 ? rules : rules.slice(0, end + 1)).map((rule) => traceRule(rule, facts));
}

function traceRule(rule: Rule, facts: Facts): TracedRule {
  const { name, when } = rule;
  const conditions = (when.kind === 'all' ? when.of : [when]).map((one) => trace(one, facts, domainOf(rule)));
  const match = matchRule(rule, facts);
  const telling = conditions.filter((one) => one.match === match);
  const because = telling.map((one) => one.because).join('; ');
  return { rule: name, match, because: because === '' ? 'it matches all mail' : because, conditions };
}

function trace(condition: Condition, facts: Facts, domain: DomainUse): TracedCondition {
  const match = judge(condition, facts, domain);
  if ('of' in condition) {
    const of = (condition.kind === 'not' ? [condition.of] : condition.of).map((one) => trace(one, facts, domain));
    return { condition: condition.kind, match, because: sayJoined(condition.kind, of, match), of };
  }
  const name = condition.kind === 'header' ? `header ${condition.name}` : condition.kind;
  return { condition: name, match, because: sayLeaf(condition, match, facts) };
}

/** Where one side decides it is told alone; else all of them. */
function sayJoined(kind: 'all' | 'any' | 'not', of: readonly TracedCondition[], match: Truth): string {
  const decisive = of.filter((one) => one.match === match);
  const said = (decisive.length === 0 ? of : decisive).map(({ because }) => because);
  const [only] = said;
  if (said.length === 1 && only !== undefined) return only;
  return `${kind === 'any' ? 'one of' : 'together'} (${said.join(', ')})`;
}

type Leaf = Exclude<Condition, { readonly of: unknown }>;

function sayLeaf(condition: Leaf, match: Truth, { content }: Facts): string {
  switch (match) {
    case 'yes':
    case 'no':
      return sayAnswer(condition, match === 'yes');
    case 'later':
      return `${openOf(condition)} needs the header: give ${optionOf(condition)}`;
    case 'ask':
      return `${openOf(condition)} was not looked up`;
    case 'unavailable':
      return `${openOf(condition)} is unavailable: a source gives no usable answer`;
    case 'unclear':
      return sayUnclear(condition, content);
  }
  return match satisfies never;
}

function sayAnswer(condition: Leaf, met: boolean): string {
  const fits = met ? 'matches' : 'does not match';
  switch (condition.kind) {
    case 'sender':
    case 'recipient':
      return `the ${condition.kind} ${fits} ${condition.pattern.source}`;
    case 'header_from':
      return `From ${fits} ${condition.pattern.source}`;
    case 'client':
    case 'user':
      return `the ${condition.kind} ${fits} ${condition.source}`;
    case 'subject':
      return `the Subject ${fits} ${condition.pattern.source}`;
    case 'header':
      return `the field ${condition.name} ${fits} ${condition.pattern.source}`;
    case 'size': {
      const bounds = [
        ...(condition.over === undefined ? [] : [`over ${octets(condition.over)}`]),
        ...(condition.under === undefined ? [] : [`under ${octets(condition.under)}`]),
      ];
      return `the declared size is ${met ? '' : 'not '}${bounds.join(' and ')}`;
    }
    case 'calendar':
      return `it is ${met === condition.is ? '' : 'not '}a calendar invitation`;
    case 'signed':
      return `it is ${met === condition.is ? '' : 'not '}signed already`;
    case 'sealed':
      return `it is ${met === condition.is ? '' : 'not '}sealed to the recipient already`;
    case 'certificate':
      return `the certificate is ${met ? '' : 'not '}${condition.is === 'absent' ? 'missing' : condition.is}`;
  }
}

function sayUnclear(condition: Leaf, content: Facts['content']): string {
  const what = openOf(condition);
  if (condition.kind === 'header_from') return `${what} is unclear: it is not one mailbox that every reader takes for the same`;
  if (condition.kind !== 'subject' && condition.kind !== 'header') return `${what} is unclear: programs read it differently`;
  if (content !== undefined && isTooLong(condition, content)) return `${what} is unclear: it is too long for an expression`;
  return `${what} is unclear: it matches ${condition.pattern.source} in one reading and not in another`;
}

const asked: Readonly<Record<Leaf['kind'], string>> = {
  sender: 'the sender',
  recipient: 'the recipient',
  client: 'the client',
  user: 'the user',
  size: 'the size',
  header_from: 'From',
  subject: 'the Subject',
  header: 'the field',
  calendar: 'whether it is a calendar invitation',
  signed: 'whether it is signed already',
  sealed: 'whether it is sealed already',
  certificate: 'the certificate',
};

const openOf = (condition: Leaf): string => `${asked[condition.kind]}${condition.kind === 'header' ? ` ${condition.name}` : ''}`;

/** The option of `explain` that tells it. */
function optionOf(condition: Leaf): string {
  if (condition.kind === 'header_from') return '--header-from or --message';
  if (condition.kind === 'subject') return '--subject or --message';
  return condition.kind === 'header' ? `--header '${condition.name}: …' or --message` : '--message';
}

const MIB = 1024 * 1024;
const KIB = 1024;

function octets(count: number): string {
  if (count > 0 && count % MIB === 0) return `${count / MIB}MiB`;
  return count > 0 && count % KIB === 0 ? `${count / KIB}KiB` : `${count} octets`;
}
