/**
 * The path of one message, in order: decide, read, seal, enqueue; then 250. relay.ts joins it to the parts that it runs through.
 * `sealpost seal` walks the same path with an outbox that writes files instead of queueing.
 *
 * Nothing in clear is ever handed to the outbox: what enters it is the ciphertext, and per reader a prefix (P2, P3, P8).
 */
import type { Logger } from 'pino';
import type { AuditEvent } from './audit.ts';
import type { Candidate, Directory, Lookup } from './certificates/directory.ts';
import { SealpostError } from './errors.ts';
import type { Reception } from './ingress/reception.ts';
import { assertNoLoop, innerHeader } from './message/entity.ts';
import { type Envelope, type Mailbox, mailboxKey } from './message/envelope.ts';
import { type Message, readMessage } from './message/header.ts';
import { type OuterBlock, outerBlock } from './message/outer.ts';
import { type Decision, decide, firstMatch, type Parties, refusal, type Rule } from './policy/decide.ts';
import { renderSubject } from './policy/subject.ts';
import { newQueueId } from './queue/id.ts';
import type { BodyWriter, NewRecipient, QueueStore } from './queue/queue.ts';
import type { Form } from './seal/algorithms.ts';
import { type BodySealer, sealBody, type SealedBody } from './seal/sealer.ts';
import { sealedHeader } from './seal/smime.ts';

/** Where sealed messages go: the queue, or files. */
export type Outbox = Pick<QueueStore, 'newBody' | 'enqueue'>;

export interface PathParts {
  readonly hostname: string;
  readonly rules: readonly Rule[];
  readonly directory: Directory;
  /** Cipher and key transport for one reader's certificates. */
  readonly chooseForm: (certificates: readonly Candidate['certificate'][]) => Form;
  readonly outbox: Outbox;
  /** Called once a message is durable. */
  readonly onQueued: () => void;
  readonly now: () => number;
  readonly randomBytes: (octets: number) => Buffer;
  readonly log: Logger;
}

/** One recipient whose message will be sealed: the decision and the certificates it stands on. */
interface Reader {
  readonly recipient: Mailbox;
  readonly rule: string;
  readonly subject: Extract<Decision, { kind: 'seal' }>['subject'];
  readonly candidates: readonly [Candidate, ...Candidate[]];
  readonly form: Form;
}

export function makePath(parts: PathParts): Reception {
  return {
    async recipient(sender, recipient) {
      await decideReader(parts, sender, recipient);
    },
    async accept(envelope, source) {
      const id = newQueueId(parts.now(), parts.randomBytes);
      const readers = await Promise.all(distinct(envelope.recipients).map((recipient) => decideReader(parts, envelope.sender, recipient)));
      const counted = countOctets(source);
      const message = await readMessage(counted.octets);
      assertNoLoop(message.fields);
      const sealing = new Sealing(parts, id, envelope, message);
      try {
        const recipients = await sealing.seal(readers);
        const bodies = await sealing.stored();
        const events = [accepted(id, envelope, counted.count()), ...readers.map((reader) => sealed(id, reader))];
        const sender = envelope.sender?.address ?? '';
        await parts.outbox.enqueue({ id, acceptedAt: parts.now(), sender, size: counted.count(), bodies, recipients }, events);
      } catch (error) {
        await sealing.discard();
        throw error;
      } finally {
        sealing.forget();
      }
      parts.log.info(
        { queue_id: id, client: envelope.client.address, recipients: readers.length, size: counted.count(), mended: sealing.mended },
        'accepted',
      );
      parts.onQueued();
      return id;
    },
  };
}

/** A mailbox that the client named twice gets one message. */
function distinct(recipients: readonly Mailbox[]): Mailbox[] {
  return [...new Map(recipients.map((recipient) => [mailboxKey(recipient), recipient])).values()];
}

/** The one decision for one recipient, and what it stands on; `lookup` is undefined where a rule refuses without a question. */
export async function decideRecipient(
  { rules, directory }: Pick<PathParts, 'rules' | 'directory'>,
  parties: Parties,
): Promise<{ readonly decision: Decision; readonly lookup: Lookup | undefined }> {
  const lookup = firstMatch(rules, parties)?.then === 'seal' ? await directory.lookup(parties.recipient) : undefined;
  return { decision: decide(rules, { ...parties, certificate: lookup?.kind ?? 'absent' }), lookup };
}

/** The reader of one recipient's message. Throws the reply where there will be none. */
async function decideReader(parts: PathParts, sender: Mailbox | null, recipient: Mailbox): Promise<Reader> {
  const { decision, lookup } = await decideRecipient(parts, { sender, recipient });
  if (decision.kind === 'seal' && lookup?.kind === 'found') {
    const form = parts.chooseForm(lookup.chosen.map((candidate) => candidate.certificate));
    return { recipient, rule: decision.rule, subject: decision.subject, candidates: lookup.chosen, form };
  }
  if (decision.kind === 'seal') throw new SealpostError('certificate-missing');
  const rejected = lookup?.kind === 'absent' ? lookup.rejected.map(({ place, reason }) => `${place}: ${reason}`) : [];
  parts.log.info({ decision: decision.kind, rule: decision.rule, recipient: recipient.address, rejected }, 'recipient refused');
  throw refusal(decision);
}

