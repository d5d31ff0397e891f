/**
 * How many messages a client address and a user may hand in. A sliding window: in no stretch of time are there more than the rate
 * says, also not across the end of a minute. What is kept of each is bounded, whatever the rate: messages that came close
 * together are counted as one moment, the last of them, so that at worst the window is a little longer than written.
 */
import type { Rate } from '../document/rate.ts';
import { SealpostError } from '../errors.ts';
import { clientKey } from '../message/networks.ts';
import type { User } from './users/users.ts';

export interface Rates {
  /** At MAIL: throws as `admit` does, and counts nothing. */
  assertRoom(client: string, user: Pick<User, 'name' | 'rate'> | null): void;
  /** At DATA: counts one message, or throws `client-rate-exceeded` or `user-rate-exceeded` and counts nothing. */
  admit(client: string, user: Pick<User, 'name' | 'rate'> | null): void;
}

/** Moments of one window. */
const MOMENTS = 64;
/** Addresses, and users; beyond it the one that was silent for longest is forgotten. */
const MOST = 10_000;

/** `clientRate` is that of every client address; null where there is none. `now` in ms. */
export function makeRates(clientRate: Rate | null, now: () => number): Rates {
  const clients = makeWindows(now);
  const users = makeWindows(now);
  const assertRoom: Rates['assertRoom'] = (client, user) => {
    const rate = user?.rate ?? null;
    if (clientRate !== null && clients.isFull(clientKey(client), clientRate)) throw new SealpostError('client-rate-exceeded');
    if (user !== null && rate !== null && users.isFull(user.name, rate)) throw new SealpostError('user-rate-exceeded');
  };
  return {
    assertRoom,
    admit(client, user) {
      assertRoom(client, user);
      const rate = user?.rate ?? null;
      if (clientRate !== null) clients.count(clientKey(client), clientRate);
      if (user !== null && rate !== null) users.count(user.name, rate);
    },
  };
}

interface Moment {
  readonly begun: number;
  last: number;
  count: number;
}

interface Windows {
  isFull(key: string, rate: Rate): boolean;
  count(key: string, rate: Rate): void;
}

function makeWindows(now: () => number): Windows {
  /** Whoever was silent for longest comes first. */
  const windows = new Map<string, Moment[]>();
  const current = (key: string, { per }: Rate): Moment[] => {
    const at = now();
    // What lies in the future is from before the clock was set back.
    return (windows.get(key) ?? []).filter(({ last }) => last <= at && at - last < per);
  };
  return {
    isFull: (key, rate) => current(key, rate).reduce((sum, { count }) => sum + count, 0) >= rate.count,
    count(key, rate) {
      const at = now();
      const moments = current(key, rate);
      const latest = moments.at(-1);
      if (latest !== undefined && at - latest.begun < rate.per / MOMENTS) {
        latest.last = at;
        latest.count++;
      } else {
        moments.push({ begun: at, last: at, count: 1 });
      }
      windows.delete(key);
      windows.set(key, moments);
      const [silent] = windows.keys();
      if (windows.size > MOST && silent !== undefined) windows.delete(silent);
    },
  };
}
