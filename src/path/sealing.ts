/**
 * One message on its way through the seal: the bodies that its readers share, and what must be undone where it comes to nothing. A body
 * is one cipher and one inside; the inside is signed first where the rule says so (RFC 8551 §3.5).
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { assertFits } from '../delivery/admission.ts';
import { assertHeader, wireSize } from '../delivery/wire.ts';
import { SealpostError } from '../errors.ts';
import { writeHeld } from './held.ts';
import { insideKey, showsSubject, signatureOf } from './inside.ts';
import { innerHeader } from '../message/entity.ts';
import type { Envelope, Mailbox } from '../message/envelope.ts';
import { authorOf } from '../message/facts.ts';
import { fieldText, type Message } from '../message/header.ts';
import type { Look } from '../message/look.ts';
import type { OuterBlock } from '../message/outer.ts';
import { type Inserting, makeInserting, shownSubject } from '../message/shown-subject.ts';
import type { HeldReader, Reader } from './plan.ts';
import { renderSubject } from '../policy/subject.ts';
import type { BodyWriter, Kept, NewRecipient, QueueStore, StoredBody } from '../queue/queue.ts';
import type { Form } from '../seal/algorithms.ts';
import { type BodySealer, sealBody, type SealedBody } from '../seal/sealer.ts';
import { sealedHeader } from '../seal/smime.ts';
import type { EntitySigner, Signers } from '../sign/signer.ts';

export interface SealingParts {
  readonly hostname: string;
  readonly outbox: Pick<QueueStore, 'newBody'>;
  /** The identities of the site. Absent: nothing can be signed. */
  readonly signers?: Signers | undefined;
  /** The largest message, in octets on the wire, that will be taken further on; undefined for every one. */
  readonly largest: () => number | undefined;
  readonly now: () => number;
  readonly randomBytes: (octets: number) => Buffer;
  readonly log: Logger;
}

/** The message that is sealed. */
export interface Original {
  readonly id: string;
  readonly envelope: Envelope;
  readonly message: Message;
  /** False only where it is sure that it came without a signature. */
  readonly signed: boolean;
  readonly outer: OuterBlock;
}

/** The bodies of a message that are being written, in the order in which rows name them. */
export interface Making {
  write(chunk: Buffer): Promise<void>;
  stored(): Promise<StoredBody[]>;
  /** Undoes what was written. */
  discard(): Promise<void>;
  /** Forgets the keys; in every case. */
  forget(): void;
}

interface Body {
  readonly cipher: Form['cipher'];
  readonly inside: string;
  readonly sealer: BodySealer;
  readonly writer: BodyWriter;
  readonly signer: EntitySigner | undefined;
  /** The original Subject, on its way into the text. */
  readonly inserting: Inserting | undefined;
}

/** How one reader's message will be made. */
interface Made {
  readonly reader: Reader;
  readonly look: Look;
  /** Index of its body. */
  readonly body: number;
}

/** Of a Message-ID that is one reader's own. */
const MESSAGE_ID_OCTETS = 8;

/** Milliseconds of work after which others get their turn. */
const TURN_MS = 10;

export class Sealing implements Making {
  readonly #parts: SealingParts;
  readonly #original: Original;
  readonly #bodies: Body[] = [];
  readonly #made: Made[] = [];
  /** Read once, however many readers there are. */
  #named: Mailbox | 'unclear' | undefined;

  constructor(parts: SealingParts, original: Original) {
    this.#parts = parts;
    this.#original = original;
  }

  /** How many bodies there are. */
  get bodies(): number {
    return this.#bodies.length;
  }

  /** Opens the bodies of all readers, their inner headers written. Once, and first. */
  async begin(readers: readonly Reader[]): Promise<void> {
    for (const reader of readers) {
      const look = this.#lookFor(reader);
      this.#made.push({ reader, look, body: await this.#open(reader, look) });
    }
  }

  /** The fingerprint of the certificate that the message of this reader is signed with, where it is (P9). */
  signedWith(reader: Reader): string | undefined {
    const made = this.#made.find((one) => one.reader === reader);
    return made && this.#bodies[made.body]?.signer?.fingerprint;
  }

  async write(chunk: Buffer): Promise<void> {
    await Promise.all(this.#bodies.map((body) => writeInside(body, chunk)));
  }

  /** What each reader's message starts and ends with; the bodies are complete then. */
  async end(): Promise<NewRecipient[]> {
    const sealed: SealedBody[] = [];
    for (const body of this.#bodies) {
      const { signer, sealer, inserting } = body;
      for (const octets of inserting?.end() ?? []) await writeSigned(body, octets);
      for (const octets of (await signer?.end()) ?? []) await sealer.write(octets);
      sealed.push(await sealer.end());
    }
    return this.#envelop(sealed);
  }

  /** How the message looks outside for one reader: as its rule says. */
  #lookFor({ recipient, dress: { subject, from, messageId } }: Reader): Look {
    const { id, envelope } = this.#original;
    const facts = { queueId: id, sender: envelope.sender, recipient };
    return {
      subject: subject.kind === 'keep' ? undefined : renderSubject(subject.template, facts),
      from,
      // Random, so that the id of one reader tells nothing of the others: neither who they are nor how many.
      messageId: messageId && `<${id}.${this.#parts.randomBytes(MESSAGE_ID_OCTETS).toString('hex')}@${this.#parts.hostname}>`,
    };
  }

