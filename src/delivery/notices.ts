/**
 * Who is told what became of a row (RFC 3461, RFC 3464), and the notice as a row of its own, for the settle that makes it so.
 *
 *   failed    bounced for good                      to the sender, unless NOTIFY is without FAILURE; a copy to the operator
 *   delayed   deferred, older than `delay`, once    to the sender, unless NOTIFY is without DELAY; a copy to the operator
 *   relayed   taken by an upstream without DSN      to the sender, where NOTIFY has SUCCESS
 *   held      sealed to the hold certificate        to the operator alone (of-held.ts)
 *
 * The sender is told where its domain is one of `domains`, since anybody else's may be forged; else the user who authenticated.
 * Nobody is told of mail from the null sender, and so of no notice either: loops cannot be (A17, A18).
 */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { AuditEvent } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { mailboxKey, parseMailbox, type Mailbox } from '../message/envelope.ts';
import { wants } from '../message/notify.ts';
import type { AddressPattern } from '../message/pattern.ts';
import type { Lease, NewMessage, QueueStore, StoredBody, Telling } from '../queue/queue.ts';
import { makeAge } from './age.ts';
import type { Conclusion } from './conclude.ts';
import { factsOf, factsOfRefusal, readFacts, writeFacts, type NoticeFacts } from './facts.ts';
import { composeNotice } from './notice.ts';
import { type HeldNotices, makeHeldNotices } from './of-held.ts';
import type { Result } from './result.ts';
import { makeWindow } from './window.ts';

/**
 * Seals a notice for its reader: the answer is what goes out, as it is where the reader has no usable certificate, since it holds
 * no content (P3). Throws `lookup-unavailable` while nobody knows whether there is one.
 */
export interface NoticeSealer {
  seal(notice: Buffer, reader: { readonly queueId: string; readonly recipient: Mailbox }): Promise<Buffer>;
}

export interface NoticeOptions {
  readonly hostname: string;
  /** Gets a copy of what fails and of what is late. */
  readonly operator: string;
  /** Senders who may be told; undefined where none may. */
  readonly domains: AddressPattern | undefined;
  /** Milliseconds after which a message that waits is told of. */
  readonly delay: number;
  /** Notices to one address; ALL_FACTOR times as many in all. */
  readonly rate: { readonly count: number; readonly per: number };
  /** Milliseconds for which a message is tried. */
  readonly maxAge: number;
  /** Milliseconds for which mail is held. */
  readonly holdMaxAge?: number;
  readonly sealer: NoticeSealer;
  readonly newId: () => string;
  readonly now: () => number;
  /** Milliseconds on a clock that nobody sets. */
  readonly elapsed: () => number;
  readonly log: Logger;
}

export interface Told extends Conclusion {
  readonly telling?: Telling;
}

/** A message that is taken for some of its recipients. */
export interface RefusedMessage extends Pick<NewMessage, 'id' | 'acceptedAt' | 'sender' | 'envid' | 'submitter'> {
  /** Its outer header. */
  readonly header: Buffer;
}

/** One of those for whom it is not. */
export interface RefusedRecipient extends Pick<Lease, 'recipient' | 'notify' | 'orcpt'> {
  readonly error: SealpostError;
}

/** `note`: which notice tells of it, or why none does; `events`: of the notice. */
export interface Written {
  readonly note: string;
  readonly notice?: NewMessage;
  readonly events: readonly AuditEvent[];
}

/** `facts` are asked for where somebody is told. */
export type Write = (kind: NoticeFacts['kind'], about: About, facts: () => NoticeFacts) => Written;

export interface Notices extends HeldNotices {
  /** The conclusion of an attempt, and what is told of it. */
  tell(lease: Lease, result: Result, conclusion: Conclusion): Told;
  /** What is told of a recipient that is refused while others of the message are taken; to be queued with the message. */
  refuse(message: RefusedMessage, refused: RefusedRecipient): Written;
  /** The octets of a leased notice. Throws `queue-item-damaged`, `lookup-unavailable`. */
  compose(lease: Lease, queue: Pick<QueueStore, 'read'>): Promise<Buffer>;
  /** Since start: written, and withheld by the rate. */
  counters(): { readonly notices: number; readonly noticesWithheld: number };
}

const ALL_FACTOR = 10;

const nothing = Buffer.alloc(0);
const emptyBody: StoredBody = { length: 0, sha256: createHash('sha256').digest(), content: { kind: 'inline', bytes: nothing } };

