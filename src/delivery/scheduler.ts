/**
 * When: claims the rows that are due, has each attempted, settles each once.
 *
 *   claim up to the free places ─▶ attempt ─▶ settle ─▶ claim …      else sleep until a row falls due, or wake(), or an attempt ends
 *
 * A row that cannot be settled halts claiming: the upstream may have its message, and to claim on would send the queue into a
 * store that cannot remember it. The settle is tried until it holds; then claiming goes on.
 */
import { Readable } from 'node:stream';
import type { Logger } from 'pino';
import { asSealpostError, SealpostError } from '../errors.ts';
import type { Lease, QueueStore } from '../queue/queue.ts';
import { readSpoolFacts, type Spool } from '../queue/spool/spool.ts';
import { classOf } from './classify.ts';
import { clearOf, conclude } from './conclude.ts';
import { Lone } from './lone.ts';
import type { Notices, Told } from './notices.ts';
import { isPaused } from './result.ts';
import type { Retry } from './retry.ts';
import { outline, type Attempt, type Route } from './route.ts';
import type { Outgoing } from './transaction.ts';
import { wireForm, wireSize } from './wire.ts';

export interface SchedulerOptions {
  readonly queue: Pick<QueueStore, 'claim' | 'nextDue' | 'read' | 'passDot' | 'settle'>;
  readonly route: Route;
  readonly retry: Retry;
  readonly notices: Notices;
  /** Where it is absent, mail that a rule passed waits. */
  readonly spool?: Pick<Spool, 'read'> | undefined;
  /** ms since the epoch. */
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
}

/** Since start. */
export interface Counters {
  readonly running: number;
  readonly attempts: number;
  readonly delivered: number;
  readonly deferred: number;
  readonly bounced: number;
  readonly damaged: number;
  readonly ambiguous: number;
  /** Attempts whose end the queue could not be told yet; while it is not 0, nothing is claimed. */
  readonly unsettled: number;
  /** Written, and withheld by their rate. */
  readonly notices: number;
  readonly noticesWithheld: number;
}

/** Places with the upstreams that are kept free for a while. */
export interface Places {
  readonly count: number;
  /** Attempts these, `count` at most. Where the relay is stopping they stay leased, and the next start makes them ready. */
  begin(leases: readonly Lease[]): void;
  giveBack(): void;
}

export interface Scheduler {
  start(): void;
  /** Something was enqueued, or made due by an operator. */
  wake(): void;
  /** For `wanted` rows of a message that is about to be queued; none where something waits that it must not overtake. */
  keepPlaces(wanted: number): Places;
  /**
   * Claims no more and waits for the running attempts; shortly before `graceMs` are over it drops their connections and
   * settles them as deferred. Resolves within `graceMs` whatever happens; the route is left to its owner.
   */
  stop(graceMs: number): Promise<void>;
  counters(): Counters;
}

/** The clock may be set while we sleep, so no sleep is longer. */
const LONGEST_SLEEP = 60_000;
/** `nextDue` may name a row that `claim` did not give: never ask again at once. */
const SHORTEST_SLEEP = 50;
const STORAGE_RETRY_FIRST = 500;
const STORAGE_RETRY_LONGEST = 30_000;
/** What is kept of the grace for settling attempts that were broken off. */
const SETTLE_SHARE = 0.2;
const SETTLE_LONGEST = 5_000;

export function makeScheduler(options: SchedulerOptions): Scheduler {
  return new QueueScheduler(options);
}

class QueueScheduler implements Scheduler {
  readonly #options: SchedulerOptions;
  readonly #lone = new Lone();
  readonly #running = new Set<Promise<void>>();
  readonly #abort = new AbortController();
  readonly #over = new AbortController();
  readonly #counts = { attempts: 0, delivered: 0, deferred: 0, bounced: 0, damaged: 0, ambiguous: 0, unsettled: 0 };
  #loop: Promise<void> | undefined;
  #stopping = false;
  #stirred = false;
  /** Something may wait that no claim has found yet: new mail must not overtake it. */
  #backlog = true;
  /** Places kept for what is being queued. */
  #kept = 0;
  #stir: (() => void) | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  start(): void {
    // More room, and no more to be sent than before.
    this.#options.route.onChange = () => {
      if (this.#backlog) this.wake();
    };
    if (!this.#stopping) this.#loop ??= this.#run();
  }

