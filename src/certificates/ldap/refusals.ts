/**
 * Addresses whose entries are more than is taken. What they cost to ask and to read is paid once a minute and not for every
 * message: they are few, each written by somebody who may write an entry of the directory (P6).
 */
import type { AnswerRefused } from './fault.ts';

export interface Refusals {
  /** Undefined where the directory is to be asked. */
  get(key: string): AnswerRefused | undefined;
  put(key: string, fault: AnswerRefused): void;
}

/** ms: whoever tidies the entry waits for no longer. */
const KEPT_MS = 60_000;
const MAX_KEPT = 1000;

/** `now`: ms. */
export function makeRefusals(now: () => number): Refusals {
  const kept = new Map<string, { readonly fault: AnswerRefused; readonly until: number }>();
  return {
    get: (key) => {
      const entry = kept.get(key);
      if (entry === undefined) return undefined;
      const left = entry.until - now();
      // More than the whole time is a clock that was set back.
      if (left > 0 && left <= KEPT_MS) return entry.fault;
      kept.delete(key);
      return undefined;
    },
    put: (key, fault) => {
      kept.delete(key);
      kept.set(key, { fault, until: now() + KEPT_MS });
      const [oldest] = kept.keys();
      if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest);
    },
  };
}
