/** Failed logins are answered late: whoever guesses passwords waits, and so does nobody else (A34). */
import { setTimeout } from 'node:timers/promises';
import { SealpostError } from '../errors.ts';

export interface Penalties {
  /**
   * Resolves when the `failures`th failure of a session may be told, or at once where `gone` says that nobody listens any more.
   * Throws `too-many-failed-logins` where too many sessions wait already.
   */
  serve(failures: number, gone: AbortSignal): Promise<void>;
}

/** The first failure; each one after it waits twice as long. */
const FIRST_MS = 1000;
/** Sessions that wait at the same time. */
const MAX_WAITING = 100;
/** Of one session; the last is answered 421. */
export const MAX_FAILURES = 3;

export function makePenalties(firstMs = FIRST_MS, most = MAX_WAITING): Penalties {
  let waiting = 0;
  return {
    async serve(failures, gone) {
      if (waiting >= most) throw new SealpostError('too-many-failed-logins');
      waiting++;
      try {
        await setTimeout(firstMs * 2 ** (failures - 1), undefined, { signal: gone, ref: false });
      } catch (cause) {
        if (!gone.aborted) throw cause;
      } finally {
        waiting--;
      }
    },
  };
}
