/**
 * Failed logins, counted by client address: an address with ten of them within ten minutes is told to come back, without a hash,
 * until the ten minutes are over. A script whose success is remembered goes on from such an address, so that whoever guesses from beside
 * it, on the same host or behind the same NAT, does not stop it.
 */
import { clientKey } from '../../message/networks.ts';

const MOST_FAILURES = 10;
const WINDOW_MS = 10 * 60_000;
const MOST_ADDRESSES = 10_000;

export interface Failures {
  slowed(client: string): boolean;
  /** One more; true where it is the one that is too many. */
  count(client: string): boolean;
}

interface Window {
  readonly since: number;
  readonly failures: number;
}

/** `now` in ms. */
export function makeFailures(now: () => number): Failures {
  /** The window that began first comes first. */
  const windows = new Map<string, Window>();
  const open = (key: string): Window | undefined => {
    const found = windows.get(key);
    const age = now() - (found?.since ?? 0);
    if (found !== undefined && age >= 0 && age < WINDOW_MS) return found;
    windows.delete(key);
    return undefined;
  };
  return {
    slowed: (client) => (open(clientKey(client))?.failures ?? 0) >= MOST_FAILURES,
    count(client) {
      const key = clientKey(client);
      const { since, failures } = open(key) ?? { since: now(), failures: 0 };
      windows.set(key, { since, failures: failures + 1 });
      const [oldest] = windows.keys();
      if (windows.size > MOST_ADDRESSES && oldest !== undefined) windows.delete(oldest);
      return failures + 1 === MOST_FAILURES;
    },
  };
}
