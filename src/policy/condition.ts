/**
 * What a rule asks of a message: conditions as values, and whether one is met by what is known so far. There are more answers than yes
 * and no, since RCPT comes before the header (`later`), a source of certificates may be down (`unavailable`), and a header may say one
 * thing to one reader and another to the next (`unclear`, A13). Pure: look-ups are asked for by whoever calls (`ask`).
 */
import type { Mailbox } from '../message/envelope.ts';
import type { ContentFacts, TextTest } from '../message/facts.ts';
import type { AddressPattern } from '../message/pattern.ts';

/** What the certificate look-up said, as a value: policy knows no certificates. */
export type CertificateState = 'found' | 'absent' | 'unavailable';

/** Which certificates are meant: the recipient's own, those of its domain where it has none, or those of its domain alone. */
export type DomainUse = 'never' | 'fallback' | 'only';

/** A test of text with its source as the operator wrote it. Takes time linear in the text (A32). */
export interface TextPattern extends TextTest {
  readonly source: string;
  /** True where its list is empty. */
  readonly nothing?: boolean;
  /** Characters of all fields of a name, in all their readings, beyond which it is not asked: expressions take time. */
  readonly longest?: number;
}

export type Condition =
  | { readonly kind: 'sender' | 'recipient' | 'header_from'; readonly pattern: AddressPattern }
  | { readonly kind: 'client'; readonly source: string; readonly nothing?: boolean; readonly matches: (address: string) => boolean }
  /** The name of the user who logged in; null where nobody did. */
  | { readonly kind: 'user'; readonly source: string; readonly nothing?: boolean; readonly matches: (name: string | null) => boolean }
  | { readonly kind: 'subject'; readonly pattern: TextPattern }
  /** `name` is a field's key, lower case. A field that is absent matches no pattern. */
  | { readonly kind: 'header'; readonly name: string; readonly pattern: TextPattern }
  /** Octets that MAIL declared; without a declaration neither bound is met. What passes is held to the octets that came (`passesAt`). */
  | { readonly kind: 'size'; readonly over?: number; readonly under?: number }
  | { readonly kind: 'calendar' | 'signed' | 'sealed'; readonly is: boolean }
  | { readonly kind: 'certificate'; readonly is: CertificateState }
  | { readonly kind: 'all' | 'any'; readonly of: readonly Condition[] }
  | { readonly kind: 'not'; readonly of: Condition };

/** Met by everything. */
export const ALWAYS: Condition = { kind: 'all', of: [] };

export interface LookedUp {
  readonly state: CertificateState;
  /** True where the message came sealed to one of the certificates that were found, as far as its start tells. */
  readonly sealedFor: boolean;
}

/** All that rules can ask about one recipient's message. */
export interface Facts {
  readonly sender: Mailbox | null;
  readonly recipient: Mailbox;
  /** Address of who connected. */
  readonly client: string;
  readonly user: string | null;
  /** Octets that MAIL declared; null where it said nothing. */
  readonly size: number | null;
  /** Undefined before DATA. */
  readonly content?: ContentFacts | undefined;
  /** What was looked up for this recipient so far. */
  readonly lookedUp: Readonly<Partial<Record<DomainUse, LookedUp>>>;
}

/** `later`: DATA will tell. `ask`: a look-up will. */
export type Truth = 'yes' | 'no' | 'later' | 'ask' | 'unavailable' | 'unclear';

/** `domain`: whose certificates the rule means. */
export function judge(condition: Condition, facts: Facts, domain: DomainUse): Truth {
  switch (condition.kind) {
    case 'sender':
      return truth(condition.pattern.matches(facts.sender));
    case 'recipient':
      return truth(condition.pattern.matches(facts.recipient));
    case 'header_from':
      if (facts.content === undefined) return 'later';
      return facts.content.from === 'unclear' ? 'unclear' : truth(condition.pattern.matches(facts.content.from));
    case 'client':
      return truth(condition.matches(facts.client));
    case 'user':
      return truth(condition.matches(facts.user));
    case 'subject':
    case 'header':
      return readText(condition, facts.content);
    case 'size': {
      const { over = -1, under = Infinity } = condition;
      return truth(facts.size !== null && facts.size > over && facts.size < under);
    }
    case 'calendar':
    case 'signed': {
      const found = facts.content?.[condition.kind];
      if (found === undefined) return 'later';
      return found === 'unclear' ? 'unclear' : truth(found === condition.is);
    }
    case 'sealed':
      return judgeSealed(condition.is, facts, domain);
    case 'certificate': {
      const state = facts.lookedUp[domain]?.state;
      if (state === undefined) return 'ask';
      return state === 'unavailable' && condition.is !== 'unavailable' ? 'unavailable' : truth(state === condition.is);
    }
    case 'all':
      return joined(condition.of, facts, domain, 'no', 'yes');
    case 'any':
      return joined(condition.of, facts, domain, 'yes', 'no');
    case 'not': {
      const inner = judge(condition.of, facts, domain);
      return inner === 'yes' ? 'no' : inner === 'no' ? 'yes' : inner;
    }
  }
}

const truth = (met: boolean): Truth => (met ? 'yes' : 'no');

/** Sealed, and to this recipient (A12): what only says that it is sealed is not. */
function judgeSealed(is: boolean, { content, lookedUp }: Facts, domain: DomainUse): Truth {
  if (content === undefined) return 'later';
  if (!content.claimsSealed) return truth(!is);
  const found = lookedUp[domain];
  if (found === undefined) return 'ask';
  return found.state === 'unavailable' ? 'unavailable' : truth(found.sealedFor === is);
}

type TextCondition = Extract<Condition, { readonly kind: 'subject' | 'header' }>;

const keyOf = (condition: TextCondition): string => (condition.kind === 'header' ? condition.name : condition.kind);

/** Every reader of every field of the name must come to the same answer; of what is too long to be asked nobody knows it. */
function readText(condition: TextCondition, content: ContentFacts | undefined): Truth {
  if (content === undefined) return 'later';
  if (isTooLong(condition, content)) return 'unclear';
  const tally = content.tally(keyOf(condition), condition.pattern);
  if (tally === 'none') return 'no';
  return tally === 'all' ? 'yes' : 'unclear';
}

export function isTooLong(condition: TextCondition, content: ContentFacts): boolean {
  const { longest } = condition.pattern;
  if (longest === undefined) return false;
  let length = 0;
  for (const texts of content.fields(keyOf(condition))) for (const text of texts) length += text.length;
  return length > longest;
}

/** What decides among answers that are neither: the first that can still be found out. */
const OPEN = ['later', 'ask', 'unavailable', 'unclear'] as const;

function joined(of: readonly Condition[], facts: Facts, domain: DomainUse, decisive: Truth, otherwise: Truth): Truth {
  let open: Truth | undefined;
  for (const one of of) {
    const found = judge(one, facts, domain);
    if (found === decisive) return decisive;
    if (found === otherwise) continue;
    if (open === undefined || OPEN.findIndex((word) => word === found) < OPEN.findIndex((word) => word === open)) open = found;
  }
  return open ?? otherwise;
}
