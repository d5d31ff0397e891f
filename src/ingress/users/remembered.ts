/**
 * Successes, kept in memory for some minutes: form scripts log in for every message, and would pay a hash for each. What is kept
 * is a keyed digest, which is worth nothing without the key, and the key dies with the process.
 */

/** From the last use, since a script that mails all day is the one this is for; */
const IDLE_MS = 5 * 60_000;
/** and from the hash. */
const LONGEST_MS = 60 * 60_000;
const MOST = 10_000;

export interface Remembered {
  /** Whether it was added not long ago; asking counts as use. */
  has(tag: string): boolean;
  add(tag: string): void;
}

/** `now` in ms. */
export function makeRemembered(now: () => number): Remembered {
  /** The one used longest ago first. */
  const successes = new Map<string, { readonly since: number; readonly used: number }>();
  return {
    has(tag) {
      const found = successes.get(tag);
      if (found === undefined) return false;
      successes.delete(tag);
      const at = now();
      // A clock that was set back is no reason to believe for longer.
      if (at < found.used || at - found.used > IDLE_MS || at - found.since > LONGEST_MS) return false;
      successes.set(tag, { since: found.since, used: at });
      return true;
    },
    add(tag) {
      successes.delete(tag);
      successes.set(tag, { since: now(), used: now() });
      for (const oldest of successes.keys()) {
        if (successes.size <= MOST) return;
        successes.delete(oldest);
      }
    },
  };
}
