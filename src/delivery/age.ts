/**
 * How long ago something was, by a clock that may be set: a step ahead by a month makes nothing a month old. Steps are seen by a
 * second clock that nobody sets, and taken off the age of what was there before them. What an earlier process saw is not known: a clock
 * that is ahead when this one starts makes old what was written before.
 */

/** Milliseconds both. */
export interface Clocks {
  /** Since the epoch. */
  readonly now: () => number;
  /** Since any moment; it only goes on. It may stand still while the machine sleeps, and nothing ages then. */
  readonly elapsed: () => number;
}

/** NTP slews and steps by less. */
const TOLERANCE_MS = 60_000;
/** The oldest is forgotten first: few messages are that old. */
const MOST_STEPS = 20;

/** Call it now and then: a step is found when it is called. The answer takes ms since the epoch and gives ms. */
export function makeAge({ now, elapsed }: Clocks): (since: number) => number {
  let last = { now: now(), elapsed: elapsed() };
  let steps: readonly { readonly behind: number; readonly by: number }[] = [];
  return (since) => {
    const next = { now: now(), elapsed: elapsed() };
    // What the first clock would show without a step.
    const expected = last.now + next.elapsed - last.elapsed;
    const by = next.now - expected;
    last = next;
    if (by > TOLERANCE_MS) steps = [...steps, { behind: expected, by }].slice(-MOST_STEPS);
    // Set back: that mends the steps before, and what was written meanwhile is from the future for a while.
    if (by < -TOLERANCE_MS) steps = [];
    return steps.reduce((age, step) => (since <= step.behind ? age - step.by : age), next.now - since);
  };
}
