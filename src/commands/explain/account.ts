/** What would become of one recipient's message, and why: `explain` shows it, `policies test` holds it to a table. */
import { type AddressBook, certificatesOf, type Resolution } from '../../certificates/address-book.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { decideRecipient, type DecisionParts, foreseeRecipient, outlookFor, type Question } from '../../path/decision.ts';
import { writeMailbox } from '../../message/addresses.ts';
import type { Mailbox } from '../../message/envelope.ts';
import type { SealpostError } from '../../errors.ts';
import { type ArchiveFate, foreseeArchive } from '../../path/plan.ts';
import type { SignPolicy } from '../../message/sign-policy.ts';
import { type Decision, type Dress, type FromPolicy, refusal, type RuleSet } from '../../policy/decide.ts';
import type { Prospect } from '../../policy/outlook.ts';
import { renderSubject } from '../../policy/subject.ts';
import { type TracedRule, traceRules } from '../../policy/trace.ts';
import type { Form } from '../../seal/algorithms.ts';
import { accountOf, type CertificateAccount } from '../certificates/account.ts';

/** One recipient, as `--json` prints it: its names stay. */
export interface Account {
  readonly recipient: string;
  /** The rules in their order up to the one that decides. */
  readonly rules: readonly TracedRule[];
  /** `open`: the header decides, and it is not told. */
  readonly decision: Decision['kind'] | 'open';
  readonly rule: string | null;
  /** Why it is held or refused: `rule`, `missing`, `unavailable`, `no-rule`, `archive`; null else. */
  readonly because: string | null;
  /** Where the last word is told. */
  readonly at: 'rcpt' | 'data';
  /** What may still come of it; empty where nothing is open. */
  readonly open: readonly Open[];
  readonly certificate: CertificateAccount;
  /** What the outer Subject will be; null where nothing is sent, or where it stays the original. */
  readonly subject: { readonly kind: 'keep' } | { readonly kind: 'replace'; readonly text: string; readonly shown: boolean } | null;
  /** What else the rule changes; null where nothing is sent. */
  readonly changes: Changes | null;
  /** Null where it is not sealed to this recipient now. */
  readonly algorithms: { readonly cipher: string; readonly key: string } | null;
  readonly signed: SignPolicy | null;
  /** Who gets a sealed copy. */
  readonly archive: string | null;
  /** What becomes of that copy; null where there is none. Where it cannot be made (`retry`), the message is not taken. */
  readonly archive_copy: ArchiveCopy | null;
  /** What the script is told; `data` null where it does not come to that. */
  readonly replies: { readonly rcpt: string; readonly data: string | null };
}

export interface Open {
  readonly rule: string;
  readonly match: Prospect['match'];
  readonly decision: Decision['kind'];
}

export interface ArchiveCopy {
  readonly becomes: ArchiveFate['kind'];
  readonly because: 'missing' | 'unavailable' | null;
  readonly certificate: CertificateAccount;
}

/** Null where it stays as the script wrote it. */
export interface Changes {
  readonly from: { readonly replace: string; readonly original: FromPolicy['original'] } | null;
  readonly envelope_from: string | null;
  readonly message_id: 'per_recipient' | null;
}

export interface ExplainParts {
  readonly rules: RuleSet;
  readonly addressBook: AddressBook;
  /** Asked for the certificate of an archive; `addressBook` where it is left out. */
  readonly archives?: AddressBook | undefined;
  /** As the path chooses them for these readers. */
  readonly formFor: (certificates: readonly Certificate[], dress: Dress) => Form;
}

/** Stands where the queue id will. */
export const SOME_ID = 'QUEUE-ID';

const TAKEN = '250 recipient taken';

/** By the decider of the relay, asked as the relay asks it: at RCPT, then at DATA where the header is told. */
export async function explain(parts: ExplainParts, question: Question): Promise<Account> {
  const thorough = { thorough: true };
  const { sender, recipient, client, size, content } = question;
  const envelope = { sender, recipient, client, size };
  const foreseen = await foreseeRecipient(parts, envelope);
  const outlook = await outlookFor(parts, envelope, thorough);
  const open = content === undefined && foreseen === undefined && outlook.prospects.some(({ match }) => match === 'later');
  const rcpt = foreseen === undefined ? TAKEN : replyOf(foreseen.decision);
  if (open) {
    const last = outlook.prospects.findLast(({ match }) => match === 'yes')?.rule ?? null;
    return {
      ...nothing(question, outlook.resolution),
      rules: traceRules(parts.rules.rules, outlook.facts, last),
      decision: 'open',
      at: 'data',
      open: outlook.prospects.map(({ rule, match, decision }) => ({ rule, match, decision: decision.kind })),
      replies: { rcpt, data: null },
    };
  }
  const final = foreseen === undefined ? await decideRecipient(parts, question, thorough) : await thoroughly(parts, envelope, foreseen);
  const { decision, resolution, facts } = final;
  const told = {
    ...nothing(question, resolution),
    rules: traceRules(parts.rules.rules, facts, decision.rule),
    rule: decision.rule,
    at: foreseen === undefined ? ('data' as const) : ('rcpt' as const),
  };
  const fate = await archiveOf(parts, decision);
  const copied = { archive_copy: fate === undefined ? null : copyOf(fate) };
  if (fate?.kind === 'retry' && 'archive' in decision) {
    // The path learns it after all decisions, and tells it of the whole message.
    const archive = decision.archive?.address ?? null;
    return { ...told, ...copied, decision: 'retry', because: 'archive', archive, replies: { rcpt, data: replyText(fate.error) } };
  }
  return {
    ...told,
    ...copied,
    decision: decision.kind,
    because: 'because' in decision ? decision.because : null,
    ...looks(parts, decision, question, resolution),
    replies: { rcpt, data: foreseen === undefined ? replyOf(decision) : null },
  };
}