  wake(): void {
    this.#backlog = true;
    this.#stirred = true;
    this.#stir?.();
  }

  keepPlaces(wanted: number): Places {
    const isOpen = !this.#backlog && !this.#stopping && this.#loop !== undefined && this.#counts.unsettled === 0;
    const count = isOpen ? Math.max(0, Math.min(wanted, this.#options.route.room().places - this.#kept)) : 0;
    this.#kept += count;
    return {
      count,
      begin: (leases) => {
        if (!this.#stopping) for (const lease of leases) this.#begin(lease);
      },
      giveBack: () => void (this.#kept -= count),
    };
  }

  counters(): Counters {
    return { running: this.#running.size, ...this.#counts, ...this.#options.notices.counters() };
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.wake();
    const settleMs = Math.min(SETTLE_LONGEST, graceMs * SETTLE_SHARE);
    const { promise: graceOver, resolve } = Promise.withResolvers<void>();
    const abortTimer = setTimeout(() => this.#abort.abort(), graceMs - settleMs);
    const overTimer = setTimeout(resolve, graceMs);
    await Promise.race([this.#drained(), graceOver]);
    clearTimeout(abortTimer);
    clearTimeout(overTimer);
    // Whoever still waits to try a settle again gives up: the row stays leased, and the next start makes it ready.
    this.#abort.abort();
    this.#over.abort();
  }

  async #drained(): Promise<void> {
    await this.#loop;
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stopping) {
      this.#stirred = false;
      // A row may have fallen due.
      this.#backlog = true;
      let sleep: number;
      try {
        sleep = await this.#claim();
        failures = 0;
      } catch (error) {
        sleep = storageRetry(failures++);
        this.#options.log.error({ err: asSealpostError(error) }, 'the queue cannot be claimed from');
      }
      if (!this.#stopping) await this.#sleep(sleep, failures === 0);
    }
  }

  /** Starts what is due and free; answers how long to sleep where nothing stirs. */
  async #claim(): Promise<number> {
    const { queue, route, now } = this.#options;
    if (this.#counts.unsettled > 0) return LONGEST_SLEEP;
    const room = route.room();
    const places = room.places - this.#kept;
    if (places <= 0) return bounded(room.wait);
    const leases = await queue.claim(now(), places);
    for (const lease of leases) this.#begin(lease);
    // Those places are taken. Another upstream may have some; else the end of an attempt or of a pause is what to wait for.
    if (leases.length >= places) return route.room().places > 0 ? 0 : bounded(route.room().wait);
    if (!this.#stirred) this.#backlog = false;
    const due = await queue.nextDue();
    return due === undefined ? LONGEST_SLEEP : bounded(due - now());
  }

  /** `stirrable`: false after a failure of the queue, when only time helps. */
  async #sleep(ms: number, stirrable: boolean): Promise<void> {
    if (stirrable && this.#stirred) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#stir = () => {
      if (stirrable || this.#stopping) resolve();
    };
    await promise;
    clearTimeout(timer);
    this.#stir = undefined;
  }

  #begin(lease: Lease): void {
    const running = this.#send(lease).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Never rejects. */
  async #send(lease: Lease): Promise<void> {
    const quietly = await this.#attemptAndSettle(lease);
    // Where nothing waits, nobody waits for the place either.
    if (!quietly || this.#backlog) this.wake();
  }

  /** Never rejects. True where nothing is in the queue that was not before. */
  async #attemptAndSettle(lease: Lease): Promise<boolean> {
    const { retry, notices, now, random, log } = this.#options;
    const attempt = await this.#attempt(lease);
    if (!isPaused(attempt.result)) this.#counts.attempts++;
    const alone = this.#lone.hears(lease.row, classOf(attempt.result), this.#counts.delivered);
    const conclusion = notices.tell(lease, attempt.result, conclude(lease, attempt, { retry, now: now(), random, alone }));
    const about = { queue_id: lease.queueId, upstream: attempt.upstream, ...outline(attempt.result) };
    switch (conclusion.outcome.kind) {
      case 'delivered':
        log.info({ ...about, ...clearOf(lease) }, 'delivered');
        break;
      case 'deferred':
        if (isPaused(attempt.result)) log.debug(about, 'put back');
        else log.warn({ ...about, ambiguous: conclusion.ambiguous }, 'deferred');
        break;
      case 'bounced':
      case 'damaged':
        log.error({ ...about, ambiguous: conclusion.ambiguous }, conclusion.outcome.kind);
        break;
    }
    if (isOurFault(attempt)) log.error({ ...about, err: attempt.result.cause }, 'a fault of the relay ended an attempt');
    await this.#settle(lease, conclusion);
    return conclusion.outcome.kind === 'delivered' && conclusion.telling === undefined;
  }

  async #attempt(lease: Lease): Promise<Attempt> {
    try {
      return await this.#options.route.attempt(await this.#outgoing(lease), this.#abort.signal);
    } catch (error) {
      // Nobody knows how far it got. Whatever throws here is a fault of ours; the row waits like any other (P5, P7).
      return { upstream: null, result: { kind: 'failed', phase: 'connect', cause: asSealpostError(error) }, again: 0 };
    }
  }

  async #outgoing(lease: Lease): Promise<Outgoing> {
    const { queue, notices, spool } = this.#options;
    const { sender, recipient, needsSmtputf8, envid, notify, orcpt } = lease;
    const about = { sender, recipient, needsSmtputf8, envid, notify, orcpt, beforeDot: () => queue.passDot(lease) };
    if (lease.notice !== null) {
      const octets = await notices.compose(lease, queue);
      return { ...about, size: octets.length, content: () => Readable.from([octets]) };
    }
    if (lease.spooled !== null) {
      if (spool === undefined) throw new SealpostError('pass-unavailable');
      const { queueId, spooled } = lease;
      const { size, eightBit } = readSpoolFacts(spooled);
      return { ...about, size, clear: { eightBit }, content: () => spool.read(queue.read(lease), { queueId, sender, recipient }, spooled) };
    }
    const size = wireSize(lease.header.length, lease.prefix.length + lease.bodyLength + lease.suffix.length);
    return { ...about, size, content: () => wireForm(lease, queue.read(lease)) };
  }

  async #settle(lease: Lease, { outcome, events, ambiguous, telling }: Told): Promise<void> {
    const { queue, log } = this.#options;
    for (let failures = 0; ; failures++) {
      try {
        await queue.settle(lease, outcome, events, telling);
        if (failures > 0) this.#counts.unsettled--;
        this.#counts[outcome.kind]++;
        if (ambiguous) this.#counts.ambiguous++;
        return;
      } catch (error) {
        if (failures === 0) this.#counts.unsettled++;
        log.error({ queue_id: lease.queueId, err: asSealpostError(error) }, 'the end of an attempt cannot be recorded, claiming is halted');
        if (!(await this.#pause(storageRetry(failures)))) return;
      }
    }
  }

  /** False where stop() ran out of time. */
  async #pause(ms: number): Promise<boolean> {
    const { signal } = this.#over;
    if (signal.aborted) return false;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => resolve(), { once: true });
    await promise;
    clearTimeout(timer);
    return !signal.aborted;
  }
}

function isOurFault(attempt: Attempt): attempt is Attempt & { result: { kind: 'failed'; cause: SealpostError } } {
  if (attempt.result.kind !== 'failed') return false;
  const { code } = attempt.result.cause;
  return !code.startsWith('upstream-') && !['shutting-down', 'queue-item-damaged', 'lookup-unavailable'].includes(code);
}

const bounded = (sleep: number): number => Math.min(LONGEST_SLEEP, Math.max(SHORTEST_SLEEP, sleep));

function storageRetry(failures: number): number {
  return Math.min(STORAGE_RETRY_LONGEST, STORAGE_RETRY_FIRST * 2 ** Math.min(failures, 16));
}
