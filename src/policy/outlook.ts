/** At RCPT: what may still become of a recipient once the header is known. For people who ask; the relay itself asks `foresee`. */
import type { DomainUse, Facts, Truth } from './condition.ts';
import { conclude, type Decision, domainOf, matchRule, type RuleSet } from './decide.ts';

/** A rule that may decide, and what it would do. */
export interface Prospect {
  readonly rule: string;
  readonly match: Exclude<Truth, 'no'>;
  readonly decision: Decision;
}

/** The candidates are all rules up to the first that matches. */
export function prospects(
  rules: RuleSet,
  facts: Facts,
): { readonly kind: 'look-up'; readonly domain: DomainUse } | { readonly kind: 'prospects'; readonly list: readonly Prospect[] } {
  const list: Prospect[] = [];
  let doubt = false;
  for (const rule of rules.candidates(facts)) {
    const match = matchRule(rule, facts);
    if (match === 'no') continue;
    if (match === 'ask') return { kind: 'look-up', domain: domainOf(rule) };
    const answer = conclude(rule, facts);
    if (answer.kind === 'look-up') return answer;
    list.push({ rule: rule.name, match, decision: answer.decision });
    // Behind a doubt nothing is passed, so a rule that would is not the last word.
    if (match === 'yes' && (rule.then !== 'pass' || !doubt)) break;
    doubt ||= match === 'unclear' || match === 'unavailable';
  }
  return { kind: 'prospects', list };
}