export function makeNotices(options: NoticeOptions): Notices {
  const { now, log, rate, newId } = options;
  const window = makeWindow({ perKey: rate.count, inAll: rate.count * ALL_FACTOR, per: rate.per, now });
  // Of its own: what is held in an hour without a directory must not keep a notice of what failed from anybody.
  const windowOfHeld = makeWindow({ perKey: rate.count, inAll: rate.count, per: rate.per, now });
  const ageOf = makeAge(options);
  const counts = { notices: 0, noticesWithheld: 0 };
  const write: Write = (kind, about, facts) => {
    const readers = readersOf(about, kind, options);
    const told = readers.filter((reader) => (kind === 'held' ? windowOfHeld : window).take(mailboxKey(reader)));
    const withheld = readers.length - told.length;
    if (withheld > 0) log.warn({ queue_id: about.queueId, kind, withheld }, 'notices were withheld, there are too many');
    counts.notices += told.length;
    counts.noticesWithheld += withheld;
    if (told.length === 0) return { note: withheld > 0 ? 'none, there are too many' : 'none, nobody wants it', events: [] };
    const notice = noticeRow(newId(), facts(), told);
    const events = told.map((reader) => written(notice.id, kind, about, reader));
    return { note: withheld > 0 ? `${notice.id}, and others withheld` : notice.id, notice, events };
  };
  return {
    ...makeHeldNotices({ ...options, write }),
    tell(lease, result, conclusion) {
      // At each attempt, so that a step of the clock is seen when it comes.
      const isLate = ageOf(lease.waitsSince) > options.delay;
      const kind = kindOf(lease, result, conclusion, isLate);
      if (kind === undefined) return conclusion;
      const ofDelay = kind === 'delayed';
      if (lease.notice !== null || lease.originalSender === '') {
        if (kind !== 'failed') return conclusion;
        log.error({ queue_id: lease.queueId }, 'bounced without a notice, the sender is null');
        return withNote(conclusion, 'none, the sender is null', []);
      }
      const { note, notice, events } = write(kind, lease, () => factsOf(kind, lease, result, conclusion, options));
      const noted = withNote(conclusion, note, events);
      return notice === undefined && !ofDelay ? noted : { ...noted, telling: { notice: notice ?? null, ofDelay } };
    },
    refuse(message, refused) {
      const about = { ...refused, queueId: message.id, originalSender: message.sender, submitter: message.submitter };
      if (message.sender === '') {
        log.error({ queue_id: message.id }, 'a recipient was refused without a notice, the sender is null');
        return { note: 'none, the sender is null', events: [] };
      }
      return write('failed', about, () => factsOfRefusal(message, refused, options));
    },
    async compose(lease, queue) {
      // Its body is empty; to read it is to hold the row to its checksum.
      for await (const octets of queue.read(lease)) void octets;
      const recipient = asMailbox(lease.recipient);
      if (recipient === undefined) throw new SealpostError('queue-item-damaged', { detail: 'a notice to no mailbox' });
      return options.sealer.seal(composeNotice(readFacts(lease.notice ?? ''), lease), { queueId: lease.queueId, recipient });
    },
    counters: () => counts,
  };
}

function kindOf(lease: Lease, result: Result, { outcome }: Conclusion, isLate: boolean): Exclude<NoticeFacts['kind'], 'held'> | undefined {
  switch (outcome.kind) {
    case 'bounced':
      return 'failed';
    case 'deferred': {
      // Broken off by a stop of the relay: the next attempt knows better what there is to tell.
      const stopped = result.kind === 'failed' && result.cause.code === 'shutting-down';
      return lease.delayNoticed || stopped || !isLate ? undefined : 'delayed';
    }
    case 'delivered':
      // An upstream with DSN tells by itself.
      return result.kind === 'delivered' && !result.dsn && wants(lease.notify, 'success') ? 'relayed' : undefined;
    case 'damaged':
      return undefined;
  }
}

const condition = { failed: 'failure', delayed: 'delay', relayed: 'success' } as const;

/** What a notice is about, as far as it decides who is told. */
export type About = Pick<Lease, 'queueId' | 'recipient' | 'originalSender' | 'submitter' | 'notify'>;

/** Each mailbox once. */
function readersOf(lease: About, kind: NoticeFacts['kind'], { domains, operator }: Pick<NoticeOptions, 'domains' | 'operator'>): Mailbox[] {
  if (kind === 'held') return [asMailbox(operator)].filter((one) => one !== undefined);
  const sender = asMailbox(lease.originalSender);
  const known = sender !== undefined && domains?.matches(sender) === true ? sender : asMailbox(lease.submitter ?? '');
  const readers = [wants(lease.notify, condition[kind]) ? known : undefined, kind === 'relayed' ? undefined : asMailbox(operator)];
  const byKey = readers.flatMap((reader) => (reader === undefined ? [] : [[mailboxKey(reader), reader] as const]));
  return [...new Map(byKey).values()];
}

/** From the null sender, so that nothing answers it; NEVER, as RFC 3461 §6.1 has it for notices. */
function noticeRow(id: string, facts: NoticeFacts, readers: readonly Mailbox[]): NewMessage {
  const parts = { body: 0, header: nothing, prefix: nothing, suffix: nothing, sender: '', notify: new Set<never>(), orcpt: null };
  const recipients = readers.map(({ address, needsSmtputf8 }) => ({ address, needsSmtputf8, ...parts }));
  const asked = { envid: null, submitter: null };
  return { id, acceptedAt: facts.writtenAt, sender: '', size: 0, ...asked, notice: writeFacts(facts), bodies: [emptyBody], recipients };
}

const written = (id: string, kind: NoticeFacts['kind'], lease: About, reader: Mailbox): AuditEvent => ({
  event: 'notice',
  queue_id: id,
  recipient: reader.address,
  kind,
  about: lease.queueId,
  about_recipient: lease.recipient,
});

/** The outcome says which notice tells of it, or why none does; what was written stands behind it. */
function withNote(conclusion: Conclusion, note: string, events: readonly AuditEvent[]): Conclusion {
  const outcome = conclusion.events.map((event) => (event.event === conclusion.outcome.kind ? { ...event, notice: note } : event));
  return { ...conclusion, events: [...outcome, ...events] };
}

/** Addresses were parsed when they came in; what is none any more was damaged on the disk, and nobody is told there. */
function asMailbox(address: string): Mailbox | undefined {
  const verdict = parseMailbox(address);
  return verdict.kind === 'mailbox' ? verdict.mailbox : undefined;
}
