/** Runs child.ts to whatever end strace brings it: killed at a system call, or refused one. */
import { spawn, spawnSync } from 'node:child_process';
import { env, execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import type { Site } from './site.ts';

export const childScript = fileURLToPath(new URL('./child.ts', import.meta.url));

const strace = spawnSync('strace', ['-f', '-o', '/dev/null', 'true']);
export const noStrace = strace.status === 0 ? false : 'strace is not installed, or may not trace';
export const noUnshare = spawnSync('unshare', ['-rm', 'true']).status === 0 ? false : 'unshare may not make a namespace';

export interface Ran {
  readonly lines: readonly string[];
  readonly log: string;
}

/** Runs the child to whatever end it comes to. `when=N` of strace counts per thread, so there is one file thread. */
export function runChild(
  site: Site,
  prefix: readonly string[],
  killAt?: { readonly line: number; readonly afterMs: number },
  mode = 'load',
): Promise<Ran> {
  const [command, ...rest] = [...prefix, execPath, childScript, site.paths.folder, mode];
  const child = spawn(command, rest, { env: { ...env, UV_THREADPOOL_SIZE: '1' }, stdio: ['ignore', 'pipe', 'pipe'] });
  const out: Buffer[] = [];
  const log: Buffer[] = [];
  let timer: NodeJS.Timeout | undefined;
  child.stdout.on('data', (bytes: Buffer) => {
    out.push(bytes);
    const lines = Buffer.concat(out).toString().split('\n').length - 1;
    if (killAt !== undefined && lines >= killAt.line) timer ??= setTimeout(() => child.kill('SIGKILL'), killAt.afterMs);
  });
  child.stderr.on('data', (bytes: Buffer) => log.push(bytes));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      clearTimeout(timer);
      const text = Buffer.concat(out).toString();
      // A line without its end was not said.
      resolve({
        lines: text
          .slice(0, text.lastIndexOf('\n') + 1)
          .split('\n')
          .filter(Boolean),
        log: Buffer.concat(log).toString(),
      });
    });
  });
}

export const inject = (what: string, ...more: readonly string[]): string[] => {
  const call = what.slice(0, what.indexOf(':'));
  // With --seccomp-bpf strace 6.1 injects errors, but no signal into the threads that write: nothing would be killed.
  const faster = what.includes(':signal=') ? [] : ['--seccomp-bpf'];
  return ['strace', '-f', ...faster, '-o', '/dev/null', ...more, '-e', `trace=${call}`, '-e', `inject=${what}`];
};

/** Two at a time; both lanes have ended before a failure is told, or what they open would outlive the test. */
export async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const lane = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  for (const ended of await Promise.allSettled([lane(), lane()])) if (ended.status === 'rejected') throw ended.reason;
}
