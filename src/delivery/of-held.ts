/**
 * What is told of held mail: that it is held, and that it was not released in time. The row of the notice goes with the change that it
 * tells of, in one transaction. A directory that is down for an hour holds all mail of that hour: few notices tell of it, and the next
 * counts the rest.
 */
import type { AuditEvent } from '../audit.ts';
import type { HeldRow, NewMessage, NewRecipient, Telling } from '../queue/queue.ts';
import type { Cause } from './cause.ts';
import { identityOf, type NoticeFacts } from './facts.ts';
import type { Write, Written } from './notices.ts';

/** Why a message is held, by which rule, and since when; ms since the epoch. */
export interface Holding {
  readonly rule: string;
  readonly because: 'rule' | 'missing' | 'unavailable';
  readonly since: number;
}

/** A message of which rows are held, as it is enqueued. */
export type HeldMessage = Pick<NewMessage, 'id' | 'acceptedAt' | 'sender' | 'envid' | 'submitter'>;

/** What `endHeld` of the queue is given. */
export interface Ending {
  readonly outcome: { readonly kind: 'bounced'; readonly reason: string };
  readonly events: readonly AuditEvent[];
  readonly telling?: Telling;
}

export interface HeldNotices {
  /** To the operator, for the enqueue of the message: the first of its held rows is named, the others are counted. */
  held(message: HeldMessage, rows: readonly Pick<NewRecipient, 'address' | 'notify' | 'orcpt' | 'header'>[], holding: Holding): Written;
  /** Held for too long: failed, and told as that to the sender and to the operator. */
  heldTooLong(held: HeldRow, holding: Holding): Ending;
}

export interface HeldNoticeParts {
  readonly hostname: string;
  /** Ms since the epoch. */
  readonly now: () => number;
  /** Milliseconds for which mail is held; undefined where nobody says. */
  readonly holdMaxAge?: number | undefined;
  readonly write: Write;
}

type Of = Pick<HeldRow, 'queueId' | 'acceptedAt' | 'recipient' | 'orcpt' | 'envid' | 'header'>;

const causeOf = { rule: 'held-by-rule', missing: 'certificate', unavailable: 'no-look-up' } as const satisfies Record<
  Holding['because'],
  Cause
>;

/** RFC 3463 §3.5: a delivery time that expired. */
const EXPIRED = '4.4.7';
/** RFC 3463 §3.8: security, and nothing more is said. */
const HELD = '4.7.0';

export function makeHeldNotices({ hostname, now, holdMaxAge, write }: HeldNoticeParts): HeldNotices {
  let untold = 0;
  const factsOf = (of: Of, { rule, because, since }: Holding): Omit<NoticeFacts, 'kind' | 'status'> => {
    const { queueId, acceptedAt, envid, orcpt, recipient } = of;
    const at = now();
    const about = { queueId, acceptedAt, envid, orcpt, recipient, ...identityOf(of) };
    const held = { cause: causeOf[because], rule, heldSince: since };
    return { reporter: hostname, writtenAt: at, attemptedAt: at, expired: false, retryUntil: null, ...about, ...held };
  };
  return {
    held({ id, acceptedAt, sender, envid, submitter }, rows, holding) {
      const [first] = rows;
      if (first === undefined) return { note: 'none, nothing is held', events: [] };
      const of = { queueId: id, acceptedAt, originalSender: sender, envid, submitter, ...first, recipient: first.address };
      const alsoHeld = untold + rows.length - 1;
      const retryUntil = holdMaxAge === undefined ? null : holding.since + holdMaxAge;
      const more = { kind: 'held', status: HELD, retryUntil, alsoHeld } as const;
      const told = write('held', of, () => ({ ...factsOf(of, holding), ...more }));
      untold = told.notice === undefined ? alsoHeld + 1 : 0;
      return told;
    },
    heldTooLong(held, holding) {
      const { queueId, recipient } = held;
      const { rule, because } = holding;
      const more = { kind: 'failed', status: EXPIRED, expired: true } as const;
      // Nothing may answer a notice, or mail that asks for none.
      const told: Written =
        held.originalSender === ''
          ? { note: 'none, the sender is null', events: [] }
          : write('failed', held, () => ({ ...factsOf(held, holding), ...more }));
      const reason = `${EXPIRED} held for too long by rule ${rule}`;
      return {
        outcome: { kind: 'bounced', reason },
        events: [{ event: 'bounced', queue_id: queueId, recipient, rule, because, reason, notice: told.note }, ...told.events],
        ...(told.notice === undefined ? {} : { telling: { notice: told.notice, ofDelay: false } }),
      };
    },
  };
}
