/** Who may have how much in flight: the rest waits its turn, in order. */
export interface Turns {
  /** Runs `work` once `octets` more fit below the limit; alone where it is larger than the limit itself. */
  take<T>(octets: number, work: () => Promise<T>): Promise<T>;
}

/** `limit` in octets. */
export function makeTurns(limit: number): Turns {
  const waiting: { readonly octets: number; readonly begin: () => void }[] = [];
  let inFlight = 0;
  const admit = (): void => {
    for (let next = waiting[0]; next !== undefined && (inFlight === 0 || inFlight + next.octets <= limit); next = waiting[0]) {
      waiting.shift();
      inFlight += next.octets;
      next.begin();
    }
  };
  return {
    async take(octets, work) {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push({ octets, begin: resolve });
      admit();
      await promise;
      try {
        return await work();
      } finally {
        inFlight -= octets;
        admit();
      }
    },
  };
}
