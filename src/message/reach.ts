/**
 * What an address pattern can match, as keys: so that ten thousand rules, or a list of a hundred thousand addresses, cost a look into a
 * table, and two patterns can be compared.
 */
import { type Mailbox, mailboxKey } from './envelope.ts';

/** A pattern of which only matching tells; `domain`: what it matches is in this domain. */
export interface OtherReach {
  readonly source: string;
  readonly domain?: string;
  readonly matches: (mailbox: Mailbox) => boolean;
}

export interface Reach {
  readonly nullSender: boolean;
  /** Every mailbox there is. */
  readonly everyone: boolean;
  /** By mailboxKey. */
  readonly mailboxes: ReadonlySet<string>;
  /** All mailboxes of these domains. */
  readonly domains: ReadonlySet<string>;
  /** All mailboxes of all domains below these. */
  readonly below: ReadonlySet<string>;
  readonly others: readonly OtherReach[];
}

const NOTHING: ReadonlySet<string> = new Set();
export const NO_REACH: Reach = {
  nullSender: false,
  everyone: false,
  mailboxes: NOTHING,
  domains: NOTHING,
  below: NOTHING,
  others: [],
};

export function joinReach(reaches: readonly Reach[]): Reach {
  const all = (of: (reach: Reach) => ReadonlySet<string>): ReadonlySet<string> => new Set(reaches.flatMap((reach) => [...of(reach)]));
  return {
    nullSender: reaches.some(({ nullSender }) => nullSender),
    everyone: reaches.some(({ everyone }) => everyone),
    mailboxes: all(({ mailboxes }) => mailboxes),
    domains: all(({ domains }) => domains),
    below: all(({ below }) => below),
    others: reaches.flatMap(({ others }) => others),
  };
}

/** `a.b.example` → `b.example`, `example`. */
export function* parentsOf(domain: string): Generator<string> {
  for (let dot = domain.indexOf('.'); dot >= 0; dot = domain.indexOf('.', dot + 1)) yield domain.slice(dot + 1);
}

export function reaches(reach: Reach, mailbox: Mailbox | null): boolean {
  if (mailbox === null) return reach.nullSender;
  if (reach.everyone || reach.domains.has(mailbox.domain)) return true;
  if (reach.mailboxes.size > 0 && reach.mailboxes.has(mailboxKey(mailbox))) return true;
  if (reach.below.size > 0) for (const parent of parentsOf(mailbox.domain)) if (reach.below.has(parent)) return true;
  return reach.others.some(({ matches }) => matches(mailbox));
}