/** By the rule that decides, as the path asks; undefined where nothing is archived. */
async function archiveOf({ rules, addressBook, archives }: ExplainParts, decision: Decision): Promise<ArchiveFate | undefined> {
  if (decision.kind === 'refuse' || decision.kind === 'retry' || decision.archive === undefined) return undefined;
  const rule = rules.rules.find(({ name }) => name === decision.rule);
  return rule && foreseeArchive(archives ?? addressBook, rule, decision.archive);
}

const copyOf = (fate: ArchiveFate): ArchiveCopy => ({
  becomes: fate.kind,
  because: fate.kind === 'seal' ? null : fate.because,
  certificate: accountOf(fate.resolution),
});

type Foreseen = NonNullable<Awaited<ReturnType<typeof foreseeRecipient>>>;

/** With all certificates that were looked at, where the relay stops at the first that will do. */
async function thoroughly(
  parts: DecisionParts,
  envelope: Omit<Question, 'content' | 'isSealedFor'>,
  foreseen: Foreseen,
): Promise<Foreseen> {
  if (foreseen.resolution === undefined) return foreseen;
  const { resolution, facts } = await outlookFor(parts, envelope, { thorough: true });
  return { ...foreseen, resolution, facts };
}

const nothing = ({ recipient }: Question, resolution: Resolution | undefined) => ({
  recipient: recipient.address,
  rule: null,
  because: null,
  open: [],
  certificate: accountOf(resolution),
  subject: null,
  changes: null,
  algorithms: null,
  signed: null,
  archive: null,
  archive_copy: null,
});

/** What the message will look like. Held mail is made like this when it is released. */
function looks(parts: ExplainParts, decision: Decision, { sender, recipient }: Question, resolution: Resolution | undefined) {
  if (decision.kind === 'refuse' || decision.kind === 'retry') return {};
  const archive = decision.archive?.address ?? null;
  if (decision.kind === 'pass') {
    const dress = { subject: { kind: 'keep' }, ...(decision.envelopeFrom && { envelopeFrom: decision.envelopeFrom }) } as const;
    return { subject: { kind: 'keep' as const }, changes: changesOf(dress, sender), archive };
  }
  return {
    subject: subjectOf(decision, { sender, recipient }),
    changes: changesOf(decision, sender),
    algorithms: decision.kind === 'seal' && resolution?.kind === 'found' ? algorithmsOf(parts, decision, resolution) : null,
    signed: decision.sign ?? null,
    archive,
  };
}

function algorithmsOf({ formFor }: ExplainParts, dress: Dress, { shares }: Resolution & { readonly kind: 'found' }): Account['algorithms'] {
  const certificates = certificatesOf(shares);
  if (certificates.length === 0) return null;
  const { cipher, keyTransport } = formFor(certificates, dress);
  return { cipher, key: certificates[0]?.key?.type === 'ec' ? 'ecdh' : keyTransport };
}

function changesOf({ from, envelopeFrom, messageId }: Dress, sender: Mailbox | null): Changes {
  return {
    from: from === undefined ? null : { replace: writeMailbox(from.replace), original: from.original },
    envelope_from: sender === null || envelopeFrom === undefined ? null : envelopeFrom.address,
    message_id: messageId ?? null,
  };
}

function subjectOf(
  { subject }: Dress,
  parties: { readonly sender: Mailbox | null; readonly recipient: Mailbox },
): NonNullable<Account['subject']> {
  if (subject.kind === 'keep') return { kind: 'keep' };
  return { kind: 'replace', text: renderSubject(subject.template, { queueId: SOME_ID, ...parties }), shown: subject.show === true };
}

/** What the script is told of a decision that stands. */
function replyOf(decision: Decision): string {
  if (decision.kind !== 'refuse' && decision.kind !== 'retry') return `250 queued as ${SOME_ID}`;
  return replyText(refusal(decision));
}

const replyText = ({ reply: { code, status, text } }: SealpostError): string => `${code} ${status} ${text}`;
