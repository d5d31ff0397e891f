/**
 * The upstreams in their order. The first that is well gets the message; the next one only where the one before is left alone
 * for now (it failed, had too much, its rate is used up), could not be talked to, lost the conversation before the dot, spoke of
 * itself and not of the message, or cannot carry it. An answer about the message is final for this attempt, and so is everything
 * behind the dot: a second upstream would mean a second copy.
 */
import type { Logger } from 'pino';
import { SealpostError } from '../errors.ts';
import { classOf, conductOf } from './classify.ts';
import { isPaused, isUnsuitedForGood, isUpstreamFault, type Result } from './result.ts';
import { tlsAttributes } from './tls.ts';
import type { Outgoing } from './transaction.ts';
import type { Upstream } from './upstream.ts';

/** What came of asking; `upstream` is whose result it is, null where there is none. */
export interface Attempt {
  readonly upstream: string | null;
  readonly result: Result;
  /** Milliseconds until an upstream that would not take it now may be asked again. */
  readonly again: number;
}

/** Room for new attempts; where there is none, how long until it is worth looking: Infinity where `onChange` will tell. */
export interface Room {
  readonly places: number;
  readonly wait: number;
}

export interface Route {
  /** The room of the first upstream that may be asked: what is claimed beyond it would only wait. */
  room(): Room;
  /** Called when there may be more room than before. */
  onChange: (() => void) | undefined;
  /** False where every upstream is left alone after a failure. */
  well(): boolean;
  /** Asks every upstream anew, those that are left alone too: an operator says that something was mended. */
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

/** A row that was put back is not claimed again at once, whatever an upstream says of itself. */
const SHORTEST_WAIT_MS = 250;
/** Where nobody knows how long it will take. */
const UNKNOWN_WAIT_MS = 10_000;

export function makeRoute(upstreams: readonly Upstream[], log: Logger): Route {
  if (upstreams.length === 0) throw new SealpostError('config-invalid', { detail: 'upstream: at least one is needed' });
  const route: Route = {
    onChange: undefined,
    well: () => upstreams.some((one) => one.well()),
    revive: () => upstreams.forEach((one) => one.revive()),
    largest() {
      for (const upstream of upstreams) void upstream.learn();
      const known = upstreams.map((one) => one.largest());
      const bounds = known.filter((one) => typeof one === 'number');
      return bounds.length === known.length ? Math.max(...bounds) : undefined;
    },
    room: () => roomOf(upstreams),
    async attempt(message, signal) {
      let best: Omit<Attempt, 'again'> | undefined;
      for (const [at, upstream] of upstreams.entries()) {
        const result = await upstream.attempt(message, signal);
        if (!passesOn(result)) return { upstream: upstream.name, result, again: againAfter(upstreams, upstreams.slice(at + 1)) };
        // One that is known to be down is not told of again by every message that passes it.
        if (!isPaused(result)) {
          log.warn({ upstream: upstream.name, ...outline(result) }, 'upstream not usable for this attempt');
          // Its place is free, though the attempt goes on elsewhere.
          route.onChange?.();
        }
        if (best === undefined || weight(result) > weight(best.result)) best = { upstream: upstream.name, result };
      }
      const none = new SealpostError('internal');
      return {
        ...(best ?? { upstream: null, result: { kind: 'failed', phase: 'connect', cause: none } }),
        again: againAfter(upstreams, []),
      };
    },
    async close() {
      await Promise.all(upstreams.map((one) => one.close()));
    },
  };
  for (const upstream of upstreams) upstream.onChange = () => route.onChange?.();
  return route;
}

/** An upstream that is busy is waited for; one that is paused is passed over. */
function roomOf(upstreams: readonly Upstream[]): Room {
  let wait = Infinity;
  for (const upstream of upstreams) {
    const readiness = upstream.readiness();
    if (readiness.kind === 'ready') return { places: readiness.places, wait: 0 };
    if (readiness.kind === 'busy') return { places: 0, wait };
    wait = Math.min(wait, readiness.wait);
  }
  return { places: 0, wait };
}

/** When one of those that are paused may be asked; soon, where one that was not asked yet (`unasked`) may be at once. */
function againAfter(upstreams: readonly Upstream[], unasked: readonly Upstream[]): number {
  if (unasked.some((one) => one.readiness().kind !== 'paused')) return SHORTEST_WAIT_MS;
  const waits = upstreams.map((one) => one.readiness()).flatMap((one) => (one.kind === 'paused' ? [one.wait] : []));
  const least = Math.min(...waits, UNKNOWN_WAIT_MS);
  return waits.length === 0 ? SHORTEST_WAIT_MS : Math.max(SHORTEST_WAIT_MS, waits.includes(Infinity) ? least : Math.min(...waits));
}

/**
 * Whose answer tells most where nobody took it: too much, since the message does not age by it; then any that was asked; then
 * one that is paused. `unsuited` for good is the verdict only where every upstream was asked and is: one that is down might have carried it.
 */
function weight(result: Result): number {
  if (isUnsuitedForGood(result)) return 0;
  if (isPaused(result)) return 1;
  return classOf(result) === 'throttled' ? 3 : 2;
}

/** True where the next upstream may be asked: this one has nothing of the message and said nothing about it. */
function passesOn(result: Result): boolean {
  if (result.kind === 'delivered') return false;
  if (result.kind === 'unsuited') return true;
  if (result.phase === 'dot') return false;
  if (result.kind === 'failed') return isUpstreamFault(result.cause);
  const said = classOf(result);
  return said !== undefined && conductOf[said].next;
}

/** What a log line may hold of a result: codes, never the upstream's own words, which may quote an address. */
export function outline(result: Result): Record<string, string | number | boolean | null> {
  const { kind } = result;
  if (kind === 'unsuited') return { kind, status: result.status, detail: result.text };
  if (kind === 'failed') return { kind, phase: result.phase, cause: result.cause.code, detail: result.cause.detail ?? null };
  const { code, status = null } = result.reply;
  if (kind === 'delivered') return { kind, code, status, ...tlsAttributes(result.tls) };
  return { kind, class: classOf(result) ?? null, phase: result.phase, code, status };
}
