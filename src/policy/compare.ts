/** Conditions compared: whether one is met wherever another is, and whether two can never be met together. True only where that is sure. */
import { type Mailbox, parseMailbox } from '../message/envelope.ts';
import type { AddressPattern } from '../message/pattern.ts';
import { parentsOf, type Reach } from '../message/reach.ts';
import type { Condition } from './condition.ts';

/** Whether `wider` is met by all that meets `narrower`. */
export function implies(narrower: Condition, wider: Condition): boolean {
  if (wider.kind === 'all') return wider.of.every((one) => implies(narrower, one));
  if (narrower.kind === 'any') return narrower.of.every((one) => implies(one, wider));
  if (wider.kind === 'any' && wider.of.some((one) => implies(narrower, one))) return true;
  if (narrower.kind === 'all') return narrower.of.some((one) => implies(one, wider));
  return impliesOne(narrower, wider);
}

function impliesOne(narrower: Condition, wider: Condition): boolean {
  switch (wider.kind) {
    case 'sender':
    case 'recipient':
    case 'header_from':
      return narrower.kind === wider.kind && covers(wider.pattern, narrower.pattern);
    case 'client':
    case 'user':
      return narrower.kind === wider.kind && narrower.source === wider.source;
    case 'subject':
      return narrower.kind === 'subject' && narrower.pattern.source === wider.pattern.source;
    case 'header':
      return narrower.kind === 'header' && narrower.name === wider.name && narrower.pattern.source === wider.pattern.source;
    case 'size':
      return (
        narrower.kind === 'size' && (narrower.over ?? -1) >= (wider.over ?? -1) && (narrower.under ?? Infinity) <= (wider.under ?? Infinity)
      );
    case 'calendar':
    case 'signed':
    case 'sealed':
      return narrower.kind === wider.kind && narrower.is === wider.is;
    case 'certificate':
      return narrower.kind === 'certificate' && narrower.is === wider.is;
    case 'not':
      return narrower.kind === 'not' && implies(wider.of, narrower.of);
    case 'all':
    case 'any':
      return false;
  }
}

function covers(wider: AddressPattern, narrower: AddressPattern): boolean {
  const [all, some] = [wider.reach, narrower.reach];
  if (all === undefined || some === undefined) return wider.source === narrower.source;
  if ((some.nullSender && !all.nullSender) || (some.everyone && !all.everyone)) return false;
  if (all.everyone) return true;
  const inDomains = (domain: string): boolean => all.domains.has(domain) || within(domain, all.below);
  return (
    [...some.domains].every(inDomains) &&
    [...some.below].every((domain) => all.below.has(domain) || within(domain, all.below)) &&
    some.others.every(
      ({ source, domain }) => (domain !== undefined && inDomains(domain)) || all.others.some((one) => one.source === source),
    ) &&
    mailboxesOf(some).every((mailbox) => wider.matches(mailbox))
  );
}

/** Whether the domain is below one of these. */
const within = (domain: string, below: ReadonlySet<string>): boolean => [...parentsOf(domain)].some((parent) => below.has(parent));

const mailboxesOf = ({ mailboxes }: Reach): Mailbox[] =>
  [...mailboxes].map(parseMailbox).flatMap((verdict) => (verdict.kind === 'mailbox' ? [verdict.mailbox] : []));

/** Whether no mailbox matches both. */
export function disjoint(a: AddressPattern, b: AddressPattern): boolean {
  if (a.reach === undefined || b.reach === undefined || (a.reach.nullSender && b.reach.nullSender)) return false;
  if (isEmpty(a.reach) || isEmpty(b.reach)) return true;
  return !meets(a.reach, b) && !meets(b.reach, a);
}

export const isEmpty = ({ nullSender, everyone, mailboxes, domains, below, others }: Reach): boolean =>
  !nullSender && !everyone && mailboxes.size + domains.size + below.size + others.length === 0;

/** Whether something of `reach` may match the other; whatever it cannot tell may. */
function meets(reach: Reach, other: AddressPattern): boolean {
  const { domains, below, others, everyone } = other.reach ?? reach;
  if (reach.everyone) return everyone || domains.size + below.size + others.length > 0 || (other.reach?.mailboxes.size ?? 0) > 0;
  const meetsDomain = (domain: string): boolean =>
    domains.has(domain) || within(domain, below) || others.some((one) => one.domain === undefined || one.domain === domain);
  return (
    [...reach.domains].some(meetsDomain) ||
    [...reach.below].some((domain) => below.has(domain) || within(domain, below) || others.some((one) => one.domain === undefined)) ||
    reach.others.some((one) => (one.domain === undefined ? others.length + domains.size + below.size > 0 : meetsDomain(one.domain))) ||
    mailboxesOf(reach).some((mailbox) => other.matches(mailbox))
  );
}