  /** The body for one cipher and one inside, by its index; made at its first reader, its inner header written. */
  async #open({ form, dress }: Reader, look: Look): Promise<number> {
    const { message, outer, signed } = this.#original;
    const inside = insideKey({ mended: [...outer.insideOf({})], signed }, dress);
    // For each reader: those who share a body may be shown different authors.
    const signer = this.#signerFor(dress);
    const known = this.#bodies.findIndex((body) => body.cipher === form.cipher && body.inside === inside);
    if (known >= 0) return known;
    const writer = this.#parts.outbox.newBody();
    const sealer = sealBody(form.cipher, writer, this.#parts.randomBytes);
    this.#bodies.push({ cipher: form.cipher, inside, sealer, writer, signer, inserting: this.#insertingFor(dress) });
    const header = innerHeader(message, { alsoInside: outer.insideOf(look) });
    for (const octets of (await signer?.start(header)) ?? [header]) await sealer.write(octets);
    return this.#bodies.length - 1;
  }

  #signerFor(dress: Reader['dress']): EntitySigner | undefined {
    const { id, signed } = this.#original;
    const { signers, now, randomBytes } = this.#parts;
    const policy = signatureOf(dress, signed);
    if (policy === undefined) return undefined;
    if (signers === undefined) throw new SealpostError('internal', { detail: 'a rule signs, and there are no identities' });
    const at = now();
    const date = dateOf(this.#original.message, at);
    return signers.begin(policy, { queueId: id, at, date, author: dress.from?.replace.mailbox ?? this.#author(), randomBytes });
  }

  /** Whom the original From names. */
  #author(): Mailbox | undefined {
    this.#named ??= authorOf(this.#original.message.fields) ?? 'unclear';
    return this.#named === 'unclear' ? undefined : this.#named;
  }

  #insertingFor(dress: Reader['dress']): Inserting | undefined {
    const { id, message, signed } = this.#original;
    if (!showsSubject(dress)) return undefined;
    const insertion = signed ? undefined : shownSubject(message);
    if (insertion === undefined) this.#parts.log.info({ queue_id: id }, 'the original subject could not be put into the text');
    return insertion && makeInserting(insertion);
  }

  /** A hundred public-key operations in one turn would hold up every other client. */
  async #envelop(sealed: readonly SealedBody[]): Promise<NewRecipient[]> {
    const { envelope } = this.#original;
    const recipients: NewRecipient[] = [];
    const headers = new Map<string, { readonly octets: Buffer; readonly needsSmtputf8: boolean }>();
    let turn = performance.now();
    for (const { reader, look, body } of this.#made) {
      const shared = sealed[body];
      if (shared === undefined) throw new Error('a reader without a sealed body');
      // Readers of one look and cipher share the very octets; the rule says what of it is kept and what is another From.
      const key = JSON.stringify([shared.cipher, reader.rule, look.subject, look.messageId]);
      const header = headers.get(key) ?? this.#headerOf(look, shared.cipher);
      headers.set(key, header);
      const sender = envelope.sender === null ? null : (reader.dress.envelopeFrom ?? envelope.sender);
      const prefix = await shared.prefixFor(reader.certificates, reader.form.keyTransport);
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
        ...(reader.kind === 'hold' ? { kept: this.#keptOf(reader, body) } : {}),
      });
      if (performance.now() - turn < TURN_MS) continue;
      await setImmediate();
      turn = performance.now();
    }
    return recipients;
  }

  #keptOf({ rule, because, form, archive }: HeldReader, body: number): Kept {
    const { client, size = null } = this.#original.envelope;
    const inside = this.#bodies[body]?.inside ?? '';
    const who = { client: client.address, user: client.user?.name ?? null, size };
    return { kind: 'held', facts: writeHeld({ rule, because, heldAt: this.#parts.now(), ...who, cipher: form.cipher, inside, archive }) };
  }

  #headerOf(look: Look, cipher: Form['cipher']): { readonly octets: Buffer; readonly needsSmtputf8: boolean } {
    const { octets, needsSmtputf8 } = this.#original.outer.withLook(look);
    const header = sealedHeader(octets, cipher);
    assertHeader(header);
    return { octets: header, needsSmtputf8 };
  }

  stored(): Promise<StoredBody[]> {
    return Promise.all(this.#bodies.map(({ writer }) => writer.finish()));
  }

  async discard(): Promise<void> {
    await Promise.all(this.#bodies.map(({ writer }) => writer.discard()));
  }

  forget(): void {
    for (const { sealer } of this.#bodies) sealer.forget();
  }
}

/** Undefined where it is no time. One that is made for a message without says `now`. */
function dateOf({ fields }: Pick<Message, 'fields'>, now: number): number | undefined {
  const field = fields.find(({ key }) => key === 'date');
  const date = field === undefined ? now : Date.parse(fieldText(field));
  return Number.isNaN(date) ? undefined : date;
}

async function writeInside(body: Body, chunk: Buffer): Promise<void> {
  if (body.inserting === undefined) return writeSigned(body, chunk);
  for (const octets of body.inserting.push(chunk)) await writeSigned(body, octets);
}

async function writeSigned({ signer, sealer }: Body, chunk: Buffer): Promise<void> {
  if (signer === undefined) return sealer.write(chunk);
  for (const octets of await signer.write(chunk)) await sealer.write(octets);
}
