/**
 * The path of one message, in order: decide, read, seal, enqueue; then 250. relay.ts joins it to the parts that it runs through.
 * `sealpost seal` walks the same path with an outbox that writes files instead of queueing.
 *
 * Nothing in clear is ever handed to the outbox: what enters it is ciphertext, and per reader a prefix (P2, P3, P8). Mail that a rule passes
 * is ciphertext of the spool there.
 */
import type { AuditEvent } from './audit.ts';
import { assertFits, assertMayFit } from './delivery/admission.ts';
import { wireSize } from './delivery/wire.ts';
import { foreseeRecipient } from './decision.ts';
import type { Opening, Reception } from './ingress/reception.ts';
import { assertNoLoop, withoutOwnFields } from './message/entity.ts';
import { type Envelope, type Mailbox, mailboxKey, type Recipient } from './message/envelope.ts';
import { contentFacts } from './message/facts.ts';
import { MAX_HEADER, type Message, readMessage } from './message/header.ts';
import { outerBlock } from './message/outer.ts';
import { accepted, eventsOf, usesOf } from './path-events.ts';
import { planArchives, type PlanParts, planRecipient, type Reader, refused, type SealedReader, type Taken } from './plan.ts';
import type { RuleSet } from './policy/decide.ts';
import { newQueueId } from './queue/id.ts';
import type { NewRecipient, QueueStore } from './queue/queue.ts';
import { Sealing, type SealingParts } from './sealing.ts';

/** Where sealed messages go: the queue, or files. */
export type Outbox = Pick<QueueStore, 'newBody' | 'enqueue'>;

export interface PathParts extends PlanParts, SealingParts {
  /** The rules as they are now; one message is decided by one set. */
  readonly rules: () => RuleSet;
  readonly outbox: Outbox;
  /** True where a certificate that is unknown for its address must not be used (`certificates.pin`). */
  readonly pinned?: boolean;
  /** Called once a message is durable. */
  readonly onQueued: () => void;
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
    assertFits(octets) {
      assertMayFit(octets, MAX_HEADER, parts.largest());
    },
    async recipient({ sender, client, size }, recipient) {
      const foreseen = await foreseeRecipient({ ...parts, rules: parts.rules() }, { sender, recipient, client, size });
      if (foreseen !== undefined) throw refused(log, recipient, foreseen);
    },
    async accept(envelope, source) {
      const id = parts.newId?.() ?? newQueueId(parts.now(), parts.randomBytes);
      const rules = parts.rules();
      const counted = countOctets(source);
      const message = withoutOwnFields(await readMessage(counted.octets));
      assertNoLoop(message.fields);
      const content = contentFacts(message);
      const { sender, client, size = null } = envelope;
      const question = { sender, client, size, content };
      const plans = await Promise.all(distinct(envelope.recipients).map((recipient) => planRecipient(parts, rules, question, recipient)));
      const taken: Taken[] = plans.map((plan) => {
        if (plan.kind === 'refused') throw plan.error;
        return plan;
      });
      const readers = [...taken.filter(isReader), ...(await planArchives(parts, rules, taken))];
      const outer = outerBlock(message.fields, { envelope, queueId: id, hostname: parts.hostname, now: new Date(parts.now()) });
      const sealing = new Sealing(parts, { id, envelope, message, signed: content.signed !== false || content.claimsSealed, outer });
      try {
        const recipients = await seal(parts, message, sealing, readers);
        const bodies = await sealing.stored();
        const events: AuditEvent[] = [accepted(id, envelope, counted.count()), ...readers.flatMap((plan) => eventsOf(id, plan))];
        const about = { id, acceptedAt: parts.now(), size: counted.count(), ...askedOf(envelope), notice: null };
        const uses = readers.filter(isSealed).flatMap((reader) => usesOf(reader, { pinned: parts.pinned === true, queueId: id }));
        await parts.outbox.enqueue({ ...about, bodies, recipients }, events, uses);
      } catch (error) {
        await sealing.discard();
        throw error;
      } finally {
        sealing.forget();
      }
      log.info(
        {
          queue_id: id,
          client: client.address,
          recipients: taken.length,
          rules: rulesOf(readers),
          size: counted.count(),
          mended: outer.mended,
        },
        'accepted',
      );
      for (const { recipient, resolution } of readers.filter(isSealed)) {
        const { lacking } = resolution;
        if (lacking.length > 0) log.warn({ queue_id: id, group: recipient.address, lacking }, 'members of a group have no certificate');
      }
      parts.onQueued();
      return id;
    },
  };
}

const isReader = (plan: Taken): plan is Reader => plan.kind !== 'pass';
const isSealed = (reader: Reader): reader is SealedReader => reader.kind === 'seal';

const rulesOf = (plans: readonly Taken[]): string[] => [...new Set(plans.map(({ rule }) => rule))];

/** A mailbox that the client named twice gets one message. */
function distinct(recipients: readonly Recipient[]): Recipient[] {
  return [...new Map(recipients.map((recipient) => [mailboxKey(recipient.mailbox), recipient])).values()];
}

/** Streams the body once through all that is made of it. */
async function seal(parts: PathParts, message: Message, sealing: Sealing, readers: readonly Reader[]): Promise<NewRecipient[]> {
  await sealing.begin(readers);
  let octets = 0;
  for await (const chunk of message.body) {
    octets += chunk.length;
    // The rest need not be sealed: the ciphertext is never shorter.
    assertFits(wireSize(0, octets), parts.largest());
    await sealing.write(chunk);
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
