/**
 * Where a thread stands, in memory that two threads share: a thread that hangs in a call of the file system can send nothing, and
 * is seen by its beat standing still.
 */
const OCTETS = 1024;
/** Beats, and octets of the path behind them. */
const FRONT = 8;

export interface Beat {
  readonly memory: SharedArrayBuffer;
  /** Of the thread: it begins something at that path. */
  strike(at: string): void;
  /** Of whoever watches: beats, and where the last one was. */
  read(): { readonly count: number; readonly at: string };
}

export function makeBeat(memory = new SharedArrayBuffer(OCTETS)): Beat {
  const numbers = new Int32Array(memory, 0, FRONT / 4);
  const text = Buffer.from(memory, FRONT);
  return {
    memory,
    strike: (at) => {
      Atomics.store(numbers, 1, text.write(at));
      Atomics.add(numbers, 0, 1);
    },
    read: () => ({ count: Atomics.load(numbers, 0), at: text.toString('utf8', 0, Atomics.load(numbers, 1)) }),
  };
}
