/** Postfix's smtp-sink: a real SMTP server that answers as fast as anything, forgets what it took, and has faults by option. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { freePort, listens, LOOPBACK, until } from './ports.ts';
import { findProgram, missingPrograms } from './programs.ts';

/** What to hand to node:test as `skip`. */
export const withoutSink = missingPrograms({ 'smtp-sink': 'postfix' }) ?? false;

export interface Sink extends AsyncDisposable {
  readonly port: number;
  /** Messages it took so far. */
  received(): number;
  /** Stops the program where it stands: connections are still made, by the kernel, and nobody answers. */
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

/** `faults` are its own options, such as `-r DATA`. Resolves once it listens. Root must name another user for it. */
export async function startSink(faults: readonly string[] = [], wanted?: number): Promise<Sink> {
  const port = wanted ?? (await freePort());
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn(findProgram('smtp-sink') ?? 'smtp-sink', [...user, '-c', ...faults, `${LOOPBACK}:${port}`, '1000'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const exited = once(child, 'exit');
  // The counters come as "sess=1 quit=1 mesg=1\r" at every change; only the last of a read counts.
  let tail = '';
  let received = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    tail = (tail + chunk.toString('latin1')).slice(-200);
    const counts = [...tail.matchAll(/mesg=(\d+)(?=\D)/g)];
    received = Number(counts.at(-1)?.[1] ?? received);
  });
  await until(`smtp-sink ${faults.join(' ')} listens`, () => listens(port));
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  return {
    port,
    received: () => received,
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
