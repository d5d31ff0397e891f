/**
 * The release of held mail: decided again by the rules and certificates of today, sealed to its reader, and ready for delivery.
 *
 *   held row + content key ─▶ open the start ─▶ decide ─▶ seal ─▶ queue.release, its events in the same transaction
 *                                                 └─▶ it stays held, and whoever asked is told why
 *
 * Who has the private key unwraps the content key of each message and hands over that alone: it opens one body, and nothing else. Where
 * cipher and inside of today are those that are stored, only the structure in front of the ciphertext is written anew. Else the inside
 * streams through both ciphers into a new body. In clear it is in memory alone, a chunk at a time (P2).
 */
import type { AuditEvent } from '../audit.ts';
import { type AddressBook, certificatesOf, type Resolution } from '../certificates/address-book.ts';
import { decideRecipient } from '../path/decision.ts';
import { SealpostError } from '../errors.ts';
import { type HeldFacts, readHeld } from '../path/held.ts';
import { type Envelope, type Mailbox, parseMailbox } from '../message/envelope.ts';
import { contentFacts } from '../message/facts.ts';
import type { Message } from '../message/header.ts';
import { eventsOf, usesOf } from '../path/events.ts';
import type { PlanParts, SealedReader } from '../path/plan.ts';
import { type Decision, domainOf, type Dress, dressOf, type RuleSet } from '../policy/decide.ts';
import type { CertificateUse } from '../queue/known.ts';
import type { HeldRow, QueueStore } from '../queue/queue.ts';
import { readPrefix } from '../seal/prefix.ts';
import type { SealingParts } from '../path/sealing.ts';
import { readInside } from './inside.ts';
import { openHeld } from './opened.ts';
import { originalOf } from './original.ts';
import { resealAs, resealCopy, type Resealed } from './reseal.ts';

export interface ReleaseParts extends Omit<PlanParts, 'hold'>, Omit<SealingParts, 'outbox'> {
  readonly rules: () => RuleSet;
  readonly queue: Pick<QueueStore, 'newBody' | 'readHeld' | 'release'>;
  /** As on the path: a certificate that is unknown for its address must not be used. */
  readonly pinned?: boolean;
  /** Called once something is ready. */
  readonly onQueued: () => void;
}

export interface ReleaseWish {
  /** Of this message. It is zeroed in every case. */
  readonly contentKey: Buffer;
  /** For the audit log. */
  readonly operator: string;
  /** An operator's word does for a rule that holds; the relay alone does not. */
  readonly byHand: boolean;
}

/** Why a message stays held. */
export type Staying = 'rule' | 'missing' | 'unavailable' | 'refused' | 'passes';

export type Released =
  | { readonly kind: 'released'; readonly rule: string; readonly reencrypted: boolean }
  | { readonly kind: 'stays'; readonly why: Staying; readonly rule: string | null }
  /** The content key does not open it. */
  | { readonly kind: 'wrong-key' }
  /** Released or removed by somebody else meanwhile. */
  | { readonly kind: 'gone' };

export interface Releasing {
  /** `held`: the very row that the queue gave. Throws `queue-item-damaged`, and what sealing and the queue throw: nothing is changed then. */
  release(held: HeldRow, wish: ReleaseWish): Promise<Released>;
}

export function makeRelease(parts: ReleaseParts): Releasing {
  return {
    async release(held, wish) {
      try {
        return await release(parts, held, wish);
      } finally {
        wish.contentKey.fill(0);
      }
    },
  };
}

async function release(parts: ReleaseParts, held: HeldRow, wish: ReleaseWish): Promise<Released> {
  const facts = readHeld(held.facts);
  const { content } = readPrefix(held.prefix, held.bodyLength, held.suffix);
  const opened = await openHeld(parts.queue.readHeld(held), content, wish.contentKey);
  if (opened.kind === 'wrong-key') return opened;
  const recipient = mailboxOf(held.recipient);
  const original = await originalOf(held.header, opened.start, opened.whole, readInside(facts.inside));
  if (original === undefined) return { kind: 'wrong-key' };
  const decided = facts.archive
    ? await decideCopy(parts.addressBook, recipient, facts)
    : await decideAgain(parts, { held, facts, recipient, original }, wish.byHand);
  if (decided.kind === 'stays') return decided;
  const reader = readerOf(parts, held, recipient, decided);
  const about = { held, facts, content, original, contentKey: wish.contentKey, envelope: envelopeOf(held, facts, recipient) };
  const resealed = facts.archive ? await resealCopy(parts, about, reader) : await resealAs(parts, about, reader);
  return conclude(parts, held, wish, reader, resealed);
}

