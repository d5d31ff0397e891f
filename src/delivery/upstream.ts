/**
 * One upstream: its sessions, kept open between messages, and whether it is well.
 *
 *   well ── a session cannot be opened, or breaks before MAIL is answered ──▶ cooling ── the time is over ──▶ well
 *
 * While it cools, no session is opened; one that is still open goes on being used. Each failure in a row doubles the time,
 * and the first session that opens again ends the row.
 */
import type { Socket } from 'node:net';
import { SealpostError } from '../errors.ts';
import { Announced, type Largest } from './announced.ts';
import { openSession, type Opening, type Protection } from './connect.ts';
import { makeProtection, type ProtectionOptions } from './protection.ts';
import { isUpstreamFault, rfcTimeouts, type Result, type Timeouts } from './result.ts';
import type { Session } from './session.ts';
import { transact, type Outgoing } from './transaction.ts';

export interface UpstreamOptions extends ProtectionOptions {
  readonly host: string;
  readonly port: number;
  /** Sessions at the same time. */
  readonly concurrency: number;
}

/** What all upstreams share. */
export interface UpstreamSurroundings {
  /** What EHLO says. */
  readonly hostname: string;
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** RFC 5321 §4.5.3.2 where it is not set. */
  readonly timeouts?: Timeouts;
  /** An unused session is closed after this, in ms. */
  readonly idle?: number;
  readonly connect?: (host: string, port: number) => Socket;
}

export interface Upstream {
  /** `host:port`, for logs and reasons. */
  readonly name: string;
  readonly concurrency: number;
  /** False while no new session may be opened. */
  well(): boolean;
  /** Ends the cooling: an operator says that it is well again. */
  revive(): void;
  /** Waits for one of the `concurrency` places, then tries once. Never rejects; abort breaks the session and gives `failed`. */
  attempt(message: Outgoing, signal: AbortSignal): Promise<Result>;
  /** The largest message it takes, by its last EHLO. */
  largest(): Largest;
  /**
   * Opens a session in the background where nothing is known of it, and keeps that for the mail to come. Never rejects; a failure
   * counts for nothing.
   */
  learn(): Promise<void>;
  /** Says QUIT on idle sessions; running attempts are not waited for, and end their sessions themselves. */
  close(): Promise<void>;
}

/** Short enough that no upstream closes first; long enough for a burst. */
const IDLE_MS = 10_000;
/** Postfix and others close long sessions, and a balancer in front wants connections to move. */
const TRANSACTIONS_A_SESSION = 100;
const QUIT_MS = 2_000;
const COOLING_FIRST_MS = 5_000;
const COOLING_LONGEST_MS = 5 * 60_000;
/** Mail may be waiting for the place that learning takes. */
const LEARN_MS = 10_000;

export function makeUpstream(options: UpstreamOptions, surroundings: UpstreamSurroundings): Upstream {
  return new PooledUpstream(options, surroundings);
}

class PooledUpstream implements Upstream {
  readonly name: string;
  readonly concurrency: number;
  readonly #options: UpstreamOptions;
  readonly #surroundings: UpstreamSurroundings;
  readonly #timeouts: Timeouts;
  readonly #protection: Protection;
  readonly #announced: Announced;
  readonly #closing = new AbortController();
  readonly #idle: { readonly session: Session; readonly timer: NodeJS.Timeout }[] = [];
  readonly #waiting: (() => void)[] = [];
  #busy = 0;
  #closed = false;
  #failures = 0;
  #coolingSince = -Infinity;
  #coolingFor = 0;

  constructor(options: UpstreamOptions, surroundings: UpstreamSurroundings) {
    this.#options = options;
    this.#surroundings = surroundings;
    this.#timeouts = surroundings.timeouts ?? rfcTimeouts;
    this.#protection = makeProtection(options);
    this.#announced = new Announced(surroundings.now);
    this.name = `${options.host}:${options.port}`;
    this.concurrency = options.concurrency;
  }

  well(): boolean {
    const since = this.#surroundings.now() - this.#coolingSince;
    // A clock that was set back must not cool for years.
    return since >= this.#coolingFor || since < 0;
  }

  revive(): void {
    this.#failures = 0;
    this.#coolingFor = 0;
  }

