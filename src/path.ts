/**
 * The path of one message, in order: decide, read, seal, enqueue; then 250. relay.ts joins it to the parts that it runs through.
 * `sealpost seal` walks the same path with an outbox that writes files instead of queueing.
 *
 * Nothing in clear is ever handed to the outbox: what enters it is ciphertext, and per reader a prefix (P2, P3, P8). Mail that a rule passes
 * is ciphertext of the spool there.
 */
import type { Logger } from 'pino';
import type { AuditEvent } from './audit.ts';
import { assertFits, assertMayFit, assertMayPass } from './delivery/admission.ts';
import type { Notices, RefusedMessage, Written } from './delivery/notices.ts';
import type { HeldMessage } from './delivery/of-held.ts';
import { wireSize } from './delivery/wire.ts';
import type { SealpostError } from './errors.ts';
import { foreseeRecipient } from './path/decision.ts';
import { readHeld } from './path/held.ts';
import type { Opening, Reception } from './ingress/reception.ts';
import { assertNoLoop } from './message/entity.ts';
import { type Envelope, type Mailbox, mailboxKey, type Recipient } from './message/envelope.ts';
import { contentFacts } from './message/facts.ts';
import { MAX_HEADER, type Message, readMessage } from './message/header.ts';
import { outerBlock } from './message/outer.ts';
import { Passing, type PassingParts } from './path/passing.ts';
import { accepted, eventsOf, usesOf } from './path/events.ts';
import {
  type PassedReader,
  type Plan,
  planArchives,
  type PlanParts,
  planRecipient,
  type Reader,
  refusalOf,
  type Refused,
  type SealedReader,
  type Taken,
} from './path/plan.ts';
import type { RuleSet } from './policy/decide.ts';
import { newQueueId } from './queue/id.ts';
import type { NewMessage, NewRecipient, QueueStore } from './queue/queue.ts';
import { sealedStart } from './seal/came-sealed/check.ts';
import { Sealing, type SealingParts } from './path/sealing.ts';

/** Where sealed messages go: the queue, or files. */
export type Outbox = Pick<QueueStore, 'newBody' | 'enqueue'>;

export interface PathParts extends PlanParts, SealingParts, PassingParts {
  /** The rules as they are now; one message is decided by one set. */
  readonly rules: () => RuleSet;
  readonly outbox: Outbox;
  /** What becomes of a message that some of its recipients are refused for; all of it is refused where it is not said. */
  readonly mixed?: 'all_or_none' | 'split';
  /** Tells senders of recipients that `split` refuses, and the operator of held mail. Absent: the audit log alone does. */
  readonly notices?: Pick<Notices, 'refuse' | 'held'>;
  /** True where a certificate that is unknown for its address must not be used (`certificates.pin`). */
  readonly pinned?: boolean;
  /** Why no mail is taken at this moment; it is where it is not given. */
  readonly refusal?: () => SealpostError | undefined;
  /** A queue id; a fresh one where it is not given. */
  readonly newId?: () => string;
}

/** The path queues what it takes. */
export interface Path extends Reception {
  recipient(opening: Opening, recipient: Mailbox): Promise<void>;
  accept(envelope: Envelope, source: AsyncIterable<Buffer>): Promise<string>;
}

export function makePath(parts: PathParts): Path {
  const { log } = parts;
  return {
    assertOpen() {
      const refusal = parts.refusal?.();
      if (refusal !== undefined) throw refusal;
    },
    assertFits(octets) {
      // What passes does not grow.
      const passes = parts.rules().rules.some(({ then }) => then === 'pass');
      if (passes) assertMayPass(octets, MAX_HEADER, parts.largest());
      else assertMayFit(octets, MAX_HEADER, parts.largest());
    },
    async recipient({ sender, client, size }, recipient) {
      const foreseen = await foreseeRecipient({ ...parts, rules: parts.rules() }, { sender, recipient, client, size });
      if (foreseen !== undefined) throw refusalOf(log, recipient, foreseen);
    },
    async accept(envelope, source) {
      const id = parts.newId?.() ?? newQueueId(parts.now(), parts.randomBytes);
      const rules = parts.rules();
      const counted = countOctets(source);
      const line = { bareEnds: false };
      const message = await readMessage(counted.octets, () => void (line.bareEnds = true));
      assertNoLoop(message.fields);
      const content = contentFacts(message);
      const { sender, client, size = null } = envelope;
      const start = content.claimsSealed ? sealedStart(message) : undefined;
      const question = { sender, client, size, content, isSealedFor: start?.isSealedFor.bind(start) };
      const asked = distinct(envelope.recipients);
      const plans = await Promise.all(asked.map((recipient) => planRecipient(parts, rules, question, recipient)));
      const { taken, refused } = sortOut(plans, parts.mixed);
      const planned = [...taken, ...(await planArchives(parts, rules, taken))];
      const outer = outerBlock(message.fields, { envelope, queueId: id, hostname: parts.hostname, now: new Date(parts.now()) });
      const original = { id, envelope, message, signed: content.signed !== false || content.claimsSealed, outer };
      const sealing = new Sealing(parts, original);
      const passing = new Passing(parts, original, planned.filter(isPassed));
      try {
        const rows = await make(parts, message, sealing, passing, planned.filter(isReader));
        const passed = await passing.end(sealing.bodies, { ...line, octets: counted.count() });
        const sorted = sortOut([...planned.filter((plan) => !isAmong(passed.refused, plan)), ...refused, ...passed.refused], parts.mixed);
        const bodies = [...(await sealing.stored()), ...(await passing.stored())];
        const about = { id, acceptedAt: parts.now(), size: counted.count(), ...askedOf(envelope), notice: null };
        const told = [
          ...sorted.refused.map((plan) => tellRefused(parts, { ...about, header: outer.withLook({}).octets }, plan)),
          ...tellHeld(parts, about, rows),
        ];
        const events = [
          accepted(id, envelope, counted.count()),
          ...sorted.taken.flatMap((plan) => eventsOf(id, plan, isReader(plan) ? sealing.signedWith(plan) : undefined)),
          ...told.flatMap((one) => one.events),
        ];
        const uses = sorted.taken.filter(isSealed).flatMap((reader) => usesOf(reader, { pinned: parts.pinned === true, queueId: id }));
        const notices = told.flatMap(({ notice }) => notice ?? []);
        await parts.outbox.enqueue({ ...about, bodies, recipients: [...rows, ...passed.recipients] }, events, uses, notices);
        tell(log, id, client, sorted.taken, { refused: sorted.refused.length, size: counted.count(), mended: outer.mended });
      } catch (error) {
        await Promise.all([sealing.discard(), passing.discard()]);
        throw error;
      } finally {
        sealing.forget();
        passing.forget();
      }
      return id;
    },
  };
}