interface Body {
  readonly key: string;
  readonly sealer: BodySealer;
  readonly writer: BodyWriter;
}

/** One message on its way through the seal: the bodies that its readers share, and what must be undone where it comes to nothing. */
class Sealing {
  readonly #parts: PathParts;
  readonly #id: string;
  readonly #envelope: Envelope;
  readonly #message: Message;
  readonly #bodies: Body[] = [];
  readonly #outers = new Map<string | undefined, OuterBlock>();

  constructor(parts: PathParts, id: string, envelope: Envelope, message: Message) {
    this.#parts = parts;
    this.#id = id;
    this.#envelope = envelope;
    this.#message = message;
  }

  get mended(): readonly string[] {
    return [...new Set([...this.#outers.values()].flatMap((outer) => outer.mended))];
  }

  /** Streams the body once through the ciphers of all readers; what comes back is what each reader's message starts and ends with. */
  async seal(readers: readonly Reader[]): Promise<NewRecipient[]> {
    const plans = readers.map((reader) => {
      const facts = { queueId: this.#id, sender: this.#envelope.sender, recipient: reader.recipient };
      const subject = reader.subject.kind === 'keep' ? undefined : renderSubject(reader.subject.template, facts);
      const outer = this.#outer(subject);
      return { reader, outer, subjectInside: subject !== undefined, body: '' };
    });
    for (const plan of plans) plan.body = await this.#open(plan.reader.form, plan.subjectInside, plan.outer);
    for await (const chunk of this.#message.body) {
      await Promise.all(this.#bodies.map(({ sealer }) => sealer.write(chunk)));
    }
    const sealed = new Map<string, SealedBody>();
    for (const { key, sealer } of this.#bodies) sealed.set(key, await sealer.end());
    return plans.map(({ reader, outer, body }) =>
      this.#envelop(
        reader,
        outer,
        this.#bodies.findIndex(({ key }) => key === body),
        sealed.get(body),
      ),
    );
  }

  #envelop(reader: Reader, outer: OuterBlock, body: number, sealed: SealedBody | undefined): NewRecipient {
    if (sealed === undefined) throw new Error('a reader without a sealed body');
    const certificates = reader.candidates.map((candidate) => candidate.certificate);
    return {
      address: reader.recipient.address,
      body,
      header: sealedHeader(outer.octets, sealed.cipher),
      prefix: sealed.prefixFor(certificates, reader.form.keyTransport),
      suffix: sealed.suffix,
      needsSmtputf8: outer.needsSmtputf8 || reader.recipient.needsSmtputf8 || this.#envelope.sender?.needsSmtputf8 === true,
    };
  }

  /** The key of the body for one cipher and one inside; made at its first reader, its inner header written. */
  async #open(form: Form, subjectInside: boolean, outer: OuterBlock): Promise<string> {
    const key = `${form.cipher} ${subjectInside}`;
    if (this.#bodies.some((body) => body.key === key)) return key;
    const writer = this.#parts.outbox.newBody();
    const sealer = sealBody(form.cipher, writer, this.#parts.randomBytes);
    this.#bodies.push({ key, sealer, writer });
    await sealer.write(innerHeader(this.#message, { subjectInside, alsoInside: outer.alsoInside }));
    return key;
  }

  /** Readers of one visible Subject share one outer block. */
  #outer(subject: string | undefined): OuterBlock {
    const known = this.#outers.get(subject);
    if (known !== undefined) return known;
    const { hostname, now } = this.#parts;
    const outer = outerBlock(this.#message.fields, {
      envelope: this.#envelope,
      queueId: this.#id,
      hostname,
      now: new Date(now()),
      subject,
    });
    this.#outers.set(subject, outer);
    return outer;
  }

  stored(): Promise<NewMessageBodies> {
    return Promise.all(this.#bodies.map(({ writer }) => writer.finish()));
  }

  async discard(): Promise<void> {
    await Promise.all(this.#bodies.map(({ writer }) => writer.discard()));
  }

  forget(): void {
    for (const { sealer } of this.#bodies) sealer.forget();
  }
}

type NewMessageBodies = Awaited<ReturnType<BodyWriter['finish']>>[];

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

function accepted(id: string, envelope: Envelope, size: number): AuditEvent {
  const { sender, recipients, client, protocol } = envelope;
  return {
    event: 'accepted',
    queue_id: id,
    sender: sender?.address ?? '',
    recipients: recipients.length,
    size,
    client: client.address,
    protocol,
  };
}

function sealed(id: string, { recipient, rule, candidates, form }: Reader): AuditEvent {
  const list = (value: (candidate: Candidate) => string): string => candidates.map(value).join(', ');
  return {
    event: 'sealed',
    queue_id: id,
    recipient: recipient.address,
    rule,
    cipher: form.cipher,
    key: candidates[0].certificate.key?.type === 'ec' ? 'ecdh' : form.keyTransport,
    certificate_sha256: list(({ certificate }) => certificate.fingerprint),
    certificate_issuer: list(({ certificate }) => certificate.issuer),
    certificate_serial: list(({ certificate }) => certificate.serial),
    certificate_source: list(({ place }) => place),
  };
}