  async attempt(message: Outgoing, signal: AbortSignal): Promise<Result> {
    if (!(await this.#enter(signal))) return stopped();
    try {
      const reused = this.#takeIdle();
      if (reused !== undefined && (await this.#reset(reused))) {
        const result = await this.#use(reused, message, signal);
        // The upstream may have closed the idle session just now; before MAIL was answered nothing of this message was taken up.
        if (!isStale(result) || signal.aborted) return result;
      }
      return await this.#useNew(message, signal);
    } finally {
      this.#leave();
    }
  }

  largest(): Largest {
    return this.#announced.largest();
  }

  async learn(): Promise<void> {
    // Sessions that are in use, or being opened, tell by themselves; where there are none, a place is free.
    if (this.#closed || this.#busy > 0 || !this.well() || !this.#announced.shouldAsk()) return;
    this.#busy++;
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(LEARN_MS)]);
    try {
      const opening = await this.#open(signal);
      if (opening.kind === 'open') this.#keep(opening.session);
    } finally {
      this.#leave();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    await Promise.all(this.#idle.splice(0).map(({ session, timer }) => this.#quit(session, timer)));
  }

  async #useNew(message: Outgoing, signal: AbortSignal): Promise<Result> {
    if (!this.well()) {
      return { kind: 'failed', phase: 'connect', cause: new SealpostError('upstream-unreachable', { detail: 'it failed a moment ago' }) };
    }
    const begun = this.#surroundings.now();
    const opening = await this.#open(signal);
    if (opening.kind !== 'open') {
      if (!signal.aborted) this.#cool(begun);
      return opening;
    }
    const result = await this.#use(opening.session, message, signal);
    if (isStale(result) && !signal.aborted) this.#cool(begun);
    else this.#failures = 0;
    return result;
  }

  async #open(signal: AbortSignal): Promise<Opening> {
    const { host, port } = this.#options;
    const { hostname, connect } = this.#surroundings;
    const opening = await openSession({ host, port, hostname, timeouts: this.#timeouts, protection: this.#protection, connect }, signal);
    if (opening.kind === 'open') this.#announced.heard(opening.session.extensions);
    return opening;
  }

  async #use(session: Session, message: Outgoing, signal: AbortSignal): Promise<Result> {
    const abort = (): void => session.destroy(new SealpostError('shutting-down'));
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    const result = await transact(session, message, this.#timeouts);
    signal.removeEventListener('abort', abort);
    this.#keep(session);
    return result;
  }

  /** RSET where the transaction before was refused; false where the session is of no use. */
  async #reset(session: Session): Promise<boolean> {
    if (!session.needsReset) return true;
    try {
      session.send('RSET');
      const { code } = await session.reply(this.#timeouts.mail);
      session.needsReset = false;
      if (code >= 200 && code < 300) return true;
    } catch {
      // Lost meanwhile: a new session takes its place.
    }
    session.destroy(new SealpostError('upstream-lost', { detail: 'RSET was refused' }));
    return false;
  }

  #keep(session: Session): void {
    if (!session.usable) {
      session.destroy(new SealpostError('upstream-protocol', { detail: 'a reply that nobody asked for' }));
      return;
    }
    if (this.#closed || session.transactions >= TRANSACTIONS_A_SESSION) {
      void session.quit(QUIT_MS);
      return;
    }
    const drop = (): void => {
      const at = this.#idle.findIndex((entry) => entry.session === session);
      const [entry] = at < 0 ? [] : this.#idle.splice(at, 1);
      if (entry !== undefined) void this.#quit(session, entry.timer);
    };
    // An upstream that closes, or says 421, on an idle session.
    session.onDisturbed = drop;
    this.#idle.push({ session, timer: setTimeout(drop, this.#surroundings.idle ?? IDLE_MS) });
  }

  /** The session used last: the others may grow old and close. */
  #takeIdle(): Session | undefined {
    for (let entry = this.#idle.pop(); entry !== undefined; entry = this.#idle.pop()) {
      clearTimeout(entry.timer);
      entry.session.onDisturbed = undefined;
      if (entry.session.usable) return entry.session;
      entry.session.destroy(new SealpostError('upstream-lost'));
    }
    return undefined;
  }

  async #quit(session: Session, timer: NodeJS.Timeout): Promise<void> {
    clearTimeout(timer);
    session.onDisturbed = undefined;
    await session.quit(QUIT_MS);
  }

  /** Failures that began before the last was seen are part of it: three sessions that fail together count once. */
  #cool(begun: number): void {
    if (begun < this.#coolingSince) return;
    const longest = Math.min(COOLING_LONGEST_MS, COOLING_FIRST_MS * 2 ** Math.min(this.#failures, 16));
    this.#failures++;
    this.#coolingFor = longest * (0.5 + this.#surroundings.random() / 2);
    this.#coolingSince = this.#surroundings.now();
  }

  async #enter(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted || this.#closed) return false;
    if (this.#busy < this.concurrency) {
      this.#busy++;
      return true;
    }
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const proceed = (): void => resolve(true);
    const abort = (): void => {
      const at = this.#waiting.indexOf(proceed);
      if (at >= 0) this.#waiting.splice(at, 1);
      if (at >= 0) resolve(false);
    };
    this.#waiting.push(proceed);
    signal.addEventListener('abort', abort);
    const entered = await promise;
    signal.removeEventListener('abort', abort);
    return entered;
  }

  /** The place goes to the next who waits, without being free in between. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#busy--;
    else next();
  }
}

/** Broken, or closed with 421, before MAIL was answered otherwise. */
function isStale(result: Result): boolean {
  if (result.kind === 'failed') return result.phase === 'mail' && isUpstreamFault(result.cause);
  return result.kind === 'rejected' && result.phase === 'mail' && result.reply.code === 421;
}

function stopped(): Result {
  return { kind: 'failed', phase: 'connect', cause: new SealpostError('shutting-down') };
}
