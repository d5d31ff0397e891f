/**
 * How long a session waits for its client. A session is *waiting* from a reply to the whole next command line, *working* from
 * there to the reply, *receiving* from 354 to the reply to the message. Only waiting, and within a message the time for which
 * we stood ready to read, count against the client: a slow look-up or a slow disk is our own fault.
 *
 * An idle timer would not do: one octet a second keeps it from ringing for ever (A29).
 *
 * Time is an argument everywhere, in milliseconds of a clock that never jumps.
 */
import { SealpostError } from '../errors.ts';
import type { Pace } from './pace.ts';

/** Milliseconds. */
export interface Timeouts {
  /** From a reply, or the connect, to the end of the next command line; a TLS handshake counts as one. */
  readonly command: number;
  /** From 354 to the final dot. */
  readonly message: number;
  /** The session as a whole; a message that is within its own time is let end. */
  readonly session: number;
  /** How far a message may lag behind `limits.data_rate`; a minute where it is not given. */
  readonly grace?: number;
}

/** What took too long: a command, the whole session, a message, or its pace. */
export type Overdue = 'command' | 'session' | 'message' | 'pace';

const OVERDUE: Readonly<Record<Overdue, string>> = {
  command: 'no whole command came in time',
  session: 'the session is too old',
  message: 'the message did not end in time',
  pace: 'the message comes too slowly',
};

export const tooSlow = (overdue: Overdue): SealpostError => new SealpostError('too-slow', { detail: OVERDUE[overdue] });

/** Who may not send mail (not listed, not logged in) is waited for no longer than this: it has to log in or leave. */
const STRANGER = { command: 30_000, session: 120_000 } as const;

/** What a session does once on its way to a message; `asked` is a challenge of its login. Each is progress the first time. */
export type Step = 'greeted' | 'starttls' | 'encrypted' | 'greeted in TLS' | `asked ${string}`;

type State =
  | { readonly kind: 'waiting'; readonly since: number }
  | { readonly kind: 'working' }
  | { readonly kind: 'receiving'; readonly pace: Pace };

export class Deadlines {
  readonly #timeouts: Timeouts;
  readonly #opened: number;
  #state: State;
  /** When the session last came nearer to a message: what never does so makes room for others first. */
  #progress: number;
  readonly #steps = new Set<Step>();

  constructor(timeouts: Timeouts, now: number) {
    this.#timeouts = timeouts;
    this.#opened = now;
    this.#progress = now;
    this.#state = { kind: 'waiting', since: now };
  }

  /** A reply was given. Within a message it is 354, and changes nothing. */
  waiting(now: number): void {
    if (this.#state.kind === 'working') this.#state = { kind: 'waiting', since: now };
  }

  /** A whole command line is there. */
  working(): void {
    if (this.#state.kind === 'waiting') this.#state = { kind: 'working' };
  }

  receiving(pace: Pace): void {
    this.#state = { kind: 'receiving', pace };
  }

  /** The message has its reply. */
  received(now: number): void {
    this.#state = { kind: 'waiting', since: now };
    this.#progress = now;
  }

  /** A step towards a message was taken: not any command, since NOOP every second is no progress. */
  progressed(now: number): void {
    this.#progress = now;
  }

  /** A step that comes once: who repeats it makes no progress. */
  reached(step: Step, now: number): void {
    if (this.#steps.has(step)) return;
    this.#steps.add(step);
    this.#progress = now;
  }

  /** Milliseconds without progress by the client's fault; 0 while we work, or while a message comes at its pace. */
  stalled(now: number): number {
    if (this.#state.kind === 'receiving') return this.#state.pace.stalled(now);
    return this.#state.kind === 'working' ? 0 : now - this.#progress;
  }

  /** `admitted`: the client may send mail. */
  overdue(now: number, admitted: boolean): Overdue | undefined {
    const state = this.#state;
    if (state.kind === 'working') return undefined;
    if (state.kind === 'receiving') return state.pace.overdue(now);
    const patience = (which: 'command' | 'session'): number =>
      admitted ? this.#timeouts[which] : Math.min(this.#timeouts[which], STRANGER[which]);
    if (now - state.since >= patience('command')) return 'command';
    return now - this.#opened >= patience('session') ? 'session' : undefined;
  }
}
