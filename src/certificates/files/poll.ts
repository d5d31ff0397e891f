/**
 * When a folder is scanned, and what counts while a scan stands still. Between scans it rests at least a second and nineteen times as
 * long as the scan took, so that a huge folder costs 5 % of the time and not more.
 *
 * A scan that stands still, for instance at a file server that answers no more, makes the folder unavailable until it ends: what
 * was read long ago may have been taken away since. No other scan is begun meanwhile, since each would take one more thread.
 */
import { join } from 'node:path';
import type { Logger } from 'pino';

/** So many times the delay of one answer may a whole scan take: a server that answers each call just in time is of no use either. */
const ANSWERS_FOR_SCAN = 12;
const SHORTEST_REST_MS = 1000;
/** 19 parts of rest to one of scanning are 5 %. */
const REST_TO_SCAN = 19;
const MEASURED_SCANS = 3;

export interface PollOptions {
  readonly path: string;
  readonly log: Logger;
  /** ms for one call of the file system. */
  readonly answer: number;
  /** Never rejects. */
  readonly scan: () => Promise<void>;
  /** Where the scan stands: below the folder, and since when, by performance.now(). */
  readonly progress: () => { readonly at: string; readonly since: number };
  readonly stuck: (cause: Error) => void;
}

export interface Poll {
  /** The first scan has ended, or stands still. */
  readonly first: Promise<void>;
  /** Scans now. */
  refresh(): Promise<void>;
  close(): void;
}

export function startPoll({ path, log, answer, scan, progress, stuck }: PollOptions): Poll {
  // ms of the last scans but the first, which reads every file and is no measure of the others.
  const durations: number[] = [];
  let scans = 0;
  let running: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let standing = false;

  const rest = (): void => {
    if (closed) return;
    timer = setTimeout(() => void poll(), restAfter(durations));
    timer.unref();
  };
  const recover = async (ending: Promise<void>): Promise<void> => {
    await ending;
    standing = false;
    if (!closed) log.info({ path }, 'certificate folder is answered again');
    rest();
  };
  const attempt = async (): Promise<void> => {
    clearTimeout(timer);
    const begun = performance.now();
    const ending = scan();
    // The first scan of a huge folder reads all of it, and takes what it takes.
    const whole = scans === 0 ? Infinity : answer * ANSWERS_FOR_SCAN;
    if (await endsInTime(ending, progress, answer, begun + whole)) {
      if (scans++ > 0) durations.push(performance.now() - begun);
      if (durations.length > MEASURED_SCANS) durations.shift();
      return rest();
    }
    const cause = new Error(`${join(path, progress().at)} is not answered by the file system`);
    log.warn({ path, err: cause }, 'certificate folder cannot be read');
    stuck(cause);
    standing = true;
    void recover(ending);
  };
  const poll = async (): Promise<void> => {
    if (standing || closed) return;
    running ??= attempt().finally(() => (running = undefined));
    await running;
  };
  return {
    first: poll(),
    refresh: async () => {
      // A scan that is under way may have passed what the caller has just changed.
      await running;
      await poll();
    },
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** From the shortest of the last scans: a long one may only have waited for the rest of the process. */
const restAfter = (durations: readonly number[]): number =>
  durations.length === 0 ? SHORTEST_REST_MS : Math.max(SHORTEST_REST_MS, REST_TO_SCAN * Math.min(...durations));

/** False where the scan stands still before it ends. It goes on, since nothing takes back a call of the file system. */
async function endsInTime(ending: Promise<void>, progress: PollOptions['progress'], patience: number, end: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setInterval(() => {
    const time = performance.now();
    if (time - progress().since > patience || time > end) resolve(false);
  }, patience / 4);
  timer.unref();
  try {
    return await Promise.race([ending.then(() => true), late]);
  } finally {
    clearInterval(timer);
  }
}
