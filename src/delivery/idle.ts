/** Sessions of one upstream that wait for their next message, each for a little while. */
import { SealpostError } from '../errors.ts';
import type { Session } from './session.ts';

/** Short enough that no upstream closes first; long enough for a burst. */
const IDLE_MS = 10_000;
/** Postfix and others close long sessions, and a balancer in front wants connections to move. */
const TRANSACTIONS_A_SESSION = 100;
/** For the answer to QUIT. */
export const QUIT_MS = 2_000;

export class IdleSessions {
  readonly #idle: number;
  readonly #sessions: { readonly session: Session; readonly timer: NodeJS.Timeout }[] = [];
  #closed = false;

  /** `idle`: an unused session is closed after this, in ms. */
  constructor(idle = IDLE_MS) {
    this.#idle = idle;
  }

  get length(): number {
    return this.#sessions.length;
  }

  /** Takes a session whose transaction is over, or ends it where it is of no more use. */
  keep(session: Session): void {
    if (!session.usable) {
      session.destroy(new SealpostError('upstream-protocol', { detail: 'a reply that nobody asked for' }));
      return;
    }
    if (this.#closed || session.transactions >= TRANSACTIONS_A_SESSION) {
      void session.quit(QUIT_MS);
      return;
    }
    const drop = (): void => {
      const at = this.#sessions.findIndex((entry) => entry.session === session);
      const [entry] = at < 0 ? [] : this.#sessions.splice(at, 1);
      if (entry !== undefined) void this.#quit(session, entry.timer);
    };
    // An upstream that closes, or says 421, on an idle session.
    session.onDisturbed = drop;
    this.#sessions.push({ session, timer: setTimeout(drop, this.#idle) });
  }

  /** The session used last: the others may grow old and close. */
  take(): Session | undefined {
    for (let entry = this.#sessions.pop(); entry !== undefined; entry = this.#sessions.pop()) {
      clearTimeout(entry.timer);
      entry.session.onDisturbed = undefined;
      if (entry.session.usable) return entry.session;
      entry.session.destroy(new SealpostError('upstream-lost'));
    }
    return undefined;
  }

  /** QUIT on all of them, and on those that come later. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#sessions.splice(0).map(({ session, timer }) => this.#quit(session, timer)));
  }

  async #quit(session: Session, timer: NodeJS.Timeout): Promise<void> {
    clearTimeout(timer);
    session.onDisturbed = undefined;
    await session.quit(QUIT_MS);
  }
}
