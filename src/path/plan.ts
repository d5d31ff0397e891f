/**
 * What will be made for each recipient of one message, before anything of it is made: a sealed message, one that is held, one that
 * passes as it came, or a refusal. Decisions become certificates and forms here; what is to be archived gets a reader more.
 */
import type { Logger } from 'pino';
import { type AddressBook, certificatesOf, type Resolution } from '../certificates/address-book.ts';
import type { Certificate } from '../certificates/certificate.ts';
import { type Decided, decideRecipient, type Question } from './decision.ts';
import { SealpostError } from '../errors.ts';
import { type Mailbox, mailboxKey, type Recipient } from '../message/envelope.ts';
import { type AlgorithmPolicy, type Decision, type Dress, dressOf, passesAt, refusal, type Rule, type RuleSet } from '../policy/decide.ts';
import type { Form } from '../seal/algorithms.ts';

export interface PlanParts {
  readonly addressBook: AddressBook;
  /** Cipher and key transport for one reader's certificates; what the rule says of them goes before what the site says. */
  readonly chooseForm: (certificates: readonly Certificate[], said?: AlgorithmPolicy) => Form;
  /** The site's hold certificate; undefined where there is none, or none that can be used. Absent: nothing can be held. */
  readonly hold?: (() => Certificate | undefined) | undefined;
  readonly log: Logger;
}

interface Addressed {
  readonly recipient: Mailbox;
  readonly asked: Pick<Recipient, 'notify' | 'orcpt'>;
}

/** A message that is sealed, now, to somebody. */
interface Sealable extends Addressed {
  readonly rule: string;
  readonly dress: Dress;
  readonly form: Form;
  readonly certificates: readonly Certificate[];
  /** True of a copy for the archive, which is nobody's answer to RCPT. */
  readonly archive: boolean;
}

export interface SealedReader extends Sealable {
  readonly kind: 'seal';
  readonly resolution: Resolution & { readonly kind: 'found' };
}

/** Sealed to the site itself until it is released. */
export interface HeldReader extends Sealable {
  readonly kind: 'hold';
  readonly because: 'rule' | 'missing' | 'unavailable';
}

export interface PassedReader extends Addressed {
  readonly kind: 'pass';
  readonly rule: string;
  /** It passes because it came sealed to some of these certificates. */
  readonly sealed: boolean;
  readonly certificates: readonly Certificate[];
  /** Whether its rule passes it with that many octets, whatever MAIL declared. */
  readonly passesAt: (octets: number) => boolean;
  readonly envelopeFrom: Mailbox | undefined;
  readonly archive: Mailbox | undefined;
}

export interface Refused extends Addressed {
  readonly kind: 'refused';
  readonly rule: string | null;
  readonly error: SealpostError;
}

/** Whose message goes through the seal. */
export type Reader = SealedReader | HeldReader;
export type Taken = Reader | PassedReader;
export type Plan = Taken | Refused;

/** The plan of one recipient. Throws only what is a fault of the relay itself. */
export async function planRecipient(
  parts: PlanParts,
  rules: RuleSet,
  question: Omit<Question, 'recipient'>,
  asked: Recipient,
): Promise<Plan> {
  const recipient = asked.mailbox;
  const decided = await decideRecipient({ addressBook: parts.addressBook, rules }, { ...question, recipient });
  const { decision, resolution } = decided;
  const common = { recipient, asked };
  switch (decision.kind) {
    case 'seal':
      if (resolution?.kind !== 'found') throw new SealpostError('internal', { detail: 'sealed to nobody' });
      return { ...sealTo(parts, decision, resolution), ...common };
    case 'hold': {
      const held = holdFor(parts, decision, decision.because);
      return held instanceof SealpostError ? { kind: 'refused', rule: decision.rule, error: held, ...common } : { ...held, ...common };
    }
    case 'pass': {
      const { rule, sealed, envelopeFrom, archive } = decision;
      const atSize = (octets: number): boolean => passesAt(rules, decided.facts, decision, octets);
      return { kind: 'pass', rule, sealed, certificates: decided.namedIn, passesAt: atSize, envelopeFrom, archive, ...common };
    }
    case 'refuse':
    case 'retry':
      return { kind: 'refused', rule: decision.rule, error: refusalOf(parts.log, recipient, decided), ...common };
  }
}

type Ruled = Dress & { readonly rule: string };

function sealTo({ chooseForm }: PlanParts, ruled: Ruled, resolution: SealedReader['resolution']): Omit<SealedReader, keyof Addressed> {
  const certificates = certificatesOf(resolution.shares);
  const dress = dressOf(ruled);
  return {
    kind: 'seal',
    rule: ruled.rule,
    dress,
    certificates,
    form: chooseForm(certificates, dress.algorithms),
    resolution,
    archive: false,
  };
}

