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

/**
 * What `act` answers; its signal is aborted with `outer`, and after `patience` ms (a TimeoutError; Infinity: never). Only `act` ends the
 * waiting. In the place of AbortSignal.any(): where one of its signals is itself made by it, Node 24.21 never lets go of either, and a
 * look-up would leave some behind.
 */
export async function heeding<T>(outer: AbortSignal, patience: number, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  if (outer.aborted) return act(outer);
  const controller = new AbortController();
  const stop = (): void => controller.abort(outer.reason);
  const late = (): void => controller.abort(new DOMException(`no answer within ${Math.round(patience)} ms`, 'TimeoutError'));
  outer.addEventListener('abort', stop, { once: true });
  const timer = patience < 1 || patience === Infinity ? undefined : setTimeout(late, patience);
  // A timer may ring a part of a millisecond early, and what is left then is none.
  if (patience < 1) late();
  try {
    return await act(controller.signal);
  } finally {
    clearTimeout(timer);
    outer.removeEventListener('abort', stop);
  }
}
