/**
 * The one decision for one recipient, and what it stands on: the rules, with the look-ups that they ask for. The path, `explain` and the
 * release of held mail decide by this and nothing else.
 */
import { type AddressBook, certificatesOf, type Resolution, type ResolveWish } from './certificates/address-book.ts';
import type { Certificate } from './certificates/certificate.ts';
import { SealpostError } from './errors.ts';
import type { Client, Mailbox } from './message/envelope.ts';
import type { ContentFacts } from './message/facts.ts';
import type { DomainUse, Facts, LookedUp } from './policy/condition.ts';
import { type Answer, type Decision, decide, foresee, type RuleSet } from './policy/decide.ts';

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

/** `resolution`: the look-up that the decision stands on; undefined where none was asked for. */
export interface Decided {
  readonly decision: Decision;
  readonly resolution: Resolution | undefined;
}

/** At DATA: the decision. */
export async function decideRecipient(
  parts: DecisionParts,
  question: Question,
  wish: Pick<ResolveWish, 'thorough'> = {},
): Promise<Decided> {
  const asked = await withLookUps(parts, question, wish, (facts) => decide(parts.rules, facts));
  if (asked.answer.kind !== 'decided') throw new SealpostError('internal', { detail: 'no decision at DATA' });
  return { decision: asked.answer.decision, resolution: asked.resolution };
}

/** At RCPT: undefined where the recipient is taken so far, else the decision that no header changes any more. */
export async function foreseeRecipient(
  parts: DecisionParts,
  question: Omit<Question, 'content' | 'isSealedFor'>,
): Promise<Decided | undefined> {
  const { answer, resolution } = await withLookUps(parts, question, {}, (facts) => foresee(parts.rules, facts));
  return answer.kind === 'taken' ? undefined : { decision: answer.decision, resolution };
}

async function withLookUps<Other extends { readonly kind: 'taken' } = never>(
  { addressBook }: DecisionParts,
  { sender, recipient, client, size, content, isSealedFor }: Question,
  wish: Pick<ResolveWish, 'thorough'>,
  ask: (facts: Facts) => Answer | Other,
): Promise<{ readonly answer: Exclude<Answer, { kind: 'look-up' }> | Other; readonly resolution: Resolution | undefined }> {
  const lookedUp: Partial<Record<DomainUse, LookedUp>> = {};
  let resolution: Resolution | undefined;
  for (;;) {
    const facts: Facts = { sender, recipient, client: client.address, user: client.user?.name ?? null, size, content, lookedUp };
    const answer = ask(facts);
    if (answer.kind !== 'look-up') return { answer, resolution };
    const { domain } = answer;
    if (lookedUp[domain] !== undefined) throw new SealpostError('internal', { detail: 'a look-up was asked for twice' });
    resolution = await addressBook.resolve(recipient, { ...wish, domain });
    const certificates = resolution.kind === 'found' ? certificatesOf(resolution.shares) : [];
    lookedUp[domain] = { state: resolution.kind, sealedFor: isSealedFor?.(certificates) === true };
  }
}
