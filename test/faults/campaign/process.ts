/** The built relay as an operator starts it, under its own sandbox; it may be killed before it listens. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { resolve } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';

export const BUILT_CLI = resolve(import.meta.dirname, '../../../dist/cli.js');

export interface RelayProcess {
  /** Of the relay, or of the program in front of it. */
  readonly pid: number;
  /** Undefined where it ended before it listened. */
  readonly port: Promise<number | undefined>;
  /** How it ended: an exit code, or the name of a signal. */
  readonly ended: Promise<number | string>;
  readonly over: () => boolean;
  signal(name: NodeJS.Signals): void;
  kill(): Promise<void>;
  stop(): Promise<void>;
}

const STOP_MS = 40_000;

export interface StartOptions {
  /** The configuration file; its folder is where the relay runs. */
  readonly file: string;
  readonly cwd: string;
  /** All that it says goes here, and is searched later. */
  readonly log: string;
  readonly temporary: string;
  readonly prefix?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export function startBuilt({ file, cwd, log, temporary, prefix = [], env = {} }: StartOptions): RelayProcess {
  const [program, ...args] = [...prefix, process.execPath, BUILT_CLI, '-c', file, 'serve'];
  const around = { ...process.env, TMPDIR: temporary, ...env };
  const child = spawn(program, args, { cwd, env: around, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const { promise: port, resolve: listens } = Promise.withResolvers<number | undefined>();
  let start: string | undefined = '';
  const take = (chunk: Buffer): void => {
    appendFileSync(log, chunk);
    if (start === undefined) return;
    start += chunk.toString('latin1');
    const found = /"port":(\d+),"msg":"listening"/.exec(start)?.[1];
    if (found === undefined) return;
    start = undefined;
    listens(Number(found));
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const over = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const ended = once(child, 'close').then(() => {
    listens(undefined);
    return child.signalCode ?? child.exitCode ?? -1;
  });
  const signal = (name: NodeJS.Signals): void => {
    // The group: what stands in front of the relay ends with it.
    if (child.pid !== undefined && !over()) process.kill(-child.pid, name);
  };
  const kill = async (): Promise<void> => {
    signal('SIGKILL');
    await ended;
  };
  return {
    pid: child.pid ?? 0,
    port,
    ended,
    over,
    signal,
    kill,
    async stop() {
      signal('SIGTERM');
      const late = new AbortController();
      await Promise.race([ended, sleep(STOP_MS, undefined, { signal: late.signal }).catch(() => undefined)]);
      late.abort();
      await kill();
    },
  };
}
