/**
 * A bound on how many things are done at a time, in all, for one key, and for one group of keys; the others wait in the order they
 * came. No group takes all seats, nor all places to wait: whoever keeps its own busy for long keeps nobody else waiting.
 */

export interface SeatLimits {
  readonly total: number;
  readonly ofKey: number;
  readonly ofGroup: number;
  readonly waiting: number;
}

export interface Seats {
  /** Resolves with what frees the seat, to be called once. Rejects where too many wait, or with the reason of `signal`. */
  take(key: string, signal: AbortSignal, group?: string): Promise<() => void>;
}

interface Guest {
  readonly key: string;
  readonly group: string | undefined;
}

interface Waiting extends Guest {
  readonly seated: () => void;
}

export function makeSeats({ total, ofKey, ofGroup, waiting: most }: SeatLimits): Seats {
  const [keys, groups] = [new Map<string, number>(), new Map<string, number>()];
  let all = 0;
  const queue = new Set<Waiting>();

  const isFree = ({ key, group }: Guest): boolean =>
    all < total && (keys.get(key) ?? 0) < ofKey && (group === undefined || (groups.get(group) ?? 0) < ofGroup);
  const count = ({ key, group }: Guest, by: 1 | -1): void => {
    all += by;
    add(keys, key, by);
    if (group !== undefined) add(groups, group, by);
  };
  const free = (guest: Guest): void => {
    count(guest, -1);
    for (const next of queue) {
      if (!isFree(next)) continue;
      queue.delete(next);
      count(next, 1);
      next.seated();
    }
  };
  const mayWait = (group: string | undefined): boolean => {
    if (queue.size >= most) return false;
    return group === undefined || [...queue].filter((place) => place.group === group).length < most / 2;
  };

  return {
    take: async (key, signal, group) => {
      signal.throwIfAborted();
      const guest = { key, group };
      if (isFree(guest)) {
        count(guest, 1);
        return () => free(guest);
      }
      if (!mayWait(group)) throw new Error('too many fetches wait already');
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const place = { ...guest, seated: resolve };
      const leave = (): void => {
        if (queue.delete(place)) reject(signal.reason);
      };
      queue.add(place);
      signal.addEventListener('abort', leave, { once: true });
      try {
        await promise;
      } finally {
        signal.removeEventListener('abort', leave);
      }
      return () => free(guest);
    },
  };
}

function add(counts: Map<string, number>, key: string, by: number): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}
