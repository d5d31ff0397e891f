/**
 * Small durable records beside the mail: what the in-house CA issued, what was harvested and waits, who was told of an expiry. The
 * queue knows of each only a kind, a key and a text; what changes is in the audit log by the same transaction.
 *
 * Duties. The queue: all changes of one call hold, with their events, or none. The caller: owns its kind, reads its own texts with
 * distrust, and says by `was` what it took for granted where another change may have come between.
 */
import type { AuditEvent } from '../audit.ts';

export interface StoredRecord {
  readonly key: string;
  readonly value: string;
  /** Ms since the epoch: when it was written. */
  readonly at: number;
}

export interface RecordChange {
  readonly kind: string;
  readonly key: string;
  /** Null removes it. */
  readonly value: string | null;
  /** What must stand there now, null for nothing; where left out, whatever stands there. */
  readonly was?: string | null;
}

/** Kind of a record by the queue id of a message whose delivery somebody waits for; `queued` until an upstream has taken it. */
export const FOLLOWED = 'followed';

export const followedStates = { queued: 'queued', delivered: 'delivered' } as const;

/** UTF-16 code units of one value. A certificate in base64 is below 90,000. */
export const MAX_RECORD = 128 * 1024;

export interface RecordStore {
  /** Undefined where there is none. */
  get(kind: string, key: string): Promise<StoredRecord | undefined>;
  /** By key. All of one kind is held in memory: thousands, not millions. */
  list(kind: string): Promise<readonly StoredRecord[]>;
  /** Durable on resolve. False where a `was` does not hold: then nothing is changed, and no event is written. */
  change(changes: readonly RecordChange[], events: readonly AuditEvent[]): Promise<boolean>;
}
