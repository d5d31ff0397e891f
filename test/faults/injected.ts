/** System calls of a relay that runs are refused, from outside, for as long as it is asked. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from '../interop/ports.ts';
import type { RunningRelay } from '../relay/site.ts';

/** `what` as strace says it after `inject=`, on these paths alone. Answers how to end it. */
export async function inject({ child }: RunningRelay, what: string, paths: readonly string[]): Promise<() => Promise<void>> {
  const call = what.slice(0, what.indexOf(':'));
  const places = paths.flatMap((path) => ['-P', path]);
  const args = ['-f', '-p', String(child.pid), '-o', '/dev/null', ...places, '-e', `trace=${call}`, '-e', `inject=${what}`];
  const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(strace, 'close');
  let said = '';
  strace.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await until('strace has attached', () => /attached/.test(said));
  return async () => {
    if (strace.exitCode === null) strace.kill('SIGTERM');
    await ended;
  };
}
