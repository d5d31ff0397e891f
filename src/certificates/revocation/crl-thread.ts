/**
 * The thread for lists as the main thread sees it. It is started for the first list and ends once there was none for a while,
 * which gives back what reading them took.
 */
import { Worker } from 'node:worker_threads';
import type { CrlHeld, CrlIssuer, CrlReading } from './crl-read.ts';
import type { CrlSubjects } from './crl-scope.ts';

export interface CrlRequest {
  readonly id: number;
  /** The octets themselves, or the path of their file. */
  readonly source: Uint8Array | string;
  readonly issuer: CrlIssuer;
  readonly wish: CrlWish;
}

export interface CrlWish {
  /** For whom the list must speak; undefined: that is judged later. */
  readonly subjects?: CrlSubjects;
  readonly keep?: Keep | undefined;
}

/** The file to write the list to, where it is good and may take the place of `held`. */
export interface Keep {
  readonly path: string;
  readonly held: CrlHeld | undefined;
}

export interface CrlAnswer {
  readonly id: number;
  readonly reading: CrlReading;
}

export interface CrlThread {
  /** Octets are handed over: the caller has them no more. Never rejects. */
  read(source: Uint8Array<ArrayBuffer> | string, issuer: CrlIssuer, wish?: CrlWish): Promise<CrlReading>;
  close(): void;
}

const IDLE_MS = 10_000;
/** For one list; ten times what the largest takes on a slow machine. */
const STUCK_MS = 60_000;
/** MiB of its heap; the octets of a list lie beside it, and the text of one in PEM within. */
const HEAP = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 8 };

type Resolve = (reading: CrlReading) => void;

export function makeCrlThread(): CrlThread {
  let worker: Worker | undefined;
  let lastId = 0;
  let idle: NodeJS.Timeout | undefined;
  let stuck: NodeJS.Timeout | undefined;
  const waiting = new Map<number, Resolve>();

  const end = (of: Worker | undefined): void => {
    clearTimeout(idle);
    clearTimeout(stuck);
    if (of !== undefined && of === worker) worker = undefined;
    void of?.terminate();
  };
  const fail = (of: Worker): void => {
    if (of !== worker) return;
    worker = undefined;
    for (const resolve of waiting.values())
      resolve({ kind: 'refused', why: 'it could not be read: the thread for lists has ended', lasting: false });
    waiting.clear();
  };
  /** A file system that stands still holds the thread for good: it is given up, and the next list gets another. */
  const watch = (of: Worker): void => {
    clearTimeout(stuck);
    stuck = setTimeout(() => {
      fail(of);
      end(of);
    }, STUCK_MS).unref();
  };
  const start = (): Worker => {
    // From source it is a .ts file, from dist a .js one.
    const file = import.meta.url.endsWith('.ts') ? './crl-worker.ts' : './crl-worker.js';
    const started = new Worker(new URL(file, import.meta.url), { resourceLimits: HEAP });
    started.on('message', ({ id, reading }: CrlAnswer) => {
      waiting.get(id)?.(reading);
      waiting.delete(id);
      if (waiting.size > 0) return watch(started);
      clearTimeout(stuck);
      // Between lists it keeps nobody from ending.
      started.unref();
      idle = setTimeout(end, IDLE_MS, started).unref();
    });
    started.on('error', () => fail(started));
    started.once('exit', () => fail(started));
    return started;
  };

  return {
    read: (source, issuer, wish = {}) => {
      clearTimeout(idle);
      worker ??= start();
      const id = ++lastId;
      const request: CrlRequest = { id, source, issuer, wish };
      const { promise, resolve } = Promise.withResolvers<CrlReading>();
      worker.postMessage(request, typeof source === 'string' ? [] : [source.buffer]);
      waiting.set(id, resolve);
      worker.ref();
      if (waiting.size === 1) watch(worker);
      return promise;
    },
    close: () => {
      const ended = worker;
      if (ended !== undefined) fail(ended);
      end(ended);
    },
  };
}
