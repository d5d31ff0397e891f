/** Whatever a bench starts has an owner that ends it: when the bench is done, when it fails, and when its time is over. */

export interface Owner {
  /** `end` runs after those that were handed over later. */
  after(end: () => unknown): void;
}

/** A relay has 30 s to stop and is killed after it; an end that hangs must not keep the next one from running. */
const END_MS = 35_000;

/**
 * Runs `bench` and then every end, the last first, whatever came of it. Rejects with the first fault: of the bench or of an end,
 * the time where it took more than `ceiling` ms, or the reason of `signal`.
 */
export async function runOwned(ceiling: number, signal: AbortSignal, bench: (owner: Owner) => Promise<void>): Promise<void> {
  const ends: (() => unknown)[] = [];
  const over = AbortSignal.any([signal, AbortSignal.timeout(ceiling)]);
  const ended = Promise.withResolvers<never>();
  const stop = (): void => {
    const timeUp = over.reason instanceof Error && over.reason.name === 'TimeoutError';
    ended.reject(timeUp ? new Error(`not done within ${ceiling / 1000} s`) : over.reason);
  };
  over.addEventListener('abort', stop, { once: true });
  const work = bench({ after: (end) => void ends.push(end) });
  const faults: unknown[] = [];
  const note = (error: unknown): void => void faults.push(error);
  const unwind = async (): Promise<void> => {
    for (let end = ends.pop(); end !== undefined; end = ends.pop()) await within(end, END_MS).catch(note);
  };
  await Promise.race([work, ended.promise]).catch(note);
  over.removeEventListener('abort', stop);
  await unwind();
  // A bench that was cut short fails now, since what it talked to is gone; what it started meanwhile is ended too.
  await within(() => work.catch(() => undefined), END_MS).catch(note);
  await unwind();
  if (faults.length > 0) throw faults[0];
}

async function within(end: () => unknown, ms: number): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`an end was not reached within ${ms / 1000} s`)), ms);
  try {
    await Promise.race([Promise.resolve().then(end), promise]);
  } finally {
    clearTimeout(timer);
  }
}
