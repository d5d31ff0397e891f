/** The thread for hashes as the main thread sees it. It is started at the first login, and anew where it has ended. */
import { Worker } from 'node:worker_threads';
import type { Cost, Derive } from './password-hash.ts';

export interface HashRequest {
  readonly id: number;
  readonly password: string;
  readonly salt: Uint8Array;
  readonly cost: Cost;
  readonly octets: number;
}

export interface HashAnswer {
  readonly id: number;
  readonly hash: Uint8Array;
}

export interface HashThread {
  /** Rejects where the thread ends meanwhile. */
  readonly derive: Derive;
  close(): void;
}

interface Waiting {
  readonly resolve: (hash: Buffer) => void;
  readonly reject: (cause: unknown) => void;
}

/** MiB of its heap; what argon2 takes lies beside it. */
const HEAP = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 };

export function makeHashThread(): HashThread {
  let thread: Running | undefined;
  return {
    derive(password, salt, cost, octets) {
      if (thread === undefined || thread.ended) thread = new Running();
      return thread.derive(password, salt, cost, octets);
    },
    close: () => thread?.end(),
  };
}

class Running {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  ended = false;

  constructor() {
    // From source it is a .ts file, from dist a .js one.
    this.#worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './hash-worker.ts' : './hash-worker.js', import.meta.url), {
      resourceLimits: HEAP,
    });
    this.#worker.unref();
    this.#worker.on('message', ({ id, hash }: HashAnswer) => {
      this.#waiting.get(id)?.resolve(Buffer.from(hash));
      this.#waiting.delete(id);
      // Between hashes it keeps nobody from ending.
      if (this.#waiting.size === 0) this.#worker.unref();
    });
    this.#worker.on('error', (cause) => this.#fail(cause));
    this.#worker.once('exit', () => this.#fail(new Error('the thread for hashes has ended')));
  }

  derive(password: string, salt: Buffer, cost: Cost, octets: number): Promise<Buffer> {
    const request: HashRequest = { id: ++this.#lastId, password, salt, cost, octets };
    return new Promise((resolve, reject) => {
      this.#waiting.set(request.id, { resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage(request, []);
    });
  }

  end(): void {
    void this.#worker.terminate();
  }

  #fail(cause: unknown): void {
    this.ended = true;
    for (const { reject } of this.#waiting.values()) reject(cause);
    this.#waiting.clear();
  }
}
