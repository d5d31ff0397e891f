/**
 * The path of one message, in order: decide, read, seal, enqueue; then 250. relay.ts joins it to the parts that it runs through.
 * `sealpost seal` walks the same path with an outbox that writes files instead of queueing.
 *
 * Nothing in clear is ever handed to the outbox: what enters it is the ciphertext, and per reader a prefix (P2, P3, P8).
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { AuditEvent } from './audit.ts';
import { type AddressBook, certificatesOf, type Resolution, type Share, type Way } from './certificates/address-book.ts';
import type { Certificate } from './certificates/certificate.ts';
import type { Chosen } from './certificates/directory.ts';
import { certificateUse } from './change-control.ts';
import { type Decided, decideRecipient, foreseeRecipient, type Question } from './decision.ts';
import { assertFits, assertMayFit } from './delivery/admission.ts';
import { assertHeader, wireSize } from './delivery/wire.ts';
import { SealpostError } from './errors.ts';
import type { Opening, Reception } from './ingress/reception.ts';
import { assertNoLoop, innerHeader } from './message/entity.ts';
import { type Envelope, type Mailbox, mailboxKey, type Recipient } from './message/envelope.ts';
import { contentFacts } from './message/facts.ts';
import { MAX_HEADER, type Message, readMessage } from './message/header.ts';
import type { Look } from './message/look.ts';
import { type OuterBlock, outerBlock } from './message/outer.ts';
import { type Dress, refusal, type RuleSet } from './policy/decide.ts';
import { renderSubject } from './policy/subject.ts';
import type { CertificateUse } from './queue/known.ts';
import { newQueueId } from './queue/id.ts';
import type { BodyWriter, NewRecipient, QueueStore } from './queue/queue.ts';
import type { Form } from './seal/algorithms.ts';
import { type BodySealer, sealBody, type SealedBody } from './seal/sealer.ts';
import { sealedHeader } from './seal/smime.ts';

/** Where sealed messages go: the queue, or files. */
export type Outbox = Pick<QueueStore, 'newBody' | 'enqueue'>;

export interface PathParts {
  readonly hostname: string;
  /** The rules as they are now; one message is decided by one set. */
  readonly rules: () => RuleSet;
  readonly addressBook: AddressBook;
  /** Cipher and key transport for one reader's certificates. */
  readonly chooseForm: (certificates: readonly Certificate[]) => Form;
  readonly outbox: Outbox;
  /** True where a certificate that is unknown for its address must not be used (`certificates.pin`). */
  readonly pinned?: boolean;
  /** The largest sealed message, in octets on the wire, that will be taken further on; undefined for every one. */
  readonly largest: () => number | undefined;
  /** Called once a message is durable. */
  readonly onQueued: () => void;
  /** A queue id; a fresh one where it is not given. */
  readonly newId?: () => string;
  readonly now: () => number;
  readonly randomBytes: (octets: number) => Buffer;
  readonly log: Logger;
}

/** One recipient whose message will be sealed: the decision and the certificates it stands on. */
interface Reader {
  readonly recipient: Mailbox;
  readonly asked: Pick<Recipient, 'notify' | 'orcpt'>;
  readonly rule: string;
  readonly dress: Dress;
  readonly resolution: Resolution & { readonly kind: 'found' };
  readonly form: Form;
}

/** The path queues what it takes. */
export interface Path extends Reception {
  recipient(opening: Opening, recipient: Mailbox): Promise<void>;
  accept(envelope: Envelope, source: AsyncIterable<Buffer>): Promise<string>;
}

