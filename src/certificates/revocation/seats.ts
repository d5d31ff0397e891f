/** A bound on how many things are done at a time, in all and for one key; the others wait in the order they came. */

export interface SeatLimits {
  readonly total: number;
  readonly ofKey: number;
  readonly waiting: number;
}

export interface Seats {
  /** Resolves with what frees the seat, to be called once. Rejects where too many wait, or with the reason of `signal`. */
  take(key: string, signal: AbortSignal): Promise<() => void>;
}

interface Waiting {
  readonly key: string;
  readonly seated: () => void;
}

export function makeSeats({ total, ofKey, waiting: most }: SeatLimits): Seats {
  const taken = new Map<string, number>();
  let all = 0;
  const queue = new Set<Waiting>();

  const isFree = (key: string): boolean => all < total && (taken.get(key) ?? 0) < ofKey;
  const sit = (key: string): void => {
    all++;
    taken.set(key, (taken.get(key) ?? 0) + 1);
  };
  const free = (key: string): void => {
    all--;
    const left = (taken.get(key) ?? 1) - 1;
    if (left === 0) taken.delete(key);
    else taken.set(key, left);
    for (const next of queue) {
      if (!isFree(next.key)) continue;
      queue.delete(next);
      sit(next.key);
      next.seated();
    }
  };

  return {
    take: async (key, signal) => {
      signal.throwIfAborted();
      if (isFree(key)) {
        sit(key);
        return () => free(key);
      }
      if (queue.size >= most) throw new Error('too many fetches wait already');
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const place = { key, seated: resolve };
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
      return () => free(key);
    },
  };
}
