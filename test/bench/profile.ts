/** Where the time of the main thread goes while 4 KB mails pass: the samples of V8, each counted to the part of src/ that it ran for. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { HEAP_FLAGS } from '../../src/commands/sandbox/flags.ts';
import { until } from '../interop/ports.ts';
import { makeSite } from '../relay/site.ts';
import type { Bench } from './figures.ts';
import type { Owner } from './owner.ts';
import { missingForSource } from './relaying.ts';
import { ownSink, relayMails } from './source.ts';

const RELAY = resolve(import.meta.dirname, 'profiled-relay.ts');
const SRC = `file://${resolve(import.meta.dirname, '../../src')}/`;
const FLAGS = ['--disable-warning=ExperimentalWarning', ...HEAP_FLAGS];
const MAILS = { clients: 20, octets: 4096 };

/** Of https://chromedevtools.github.io/devtools-protocol/tot/Profiler/ what is read here. */
interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  /** µs */
  readonly timeDeltas: readonly number[];
}

/** What the frames of Node's own are that cost most; each is counted apart from whom it was done for. */
const CALLS: readonly (readonly [name: string, functions: ReadonlySet<string>])[] = [
  [
    'system calls of sockets',
    new Set(['writeUtf8String', 'writeBuffer', 'writev', 'close', 'shutdown', 'setNoDelay', 'getpeername', 'getsockname']),
  ],
  [
    'public-key operations, ciphers, hashes',
    new Set(['publicEncrypt', 'update', 'CipherBase', 'final', 'Hash', 'oneShotDigest', 'RandomBytesJob', 'run']),
  ],
  ['handing requests to the thread of the queue', new Set(['postMessage'])],
  ['collecting garbage', new Set(['(garbage collector)'])],
];

export async function benchProfile(bench: Bench, owner: Owner): Promise<void> {
  const missing = missingForSource();
  if (missing !== undefined) return bench.print(`profile: skipped, ${missing}`);
  const messages = bench.quick ? 100 : 4000;
  const sink = await ownSink(owner);
  const upstream = [{ host: '127.0.0.1', port: sink.port, concurrency: 20 }];
  const site = await makeSite(owner, { upstreamPort: sink.port, config: { upstream } });
  const target = join(site.dir, 'profile');
  const child = spawn(process.execPath, [...FLAGS, RELAY, site.file, target], { stdio: ['ignore', 'pipe', 'inherit'] });
  owner.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  let log = '';
  child.stdout.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const portOf = (): string | undefined => /"port":(\d+),"msg":"listening"/.exec(log)?.[1];
  await until('the relay listens', () => portOf() !== undefined, 20_000);
  const port = Number(portOf());
  await relayMails(port, sink, { ...MAILS, messages });
  child.kill('SIGUSR2');
  await until('the profile is begun', () => log.includes('profile begun'));
  await relayMails(port, sink, { ...MAILS, messages });
  child.kill('SIGTERM');
  await ended;
  const profile: Profile = JSON.parse(readFileSync(target, 'utf8'));
  bench.shares({ what: '4 KB mail of 20 clients, main thread', each: sharesOf(profile), times: messages });
}

/** µs by what it was spent on, the most first; idle time is left out. */
export function sharesOf({ nodes, samples, timeDeltas }: Profile): { readonly name: string; readonly microseconds: number }[] {
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child): [number, number] => [child, id])));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const nameOf = (id: number): string | undefined => {
    const own = byId.get(id)?.callFrame.functionName ?? '';
    if (own === '(idle)') return undefined;
    const call = CALLS.find(([, functions]) => functions.has(own));
    if (call !== undefined) return call[0];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const url = byId.get(at)?.callFrame.url ?? '';
      if (url.startsWith(SRC)) return `src/${url.slice(SRC.length).split('/')[0] ?? ''}`;
      if (url.includes('/node_modules/')) return /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1];
    }
    return "Node's own: events, streams, promises";
  };
  const sums = new Map<string, number>();
  for (const [index, id] of samples.entries()) {
    const name = nameOf(id);
    if (name !== undefined) sums.set(name, (sums.get(name) ?? 0) + (timeDeltas[index] ?? 0));
  }
  return [...sums].map(([name, microseconds]) => ({ name, microseconds })).sort((a, b) => b.microseconds - a.microseconds);
}
