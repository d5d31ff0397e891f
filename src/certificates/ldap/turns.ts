/** Work for which there are only so many places at a time. */
import { unlessAborted } from '../time-box.ts';

/** Throws the reason of `signal` where that comes before a place is free. */
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
      await unlessAborted(signal, () => promise);
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
