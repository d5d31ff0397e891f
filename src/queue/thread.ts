/** The worker of the SQLite queue as the main thread sees it: requests go out, answers come back by their number. */
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import { SealpostError } from '../errors.ts';
import type { Failure, Operation, Operations, WorkerMessage, WorkerStart } from './requests.ts';

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: SealpostError) => void;
}

interface ThreadOptions {
  readonly now: () => number;
  readonly log: Logger;
  readonly stop: (error: SealpostError) => void;
}

/** Starts the worker; `opened` rejects where the queue cannot be opened. `stop` is called once nothing can be stored any more. */
export function startThread(start: WorkerStart, { now, log, stop }: ThreadOptions) {
  // From source it is a .ts file, from dist a .js one.
  const worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './sqlite-worker.ts' : './sqlite-worker.js', import.meta.url), {
    workerData: start,
  });
  const waiting = new Map<number, Waiting>();
  let lastId = 0;
  let ended = false;
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const fail = (cause: unknown): void => {
    const error = new SealpostError('storage-failed', { cause });
    if (!ended) stop(error);
    ended = true;
    for (const [id, { reject }] of waiting) {
      waiting.delete(id);
      reject(error);
    }
  };
  worker.on('error', fail);
  worker.once('exit', () => fail(new Error('the thread of the queue has ended')));
  const take = (message: WorkerMessage): void => {
    switch (message.kind) {
      case 'answers':
        for (const answer of message.answers) take(answer);
        return;
      case 'answer':
      case 'failure': {
        const request = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.kind === 'answer') request?.resolve(message.answer);
        else request?.reject(fromFailure(message.failure));
        return;
      }
      case 'log':
        log[message.level](message.attributes, message.message);
        return;
      case 'stopped':
        stop(fromFailure(message.failure));
        return;
    }
  };
  worker.on('message', take);
  const expect = <Answer>(id: number): Promise<Answer> => new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  let asked: object[] = [];
  const post = (): void => {
    worker.postMessage(asked, []);
    asked = [];
  };
  const send = <Answer>(content: { readonly operation: string; readonly ask?: unknown; readonly at?: number }): Promise<Answer> => {
    if (ended) return Promise.reject(new SealpostError('storage-failed', { detail: 'the queue is closed' }));
    const answer = expect<Answer>(++lastId);
    if (asked.push({ ...content, id: lastId }) === 1) setImmediate(post);
    return answer;
  };
  return {
    opened: expect<null>(0).catch(async (error: unknown) => {
      ended = true;
      await exited;
      throw error;
    }),
    ask: <O extends Operation>(operation: O, ask: Operations[O]['ask']): Promise<Operations[O]['answer']> =>
      send({ operation, ask, at: now() }),
    async close(): Promise<void> {
      if (ended) return;
      const closed = send<null>({ operation: 'close' });
      ended = true;
      await closed;
      await exited;
    },
  };
}

function fromFailure({ code, detail, hint, cause }: Failure): SealpostError {
  return new SealpostError(code, {
    ...(detail === undefined ? {} : { detail }),
    ...(hint === undefined ? {} : { hint }),
    cause: new Error(cause),
  });
}
