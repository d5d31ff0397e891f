/** From what an attempt came to, to what the queue is told: the outcome of the row and its audit events. Pure. */
import type { AuditEvent } from '../audit.ts';
import type { Lease, Outcome } from '../queue/queue.ts';
import { classOf, conductOf } from './classify.ts';
import { replyText } from './reply.ts';
import { backoff, greylistWait, isExpired, type Retry } from './retry.ts';
import { isPaused, isUnsuitedForGood, type Result } from './result.ts';
import type { Attempt } from './route.ts';
import { tlsAttributes } from './tls.ts';

export interface Conclusion {
  readonly outcome: Outcome;
  /** What happened, the outcome last. None where no upstream was asked. */
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
  /** It alone is throttled (lone.ts): that is about the message then. */
  readonly alone?: boolean;
}

export function conclude(lease: Lease, attempt: Attempt, circumstances: Circumstances): Conclusion {
  const { upstream, result } = attempt;
  const said = classOf(result);
  const about = { queue_id: lease.queueId, recipient: lease.recipient, upstream, attempt: lease.attempts + 1, class: said };
  if (result.kind === 'delivered') {
    return {
      outcome: { kind: 'delivered' },
      events: [{ event: 'delivered', ...about, ...clearOf(lease), ...tlsAttributes(result.tls), reply: replyText(result.reply) }],
      ambiguous: false,
      expired: false,
    };
  }
  const phase = 'phase' in result ? result.phase : null;
  const reason = reasonOf(result, upstream ?? 'no upstream');
  const ambiguous = result.kind === 'failed' && result.phase === 'dot';
  const outcome = outcomeOf(attempt, result, reason, lease, circumstances);
  const last = 'reason' in outcome ? outcome.reason : reason;
  const due = outcome.kind === 'deferred' ? { due: new Date(outcome.dueAt).toISOString(), counts: outcome.counts } : {};
  const events: AuditEvent[] = [{ event: outcome.kind, ...about, phase, ...saidOf(result), reason: last, ...due }];
  if (ambiguous) events.unshift({ event: 'ambiguous', ...about, phase, reason });
  const toldOf = isPaused(result) && outcome.kind === 'deferred' ? [] : events;
  return { outcome, events: toldOf, ambiguous, expired: outcome.kind === 'bounced' && !isLost(result) };
}

/** Beside what a rule passed in clear: who reads the log must not need the event `passed` to know it. */
export const clearOf = ({ spooled }: Pick<Lease, 'spooled'>): { readonly clear?: true } => (spooled === null ? {} : { clear: true });

/** As `delivered` tells it: how the session was protected, and what the upstream said. */
const saidOf = (result: NotDelivered): Readonly<Record<string, string | boolean>> => ({
  ...('tls' in result && result.tls !== undefined ? tlsAttributes(result.tls) : {}),
  ...(result.kind === 'rejected' ? { reply: replyText(result.reply) } : {}),
});

type NotDelivered = Exclude<Result, { kind: 'delivered' }>;

function outcomeOf(
  { again }: Attempt,
  result: NotDelivered,
  reason: string,
  lease: Lease,
  { retry, now, random, alone = false }: Circumstances,
): Outcome {
  if (result.kind === 'failed' && result.cause.code === 'queue-item-damaged') return { kind: 'damaged', reason };
  // Not the message's fault: due as soon as a relay runs again.
  if (result.kind === 'failed' && result.cause.code === 'shutting-down') {
    return { kind: 'deferred', dueAt: now, reason, ...(result.phase === 'dot' ? {} : { counts: false }) };
  }
  if (isLost(result)) return { kind: 'bounced', reason };
  const said = classOf(result);
  // Nobody judged the message: it neither ages nor ends by it, however long the upstream wants it to wait.
  if ((said !== undefined && !conductOf[said].counts && !alone) || isPaused(result))
    return { kind: 'deferred', dueAt: now + again, reason, counts: false };
  const attempts = lease.attempts + 1;
  if (isExpired(retry, lease.waitsSince, attempts, now)) {
    return { kind: 'bounced', reason: `4.4.7 expired after ${attempts} attempts, the last: ${reason}` };
  }
  const wait = said === 'greylisted' ? greylistWait : backoff;
  return { kind: 'deferred', dueAt: now + wait(retry, attempts, random), reason };
}

/** True where no other attempt can help. */
function isLost(result: NotDelivered): boolean {
  const said = classOf(result);
  return isUnsuitedForGood(result) || (said !== undefined && conductOf[said].outcome === 'bounced');
}

/** For the operator: who, what, where. The upstream's words are cut and printable by now (A33). */
function reasonOf(result: NotDelivered, upstream: string): string {
  if (result.kind === 'rejected') return `${upstream} said ${replyText(result.reply)} (at ${result.phase})`;
  if (result.kind === 'failed') {
    const what = `${result.cause.message} (${result.cause.code} at ${result.phase})`;
    return result.cause.code.startsWith('upstream-') ? `${upstream}: ${result.cause.reply.status} ${what}` : what;
  }
  return `${result.status} ${result.text} (${upstream})`;
}