export function makePath(parts: PathParts): Path {
  return {
    assertFits(octets) {
      assertMayFit(octets, MAX_HEADER, parts.largest());
    },
    async recipient({ sender, client, size }, recipient) {
      const foreseen = await foreseeRecipient({ ...parts, rules: parts.rules() }, { sender, recipient, client, size });
      if (foreseen !== undefined) throw refused(parts, recipient, foreseen);
    },
    async accept(envelope, source) {
      const id = parts.newId?.() ?? newQueueId(parts.now(), parts.randomBytes);
      const rules = parts.rules();
      const counted = countOctets(source);
      const message = await readMessage(counted.octets);
      assertNoLoop(message.fields);
      const { sender, client, size = null } = envelope;
      const question = { sender, client, size, content: contentFacts(message) };
      const readers = await Promise.all(distinct(envelope.recipients).map((recipient) => decideReader(parts, rules, question, recipient)));
      const sealing = new Sealing(parts, id, envelope, message);
      try {
        const recipients = await sealing.seal(readers);
        const bodies = await sealing.stored();
        const events = [accepted(id, envelope, counted.count()), ...readers.flatMap((reader) => sealed(id, reader))];
        const about = { id, acceptedAt: parts.now(), size: counted.count(), ...askedOf(envelope), notice: null };
        const uses = readers.flatMap((reader) => usesOf(reader, { pinned: parts.pinned === true, queueId: id }));
        await parts.outbox.enqueue({ ...about, bodies, recipients }, events, uses);
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
      for (const { recipient, resolution } of readers) {
        const { lacking } = resolution;
        if (lacking.length > 0)
          parts.log.warn({ queue_id: id, group: recipient.address, lacking }, 'members of a group have no certificate');
      }
      parts.onQueued();
      return id;
    },
  };
}

/** A mailbox that the client named twice gets one message. */
function distinct(recipients: readonly Recipient[]): Recipient[] {
  return [...new Map(recipients.map((recipient) => [mailboxKey(recipient.mailbox), recipient])).values()];
}

/** The reader of one recipient's message. Throws the reply where there will be none. */
async function decideReader(parts: PathParts, rules: RuleSet, question: Omit<Question, 'recipient'>, asked: Recipient): Promise<Reader> {
  const recipient = asked.mailbox;
  const decided = await decideRecipient({ ...parts, rules }, { ...question, recipient });
  const { decision, resolution } = decided;
  if (decision.kind === 'seal' && resolution?.kind === 'found') {
    const form = parts.chooseForm(certificatesOf(resolution.shares));
    return { recipient, asked, rule: decision.rule, dress: decision, resolution, form };
  }
  throw refused(parts, recipient, decided);
}

/** What the client is told of a recipient that is not taken; the log gets the reasons. */
function refused(parts: PathParts, recipient: Mailbox, { decision, resolution }: Decided): SealpostError {
  const looked = resolution?.kind === 'absent' ? resolution.parts : [];
  const rejected = looked.flatMap(({ lookup }) => lookup.rejected.map(({ place, reason }) => `${place}: ${reason}`)).slice(0, MAX_REASONS);
  parts.log.info({ decision: decision.kind, rule: decision.rule, recipient: recipient.address, rejected }, 'recipient refused');
  return decision.kind === 'refuse' || decision.kind === 'retry' ? refusal(decision) : new SealpostError('certificate-missing');
}

/** Rejected certificates that one log line names. */
const MAX_REASONS = 20;

interface Body {
  readonly key: string;
  readonly sealer: BodySealer;
  readonly writer: BodyWriter;
}

/** How one reader's message will be made. */
interface Plan {
  readonly reader: Reader;
  readonly look: Look;
  /** Index of its body. */
  readonly body: number;
}

/** Of a Message-ID that is one reader's own. */
const MESSAGE_ID_OCTETS = 8;

/** Milliseconds of work after which others get their turn. */
const TURN_MS = 10;

/** One message on its way through the seal: the bodies that its readers share, and what must be undone where it comes to nothing. */
class Sealing {
  readonly #parts: PathParts;
  readonly #id: string;
  readonly #envelope: Envelope;
  readonly #message: Message;
  readonly #bodies: Body[] = [];
  readonly #outer: OuterBlock;

  constructor(parts: PathParts, id: string, envelope: Envelope, message: Message) {
    this.#parts = parts;
    this.#id = id;
    this.#envelope = envelope;
    this.#message = message;
    const { hostname, now } = parts;
    this.#outer = outerBlock(message.fields, { envelope, queueId: id, hostname, now: new Date(now()) });
  }

  get mended(): readonly string[] {
    return this.#outer.mended;
  }

  /** Streams the body once through the ciphers of all readers; what comes back is what each reader's message starts and ends with. */
  async seal(readers: readonly Reader[]): Promise<NewRecipient[]> {
    const plans: Plan[] = [];
    for (const reader of readers) {
      const look = this.#lookFor(reader);
      plans.push({ reader, look, body: await this.#open(reader.form, look) });
    }
    let octets = 0;
    for await (const chunk of this.#message.body) {
      octets += chunk.length;
      // The rest need not be sealed: the ciphertext is never shorter.
      assertFits(wireSize(0, octets), this.#parts.largest());
      await Promise.all(this.#bodies.map(({ sealer }) => sealer.write(chunk)));
    }
    const sealed: SealedBody[] = [];
    for (const { sealer } of this.#bodies) sealed.push(await sealer.end());
    return this.#envelop(plans, sealed);
  }

  /** How the message looks outside for one reader: as its rule says. */
  #lookFor({ recipient, dress: { subject, from, messageId } }: Reader): Look {
    const facts = { queueId: this.#id, sender: this.#envelope.sender, recipient };
    return {
      subject: subject.kind === 'keep' ? undefined : renderSubject(subject.template, facts),
      from,
      // Random, so that the id of one reader tells nothing of the others: neither who they are nor how many.
      messageId: messageId && `<${this.#id}.${this.#parts.randomBytes(MESSAGE_ID_OCTETS).toString('hex')}@${this.#parts.hostname}>`,
    };
  }

  /** A hundred public-key operations in one turn would hold up every other client. */
  async #envelop(plans: readonly Plan[], sealed: readonly SealedBody[]): Promise<NewRecipient[]> {
    const recipients: NewRecipient[] = [];
    const headers = new Map<string, { readonly octets: Buffer; readonly needsSmtputf8: boolean }>();
    let turn = performance.now();
    for (const { reader, look, body } of plans) {
      const shared = sealed[body];
      if (shared === undefined) throw new Error('a reader without a sealed body');
      // Readers of one look and cipher share the very octets; the rule says what of it is kept and what is another From.
      const key = JSON.stringify([shared.cipher, reader.rule, look.subject, look.messageId]);
      const header = headers.get(key) ?? this.#headerOf(look, shared.cipher);
      headers.set(key, header);
      const sender = this.#envelope.sender === null ? null : (reader.dress.envelopeFrom ?? this.#envelope.sender);
      const prefix = await shared.prefixFor(certificatesOf(reader.resolution.shares), reader.form.keyTransport);
      assertFits(wireSize(header.octets.length, prefix.length + shared.length + shared.suffix.length), this.#parts.largest());
      recipients.push({
        address: reader.recipient.address,
        sender: sender?.address ?? '',
        notify: reader.asked.notify,
        orcpt: reader.asked.orcpt,
        body,
        header: header.octets,
        prefix,
        suffix: shared.suffix,
        needsSmtputf8: header.needsSmtputf8 || reader.recipient.needsSmtputf8 || sender?.needsSmtputf8 === true,
      });
      if (performance.now() - turn < TURN_MS) continue;
      await setImmediate();
      turn = performance.now();
    }
    return recipients;
  }

  #headerOf(look: Look, cipher: Form['cipher']): { readonly octets: Buffer; readonly needsSmtputf8: boolean } {
    const { octets, needsSmtputf8 } = this.#outer.withLook(look);
    const header = sealedHeader(octets, cipher);
    assertHeader(header);
    return { octets: header, needsSmtputf8 };
  }

  /** The body for one cipher and one inside, by its index; made at its first reader, its inner header written. */
  async #open(form: Form, look: Look): Promise<number> {
    const alsoInside = this.#outer.insideOf(look);
    const key = [form.cipher, ...alsoInside].join(' ');
    const known = this.#bodies.findIndex((body) => body.key === key);
    if (known >= 0) return known;
    const writer = this.#parts.outbox.newBody();
    const sealer = sealBody(form.cipher, writer, this.#parts.randomBytes);
    this.#bodies.push({ key, sealer, writer });
    await sealer.write(innerHeader(this.#message, { alsoInside }));
    return this.#bodies.length - 1;
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

/** What the queue keeps of the envelope for the whole message. */
function askedOf({ sender, envid, client }: Envelope) {
  return { sender: sender?.address ?? '', envid, submitter: client.user?.mailbox?.address ?? null };
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
    tls: client.tls,
    user: client.user?.name ?? null,
    protocol,
  };
}

/** What change control keeps, under the address whose certificates they are. */
const usesOf = ({ resolution }: Reader, about: Parameters<typeof certificateUse>[2]): CertificateUse[] =>
  resolution.shares.flatMap(({ address, chosen }) => chosen.map((candidate) => certificateUse(address, candidate, about)));

/** An event for each address whose certificates the message names, and one for each member of a group that has none (P9). */
function sealed(id: string, { recipient, rule, resolution, form }: Reader): AuditEvent[] {
  const { way, shares, lacking } = resolution;
  const about = { queue_id: id, recipient: recipient.address, rule };
  return [
    ...shares.map((share): AuditEvent => ({ event: 'sealed', ...about, ...wayOf(way, share.address), ...namesOf(share.chosen, form) })),
    ...lacking.map((member): AuditEvent => ({ event: 'skipped', ...about, member })),
  ];
}

/** Whose certificate it is, where it is not the recipient's own. */
function wayOf(way: Way, address: string): { readonly [attribute: string]: string } {
  switch (way) {
    case 'address':
      return {};
    case 'group':
      return { member: address };
    case 'alias':
      return { alias_of: address };
    case 'domain':
      return { domain_certificate: address };
  }
  return way satisfies never;
}

function namesOf(chosen: Share['chosen'], form: Form) {
  const list = (value: (candidate: Chosen) => string): string => chosen.map(value).join(', ');
  return {
    cipher: form.cipher,
    key: chosen[0].certificate.key?.type === 'ec' ? 'ecdh' : form.keyTransport,
    certificate_sha256: list(({ certificate }) => certificate.fingerprint),
    certificate_issuer: list(({ certificate }) => certificate.issuer),
    certificate_serial: list(({ certificate }) => certificate.serial),
    certificate_source: list(({ source, place }) => `${source}: ${place}`),
    revocation: [...new Set(chosen.map(({ revocation }) => revocation))].join(', '),
  };
}
