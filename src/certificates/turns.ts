/** Work that never waits, such as a path search, parted so that everybody else gets a turn of the event loop in between. */
import { setImmediate } from 'node:timers/promises';

/** Runs `work`, whoever asks, one after the other in the order they came. */
export type Turns = <T>(work: () => T) => Promise<T>;

/** `longest` in ms: after so much work the event loop turns, before the next is begun. */
export function makeTurns(longest: number): Turns {
  let last: Promise<unknown> = Promise.resolve();
  let spent = 0;
  const run = async <T>(work: () => T): Promise<T> => {
    if (spent >= longest) {
      await setImmediate();
      spent = 0;
    }
    const begun = performance.now();
    try {
      return work();
    } finally {
      spent += performance.now() - begun;
    }
  };
  return (work) => {
    const mine = last.then(() => run(work));
    last = mine.catch(() => undefined);
    return mine;
  };
}
