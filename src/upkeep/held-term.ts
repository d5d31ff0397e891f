/**
 * When held mail is given up: once it has waited for `maxAge`, by a clock that may be wrong. What a step of the clock does while the relay
 * runs is seen and counts for nothing. What the clock was before a start nobody knows, so mail that an earlier process held is not given up
 * in the first hour: the clock of a machine that has just started can be set right in it, and who restarts after weeks can still release.
 */
import type { Logger } from 'pino';
import { type Clocks, makeAge } from '../delivery/age.ts';

const FIRST_MS = 3_600_000;
/** A relay that runs ends mail within minutes: what is over by this was held while none did, or the clock has jumped. */
const SUSPECT_MS = 86_400_000;

export interface HeldTermParts extends Clocks {
  /** Ms for which mail is held. */
  readonly maxAge: number;
  readonly log: Logger;
}

/** The answer takes ms since the epoch and says whether what is held since then is to be given up now. */
export function makeHeldTerm({ maxAge, log, ...clocks }: HeldTermParts): (since: number) => boolean {
  const { now, elapsed } = clocks;
  const ageOf = makeAge(clocks);
  const start = { now: now(), elapsed: elapsed() };
  const first = Math.min(FIRST_MS, maxAge);
  let told = false;
  return (since) => {
    const over = ageOf(since) - maxAge;
    if (over <= 0) return false;
    const left = start.elapsed + first - elapsed();
    if (since >= start.now || left <= 0) return true;
    if (over > SUSPECT_MS && !told) {
      told = true;
      log.error(
        { days_over: Math.floor(over / SUSPECT_MS), minutes_left: Math.ceil(left / 60_000) },
        'held mail is given up soon if the clock is right',
      );
    }
    return false;
  };
}
