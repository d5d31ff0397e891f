/**
 * The thread that hashes passwords, one at a time. It yields to all others: mail goes on while twenty clients log in, at the
 * speed it has without them, and logins take what time is left. Nor does it take a thread of the pool that reads and
 * writes files.
 */
import { setPriority } from 'node:os';
import process from 'node:process';
import { parentPort } from 'node:worker_threads';
import { SealpostError } from '../../errors.ts';
import type { HashAnswer, HashRequest } from './hash-thread.ts';
import { deriveNow } from './password-hash.ts';

/** About a tenth of what a thread of mail gets where both want the same core: a login under load is slow, and comes. */
const NICE = 10;

function yieldToOthers(): void {
  // Threads have a priority of their own on Linux alone; elsewhere the whole relay would yield.
  if (process.platform !== 'linux') return;
  try {
    setPriority(NICE);
  } catch {
    // A sandbox forbids it: logins then compete.
  }
}

const port = parentPort;
if (port === null) throw new SealpostError('internal', { detail: 'the thread for hashes is started as a worker' });
yieldToOthers();
port.on('message', ({ id, password, salt, cost, octets }: HashRequest) => {
  const answer: HashAnswer = { id, hash: deriveNow(password, Buffer.from(salt), cost, octets) };
  // A port, not a window: there is no origin to name.
  port.postMessage(answer, []);
});
