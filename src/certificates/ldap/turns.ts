/** Waiting that a signal ends: for what several share, and for a place among those that work. */
import { asUnavailable } from './fault.ts';

/** What is shared goes on; who waits for it need not. Throws `lookup-unavailable` once `signal` is aborted. */
export async function within<T>(shared: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(asUnavailable(signal.reason, 'no connection in time'));
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([shared, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

export type Turn = <T>(signal: AbortSignal, work: () => Promise<T>) => Promise<T>;

/** Runs `most` at a time, the others in the order they came. */
export function makeTurns(most: number): Turn {
  let running = 0;
  const waiting = new Set<() => void>();
  const leave = (): void => {
    // The place goes to the first that waits, or is free.
    const [first] = waiting;
    if (first === undefined) running--;
    else {
      waiting.delete(first);
      first();
    }
  };
  const enter = async (signal: AbortSignal): Promise<void> => {
    if (running < most) {
      running++;
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.add(resolve);
    try {
      await within(promise, signal);
    } catch (fault) {
      // A place that was given in the same moment is passed on.
      if (!waiting.delete(resolve)) leave();
      throw fault;
    }
  };
  return async (signal, work) => {
    await enter(signal);
    try {
      return await work();
    } finally {
      leave();
    }
  };
}