const isReader = (plan: Taken): plan is Reader => plan.kind !== 'pass';
const isPassed = (plan: Taken): plan is PassedReader => plan.kind === 'pass';
const isSealed = (plan: Taken): plan is SealedReader => plan.kind === 'seal';
const isAmong = (refused: readonly Refused[], { recipient }: Taken): boolean => refused.some((one) => one.recipient === recipient);

/**
 * Who is taken, where some are refused. There is one reply to the whole message: what may be otherwise soon puts off all of it (P5); what
 * is for good refuses all of it, or, as the site says, those alone whom it is about. Throws the reply.
 */
function sortOut(plans: readonly Plan[], mixed: PathParts['mixed']): { readonly taken: Taken[]; readonly refused: Refused[] } {
  const refused = plans.filter((plan) => plan.kind === 'refused');
  const taken = plans.filter((plan) => plan.kind !== 'refused');
  const asked = taken.filter((plan) => plan.kind === 'pass' || !plan.archive);
  const decisive = refused.find(({ error }) => error.temporary) ?? (mixed === 'split' && asked.length > 0 ? undefined : refused[0]);
  if (decisive !== undefined) throw decisive.error;
  return { taken, refused };
}

/** Of one who is refused while others are taken (`split`): what the audit log says, and the notice to whoever sent it. */
function tellRefused(
  { notices }: PathParts,
  message: RefusedMessage,
  plan: Refused,
): { events: AuditEvent[]; notice?: NewMessage | undefined } {
  const { recipient, asked, error } = plan;
  const told = notices?.refuse(message, { recipient: recipient.address, ...asked, error });
  const [event] = eventsOf(message.id, plan);
  const bounced = event === undefined ? [] : [{ ...event, notice: told?.note ?? 'none' }];
  return { events: [...bounced, ...(told?.events ?? [])], notice: told?.notice };
}

/** Of those that are held: a word to the operator. */
function tellHeld(
  { notices }: PathParts,
  message: HeldMessage,
  rows: readonly NewRecipient[],
): readonly Pick<Written, 'events' | 'notice'>[] {
  const held = rows.filter(({ kept }) => kept?.kind === 'held');
  const facts = held[0]?.kept?.facts;
  if (facts === undefined || notices === undefined) return [];
  const { rule, because, heldAt } = readHeld(facts);
  return [notices.held(message, held, { rule, because, since: heldAt })];
}

function tell(log: Logger, id: string, client: Envelope['client'], taken: readonly Taken[], more: Readonly<Record<string, unknown>>): void {
  const rules = [...new Set(taken.map(({ rule }) => rule))];
  const counted = (kind: Taken['kind']): number => taken.filter((plan) => plan.kind === kind).length;
  const outcomes = { sealed: counted('seal'), held: counted('hold'), passed: counted('pass') };
  log.info({ queue_id: id, client: client.address, recipients: taken.length, rules, ...outcomes, ...more }, 'accepted');
  for (const { recipient, resolution } of taken.filter(isSealed)) {
    const { lacking } = resolution;
    if (lacking.length > 0) log.warn({ queue_id: id, group: recipient.address, lacking }, 'members of a group have no certificate');
  }
}

/** A mailbox that the client named twice gets one message. */
function distinct(recipients: readonly Recipient[]): Recipient[] {
  return [...new Map(recipients.map((recipient) => [mailboxKey(recipient.mailbox), recipient])).values()];
}

/** Streams the body once through all that is made of it; what comes back is what the message of each reader starts and ends with. */
async function make(
  { largest }: PathParts,
  message: Message,
  sealing: Sealing,
  passing: Passing,
  readers: readonly Reader[],
): Promise<NewRecipient[]> {
  await sealing.begin(readers);
  await passing.begin();
  let octets = 0;
  for await (const chunk of message.body) {
    octets += chunk.length;
    // The rest need not be sealed: the ciphertext is never shorter.
    if (readers.length > 0) assertFits(wireSize(0, octets), largest());
    await Promise.all([sealing.write(chunk), passing.write(chunk)]);
  }
  return sealing.end();
}

function countOctets(source: AsyncIterable<Buffer>): { readonly octets: AsyncIterable<Buffer>; readonly count: () => number } {
  let count = 0;
  async function* octets(): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      count += chunk.length;
      yield chunk;
    }
  }
  return { octets: octets(), count: () => count };
}

/** What the queue keeps of the envelope for the whole message. */
function askedOf({ sender, envid, client }: Envelope) {
  return { sender: sender?.address ?? '', envid, submitter: client.user?.mailbox?.address ?? null };
}
