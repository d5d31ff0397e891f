/**
 * The queue: where a sealed message waits until every recipient's copy has ended (P1, P4, P7, P10).
 *
 * A row per recipient; one shared ciphertext for all rows that share (cipher, inner entity). A row's states:
 *
 *   enqueue ─▶ ready ─claim─▶ leased ─settle─▶ delivered     the row leaves the queue; the audit log keeps the fact
 *                ▲              │  ├─────────▶ deferred      waits for `dueAt`, then is claimed like `ready`
 *                │              │  ├─────────▶ bounced       failed for good; stays, visible and sealed, until kept_bounced is over
 *                │              │  └─────────▶ damaged       does not fit its checksums; stays until an operator removes it
 *                └── retry ─────┴── (operator) from deferred and bounced
 *   removed: by a named operator, from any state but leased.
 *   Where a place with an upstream is free as it is queued, a row begins as `leased`.
 *
 *   enqueue ─▶ held ─release─▶ ready     sealed to the site's hold certificate; never due, never claimed, until it is sealed to its reader
 *               ▲ ├──endHeld─▶ bounced   held for too long; `retry` holds it again, and only a release makes it ready
 *               └─┼────┘
 *                 └─damageHeld─▶ damaged   as above
 *
 * A row found `leased` at start belonged to a relay that died. It becomes `ready`; where it had been marked past the dot,
 * the upstream may have taken it, and an `ambiguous` audit event says so.
 *
 * A notice (RFC 3464) is a message of its own, written by the `settle` of the row it tells of: one transaction, so that no crash
 * between them loses or doubles it. It holds facts and an empty body; delivery composes it while sending.
 *
 * Duties. The queue: what `enqueue`, `settle`, `retry` and `remove` resolved is durable (fsync), with the audit events handed
 * over in the same transaction. The caller: `enqueue` before 250; `passDot` before the final dot of a DATA; `settle` every
 * lease once. The shared body is deleted when no row names it any more.
 */
import type { AuditEvent } from '../audit.ts';
import type { SealpostError } from '../errors.ts';
import type { Notify } from '../message/envelope.ts';
import type { CertificateUse, KnownStore } from './known.ts';
import type { RecordStore } from './records.ts';

/** Takes ciphertext only; a buffer belongs to the writer once it is handed over. Small bodies stay in memory for the row, large ones go to a file, synced by `finish`. */
export interface BodyWriter {
  write(ciphertext: Buffer): Promise<void>;
  /** Durable on resolve, where it is a file. */
  finish(): Promise<StoredBody>;
  /** Forgets and deletes what was written; safe at any time, and does nothing once the body is enqueued. */
  discard(): Promise<void>;
}

export interface StoredBody {
  /** Octets of ciphertext. */
  readonly length: number;
  readonly sha256: Buffer;
  readonly content: { readonly kind: 'inline'; readonly bytes: Buffer } | { readonly kind: 'file'; readonly name: string };
}

/** One recipient's message in front of and behind the shared ciphertext. */
export interface NewRecipient {
  readonly address: string;
  /** What MAIL says to the upstream for this row; '' is the null reverse-path. */
  readonly sender: string;
  readonly notify: Notify;
  /** As it was sent, xtext left in it; null where there was none. */
  readonly orcpt: string | null;
  /** Index into NewMessage.bodies. */
  readonly body: number;
  /** The outer header block, ASCII (or UTF-8 under SMTPUTF8), CRLF, its empty line included. */
  readonly header: Buffer;
  /** The DER in front of the ciphertext, and behind it (empty for CBC). */
  readonly prefix: Buffer;
  readonly suffix: Buffer;
  readonly needsSmtputf8: boolean;
  /** Where it is not to be sent as it is, what it is and the facts of it as JSON, opaque to the queue; covered by the row's checksum. */
  readonly kept?: Kept | undefined;
}

/**
 * `held`: sealed to the site's hold certificate; waits for its release, and is not due. `spooled`: passed in clear by a rule; the body is
 * the whole message under the spool key, header, prefix and suffix are empty.
 */
export interface Kept {
  readonly kind: 'held' | 'spooled';
  readonly facts: string;
}

export interface NewMessage {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly acceptedAt: number;
  /** The sender as it was accepted; '' is the null reverse-path. */
  readonly sender: string;
  /** Octets as they came in. */
  readonly size: number;
  /** As it was sent, xtext left in it; null where there was none. */
  readonly envid: string | null;
  /** The mailbox of the user who authenticated; null where there is none. */
  readonly submitter: string | null;
  /** The facts of a notice, as JSON; null for mail that was accepted. Opaque to the queue. */
  readonly notice: string | null;
  readonly bodies: readonly StoredBody[];
  readonly recipients: readonly NewRecipient[];
}

