/**
 * One upstream: its sessions, kept open between messages, and how much may be asked of it. health.ts says how it is, rate.ts
 * how many messages may begin.
 *
 * The first session is opened alone: where the host is dead or says nothing, one message waits for it and not all places. Where
 * opening takes long, those who wait are sent on, and nobody else is taken until it is known. So it is where every place waits long
 * for an answer to MAIL, RCPT or DATA.
 */
import type { Socket } from 'node:net';
import { SealpostError } from '../errors.ts';
import { Announced, type Largest } from './announced.ts';
import { classOf, conductOf, isAboutConnections } from './classify.ts';
import { openSession, type Opening, type Protection } from './connect.ts';
import { Health, usualPauses, type Pauses } from './health.ts';
import { IdleSessions, QUIT_MS } from './idle.ts';
import { Overdue } from './overdue.ts';
import { makeProtection, type ProtectionOptions } from './protection.ts';
import { SlidingRate, usedUp, type Rate } from './rate.ts';
import type { RateKeeper } from './rate-record.ts';
import { isUpstreamFault, rfcTimeouts, type Result, type Timeouts } from './result.ts';
import type { Session } from './session.ts';
import { transact, type Outgoing } from './transaction.ts';

export interface UpstreamOptions extends ProtectionOptions {
  readonly host: string;
  readonly port: number;
  /** Sessions at the same time. */
  readonly concurrency: number;
  /** Messages that may begin in any stretch of time. */
  readonly rate?: Rate | undefined;
  /** The user it logs in as: at one host each account has a rate of its own. */
  readonly account?: string | undefined;
}

/** What all upstreams share. */
export interface UpstreamSurroundings {
  /** What EHLO says. */
  readonly hostname: string;
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Where rates are written down; where it is not set, a restart forgets them. */
  readonly rates?: RateKeeper;
  /** RFC 5321 §4.5.3.2 where it is not set. */
  readonly timeouts?: Timeouts;
  readonly pauses?: Pauses;
  /** An unused session is closed after this, in ms. */
  readonly idle?: number;
  readonly connect?: (host: string, port: number) => Socket;
}

/** `busy`: all its places are taken, and it will say when one comes free. `paused`: not to be asked for `wait` ms, Infinity where it will say. */
export type Readiness =
  | { readonly kind: 'ready'; readonly places: number }
  | { readonly kind: 'busy' }
  | { readonly kind: 'paused'; readonly wait: number };

export interface Upstream {
  /** `host:port`, for logs and reasons. */
  readonly name: string;
  readonly concurrency: number;
  /** Called when more may be asked of it than before, or when it is no longer to be waited for. */
  onChange: (() => void) | undefined;
  readiness(): Readiness;
  /** False while it is left alone after a failure. */
  well(): boolean;
  /** Ends its pause: an operator says that it is well again. */
  revive(): void;
  /**
   * Waits for one of its places, then tries once. Never rejects; abort breaks the session and gives `failed`. Where it is not
   * to be asked now, `failed` with `upstream-paused`, at once.
   */
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

/** Mail may be waiting for the place that learning takes. */
const LEARN_MS = 10_000;

export function makeUpstream(options: UpstreamOptions, surroundings: UpstreamSurroundings): Upstream {
  return new PooledUpstream(options, surroundings);
}

class PooledUpstream implements Upstream {
  readonly name: string;
  readonly concurrency: number;
  onChange: (() => void) | undefined;
  readonly #options: UpstreamOptions;
  readonly #surroundings: UpstreamSurroundings;
  readonly #timeouts: Timeouts;
  readonly #protection: Protection;
  readonly #announced: Announced;
  readonly #closing = new AbortController();
  readonly #health: Health;
  readonly #rate: SlidingRate | undefined;
  /** Under which its rate is written down. */
  readonly #rateName: string;
  readonly #idle: IdleSessions;
  /** Sessions that take long to open; MAIL, RCPT and DATA that take long to be answered. */
  readonly #opening: Overdue;
  readonly #envelopes: Overdue;
  readonly #waiting: ((entry: Entry) => void)[] = [];
  /** Attempts in a place; of them, those with an open session. */
  #busy = 0;
  #inUse = 0;
  #closed = false;

