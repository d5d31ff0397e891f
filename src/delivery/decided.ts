/**
 * What is told of a decision, where no attempt was made: a recipient whom a rule refuses once the others are taken, mail that is held,
 * and held mail that was not released in time. The row of the notice goes with the change that it tells of, in one transaction.
 */
import type { AuditEvent } from '../audit.ts';
import type { HeldRow, Telling } from '../queue/queue.ts';
import type { Cause } from './cause.ts';
import { type AboutRow, identityOf, type NoticeFacts } from './facts.ts';
import { type Issue, type Issued, NULL_SENDER } from './notices.ts';

export type WhyHeld = 'rule' | 'missing' | 'unavailable';

/** Why a message is held, by which rule, and until when; ms since the epoch. `until`: null where that is not known. */
export interface Holding {
  readonly rule: string;
  readonly because: WhyHeld;
  readonly since: number;
  readonly until: number | null;
}

/** What `endHeld` of the queue is given. */
export interface Ending {
  readonly outcome: { readonly kind: 'bounced'; readonly reason: string };
  readonly events: readonly AuditEvent[];
  readonly telling?: Telling;
}

export interface Decided {
  /** To the sender, as of what failed, and to the operator. `status`: RFC 3463, as it would have been answered. */
  refused(about: AboutRow, verdict: { readonly rule: string; readonly because: WhyHeld; readonly status: string }): Issued;
  /** To the operator, of one message: the rows of it that are held, in their order. The first is named, the others are counted. */
  held(rows: readonly AboutRow[], holding: Holding): Issued;
  /** Held for too long: failed, and told as that. */
  heldTooLong(held: HeldRow, holding: Holding): Ending;
}

export interface DecidedParts {
  readonly hostname: string;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly issue: Issue;
}

const causeOf = { rule: 'rule', missing: 'no-certificate', unavailable: 'no-look-up' } as const satisfies Record<WhyHeld, Cause>;

/** RFC 3463 §3.5 and §3.8: a delivery time that expired; security, nothing more is said. */
const EXPIRED = '4.4.7';
const HELD = '4.7.0';

export function makeDecided({ hostname, now, issue }: DecidedParts): Decided {
  let untold = 0;
  const factsOf = (about: AboutRow, more: Pick<NoticeFacts, 'kind' | 'status' | 'cause'> & Partial<NoticeFacts>): NoticeFacts => {
    const { queueId, acceptedAt, envid, orcpt, recipient } = about;
    const at = now();
    return {
      reporter: hostname,
      writtenAt: at,
      queueId,
      acceptedAt,
      ...identityOf(about),
      envid,
      orcpt,
      recipient,
      expired: false,
      attemptedAt: at,
      retryUntil: null,
      ...more,
    };
  };
  /** Of the null sender nobody is told what failed: nothing may answer a notice. */
  const failed = (about: AboutRow, more: Pick<NoticeFacts, 'status' | 'cause'> & Partial<NoticeFacts>): Issued =>
    about.originalSender === ''
      ? { notice: null, note: NULL_SENDER, events: [] }
      : issue(about, 'failed', () => factsOf(about, { kind: 'failed', ...more }));
  return {
    refused: (about, { rule, because, status }) => failed(about, { rule, cause: causeOf[because], status }),
    held(rows, { rule, because, since, until }) {
      const [first] = rows;
      if (first === undefined) return { notice: null, note: 'none, nothing is held', events: [] };
      const alsoHeld = untold + rows.length - 1;
      const about = { kind: 'held', status: HELD, cause: causeOf[because], rule, heldSince: since, retryUntil: until, alsoHeld } as const;
      const issued = issue(first, 'held', () => factsOf(first, about));
      untold = issued.notice === null ? alsoHeld + 1 : 0;
      return issued;
    },
    heldTooLong(held, { rule, because, since }) {
      const status = { status: EXPIRED, expired: true };
      const { notice, note, events } = failed(held, { ...status, cause: causeOf[because], rule, heldSince: since });
      const reason = `${EXPIRED} held for too long by rule ${rule}`;
      const bounced = { event: 'bounced', queue_id: held.queueId, recipient: held.recipient, rule, because, reason, notice: note } as const;
      return {
        outcome: { kind: 'bounced', reason },
        events: [bounced, ...events],
        ...(notice === null ? {} : { telling: { notice, ofDelay: false } }),
      };
    },
  };
}