async function conclude(
  parts: ReleaseParts,
  held: HeldRow,
  { operator }: ReleaseWish,
  reader: SealedReader,
  resealed: Resealed,
): Promise<Released> {
  const { queueId } = held;
  const { rule } = reader;
  const reencrypted = resealed.as.body !== undefined;
  const events = [
    { event: 'released', queue_id: queueId, recipient: held.recipient, rule, operator, reencrypted } as const,
    ...eventsOf(queueId, reader),
  ];
  const uses = usesOf(reader, { pinned: parts.pinned === true, queueId });
  if (!(await settle(parts, held, resealed, events, uses))) return { kind: 'gone' };
  parts.log.info({ queue_id: queueId, rule, operator, reencrypted }, 'released');
  parts.onQueued();
  return { kind: 'released', rule, reencrypted };
}

async function settle(
  { queue }: ReleaseParts,
  held: HeldRow,
  resealed: Resealed,
  events: readonly AuditEvent[],
  uses: readonly CertificateUse[],
): Promise<boolean> {
  let released = false;
  try {
    released = await queue.release(held, resealed.as, events, uses);
    return released;
  } finally {
    if (!released) await resealed.discard();
  }
}

type Found = Resolution & { readonly kind: 'found' };
type DecidedAgain =
  | { readonly kind: 'seal'; readonly rule: string; readonly dress: Dress; readonly resolution: Found }
  | { readonly kind: 'stays'; readonly why: Staying; readonly rule: string | null };

interface Asked {
  readonly held: HeldRow;
  readonly facts: HeldFacts;
  readonly recipient: Mailbox;
  readonly original: Message;
}

async function decideAgain(parts: ReleaseParts, { held, facts, recipient, original }: Asked, byHand: boolean): Promise<DecidedAgain> {
  const rules = parts.rules();
  const user = facts.user === null ? null : { name: facts.user, mailbox: null };
  const question = {
    sender: senderOf(held),
    recipient,
    client: { address: facts.client, user },
    size: facts.size,
    content: contentFacts(original),
  };
  const { decision, resolution } = await decideRecipient({ ...parts, rules }, question);
  const stays = (why: Staying): DecidedAgain => ({ kind: 'stays', why, rule: decision.rule });
  switch (decision.kind) {
    case 'seal':
      if (resolution?.kind !== 'found') throw new SealpostError('internal', { detail: 'sealed to nobody' });
      return { kind: 'seal', rule: decision.rule, dress: dressOf(decision), resolution };
    case 'hold':
      if (decision.because !== 'rule') return stays(decision.because);
      return byHand ? byWord(parts.addressBook, rules, decision, recipient) : stays('rule');
    case 'pass':
      return stays('passes');
    case 'refuse':
      return stays(decision.because === 'missing' ? 'missing' : 'refused');
    case 'retry':
      return stays('unavailable');
  }
}

/** A rule holds all that it matches until somebody says so. Then it goes out as the rule dresses it. */
async function byWord(
  addressBook: AddressBook,
  { rules }: RuleSet,
  decision: Decision & { readonly kind: 'hold' },
  recipient: Mailbox,
): Promise<DecidedAgain> {
  const rule = rules.find(({ name }) => name === decision.rule);
  const resolution = await addressBook.resolve(recipient, rule === undefined ? {} : { domain: domainOf(rule) });
  if (resolution.kind === 'found') return { kind: 'seal', rule: decision.rule, dress: dressOf(decision), resolution };
  return { kind: 'stays', why: resolution.kind === 'absent' ? 'missing' : 'unavailable', rule: decision.rule };
}

/** A copy for the archive was decided on when its message was; only its certificate lacked. */
async function decideCopy(addressBook: AddressBook, recipient: Mailbox, { rule }: HeldFacts): Promise<DecidedAgain> {
  const resolution = await addressBook.resolve(recipient);
  if (resolution.kind === 'found') return { kind: 'seal', rule, dress: { subject: { kind: 'keep' } }, resolution };
  return { kind: 'stays', why: resolution.kind === 'absent' ? 'missing' : 'unavailable', rule };
}

function readerOf(
  { chooseForm }: ReleaseParts,
  { notify, orcpt }: HeldRow,
  recipient: Mailbox,
  { rule, dress: today, resolution }: DecidedAgain & { readonly kind: 'seal' },
): SealedReader {
  const { archive: _, ...dress } = today;
  const certificates = certificatesOf(resolution.shares);
  const form = chooseForm(certificates, dress.algorithms);
  // The archive had its copy when the message was taken.
  return { kind: 'seal', recipient, asked: { notify, orcpt }, rule, dress, form, certificates, archive: false, resolution };
}

function envelopeOf(held: HeldRow, { client, size }: HeldFacts, recipient: Mailbox): Envelope {
  return {
    sender: senderOf(held),
    recipients: [{ mailbox: recipient, notify: held.notify, orcpt: held.orcpt }],
    envid: held.envid,
    client: { address: client, helo: '', tls: null, user: null },
    size,
    protocol: 'ESMTP',
  };
}

const senderOf = ({ originalSender }: HeldRow): Mailbox | null => (originalSender === '' ? null : mailboxOf(originalSender));

function mailboxOf(address: string): Mailbox {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'mailbox') return verdict.mailbox;
  throw new SealpostError('queue-item-damaged', { detail: 'an address that is none' });
}
