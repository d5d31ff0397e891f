/** When a row is tried again, and when it is given up. Pure. */

export interface Retry {
  /** Milliseconds since acceptance after which a message is given up. */
  readonly maxAge: number;
  /** The shortest wait between two attempts, ms: the one after the first. */
  readonly first: number;
  /** The longest wait, ms. */
  readonly longest: number;
}

/** 2^30 times any wait is longer than any `longest`. */
const MAX_DOUBLINGS = 30;
/** However short `maxAge` is, one failure alone gives nothing up. */
const FEWEST_ATTEMPTS = 2;
/** Of the attempts that the schedule holds until `maxAge`, the share that must have been made. */
const SHARE_OF_SCHEDULE = 0.5;
/** Bounds the counting below where somebody sets waits of a millisecond. */
const MOST_ATTEMPTS = 1000;

/**
 * Milliseconds until the next attempt after `attempts` of them: doubling, and anywhere between the doubled wait and twice
 * that, so that what failed together does not come back together. Never under `first` nor over `longest`.
 */
export function backoff(retry: Retry, attempts: number, random: () => number): number {
  const doubled = retry.first * 2 ** Math.min(Math.max(attempts - 1, 0), MAX_DOUBLINGS);
  const least = Math.max(retry.first, Math.min(doubled, retry.longest / 2));
  return Math.round(Math.min(Math.max(retry.longest, retry.first), least * (1 + random())));
}

/** Greylisting wants to see the message again within minutes; after some tries it is a temporary answer like any other. */
const GREYLIST_TRIES = 6;
const GREYLIST_WAIT = 5 * 60_000;

/** As `backoff`, and soon again while an upstream may only be waiting for the message to come back. */
export function greylistWait(retry: Retry, attempts: number, random: () => number): number {
  const usual = backoff(retry, attempts, random);
  return attempts > GREYLIST_TRIES ? usual : Math.min(usual, Math.round(GREYLIST_WAIT * (1 + random() / 2)));
}

/**
 * True where a message is given up (4.4.7). The clock alone does not decide: one that jumps a week ahead would bounce the
 * whole queue at once. So half of the attempts that belong to `maxAge` must have been made too; a message that waited while
 * the relay was off gets its attempts, and one from the future (the clock was set back) is not old.
 */
export function isExpired(retry: Retry, acceptedAt: number, attempts: number, now: number): boolean {
  return now - acceptedAt > retry.maxAge && attempts >= fewestAttempts(retry);
}

/** How many attempts must have been made before age counts. */
export function fewestAttempts(retry: Retry): number {
  let waited = 0;
  let attempts = 1;
  while (waited < retry.maxAge && attempts < MOST_ATTEMPTS) waited += backoff(retry, attempts++, () => 0.5);
  return Math.max(FEWEST_ATTEMPTS, Math.floor(attempts * SHARE_OF_SCHEDULE));
}
