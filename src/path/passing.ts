/**
 * One message on its way past the seal, for those whose rule passes it: as it came, under the spool key (P2, P3). One body serves all of
 * them. Whether it may pass at all is known at its end: what it may not is refused for good, and nothing of it is kept.
 */
import { SealpostError } from '../errors.ts';
import { charsetOf, passedHeader, Watch } from '../message/passed.ts';
import type { OuterOptions } from '../message/outer.ts';
import type { PassedReader, Refused } from './plan.ts';
import type { BodyWriter, NewRecipient, QueueStore, StoredBody } from '../queue/queue.ts';
import { type Spool, type SpoolFacts, type SpoolWriter } from '../queue/spool/spool.ts';
import { makeSealedCheck, type SealedCheck, type SealedVerdict } from '../seal/came-sealed/check.ts';
import type { Making, Original } from './sealing.ts';

export interface PassingParts {
  readonly hostname: string;
  readonly outbox: Pick<QueueStore, 'newBody'>;
  /** How passed mail lies in the queue. Absent: nothing can be passed. */
  readonly spool?: Spool | undefined;
  readonly largest: () => number | undefined;
  readonly now: () => number;
}

/** How the message came, as its end shows. `bareEnds`: with line ends other than CRLF. */
interface Came {
  readonly bareEnds: boolean;
  readonly octets: number;
}

/** What comes of it: rows, and those who get none. */
export interface Passed {
  readonly recipients: readonly NewRecipient[];
  readonly refused: readonly Refused[];
}

const nothing = Buffer.alloc(0);
const CRLF = Buffer.from('\r\n');

export class Passing implements Making {
  readonly #parts: PassingParts;
  readonly #original: Original;
  readonly #readers: readonly PassedReader[];
  readonly #watch = new Watch();
  readonly #header: Buffer;
  #body: { readonly spool: SpoolWriter; readonly writer: BodyWriter } | undefined;
  readonly #sealed: SealedCheck | undefined;
  #complete = false;

  /** Throws `pass-unavailable`. */
  constructor(parts: PassingParts, original: Original, readers: readonly PassedReader[]) {
    this.#parts = parts;
    this.#original = original;
    this.#readers = readers;
    const { envelope, id, message } = original;
    const options: OuterOptions = { envelope, queueId: id, hostname: parts.hostname, now: new Date(parts.now()) };
    this.#header = passedHeader(message.fields, options);
    this.#sealed = readers.some(({ sealed }) => sealed) ? makeSealedCheck(message.fields) : undefined;
  }

  /** Once, and first. */
  async begin(): Promise<void> {
    const { spool, outbox } = this.#parts;
    const [first] = this.#readers;
    if (first === undefined) return;
    if (spool === undefined) throw new SealpostError('pass-unavailable', { detail: `rule ${first.rule}` });
    const writer = outbox.newBody();
    this.#body = { writer, spool: spool.writer(writer) };
    await this.#write(this.#header);
  }

  async write(chunk: Buffer): Promise<void> {
    // Nobody is passed anything: there is nothing to look at.
    if (this.#body === undefined) return;
    this.#sealed?.write(chunk);
    await this.#write(chunk);
  }

  async #write(chunk: Buffer): Promise<void> {
    this.#watch.write(chunk);
    await this.#body?.spool.write(chunk);
  }

  /** `body`: the index that the message's row will have for it. */
  async end(body: number, { bareEnds, octets }: Came): Promise<Passed> {
    if (this.#body === undefined) return { recipients: [], refused: [] };
    if (!this.#watch.seen().ended) await this.#write(CRLF);
    await this.#body.spool.end();
    const unfit = this.#faultOf(bareEnds);
    const verdict = this.#sealed?.end();
    const recipients: NewRecipient[] = [];
    const refused: Refused[] = [];
    for (const reader of this.#readers) {
      const error = unfit ?? sealFault(reader, verdict) ?? sizeFault(reader, octets);
      if (error === undefined) recipients.push(this.#rowOf(reader, body, this.#body.spool));
      else refused.push({ kind: 'refused', recipient: reader.recipient, asked: reader.asked, rule: reader.rule, error });
    }
    this.#complete = recipients.length > 0;
    return { recipients, refused };
  }

  /** What keeps it from going on as it came. */
  #faultOf(bareEnds: boolean): SealpostError | undefined {
    const unfit = (detail: string): SealpostError => new SealpostError('pass-malformed', { detail });
    const { octets, linesFit } = this.#watch.seen();
    const largest = this.#parts.largest();
    if (largest !== undefined && octets > largest)
      return new SealpostError('message-too-big', { detail: `the upstream takes ${largest} octets` });
    if (bareEnds) return unfit('a line ends in a bare CR or LF');
    if (!linesFit) return unfit('a line has more than 998 octets');
    return charsetOf(this.#header) === 'neither' ? unfit('its header is neither ASCII nor UTF-8') : undefined;
  }

  #rowOf({ recipient, asked, envelopeFrom }: PassedReader, body: number, spool: SpoolWriter): NewRecipient {
    const { id: queueId, envelope } = this.#original;
    const { octets, eightBit } = this.#watch.seen();
    const sender = envelope.sender === null ? null : (envelopeFrom ?? envelope.sender);
    const smtputf8 = charsetOf(this.#header) === 'utf-8';
    const facts: SpoolFacts = { size: octets, eightBit: eightBit || envelope.eightBit === true, smtputf8 };
    const row = { queueId, sender: sender?.address ?? '', recipient: recipient.address };
    return {
      address: row.recipient,
      sender: row.sender,
      notify: asked.notify,
      orcpt: asked.orcpt,
      body,
      header: nothing,
      prefix: nothing,
      suffix: nothing,
      needsSmtputf8: smtputf8 || recipient.needsSmtputf8 || sender?.needsSmtputf8 === true,
      kept: { kind: 'spooled', facts: spool.factsFor(row, facts) },
    };
  }

  /** None where nobody is passed anything. */
  async stored(): Promise<StoredBody[]> {
    if (this.#body === undefined) return [];
    if (this.#complete) return [await this.#body.writer.finish()];
    await this.#body.writer.discard();
    return [];
  }

  async discard(): Promise<void> {
    await this.#body?.writer.discard();
  }

  forget(): void {
    this.#body?.spool.forget();
  }
}

/** Where it passes because it came sealed to its reader, it is that to its last octet (A12). */
function sealFault({ sealed, certificates }: PassedReader, verdict: SealedVerdict | undefined): SealpostError | undefined {
  if (!sealed) return undefined;
  if (verdict?.kind !== 'sealed') return new SealpostError('sealed-malformed', { detail: verdict?.reason ?? 'it was not read' });
  return verdict.isSealedFor(certificates) ? undefined : new SealpostError('sealed-malformed', { detail: 'it names other readers' });
}

/** Decided was by what MAIL declared; a client may declare anything, and nothing. */
function sizeFault({ rule, passesAt }: PassedReader, octets: number): SealpostError | undefined {
  if (passesAt(octets)) return undefined;
  return new SealpostError('policy-refused', { detail: `rule ${rule} passes it only with another size: MAIL must declare the right one` });
}
