/** For which From a rule signs: an identity must never stand under somebody else's name. */
import { mailboxKey } from '../message/envelope.ts';
import type { Reach } from '../message/reach.ts';
import type { Condition } from './condition.ts';
import type { FromPolicy } from './decide.ts';

/**
 * The mailboxes (by `mailboxKey`) of which one is the author of whatever the rule signs; undefined where the rule does not say. The
 * certificate of its identity must hold them all.
 */
export function signedAuthors({
  when,
  from,
}: {
  readonly when?: Condition | undefined;
  readonly from?: FromPolicy | undefined;
}): ReadonlySet<string> | undefined {
  if (from !== undefined) return new Set([mailboxKey(from.replace.mailbox)]);
  return when === undefined ? undefined : authorsOf(when);
}

function authorsOf(when: Condition): ReadonlySet<string> | undefined {
  if (when.kind === 'header_from') return exactOnly(when.pattern.reach);
  if (when.kind === 'all') return when.of.map(authorsOf).find((authors) => authors !== undefined);
  if (when.kind !== 'any') return undefined;
  const each = when.of.map(authorsOf);
  return each.every((authors) => authors !== undefined) ? new Set(each.flatMap((authors) => [...authors])) : undefined;
}

/** The mailboxes of a pattern that matches nothing else. */
function exactOnly(reach: Reach | undefined): ReadonlySet<string> | undefined {
  if (reach === undefined || reach.nullSender || reach.everyone) return undefined;
  return reach.domains.size + reach.below.size + reach.others.length > 0 ? undefined : reach.mailboxes;
}