  constructor(options: UpstreamOptions, surroundings: UpstreamSurroundings) {
    this.#options = options;
    this.#surroundings = surroundings;
    this.#timeouts = surroundings.timeouts ?? rfcTimeouts;
    this.#protection = makeProtection(options);
    this.#announced = new Announced(surroundings.now);
    const pauses = surroundings.pauses ?? usualPauses;
    this.#opening = new Overdue(pauses.patience, () => this.#sendOn());
    this.#envelopes = new Overdue(pauses.patience, () => this.#sendOn());
    this.name = `${options.host}:${options.port}`;
    this.#rateName = options.account === undefined ? this.name : `${options.account} at ${this.name}`;
    this.concurrency = options.concurrency;
    this.#idle = new IdleSessions(surroundings.idle);
    const { now, random, rates } = surroundings;
    this.#health = new Health(options.concurrency, pauses, now, random);
    if (options.rate !== undefined) {
      const kept = rates?.kept(this.#rateName);
      this.#rate = new SlidingRate(options.rate, now, kept === 'unreadable' ? usedUp(options.rate, now()) : kept);
    }
  }

  readiness(): Readiness {
    const { pause, probed } = this.#health;
    if (pause > 0) return { kind: 'paused', wait: pause };
    const wait = this.#rate?.wait ?? 0;
    if (wait > 0) return { kind: 'paused', wait };
    // What is known when the session opens, or when the message that probes has ended.
    if (this.#opening.count > 0 || (probed && this.#busy > 0)) return { kind: 'paused', wait: Infinity };
    const places = Math.min(this.#places() - this.#busy - this.#waiting.length, this.#rate?.free ?? Infinity);
    if (places > 0) return { kind: 'ready', places };
    return this.#isStuck() ? { kind: 'paused', wait: Infinity } : { kind: 'busy' };
  }

  well(): boolean {
    return this.#health.pause === 0;
  }

  revive(): void {
    this.#health.revive();
    this.onChange?.();
  }

  async attempt(message: Outgoing, signal: AbortSignal): Promise<Result> {
    const entry = signal.aborted || this.#closed ? 'stopped' : await this.#enter(signal);
    if (entry !== 'entered') return entry === 'stopped' ? failed('shutting-down') : failed('upstream-paused');
    try {
      return await this.#counted(message, signal);
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
      if (opening.kind === 'open') this.#idle.keep(opening.session);
    } finally {
      this.#leave();
      // No attempt ended here whose end would tell of the free place.
      this.onChange?.();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    await this.#idle.close();
  }

  /** Within the rate, which is written down before the message begins. */
  async #counted(message: Outgoing, signal: AbortSignal): Promise<Result> {
    const rate = this.#rate;
    if (rate === undefined) return this.#try(message, signal);
    const place = rate.take();
    if (place === undefined) return failed('upstream-paused');
    const { rates } = this.#surroundings;
    await rates?.keep(this.#rateName, rate.record);
    const result = await this.#try(message, signal);
    if (hasBegun(result)) place.end();
    else place.release();
    void rates?.keep(this.#rateName, rate.record);
    return result;
  }

  async #try(message: Outgoing, signal: AbortSignal): Promise<Result> {
    const begun = this.#surroundings.now();
    const reused = this.#idle.take();
    if (reused !== undefined && (await this.#reset(reused))) {
      const result = await this.#use(reused, message, signal);
      // The upstream may have closed the idle session just now; before MAIL was answered nothing of this message was taken up.
      if (!isStale(result) || signal.aborted) return this.#heed(result, begun);
    }
    return this.#useNew(message, signal);
  }

  async #useNew(message: Outgoing, signal: AbortSignal): Promise<Result> {
    // It may have failed for others while this one waited for its place.
    if (!this.well()) return failed('upstream-paused');
    const begun = this.#surroundings.now();
    const opening = await this.#open(signal);
    if (signal.aborted && opening.kind !== 'open') return opening;
    if (opening.kind !== 'open') {
      const open = this.#inUse + this.#idle.length;
      if (classOf(opening) === 'throttled') this.#slow(opening, begun);
      else if (open > 0) this.#health.narrow(open);
      else this.#health.cool(begun);
      return opening;
    }
    const result = await this.#use(opening.session, message, signal);
    if (isStale(result) && !signal.aborted) {
      this.#health.cool(begun);
      return result;
    }
    return this.#heed(result, begun);
  }

  async #open(signal: AbortSignal): Promise<Opening> {
    const opened = this.#opening.begin();
    const { host, port } = this.#options;
    const { hostname, connect } = this.#surroundings;
    try {
      const opening = await openSession({ host, port, hostname, timeouts: this.#timeouts, protection: this.#protection, connect }, signal);
      if (opening.kind === 'open') this.#announced.heard(opening.session.extensions);
      return opening;
    } finally {
      opened();
    }
  }

  async #transact(session: Session, message: Outgoing): Promise<Result> {
    const answered = this.#envelopes.begin();
    // The message is asked for once DATA is answered; until then it may be the upstream that hangs.
    const content = (): ReturnType<Outgoing['content']> => {
      answered();
      return message.content();
    };
    const result = await transact(session, { ...message, content }, this.#timeouts);
    answered();
    return result;
  }

  /** Every place waits for an answer that does not come. */
  #isStuck(): boolean {
    return this.#envelopes.count > 0 && this.#envelopes.count >= this.#busy;
  }

  /** Where this upstream takes long, those who wait for a place need not wait for it. */
  #sendOn(): void {
    if (this.#opening.count > 0 || this.#isStuck()) for (const proceed of this.#waiting.splice(0)) proceed('paused');
    this.onChange?.();
  }

  /** Takes from a result what it says about the host. */
  #heed(result: Result, begun: number): Result {
    const said = classOf(result);
    // Where one message is the cause, and not the host, the next that is taken ends this.
    if (result.kind === 'failed' && isUpstreamFault(result.cause)) this.#health.cool(begun);
    if (said === undefined) return result;
    const { host } = conductOf[said];
    if (said === 'delivered') this.#health.took();
    else if (host === 'slows') this.#slow(result, begun);
    else if (host === 'cools') this.#health.cool(begun);
    else this.#health.judged();
    return result;
  }

  /** Too many connections is mended by fewer, as long as others work; everything else by a pause. */
  #slow(result: Result, begun: number): void {
    const open = this.#inUse + this.#idle.length;
    if (open > 0 && isAboutConnections(result)) this.#health.narrow(open);
    else this.#health.slow(begun);
  }

  async #use(session: Session, message: Outgoing, signal: AbortSignal): Promise<Result> {
    const abort = (): void => session.destroy(new SealpostError('shutting-down'));
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    this.#inUse++;
    // Where this is the first session, the others may come now.
    if (this.#inUse + this.#idle.length === 1) {
      this.#admit();
      this.onChange?.();
    }
    const result = await this.#transact(session, message);
    this.#inUse--;
    signal.removeEventListener('abort', abort);
    // Where it was too much, connections are given back.
    if (classOf(result) === 'throttled' && session.usable) void session.quit(QUIT_MS);
    else this.#idle.keep(session);
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

  /** How many may be in a place: all that its health allows, and one where no session is open yet. */
  #places(): number {
    return this.#inUse + this.#idle.length === 0 ? 1 : this.#health.places;
  }

  async #enter(signal: AbortSignal): Promise<Entry> {
    if (this.readiness().kind === 'paused') return 'paused';
    if (this.#busy < this.#places() && this.#waiting.length === 0) {
      this.#busy++;
      return 'entered';
    }
    const { promise, resolve } = Promise.withResolvers<Entry>();
    const abort = (): void => {
      const at = this.#waiting.indexOf(resolve);
      if (at >= 0) this.#waiting.splice(at, 1);
      resolve('stopped');
    };
    this.#waiting.push(resolve);
    signal.addEventListener('abort', abort);
    const entry = await promise;
    signal.removeEventListener('abort', abort);
    return entry;
  }

