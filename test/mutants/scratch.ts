/**
 * A copy of the checkout in which guards are taken out, one at a time, and put back. The packages are linked; the work tree is
 * read and never written.
 */
import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { mutate, root, type Guard } from './guard.ts';
import { isResult, type TrialOrder, type TrialResult } from './trial.ts';

export type Run = TrialResult & { readonly ms: number };

export interface Scratch {
  /** Runs tests on the copy, whole or without a guard. `deadline` in ms: what takes longer hangs. */
  run(order: TrialOrder, deadline: number, without?: Guard): Promise<Run>;
  remove(): Promise<void>;
}

/** Neither sources nor what tests read: packages are linked, the rest is made anew. */
const LEFT_OUT: ReadonlySet<string> = new Set(['.git', 'node_modules', '.cache', 'dist', 'coverage']);
const LINKED = ['node_modules', '.cache'];
/** A mutant with a variable that nobody reads any more is a program all the same. */
const COMPILE = ['-p', 'tsconfig.build.json', '--noEmit', '--noUnusedLocals', 'false', '--noUnusedParameters', 'false'];
const COMPILE_MS = 5 * 60_000;

export async function makeScratch(signal?: AbortSignal): Promise<Scratch> {
  const folder = await mkdtemp(join(tmpdir(), 'mutants-'));
  const copy = join(folder, 'm');
  await mkdir(copy);
  const there = await readdir(root);
  for (const name of there) if (!LEFT_OUT.has(name)) await cp(join(root, name), join(copy, name), { recursive: true });
  for (const name of LINKED) if (there.includes(name)) await symlink(join(root, name), join(copy, name));
  // Short: some tests make sockets there.
  const temporary = join(folder, 't');
  await mkdir(temporary);
  const env: NodeJS.ProcessEnv = { ...process.env, TMPDIR: temporary, NODE_COMPILE_CACHE: join(folder, 'compiled') };
  // Left by a test that runs a mutant: it would make the trial one of its files.
  delete env['NODE_TEST_CONTEXT'];
  // What was built has the guard still.
  delete env['RELAY_UNDER_TEST'];

  const start = (args: readonly string[], deadline: number): Promise<Ended> => end(args, { cwd: copy, env, deadline, signal });

  const trial = async (order: TrialOrder, deadline: number): Promise<TrialResult> => {
    const ended = await start(['test/mutants/trial.ts', JSON.stringify(order)], deadline);
    if (ended.kind === 'late') return { kind: 'hung', test: order.files.join(', ') };
    const result: TrialResult | undefined = readResult(ended.stdout);
    return result ?? { kind: 'broken', fault: `the run of the tests ended with ${ended.code}` };
  };

  return {
    async run(order, deadline, without) {
      const started = performance.now();
      const timed = (result: TrialResult): Run => ({ ...result, ms: performance.now() - started });
      if (without === undefined) return timed(await trial(order, deadline));
      const path = join(copy, without.file);
      const whole = await readFile(path, 'utf8');
      const mutation = mutate(whole, without);
      if (mutation.kind === 'unsound') return timed({ kind: 'broken', fault: mutation.fault });
      try {
        await writeFile(path, mutation.source);
        const compiled = await start(['node_modules/typescript/bin/tsc', ...COMPILE], COMPILE_MS);
        if (compiled.kind === 'late' || compiled.code !== 0)
          return timed({ kind: 'broken', fault: `it does not compile: ${firstLine(compiled.stdout)}` });
        const begun = performance.now();
        const result = await trial(order, deadline);
        return { ...result, ms: performance.now() - begun };
      } finally {
        await writeFile(path, whole);
        await rm(temporary, { recursive: true, force: true, maxRetries: 3 });
        await mkdir(temporary, { recursive: true });
      }
    },
    remove: () => rm(folder, { recursive: true, force: true, maxRetries: 3 }),
  };
}

interface Ended {
  readonly kind: 'ended' | 'late';
  readonly code: number | null;
  readonly stdout: string;
}

interface Surroundings {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
}

/** A group of processes of its own: the deadline ends it with all that it started, and so does its end. */
function end(args: readonly string[], { cwd, env, deadline, signal }: Surroundings): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
    let stdout = '';
    let late = false;
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // Nobody of the group is left.
      }
    };
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, deadline);
    signal?.addEventListener('abort', kill, { once: true });
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.on('error', reject);
    let code: number | null = null;
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', kill);
      resolve({ kind: late ? 'late' : 'ended', code, stdout });
    };
    child.on('exit', (status) => {
      code = status;
      // What its tests left behind would hold the pipe open, and `close` back.
      kill();
    });
    child.on('close', done);
  });
}

const firstLine = (text: string): string => text.split('\n')[0]?.slice(0, 200) ?? '';

function readResult(stdout: string): TrialResult | undefined {
  const line = stdout.split('\n').findLast((one) => one.startsWith('{"kind"'));
  const value: unknown = line === undefined ? undefined : JSON.parse(line);
  return isResult(value) ? value : undefined;
}
