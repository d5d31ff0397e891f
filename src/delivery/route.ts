/**
 * The upstreams in their order. The first that is well gets the message; the next one only where the one before could not be
 * talked to, lost the conversation before the dot, or cannot carry this message. An answer about the message is final for this
 * attempt, and so is everything behind the dot: a second upstream would mean a second copy.
 */
import type { Logger } from 'pino';
import { SealpostError } from '../errors.ts';
import { isUpstreamFault, type Phase, type Result } from './result.ts';
import { tlsAttributes } from './tls.ts';
import type { Outgoing } from './transaction.ts';
import type { Upstream } from './upstream.ts';

/** What the last upstream that was asked answered; `upstream` is its name, null where none was asked. */
export interface Attempt {
  readonly upstream: string | null;
  readonly result: Result;
}

export interface Route {
  /** How many attempts at once are of use now: the places of the upstream that would be asked first. */
  capacity(): number;
  /** Asks every upstream anew, those that cool too: an operator says that something was mended. */
  revive(): void;
  /**
   * The largest message that any upstream takes, in octets; undefined while one may take every size or nothing is known of it,
   * which is then found out in the background.
   */
  largest(): number | undefined;
  /** Never rejects. */
  attempt(message: Outgoing, signal: AbortSignal): Promise<Attempt>;
  /** Ends idle sessions. */
  close(): Promise<void>;
}

export function makeRoute(upstreams: readonly Upstream[], log: Logger): Route {
  if (upstreams.length === 0) throw new SealpostError('config-invalid', { detail: 'upstream: at least one is needed' });
  const inOrder = (): Upstream[] => upstreams.filter((one) => one.well()).concat(upstreams.filter((one) => !one.well()));
  return {
    revive: () => upstreams.forEach((one) => one.revive()),
    largest() {
      for (const upstream of upstreams) void upstream.learn();
      const known = upstreams.map((one) => one.largest());
      const bounds = known.filter((one) => typeof one === 'number');
      return bounds.length === known.length ? Math.max(...bounds) : undefined;
    },
    capacity: () => inOrder()[0]?.concurrency ?? 1,
    async attempt(message, signal) {
      let best: Attempt | undefined;
      for (const upstream of inOrder()) {
        const wasWell = upstream.well();
        const result = await upstream.attempt(message, signal);
        if (!passesOn(result)) return { upstream: upstream.name, result };
        // One that is known to be down is not told of again by every message that passes it.
        if (wasWell) log.warn({ upstream: upstream.name, ...outline(result) }, 'upstream not usable for this attempt');
        // `unsuited` is the verdict only where every upstream was asked and is: one that is down might have carried it.
        if (best === undefined || best.result.kind === 'unsuited') best = { upstream: upstream.name, result };
      }
      return best ?? { upstream: null, result: { kind: 'failed', phase: 'connect', cause: new SealpostError('internal') } };
    },
    async close() {
      await Promise.all(upstreams.map((one) => one.close()));
    },
  };
}

const beforeMail: readonly Phase[] = ['connect', 'greeting', 'ehlo'];

/** True where the next upstream may be asked: this one has nothing of the message and said nothing about it. */
function passesOn(result: Result): boolean {
  if (result.kind === 'delivered') return false;
  if (result.kind === 'unsuited') return true;
  if (result.kind === 'rejected') return beforeMail.includes(result.phase) || (result.reply.code === 421 && result.phase !== 'dot');
  return result.phase !== 'dot' && isUpstreamFault(result.cause);
}

/** What a log line may hold of a result: codes, never the upstream's own words, which may quote an address. */
export function outline(result: Result): Record<string, string | number | boolean | null> {
  const { kind } = result;
  if (kind === 'unsuited') return { kind, status: result.status };
  if (kind === 'failed') return { kind, phase: result.phase, cause: result.cause.code, detail: result.cause.detail ?? null };
  const { code, status = null } = result.reply;
  return kind === 'delivered' ? { kind, code, status, ...tlsAttributes(result.tls) } : { kind, phase: result.phase, code, status };
}
