/** The thread of one folder as the main thread sees it. It is started at the first request, and anew where it has ended. */
import { Worker } from 'node:worker_threads';
import type { FolderNews } from './news.ts';
import type { Operations, WorkerMessage, WorkerStart } from './requests.ts';

export interface FolderThread {
  /** Rejects where the thread fails to answer it, or ends meanwhile. */
  ask<Kind extends keyof Operations>(kind: Kind, content: Operations[Kind]['ask']): Promise<Operations[Kind]['answer']>;
  close(): Promise<void>;
}

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (cause: unknown) => void;
}

/** MiB of its heap: 250,000 certificates take a third of it. */
const HEAP = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 8 };
/** ms. A thread that hangs in a call of the file system cannot be ended, and is left. */
const END_MS = 1000;

export function makeFolderThread(start: WorkerStart, tell: (news: FolderNews) => void): FolderThread {
  let thread: Running | undefined;
  let closed = false;
  return {
    ask: (kind, content) => {
      if (closed) return Promise.reject(new Error('the certificate folder is closed'));
      if (thread === undefined || thread.ended) thread = new Running(start, tell);
      return thread.ask(kind, content);
    },
    close: async () => {
      closed = true;
      await thread?.end();
    },
  };
}

class Running {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  ended = false;

  constructor(start: WorkerStart, tell: (news: FolderNews) => void) {
    // From source it is a .ts file, from dist a .js one.
    this.#worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url), {
      workerData: start,
      resourceLimits: HEAP,
    });
    this.#worker.unref();
    this.#worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'news') return tell(message.news);
      const request = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      // Between requests it keeps nobody from ending.
      if (this.#waiting.size === 0) this.#worker.unref();
      if (message.kind === 'answer') request?.resolve(message.answer);
      else request?.reject(message.cause);
    });
    this.#worker.on('error', (cause) => this.#fail(cause));
    this.#worker.once('exit', () => this.#fail(new Error('the thread of the certificate folder has ended')));
  }

  ask<Kind extends keyof Operations>(kind: Kind, content: Operations[Kind]['ask']): Promise<Operations[Kind]['answer']> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage({ ...content, id, kind }, []);
    });
  }

  async end(): Promise<void> {
    this.#fail(new Error('the certificate folder is closed'));
    this.#worker.unref();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, END_MS);
    await Promise.race([this.#worker.terminate(), late]);
    clearTimeout(timer);
  }

  #fail(cause: unknown): void {
    this.ended = true;
    for (const { reject } of this.#waiting.values()) reject(cause);
    this.#waiting.clear();
  }
}
