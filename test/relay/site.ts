/** A site in a temporary folder, and the relay on it as a real process: what the operator has. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { makeReaders, type ReaderName, type Readers } from '../interop/fixtures.ts';
import { run } from '../interop/programs.ts';

/** `npm test` builds it, as an operator has it: a relay starts in half the time. Else what is in src/. */
export const CLI = process.env['RELAY_UNDER_TEST'] ?? resolve(import.meta.dirname, '../../src/cli.ts');
const START_MS = 20_000;

export interface Site {
  readonly dir: string;
  readonly data: string;
  readonly file: string;
  readonly readers: Readers;
  /** Starts `serve`; `prefix` is a program that starts it, such as strace with its arguments. */
  serve(prefix?: readonly string[]): Promise<RunningRelay>;
  /** Runs a command of sealpost on this site; answers its standard output, and fails where it does not exit 0. */
  sealpost(...args: string[]): Promise<string>;
}

export interface RunningRelay {
  readonly port: number;
  /** Of the process that was started: the prefix, where there is one. */
  readonly child: ChildProcess;
  /** All that it logged so far. */
  log(): string;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** Whoever ends what was started: a test, or a bench. */
export interface Owner {
  after(end: () => unknown): void;
}

export interface SiteOptions {
  readonly upstreamPort: number;
  /** People whose certificate is in place; all but `dora` where it is not said. */
  readonly people?: readonly ReaderName[];
  /** Further keys of sealpost.yaml. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly rules?: readonly Readonly<Record<string, unknown>>[];
}

export async function makeSite(
  t: Owner,
  { upstreamPort, people = ['anna', 'otto', 'ben', 'carla'], config = {}, rules }: SiteOptions,
): Promise<Site> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-site-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  for (const folder of ['certs/recipients', 'certs/anchors', 'certs/intermediates', 'policies'])
    await mkdir(join(dir, folder), { recursive: true });
  for (const folder of ['data', 'keys']) await mkdir(join(dir, folder), { mode: 0o700 });
  const readers = await makeReaders(join(dir, 'people'));
  await copyFile(readers.ca, join(dir, 'certs/anchors/ca.pem'));
  for (const name of people) await copyFile(readers.people[name].certificate, join(dir, 'certs/recipients', `${name}.pem`));
  const everything = { name: 'everything', then: 'seal', subject: { replace: 'sealed [{queue_id}]' }, missing: 'refuse' };
  await writeFile(join(dir, 'policies/50-test.yaml'), JSON.stringify({ rules: rules ?? [everything] }));
  const file = join(dir, 'sealpost.yaml');
  await writeFile(
    file,
    JSON.stringify({
      hostname: 'relay.clinic.example',
      operator: 'postmaster@clinic.example',
      listen: [{ host: '127.0.0.1', port: 0 }],
      clients: { networks: ['127.0.0.0/8'] },
      upstream: [{ host: '127.0.0.1', port: upstreamPort }],
      ...config,
    }),
  );
  return {
    dir,
    data: join(dir, 'data'),
    file,
    readers,
    serve: (prefix = []) => serve(t, file, prefix),
    async sealpost(...args) {
      const { code, stdout, stderr } = await run(process.execPath, [CLI, '-c', file, ...args], { cwd: dir });
      assert.equal(code, 0, stderr);
      return stdout.toString();
    },
  };
}

export async function serve(t: Owner, file: string, prefix: readonly string[] = []): Promise<RunningRelay> {
  const command = [...prefix, process.execPath, CLI, '-c', file, 'serve'];
  const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let log = '';
  let listens = false;
  const ended = once(child, 'close');
  const listening = new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not listening in time: ${log}`)), START_MS);
    const take = (chunk: Buffer): void => {
      log += chunk.toString();
      // Once it listens the log is only kept: a search of all of it at each line would cost what a bench measures.
      if (listens) return;
      const port = /"port":(\d+),"msg":"listening"/.exec(log)?.[1];
      if (port === undefined) return;
      listens = true;
      clearTimeout(timer);
      resolve(Number(port));
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('close', (code) => {
      clearTimeout(timer);
      reject(new Error(`the relay ended with ${code}: ${log}`));
    });
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    // The group, so that the relay behind a prefix is reached and not the prefix alone.
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid, signal);
    await ended;
  };
  t.after(() => end('SIGKILL'));
  return { port: await listening, child, log: () => log, stop: () => end('SIGTERM'), kill: () => end('SIGKILL') };
}