/** A claimed row: this process alone may attempt it, until it is settled. */
export interface Lease {
  readonly row: number;
  readonly queueId: string;
  readonly acceptedAt: number;
  /** Since when it can be attempted (ms): its release where it was held, else when it was accepted. */
  readonly waitsSince: number;
  /** What MAIL says to the upstream; '' is the null reverse-path. */
  readonly sender: string;
  /** The sender as it was accepted. */
  readonly originalSender: string;
  readonly recipient: string;
  readonly notify: Notify;
  readonly orcpt: string | null;
  readonly envid: string | null;
  readonly submitter: string | null;
  /** Of a notice: its facts as JSON. Header, prefix, suffix and body are empty then. */
  readonly notice: string | null;
  /** Of a message that was passed in clear: its facts as JSON; the body is in the form of the spool. */
  readonly spooled: string | null;
  /** A notice of its delay was written. */
  readonly delayNoticed: boolean;
  readonly needsSmtputf8: boolean;
  /** Attempts settled before this one, those that do not count left out. */
  readonly attempts: number;
  readonly header: Buffer;
  readonly prefix: Buffer;
  readonly suffix: Buffer;
  /** Octets of ciphertext: header.length and the lengths tell the exact size on the wire. */
  readonly bodyLength: number;
}

/** A row that is held, as whoever releases it must know it. The octets are those sealed to the hold certificate. */
export interface HeldRow extends Pick<
  Lease,
  'row' | 'queueId' | 'acceptedAt' | 'originalSender' | 'recipient' | 'notify' | 'orcpt' | 'envid' | 'submitter' | 'needsSmtputf8'
> {
  /** Octets as they came in. */
  readonly size: number;
  /** What MAIL was to say to the upstream when it was held; '' is the null reverse-path. */
  readonly sender: string;
  readonly header: Buffer;
  readonly prefix: Buffer;
  readonly suffix: Buffer;
  /** Octets of ciphertext. */
  readonly bodyLength: number;
  /** Kept.facts. */
  readonly facts: string;
  /** Since when it waits (ms): when it was accepted, or when `retry` held it again. No checksum covers it. */
  readonly heldSince: number;
}

/** What a held row becomes: sealed to its reader. `body`: in the place of the ciphertext that is stored, where that does not do. */
export interface Release extends Pick<NewRecipient, 'header' | 'prefix' | 'suffix' | 'sender' | 'needsSmtputf8'> {
  readonly body?: StoredBody | undefined;
}

export type Outcome =
  | { readonly kind: 'delivered' }
  /** `dueAt`: ms since the epoch of the next attempt. `counts` false: nobody judged the message, `attempts` stays as it is. */
  | { readonly kind: 'deferred'; readonly dueAt: number; readonly reason: string; readonly counts?: false }
  | { readonly kind: 'bounced'; readonly reason: string }
  | { readonly kind: 'damaged'; readonly reason: string };

/** What settling a row writes beside it, in the same transaction. */
export interface Telling {
  /** Null where a delay is told to nobody. */
  readonly notice: NewMessage | null;
  /** True where it is about a delay: of each row one is told. */
  readonly ofDelay: boolean;
}

export const recipientStates = ['ready', 'leased', 'deferred', 'held', 'bounced', 'damaged'] as const;

export type RecipientState = (typeof recipientStates)[number];

/** One row as `queue list` and `queue show` print it. */
export interface QueueEntry {
  readonly queueId: string;
  readonly recipient: string;
  readonly sender: string;
  readonly state: RecipientState;
  readonly acceptedAt: number;
  readonly dueAt: number | null;
  /** When its state was written last (ms). */
  readonly changedAt: number;
  readonly attempts: number;
  readonly size: number;
  readonly reason: string | null;
  /** Of a notice: its facts as JSON. */
  readonly notice: string | null;
  /** Where it is held, was held until it bounced, or passes in clear. */
  readonly kept: Kept | null;
}

export interface QueueStats {
  readonly states: Readonly<Record<RecipientState, number>>;
  /** Recipients, not messages, since the queue was made: accepted = those in `states` + delivered + removed + pruned bounces. */
  readonly totals: {
    readonly accepted: number;
    readonly delivered: number;
    readonly bounced: number;
    readonly removed: number;
    readonly ambiguous: number;
  };
  readonly bodyBytes: number;
  readonly oldestAcceptedAt: number | null;
  /** When the message that is held longest was accepted; null where none is held. */
  readonly oldestHeldAt: number | null;
}

export interface EntryFilter {
  readonly queueId?: string;
  readonly recipient?: string;
  readonly state?: RecipientState;
  /** Not for a database that no relay has opened since an update. */
  readonly kept?: Kept['kind'];
}