function holdFor(
  { chooseForm, hold, log }: PlanParts,
  ruled: Ruled,
  because: HeldReader['because'],
): Omit<HeldReader, keyof Addressed> | SealpostError {
  const certificate = hold?.();
  if (certificate === undefined) {
    log.error({ rule: ruled.rule, because }, 'mail is to be held, and there is no usable hold certificate');
    return new SealpostError('hold-unavailable', { detail: `rule ${ruled.rule}` });
  }
  const dress = dressOf(ruled);
  const form = chooseForm([certificate], dress.algorithms);
  return { kind: 'hold', rule: ruled.rule, because, dress, certificates: [certificate], form, archive: false };
}

/**
 * One reader more for each archive that rules name, whoever and how many they name it for. A copy that cannot be made stops the message:
 * what is to be archived and is not would be lost. Throws `archive-unavailable`, `hold-unavailable`.
 */
export async function planArchives(parts: PlanParts, rules: RuleSet, taken: readonly Taken[]): Promise<Reader[]> {
  const copies = new Map<string, Copy>();
  for (const plan of taken) {
    const archive = plan.kind === 'pass' ? plan.archive : plan.dress.archive;
    if (archive !== undefined && !copies.has(mailboxKey(archive))) copies.set(mailboxKey(archive), { archive, plan });
  }
  return Promise.all([...copies.values()].map((copy) => planArchive(parts, rules, copy)));
}

interface Copy {
  readonly archive: Mailbox;
  /** Whose rule names it first; the copy is made as that rule says. */
  readonly plan: Taken;
}

async function planArchive(parts: PlanParts, { rules }: RuleSet, { archive: recipient, plan }: Copy): Promise<Reader> {
  const rule = rules.find(({ name }) => name === plan.rule);
  if (rule === undefined) throw new SealpostError('internal', { detail: 'a decision of a rule that is not there' });
  const { archive: _, ...dress } = plan.kind === 'pass' ? dressOf(rule) : plan.dress;
  const ruled = { rule: rule.name, ...dress };
  // Nobody hears of it but the operator: the sender did not ask for it.
  const common = { recipient, asked: { notify: new Set<never>(), orcpt: null }, archive: true };
  const fate = await foreseeArchive(parts.addressBook, rule, recipient);
  if (fate.kind === 'seal') return { ...sealTo(parts, ruled, fate.resolution), ...common };
  if (fate.kind === 'hold') {
    const held = holdFor(parts, ruled, fate.because);
    if (held instanceof SealpostError) throw held;
    return { ...held, ...common };
  }
  parts.log.error({ rule: rule.name, archive: recipient.address, because: fate.because }, 'there is no certificate for the archive');
  throw fate.error;
}

/** What becomes of the copy for an archive; `retry`: it cannot be made, which stops the message. */
export type ArchiveFate =
  | { readonly kind: 'seal'; readonly resolution: SealedReader['resolution'] }
  | { readonly kind: 'hold'; readonly because: 'missing' | 'unavailable'; readonly resolution: Resolution }
  | {
      readonly kind: 'retry';
      readonly because: 'missing' | 'unavailable';
      readonly resolution: Resolution;
      readonly error: SealpostError;
    };

/** The path makes the copy by this; `explain`, `policies test` and `check` say beforehand what it will be. */
export async function foreseeArchive(
  book: AddressBook,
  rule: Pick<Rule, 'name' | 'missing' | 'unavailable'>,
  archive: Mailbox,
): Promise<ArchiveFate> {
  const resolution = await book.resolve(archive);
  if (resolution.kind === 'found') return { kind: 'seal', resolution };
  const because = resolution.kind === 'absent' ? 'missing' : 'unavailable';
  if (rule[because] === 'hold') return { kind: 'hold', because, resolution };
  return { kind: 'retry', because, resolution, error: new SealpostError('archive-unavailable', { detail: `rule ${rule.name}` }) };
}

/** Rejected certificates that one log line names. */
const MAX_REASONS = 20;

/** What the client is told of a recipient that is not taken; the log gets the reasons. */
export function refusalOf(log: Logger, recipient: Mailbox, { decision, resolution }: Decided): SealpostError {
  const looked = resolution?.kind === 'absent' ? resolution.parts : [];
  const rejected = looked.flatMap(({ lookup }) => lookup.rejected.map(({ place, reason }) => `${place}: ${reason}`)).slice(0, MAX_REASONS);
  log.info({ decision: decision.kind, rule: decision.rule, recipient: recipient.address, rejected }, 'recipient refused');
  if (!isRefusal(decision)) throw new SealpostError('internal', { detail: 'a refusal of what is taken' });
  return refusal(decision);
}

const isRefusal = (decision: Decision): decision is Decision & { readonly kind: 'refuse' | 'retry' } =>
  decision.kind === 'refuse' || decision.kind === 'retry';