  #leave(): void {
    this.#busy--;
    this.#admit();
  }

  /** Those who wait for a place, as far as there are places; none of them where it is not to be asked any more. */
  #admit(): void {
    if (this.#waiting.length === 0) return;
    if (!this.well()) {
      for (const proceed of this.#waiting.splice(0)) proceed('paused');
      return;
    }
    while (this.#busy < this.#places()) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#busy++;
      next('entered');
    }
  }
}

/** What became of waiting for a place. */
type Entry = 'entered' | 'paused' | 'stopped';

/** Broken, or its session ended with 421 or its like, before MAIL was answered otherwise. */
function isStale(result: Result): boolean {
  if (result.kind === 'failed') return result.phase === 'mail' && isUpstreamFault(result.cause);
  if (result.kind !== 'rejected' || result.phase !== 'mail') return false;
  const said = classOf(result);
  return said === 'session-over' || (result.reply.code === 421 && said === 'host-trouble');
}

const transactionPhases: ReadonlySet<string> = new Set(['mail', 'rcpt', 'data', 'body', 'dot']);

/** True where the upstream may have counted the message: anything but a session that was not opened. */
function hasBegun(result: Result): boolean {
  if (result.kind === 'unsuited') return false;
  return result.kind === 'delivered' || transactionPhases.has(result.phase);
}

function failed(code: 'shutting-down' | 'upstream-paused'): Result {
  return { kind: 'failed', phase: 'connect', cause: new SealpostError(code) };
}