export interface QueueStore {
  newBody(): BodyWriter;
  /**
   * Durable on resolve, bodies, rows and events together; on rejection nothing of it is there. `uses`: what was sealed to; a
   * changed certificate adds its event. Throws `lookup-unavailable` where a pin stands against one. `notices`: messages of our own
   * that tell of it (a recipient refused, a message held), in the same transaction.
   */
  enqueue(
    message: NewMessage,
    events: readonly AuditEvent[],
    uses?: readonly CertificateUse[],
    notices?: readonly NewMessage[],
  ): Promise<void>;
  /**
   * As `enqueue`; the first rows that can be sent, `places` at most, are leased in the same transaction, as if they had been claimed at
   * once. `read` has them without asking the disk again, where they are small.
   */
  enqueueLeased(
    message: NewMessage,
    events: readonly AuditEvent[],
    uses: readonly CertificateUse[] | undefined,
    notices: readonly NewMessage[] | undefined,
    places: number,
  ): Promise<Lease[]>;
  /**
   * Why `enqueue` would refuse any message at this moment: `storage-full`, `audit-failed`, `storage-failed`, the answers of the very guards
   * that it passes; or most messages: `storage-refused`, `descriptors-exhausted`. Each cause once; none where it would take one. Never
   * rejects, and waits for a disk that hangs.
   */
  refusals(): Promise<readonly SealpostError[]>;
  /**
   * Up to `limit` rows that are due at `now` (ms), oldest due first; they become `leased`. Rows that wait and were written later
   * than `now`, by a clock that has been set back since, are due too. A row that does not fit its checksum becomes `damaged`
   * instead, with an event.
   */
  claim(now: number, limit: number): Promise<Lease[]>;
  /** When the next row falls due (ms); undefined where none waits. */
  nextDue(): Promise<number | undefined>;
  /** The ciphertext of a lease, in order. Throws `queue-item-damaged` before its end where length or SHA-256 of the body do not fit. */
  read(lease: Lease): AsyncIterable<Buffer>;
  /** Durable mark: from here on the upstream may have it. */
  passDot(lease: Lease): Promise<void>;
  /** A message of the null sender that a FOLLOWED record names is marked there once it is delivered, in the same transaction. */
  settle(lease: Lease, outcome: Outcome, events: readonly AuditEvent[], telling?: Telling): Promise<void>;
  /**
   * Held rows that the filter names, behind the row `after` (0 at first), in their order: `limit` at most, and fewer where that would hold
   * up the mail; none is the end of them. One that does not fit its checksum becomes `damaged` instead.
   */
  heldRows(filter: EntryFilter, after: number, limit: number): Promise<HeldRow[]>;
  /** Its ciphertext, held to length and SHA-256 as in `read`. */
  readHeld(held: HeldRow): AsyncIterable<Buffer>;
  /**
   * Ready and due now, sealed as `as` says; events and `uses` (as in `enqueue`) in the same transaction. False where the row is held no
   * more as `held`, the very object that `heldRows` gave, has it: then nothing is changed, and `as.body` is the caller's to discard.
   */
  release(held: HeldRow, as: Release, events: readonly AuditEvent[], uses?: readonly CertificateUse[]): Promise<boolean>;
  /** Held for too long: bounced, with the notice that tells of it. False as in `release`. */
  endHeld(
    held: HeldRow,
    outcome: Extract<Outcome, { kind: 'bounced' }>,
    events: readonly AuditEvent[],
    telling?: Telling,
  ): Promise<boolean>;
  /**
   * Found damaged by whoever read it: it becomes `damaged`, with an event, as a row that does not fit its checksum. `reason` is static
   * text. False as in `release`.
   */
  damageHeld(held: HeldRow, reason: string): Promise<boolean>;
  /** Events that change no row of the queue (started, stopped); `uses` as in `enqueue`, of a notice sealed while it is sent. */
  record(events: readonly AuditEvent[], uses?: readonly CertificateUse[]): Promise<void>;
  /** Which certificates mail was sealed to. */
  readonly known: KnownStore;
  /** What other parts keep beside the mail. */
  readonly records: RecordStore;
  /**
   * Operator's changes, with who asked; each answers how many rows it changed and writes the audit events itself. `retry` takes
   * deferred and bounced rows and makes them due at `now`, those that were held until they bounced held again; `remove` takes all but
   * leased ones.
   */
  retry(filter: EntryFilter, now: number, operator: string): Promise<number>;
  remove(filter: EntryFilter, operator: string): Promise<number>;
  /** Deletes bounced rows whose bounce is older than `before` (ms since the epoch), never held ones; answers how many. */
  prune(before: number): Promise<number>;
  /** Oldest first. */
  list(filter: EntryFilter, limit: number): Promise<QueueEntry[]>;
  stats(): Promise<QueueStats>;
  /** Waits for what is under way (bodies being written are the caller's), appends the audit events, frees the lock. */
  close(): Promise<void>;
}
