/** Waiting that ends: whatever is asked may ignore its signal, and whoever waits goes on all the same (P6). */

/** What `act` answers, or the rejection of `signal` where that comes first; then nobody waits for `act` any more. */
export async function unlessAborted<T>(signal: AbortSignal, act: () => Promise<T> | T): Promise<T> {
  signal.throwIfAborted();
  let leave: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason instanceof Error ? signal.reason : new Error('nobody waits any more'));
    signal.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([act(), aborted]);
  } finally {
    if (leave !== undefined) signal.removeEventListener('abort', leave);
  }
}

/**
 * As `unlessAborted`, with a signal of its own that is aborted after `patience` ms. Nothing is begun
 * where there is no time. The timer keeps the process alive.
 */
export async function within<T>(patience: number, act: (signal: AbortSignal) => Promise<T> | T): Promise<T> {
  if (patience <= 0) throw new Error('no time is left to ask');
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error(`no answer within ${Math.round(patience)} ms`)), patience);
  try {
    return await unlessAborted(controller.signal, () => act(controller.signal));
  } finally {
    clearTimeout(timer);
  }
}
