/**
 * Servers and documents that were asked in vain, and for how long they are left alone: a dead one costs one look-up its time, not each.
 * A server is a scheme, a name and a port: what does not answer at 443 tells nothing of the CA at 80, and anybody may name either.
 */

export interface Failures {
  /** Why it is not asked again yet; undefined where it may be. */
  recent(url: URL): string | undefined;
  /** `server`: it cannot be reached, whatever is asked for. `document`: it answers, and this is of no use. */
  note(url: URL, what: 'server' | 'document', why: string): void;
  forget(url: URL): void;
}

interface Failure {
  readonly why: string;
  /** ms of `uptime` */
  readonly until: number;
  readonly pause: number;
}

const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 300_000;
const MAX_FAILURES = 1000;

/** `uptime`: ms of a clock that nobody sets; one that was ahead would leave a server alone until it is caught up with. */
export function makeFailures(uptime: () => number): Failures {
  const failures = new Map<string, Failure>();
  return {
    recent: (url) => [url.origin, url.href].map((key) => failures.get(key)).find((failure) => (failure?.until ?? 0) > uptime())?.why,
    note: (url, what, why) => {
      const key = what === 'server' ? url.origin : url.href;
      const pause = Math.min((failures.get(key)?.pause ?? FIRST_PAUSE_MS / 2) * 2, LONGEST_PAUSE_MS);
      failures.delete(key);
      for (const oldest of failures.keys()) {
        if (failures.size < MAX_FAILURES) break;
        failures.delete(oldest);
      }
      failures.set(key, { why, until: uptime() + pause, pause });
    },
    forget: (url) => {
      failures.delete(url.origin);
      failures.delete(url.href);
    },
  };
}
