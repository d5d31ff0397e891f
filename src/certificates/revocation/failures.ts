/** Servers and documents that were asked in vain, and for how long they are left alone: a dead one costs one look-up its time, not each. */

export interface Failures {
  /** Why it is not asked again yet; undefined where it may be. */
  recent(url: URL): string | undefined;
  /** `server`: it cannot be reached, whatever is asked for. `document`: it answers, and this is of no use. */
  note(url: URL, what: 'server' | 'document', why: string): void;
  forget(url: URL): void;
}

interface Failure {
  readonly why: string;
  /** ms since the epoch */
  readonly until: number;
  readonly pause: number;
}

const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 300_000;
const MAX_FAILURES = 1000;

export function makeFailures(now: () => number): Failures {
  const failures = new Map<string, Failure>();
  return {
    recent: (url) => [url.host, url.href].map((key) => failures.get(key)).find((failure) => (failure?.until ?? 0) > now())?.why,
    note: (url, what, why) => {
      const key = what === 'server' ? url.host : url.href;
      const pause = Math.min((failures.get(key)?.pause ?? FIRST_PAUSE_MS / 2) * 2, LONGEST_PAUSE_MS);
      failures.delete(key);
      for (const oldest of failures.keys()) {
        if (failures.size < MAX_FAILURES) break;
        failures.delete(oldest);
      }
      failures.set(key, { why, until: now() + pause, pause });
    },
    forget: (url) => {
      failures.delete(url.host);
      failures.delete(url.href);
    },
  };
}
