/**
 * The one decision for one recipient, and what it stands on: the rules, with the look-ups that they ask for. The path, `explain` and the
 * release of held mail decide by this and nothing else.
 */
import { type AddressBook, certificatesOf, type Resolution, type ResolveWish } from '../certificates/address-book.ts';
import type { Certificate } from '../certificates/certificate.ts';
import { SealpostError } from '../errors.ts';
import type { Client, Mailbox } from '../message/envelope.ts';
import type { ContentFacts } from '../message/facts.ts';
import type { DomainUse, Facts, LookedUp } from '../policy/condition.ts';
import { type Answer, type Decision, decide, foresee, type RuleSet } from '../policy/decide.ts';
import { type Prospect, prospects } from '../policy/outlook.ts';

export interface DecisionParts {
  readonly rules: RuleSet;
  readonly addressBook: AddressBook;
}

/** What is known of one recipient's message without a look-up. */
export interface Question {
  readonly sender: Mailbox | null;
  readonly recipient: Mailbox;
  readonly client: Pick<Client, 'address' | 'user'>;
  /** Octets that MAIL declared; null where it said nothing. */
  readonly size: number | null;
  /** Undefined before DATA. */
  readonly content?: ContentFacts | undefined;
  /** True where the message names one of these certificates as its reader's; asked where it says that it is sealed. */
  readonly isSealedFor?: ((certificates: readonly Certificate[]) => boolean) | undefined;
}

/** `resolution`: the look-up that the decision stands on; undefined where none was asked for. `facts`: all that the rules were asked by. */
export interface Decided {
  readonly decision: Decision;
  readonly resolution: Resolution | undefined;
  /** Those certificates of the look-ups that were asked for which the message names, as far as its start tells. */
  readonly namedIn: readonly Certificate[];
  readonly facts: Facts;
}

/** At DATA: the decision. */
export async function decideRecipient(
  parts: DecisionParts,
  question: Question,
  wish: Pick<ResolveWish, 'thorough'> = {},
): Promise<Decided> {
  const { found, ...asked } = await withLookUps(parts, question, wish, (facts) => {
    const answer = decide(parts.rules, facts);
    return answer.kind === 'look-up' ? answer : { kind: 'settled', found: answer.decision, domain: answer.domain };
  });
  return { decision: found, ...asked };
}

/** At RCPT: undefined where the recipient is taken so far, else the decision that no header changes any more. */
export async function foreseeRecipient(
  parts: DecisionParts,
  question: Omit<Question, 'content' | 'isSealedFor'>,
): Promise<Decided | undefined> {
  const { found, ...asked } = await withLookUps(parts, question, {}, (facts) => {
    const answer = foresee(parts.rules, facts);
    if (answer.kind === 'look-up') return answer;
    return { kind: 'settled', ...(answer.kind === 'taken' ? { found: undefined } : { found: answer.decision, domain: answer.domain }) };
  });
  return found && { decision: found, ...asked };
}

/** At RCPT, for who asks what is still open: the rules that may decide. */
export async function outlookFor(
  parts: DecisionParts,
  question: Omit<Question, 'content' | 'isSealedFor'>,
  wish: Pick<ResolveWish, 'thorough'> = {},
): Promise<{ readonly prospects: readonly Prospect[]; readonly resolution: Resolution | undefined; readonly facts: Facts }> {
  const { found, resolution, facts } = await withLookUps(parts, question, wish, (facts) => {
    const answer = prospects(parts.rules, facts);
    return answer.kind === 'look-up' ? answer : { kind: 'settled', found: answer.list };
  });
  return { prospects: found, resolution, facts };
}

type LookUp = Extract<Answer, { kind: 'look-up' }>;

interface Settled<Found> {
  readonly kind: 'settled';
  readonly found: Found;
  /** The look-up that it stands on; the last one where it is not said. */
  readonly domain?: DomainUse | undefined;
}

/** Asks until nothing more is to be looked up. */
async function withLookUps<Found>(
  { addressBook }: DecisionParts,
  { sender, recipient, client, size, content, isSealedFor }: Question,
  wish: Pick<ResolveWish, 'thorough'>,
  ask: (facts: Facts) => LookUp | Settled<Found>,
): Promise<{ readonly found: Found } & Omit<Decided, 'decision'>> {
  const lookedUp: Partial<Record<DomainUse, LookedUp>> = {};
  const resolutions = new Map<DomainUse, Resolution>();
  const namedIn: Certificate[] = [];
  let last: Resolution | undefined;
  for (;;) {
    const facts: Facts = { sender, recipient, client: client.address, user: client.user?.name ?? null, size, content, lookedUp };
    const answer = ask(facts);
    if (answer.kind === 'settled') {
      const resolution = answer.domain === undefined ? last : resolutions.get(answer.domain);
      return { found: answer.found, resolution, facts, namedIn };
    }
    const { domain } = answer;
    if (lookedUp[domain] !== undefined) throw new SealpostError('internal', { detail: 'a look-up was asked for twice' });
    const resolution = await addressBook.resolve(recipient, { ...wish, domain });
    const certificates = resolution.kind === 'found' ? certificatesOf(resolution.shares) : [];
    const sealedFor = isSealedFor?.(certificates) === true;
    if (sealedFor) namedIn.push(...certificates);
    resolutions.set(domain, resolution);
    last = resolution;
    lookedUp[domain] = { state: resolution.kind, sealedFor };
  }
}
