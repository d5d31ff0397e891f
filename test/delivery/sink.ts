/** Postfix's smtp-sink: a real SMTP server with faults by option. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import process from 'node:process';

const PROGRAM = '/usr/sbin/smtp-sink';

/** What to hand to node:test as `skip`. */
export const withoutSink = existsSync(PROGRAM) ? false : 'postfix is not installed';

export interface Sink extends AsyncDisposable {
  readonly port: number;
  /** Stops the program where it stands: connections are still made, by the kernel, and nobody answers. */
  freeze(): void;
  thaw(): void;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  await new Promise((resolve) => server.close(resolve));
  return address.port;
}

/** Starts smtp-sink and waits until it listens. Root must name another user. */
export async function startSink(faults: readonly string[] = [], port?: number): Promise<Sink> {
  const listening = port ?? (await freePort());
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn(PROGRAM, [...user, ...faults, `127.0.0.1:${listening}`, '64'], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  while (!(await listens(listening))) {
    if (child.exitCode !== null) throw new Error(`smtp-sink ${faults.join(' ')} ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return {
    port: listening,
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
