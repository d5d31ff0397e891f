/**
 * What the two threads of the SQLite queue say to each other. The main thread asks, the worker answers once the change is
 * committed. Octets travel in arrays of their own: cloning a small Buffer would clone the whole pool it was cut from.
 */
import type { AuditEvent, AuditHead } from '../audit.ts';
import type { ErrorCode } from '../errors.ts';
import type { Approval, CertificateUse, KnownCertificate, KnownFilter, KnownPlace } from './known.ts';
import type { RecordChange, StoredRecord } from './records.ts';
import type { EntryFilter, Kept, Outcome, QueueEntry, QueueStats } from './queue.ts';

/** Kept, as it is stored. `released`: it was held until `facts`, ms since the epoch. */
export type StoredKept = Kept | { readonly kind: 'released'; readonly facts: string };

export interface StoredBodyRow {
  readonly length: number;
  readonly sha256: Uint8Array;
  /** Exactly one of the two. */
  readonly bytes: Uint8Array | null;
  readonly file: string | null;
}

export interface StoredRecipient {
  readonly address: string;
  readonly sender: string;
  /** As NOTIFY= has it. */
  readonly notify: string | null;
  readonly orcpt: string | null;
  readonly body: number;
  readonly header: Uint8Array;
  readonly prefix: Uint8Array;
  readonly suffix: Uint8Array;
  /** sealedHash() of the row. */
  readonly sha256: Uint8Array;
  readonly needsSmtputf8: boolean;
  readonly kept: StoredKept | null;
}

export interface StoredMessage {
  readonly id: string;
  readonly acceptedAt: number;
  readonly sender: string;
  readonly size: number;
  readonly envid: string | null;
  readonly submitter: string | null;
  readonly notice: string | null;
  readonly bodies: readonly StoredBodyRow[];
  readonly recipients: readonly StoredRecipient[];
}

/** Telling, as it crosses the threads. */
export interface StoredTelling {
  readonly notice: StoredMessage | null;
  readonly ofDelay: boolean;
}

/** A row that was leased by the transaction that wrote it, and which of the message's recipients it is. */
export interface LeasedAsQueued {
  readonly row: number;
  readonly recipient: number;
}

/** A leased row as the worker reads it: the lease and what `read` needs to check it. */
export interface LeasedRow extends StoredRecipient {
  readonly row: number;
  readonly queueId: string;
  readonly acceptedAt: number;
  readonly originalSender: string;
  readonly envid: string | null;
  readonly submitter: string | null;
  readonly notice: string | null;
  readonly delayNoticed: boolean;
  readonly attempts: number;
  readonly bodyLength: number;
  readonly bodySha256: Uint8Array;
  readonly bodyFile: string | null;
  /** Its body, where that is in the database and was read along with it. */
  readonly bytes?: Uint8Array | null;
}

/** A held row as the worker reads it. */
export interface StoredHeld extends LeasedRow {
  /** Octets of the message as they came in. */
  readonly size: number;
  readonly changedAt: number;
}

export interface HeldPage {
  readonly rows: readonly StoredHeld[];
  /** The row that was looked at last; null at the end. */
  readonly next: number | null;
}

/** A row that is held as somebody has read it: its number and its checksum. */
export interface HeldAs {
  readonly row: number;
  readonly was: Uint8Array;
}

/** What a held row becomes; its checksum covers `at`, ms since the epoch, as the time of its release. */
export interface StoredRelease extends Pick<StoredRecipient, 'header' | 'prefix' | 'suffix' | 'sender' | 'needsSmtputf8' | 'sha256'> {
  readonly at: number;
  readonly body: StoredBodyRow | null;
}

/** An operator's change goes in steps of rows, so that a million of them does not hold up the mail. */
export interface Step {
  readonly changed: number;
  /** Where the next step begins; null after the last. */
  readonly next: number | null;
}

/** Octets of an enqueue, about: what it takes in memory on either side, and in the transaction. */
export function octetsOf({ bodies, recipients }: StoredMessage): number {
  const inline = bodies.map(({ bytes }) => bytes?.length ?? 0);
  const sealed = recipients.map(({ header, prefix, suffix }) => header.length + prefix.length + suffix.length);
  return [...inline, ...sealed].reduce((sum, octets) => sum + octets, 0);
}

