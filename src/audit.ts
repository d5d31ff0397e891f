/**
 * What the audit log says: one JSON line an event, each naming the hash of the line before it (45 CFR 164.312(b)).
 * Events are written in the same queue transaction as the change they tell of (P7); the queue's one writer numbers, times and
 * chains them. Never a Subject, a header value, body, file name or secret: attributes are addresses, ids, hashes, replies.
 */

export const auditEventNames = [
  'accepted', // a message is durable in the queue; the 250 follows
  'sealed', // one recipient's message: rule, certificate, algorithms
  'delivered', // an upstream took it
  'deferred', // an attempt failed for now
  'bounced', // it failed for good
  'ambiguous', // an upstream may have taken it, and it will be sent again
  'damaged', // a stored item does not fit its checksum; set aside
  'removed', // a named operator took it out
  'retried', // a named operator asked for an attempt now
  'started',
  'stopped',
] as const;

export type AuditEventName = (typeof auditEventNames)[number];

/** An event before it has its number, time and chain. Attribute names are snake_case; values are JSON scalars. */
export interface AuditEvent {
  readonly event: AuditEventName;
  readonly queue_id?: string;
  readonly recipient?: string;
  readonly [attribute: string]: string | number | boolean | null | undefined;
}
