/** From what an attempt came to, to what the queue is told: the outcome of the row and its audit events. Pure. */
import type { AuditEvent } from '../audit.ts';
import type { Lease, Outcome } from '../queue/queue.ts';
import { replyText } from './reply.ts';
import { backoff, isExpired, type Retry } from './retry.ts';
import type { Result } from './result.ts';
import type { Attempt } from './route.ts';

export interface Conclusion {
  readonly outcome: Outcome;
  /** What happened, the outcome last. */
  readonly events: readonly AuditEvent[];
  /** The upstream may have taken it, and there is no record of it. */
  readonly ambiguous: boolean;
  /** Bounced for its age, not by a verdict on the message. */
  readonly expired: boolean;
}

export interface Circumstances {
  readonly retry: Retry;
  /** ms since the epoch. */
  readonly now: number;
  readonly random: () => number;
}

export function conclude(lease: Lease, { upstream, result }: Attempt, circumstances: Circumstances): Conclusion {
  const about = { queue_id: lease.queueId, recipient: lease.recipient, upstream, attempt: lease.attempts + 1 };
  if (result.kind === 'delivered') {
    return {
      outcome: { kind: 'delivered' },
      events: [{ event: 'delivered', ...about, reply: replyText(result.reply) }],
      ambiguous: false,
      expired: false,
    };
  }
  const phase = 'phase' in result ? result.phase : null;
  const reason = reasonOf(result, upstream ?? 'no upstream');
  const ambiguous = result.kind === 'failed' && result.phase === 'dot';
  const outcome = outcomeOf(result, reason, lease, circumstances);
  const said = 'reason' in outcome ? outcome.reason : reason;
  const due = outcome.kind === 'deferred' ? { due: new Date(outcome.dueAt).toISOString() } : {};
  const events: AuditEvent[] = [{ event: outcome.kind, ...about, phase, reason: said, ...due }];
  if (ambiguous) events.unshift({ event: 'ambiguous', ...about, phase, reason });
  return { outcome, events, ambiguous, expired: outcome.kind === 'bounced' && !isLost(result) };
}

type NotDelivered = Exclude<Result, { kind: 'delivered' }>;

function outcomeOf(result: NotDelivered, reason: string, lease: Lease, { retry, now, random }: Circumstances): Outcome {
  if (result.kind === 'failed' && result.cause.code === 'queue-item-damaged') return { kind: 'damaged', reason };
  // Not the message's fault: due as soon as a relay runs again.
  if (result.kind === 'failed' && result.cause.code === 'shutting-down') return { kind: 'deferred', dueAt: now, reason };
  if (isLost(result)) return { kind: 'bounced', reason };
  const attempts = lease.attempts + 1;
  if (isExpired(retry, lease.acceptedAt, attempts, now)) {
    return { kind: 'bounced', reason: `4.4.7 expired after ${attempts} attempts, the last: ${reason}` };
  }
  return { kind: 'deferred', dueAt: now + backoff(retry, attempts, random), reason };
}

/**
 * RFC 4954 §6, RFC 3207 §4: 530, 534, 535 and 538 say what the host wants of this relay, authentication or TLS. Any message
 * would get the same answer until the configuration of one of the two is mended, and then this one passes.
 */
const wantedOfTheRelay: ReadonlySet<number> = new Set([530, 534, 535, 538]);

const isFinal = (result: NotDelivered): boolean =>
  result.kind === 'rejected' && result.permanent && !wantedOfTheRelay.has(result.reply.code);

const isLost = (result: NotDelivered): boolean => result.kind === 'unsuited' || isFinal(result);

/** For the operator: who, what, where. The upstream's words are cut and printable by now (A33). */
function reasonOf(result: NotDelivered, upstream: string): string {
  if (result.kind === 'rejected') return `${upstream} said ${replyText(result.reply)} (at ${result.phase})`;
  if (result.kind === 'failed') {
    const what = `${result.cause.message} (${result.cause.code} at ${result.phase})`;
    return result.cause.code.startsWith('upstream-') ? `${upstream}: ${what}` : what;
  }
  return `${result.status} ${result.text} (${upstream})`;
}