/** Per operation what is asked and what is answered. Times are ms since the epoch. */
export interface Operations {
  /** Answers the events that tell of a changed certificate, and the rows that are leased: the first that can be sent. */
  enqueue: {
    ask: {
      readonly message: StoredMessage;
      readonly events: readonly AuditEvent[];
      readonly uses: readonly CertificateUse[];
      readonly notices: readonly StoredMessage[];
      /** How many rows at most. */
      readonly lease: number;
    };
    answer: { readonly changes: readonly AuditEvent[]; readonly leased: readonly LeasedAsQueued[] };
  };
  /** Fails as an enqueue would at this moment. */
  assertTakes: { ask: null; answer: null };
  claim: { ask: { readonly now: number; readonly limit: number }; answer: LeasedRow[] };
  nextDue: { ask: null; answer: number | null };
  bodyBytes: { ask: number; answer: Uint8Array | null };
  passDot: { ask: number; answer: null };
  settle: {
    ask: {
      readonly row: number;
      readonly outcome: Outcome;
      readonly events: readonly AuditEvent[];
      readonly telling: StoredTelling | null;
      /** Of a message that somebody may wait for. */
      readonly queueId: string | null;
    };
    answer: null;
  };
  heldPage: { ask: { readonly filter: EntryFilter; readonly after: number; readonly limit: number }; answer: HeldPage };
  /** Null where the row is not held any more as it was read; else as `enqueue`. */
  release: {
    ask: HeldAs & { readonly as: StoredRelease; readonly events: readonly AuditEvent[]; readonly uses: readonly CertificateUse[] };
    answer: readonly AuditEvent[] | null;
  };
  endHeld: {
    ask: HeldAs & { readonly reason: string; readonly events: readonly AuditEvent[]; readonly telling: StoredTelling | null };
    answer: boolean;
  };
  damageHeld: { ask: HeldAs & { readonly reason: string }; answer: boolean };
  record: { ask: { readonly events: readonly AuditEvent[]; readonly uses: readonly CertificateUse[] }; answer: readonly AuditEvent[] };
  retry: { ask: { readonly filter: EntryFilter; readonly now: number; readonly operator: string; readonly from: number }; answer: Step };
  remove: { ask: { readonly filter: EntryFilter; readonly operator: string; readonly from: number }; answer: Step };
  prune: { ask: { readonly before: number; readonly from: number }; answer: Step };
  known: { ask: string; answer: readonly KnownCertificate[] };
  knownPage: { ask: { readonly since: number; readonly after: KnownPlace | null }; answer: readonly KnownCertificate[] };
  wait: { ask: CertificateUse; answer: readonly AuditEvent[] };
  approve: { ask: { readonly filter: KnownFilter; readonly operator: string }; answer: Approval };
  forget: { ask: { readonly filter: KnownFilter; readonly operator: string }; answer: number };
  pruneKnown: { ask: null; answer: Step };
  records: { ask: string; answer: readonly StoredRecord[] };
  getRecord: { ask: { readonly kind: string; readonly key: string }; answer: StoredRecord | null };
  changeRecords: { ask: { readonly changes: readonly RecordChange[]; readonly events: readonly AuditEvent[] }; answer: boolean };
  list: { ask: { readonly filter: EntryFilter; readonly limit: number }; answer: QueueEntry[] };
  stats: { ask: null; answer: QueueStats };
  auditHead: { ask: null; answer: AuditHead };
  /** `keep`: ms. Answers how many segments of the audit log are deleted. */
  pruneAudit: { ask: { readonly keep: number }; answer: number };
}

export type Operation = keyof Operations;

export type Request = {
  [O in Operation]: { readonly id: number; readonly at: number; readonly operation: O; readonly ask: Operations[O]['ask'] };
}[Operation];

/** What is posted at once: all that was asked in one turn of the event loop. */
export type Posted = readonly (Request | CloseRequest)[];

/** Ends the worker: what came before it is done, the audit file is written, the lock is free. */
export interface CloseRequest {
  readonly id: number;
  readonly operation: 'close';
}

/** An error as far as it crosses the threads; `cause` is text, for the log alone. */
export interface Failure {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  readonly cause: string;
}

/** `answer` has the type of the request it belongs to: `never` takes every one of them where it is received. */
export type WorkerMessage<Answer = never> =
  | { readonly kind: 'answer'; readonly id: number; readonly answer: Answer }
  | { readonly kind: 'failure'; readonly id: number; readonly failure: Failure }
  | {
      readonly kind: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly attributes: Record<string, unknown>;
    }
  /** Of one transaction, all at once: to wake the other thread costs more than the answers do. */
  | { readonly kind: 'answers'; readonly answers: readonly WorkerMessage<Answer>[] }
  /** The database cannot be trusted to keep anything from here on. */
  | { readonly kind: 'stopped'; readonly failure: Failure };

/** What the worker is started with. Answers id 0 when the queue is open. */
export interface WorkerStart {
  readonly database: string;
  readonly bodies: string;
  readonly audit: string;
  readonly lock: string;
  /** Octets of audit lines that may wait for their file. */
  readonly auditBacklog: number;
  /** Octets above which the audit file is closed and a new one goes on. */
  readonly auditRotate: number;
  /** The file of the key that addresses are hashed with; null where they stand in clear. */
  readonly auditKey: string | null;
  readonly at: number;
}
