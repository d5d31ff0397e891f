/** Held mail sealed to its reader: the same ciphertext under a new prefix where it serves, else a new body. */
import type { HeldFacts } from '../path/held.ts';
import type { Envelope } from '../message/envelope.ts';
import type { Message } from '../message/header.ts';
import { outerBlock } from '../message/outer.ts';
import type { SealedReader } from '../path/plan.ts';
import type { SubjectPolicy } from '../policy/decide.ts';
import type { HeldRow, QueueStore, Release } from '../queue/queue.ts';
import type { Content } from '../seal/cms.ts';
import { prefixUnder, sealBody } from '../seal/sealer.ts';
import { sealedHeader } from '../seal/smime.ts';
import { Sealing, type SealingParts } from '../path/sealing.ts';
import { lackOf, readInside } from './inside.ts';
import { decrypted } from './opened.ts';
import { outerFields, wholeOriginal } from './original.ts';

export interface ResealParts extends Omit<SealingParts, 'outbox'> {
  readonly queue: Pick<QueueStore, 'newBody' | 'readHeld'>;
}

export interface HeldMessage {
  readonly held: HeldRow;
  readonly facts: HeldFacts;
  readonly content: Content;
  readonly contentKey: Buffer;
  /** Its fields are those that came in; its body is cut. */
  readonly original: Pick<Message, 'fields'>;
  readonly envelope: Envelope;
}

export interface Resealed {
  readonly as: Release;
  /** Undoes a new body that came to nothing. */
  discard(): Promise<void>;
}

const NOTHING = Buffer.alloc(0);
const nothingToDiscard = async (): Promise<void> => {};

/** A copy for the archive: it looks outside as it was made to, whatever rules say today. */
export async function resealCopy(parts: ResealParts, about: HeldMessage, reader: SealedReader): Promise<Resealed> {
  const { held, content } = about;
  const { sender, needsSmtputf8 } = held;
  const outside = held.header.subarray(0, held.header.length - sealedHeader(NOTHING, content.cipher).length);
  const look = { header: sealedHeader(outside, reader.form.cipher), sender, needsSmtputf8 };
  return reader.form.cipher === content.cipher ? underNewPrefix(about, reader, look) : encryptedAnew(parts, about, reader, look, NOTHING);
}

export async function resealAs(parts: ResealParts, about: HeldMessage, reader: SealedReader): Promise<Resealed> {
  const { facts, content } = about;
  const lack = lackOf(facts.inside, reader.dress);
  const lacking = await fieldsOf(about, lack.fields);
  const sameInside = lacking.length === 0 && !lack.signature && !lack.shownSubject;
  const { sign } = readInside(facts.inside);
  if (!sameInside && sign === null) return sealedAnew(parts, about, reader);
  const look = await lookOf(parts, about, reader);
  if (sameInside && reader.form.cipher === content.cipher) return underNewPrefix(about, reader, look);
  // What the site signed stays as it is, and what must not be lost stands in front of it.
  return encryptedAnew(parts, about, reader, look, lacking);
}

/** The octets of fields that are shown outside today. */
async function fieldsOf({ held }: HeldMessage, keys: readonly string[]): Promise<Buffer> {
  const fields = await outerFields(held.header);
  return Buffer.concat(fields.filter(({ key }) => keys.includes(key)).map(({ octets }) => octets));
}

type Look = Pick<Release, 'header' | 'sender' | 'needsSmtputf8'>;

async function underNewPrefix({ held, content, contentKey }: HeldMessage, reader: SealedReader, look: Look): Promise<Resealed> {
  const prefix = await prefixUnder(content, contentKey, reader.certificates, reader.form.keyTransport);
  return { as: { ...look, prefix, suffix: held.suffix }, discard: nothingToDiscard };
}

/** The inside streams as it is from the one cipher into the other. */
async function encryptedAnew(
  { queue, randomBytes }: ResealParts,
  { held, content, contentKey }: HeldMessage,
  reader: SealedReader,
  look: Look,
  inFront: Buffer,
): Promise<Resealed> {
  const writer = queue.newBody();
  const sealer = sealBody(reader.form.cipher, writer, randomBytes);
  try {
    await sealer.write(inFront);
    for await (const octets of decrypted(queue.readHeld(held), content, contentKey)) await sealer.write(octets);
    const sealed = await sealer.end();
    const prefix = await sealed.prefixFor(reader.certificates, reader.form.keyTransport);
    const body = await writer.finish();
    return { as: { ...look, prefix, suffix: sealed.suffix, body }, discard: () => writer.discard() };
  } catch (error) {
    await writer.discard();
    throw error;
  } finally {
    sealer.forget();
  }
}

/** All of the message goes through the seal once more, as if it came in now. */
async function sealedAnew(parts: ResealParts, about: HeldMessage, { dress, ...reader }: SealedReader): Promise<Resealed> {
  const { held, facts, content, contentKey, envelope } = about;
  const message = await wholeOriginal(held.header, decrypted(parts.queue.readHeld(held), content, contentKey));
  const { show, signed } = readInside(facts.inside);
  // Once shown, the text has it already.
  const subject = show ? unshown(dress.subject) : dress.subject;
  const outer = outerBlock(message.fields, { ...outside(parts, about), envelope });
  const sealing = new Sealing({ ...parts, outbox: parts.queue }, { id: held.queueId, envelope, message, signed, outer });
  try {
    await sealing.begin([{ ...reader, dress: { ...dress, subject } }]);
    for await (const chunk of message.body) await sealing.write(chunk);
    const [made] = await sealing.end();
    const [body] = await sealing.stored();
    if (made === undefined || body === undefined) throw new Error('a reader without a sealed body');
    const { header, prefix, suffix, sender, needsSmtputf8 } = made;
    return { as: { header, prefix, suffix, sender, needsSmtputf8, body }, discard: () => sealing.discard() };
  } catch (error) {
    await sealing.discard();
    throw error;
  } finally {
    sealing.forget();
  }
}

/** The same outside, and nothing of it in the text. */
const unshown = (subject: SubjectPolicy): SubjectPolicy =>
  subject.kind === 'replace' ? { kind: subject.kind, template: subject.template } : subject;

const outside = ({ hostname, now }: ResealParts, { held }: HeldMessage) =>
  ({ queueId: held.queueId, hostname, now: new Date(now()), again: true }) as const;

/** The outside of today, by the same code as on the path: a message of the same fields without a body, of which only the outside is taken. */
async function lookOf(parts: ResealParts, about: HeldMessage, reader: SealedReader): Promise<Look> {
  const { held, envelope, original } = about;
  const fields = original.fields;
  const message = { fields, lookAhead: NOTHING, whole: true, body: empty() };
  const outer = outerBlock(fields, { ...outside(parts, about), envelope });
  const { sign: _, ...rest } = reader.dress;
  const dress = { ...rest, subject: unshown(rest.subject) };
  const outbox = {
    newBody: () => ({ write: nothingToDiscard, finish: () => Promise.reject(new Error('nothing is kept')), discard: nothingToDiscard }),
  };
  const sealing = new Sealing({ ...parts, outbox }, { id: held.queueId, envelope, message, signed: true, outer });
  try {
    await sealing.begin([{ ...reader, dress }]);
    const [made] = await sealing.end();
    if (made === undefined) throw new Error('a reader without an outside');
    return { header: made.header, sender: made.sender, needsSmtputf8: made.needsSmtputf8 };
  } finally {
    sealing.forget();
  }
}

async function* empty(): AsyncGenerator<Buffer> {}
