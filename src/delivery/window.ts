/** At most so many in any stretch of so long, for each key and for all of them. What it remembers is bounded by the latter. */
export interface Window {
  /** True where one more is within both bounds; it is counted then. */
  take(key: string): boolean;
}

export interface WindowOptions {
  readonly perKey: number;
  readonly inAll: number;
  /** Milliseconds. */
  readonly per: number;
  /** ms since the epoch. */
  readonly now: () => number;
}

export function makeWindow({ perKey, inAll, per, now }: WindowOptions): Window {
  const taken: { readonly key: string; readonly at: number }[] = [];
  const counts = new Map<string, number>();
  const forget = (key: string): void => {
    const left = (counts.get(key) ?? 0) - 1;
    if (left > 0) counts.set(key, left);
    else counts.delete(key);
  };
  return {
    take(key) {
      const at = now();
      // What stands in the future was taken before the clock was set back.
      const kept = taken.findIndex((one) => one.at > at - per && one.at <= at);
      for (const { key: old } of taken.splice(0, kept < 0 ? taken.length : kept)) forget(old);
      if (taken.length >= inAll || (counts.get(key) ?? 0) >= perKey) return false;
      taken.push({ key, at });
      counts.set(key, (counts.get(key) ?? 0) + 1);
      return true;
    },
  };
}
