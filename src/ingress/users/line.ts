/** A waiting line of bounded length for work that is done one at a time; nobody may take more than half of its places. */

/** At 50 ms a hash the last one waits for three seconds, which clients bear. */
const PLACES = 64;
const PLACES_OF_ONE = PLACES / 2;

export interface Turn {
  /** Must be called once; the next one is served. */
  leave(): void;
}

export interface Line {
  /** Resolves when it is `client`'s turn; with undefined, at once, where there is no place. */
  enter(client: string): Promise<Turn | undefined>;
}

export function makeLine(): Line {
  const waiting: (() => void)[] = [];
  const places = new Map<string, number>();
  let busy = false;
  const serve = (): void => {
    const next = waiting.shift();
    busy = next !== undefined;
    next?.();
  };
  return {
    async enter(client) {
      const own = places.get(client) ?? 0;
      if (own >= PLACES_OF_ONE || waiting.length >= PLACES) return undefined;
      places.set(client, own + 1);
      if (busy) await new Promise<void>((resolve) => waiting.push(resolve));
      busy = true;
      const leave = (): void => {
        const left = (places.get(client) ?? 1) - 1;
        if (left > 0) places.set(client, left);
        else places.delete(client);
        serve();
      };
      return { leave };
    },
  };
}
