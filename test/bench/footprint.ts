/** What large messages cost: memory of the relay over idle, and octets stored for many recipients. */
import { copyFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort, until } from '../interop/ports.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { makeSite, type SiteOptions } from '../relay/site.ts';
import { sendLoad } from './load.ts';
import type { Bench } from './figures.ts';
import { measureMemory, type MemoryFigure } from './memory.ts';
import { startOurs } from './ours.ts';
import type { Owner } from './owner.ts';
import { showSpread, spread } from './pairs.ts';
import { ownSink } from './source.ts';

const MIB = 1024 * 1024;
const LOADS = [
  { clients: 1, octets: 25 * MIB, most: 40 },
  { clients: 1, octets: 200 * MIB, most: 40 },
  { clients: 8, octets: 25 * MIB, most: 64 },
] as const;
const RUNS = 3;
const DELIVERY_TIMEOUT_MS = 120_000;
const ENVELOPE = { from: 'forms@clinic.example', to: 'anna@clinic.example' };

export async function benchMemory({ print, quick, figure }: Bench, owner: Owner): Promise<void> {
  const missing = missingPrograms({ 'smtp-sink': 'postfix' });
  if (missing !== undefined) return print(`memory: skipped, ${missing}`);
  for (const { clients, octets, most } of quick ? LOADS.slice(-1) : LOADS) {
    const found: MemoryFigure[] = [];
    for (let run = 0; run < (quick ? 1 : RUNS); run++) found.push(await memoryOf(clients, quick ? MIB : octets, owner));
    figure({
      what: `memory over idle, ${clients} × ${octets / MIB} MiB at once`,
      measured: spread(found.map(({ overIdle }) => overIdle)),
      unit: 'MiB',
      wanted: { most },
      beside: `over ${showSpread(spread(found.map(({ idle }) => idle)), 0)} MiB`,
    });
  }
}

/** A relay of its own, that takes and delivers one message from each of `clients` at once. */
export async function memoryOf(
  clients: number,
  octets: number,
  owner: Owner,
  { config, ...site }: Partial<SiteOptions> = {},
): Promise<MemoryFigure> {
  const sink = await ownSink(owner);
  const { relay } = await startOurs(owner, {
    ...site,
    upstreamPort: sink.port,
    config: { limits: { message_bytes: '300MiB' }, ...config },
  });
  const send = async (count: number, size: number): Promise<void> => {
    const before = sink.received();
    await sendLoad({ port: relay.port, clients: count, messages: count, octets: size, ...ENVELOPE });
    await until('everything is delivered', () => sink.received() - before >= count, DELIVERY_TIMEOUT_MS);
  };
  const figure = await measureMemory(
    relay.child.pid ?? 0,
    () => send(1, 4096),
    () => send(clients, octets),
  );
  await relay.stop();
  return figure;
}

const READERS = 100;

/** Addresses, the first of those that makeReadersOfOneKey makes. */
export const readersOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `reader${index}@clinic.example`);

/** One message of 1 MiB to a hundred readers: what the data folder grows by. */
export async function benchStored(print: (line: string) => void, owner: Owner): Promise<void> {
  const missing = missingPrograms({ openssl: 'openssl' });
  if (missing !== undefined) return print(`stored: skipped, ${missing}`);
  // Nobody listens there: the message stays in the queue.
  const upstreamPort = await freePort();
  const site = await makeSite(owner, { upstreamPort, config: { limits: { recipients: READERS } } });
  await makeReadersOfOneKey(site.dir, READERS);
  const relay = await site.serve();
  const first = await storedOctets(site.data);
  await sendLoad({ port: relay.port, clients: 1, messages: 1, octets: MIB, from: ENVELOPE.from, to: readersOf(READERS) });
  const grown = (await storedOctets(site.data)) - first;
  print(`stored: 1 MiB to ${READERS} readers: ${(grown / 1e6).toFixed(2)} MB (wanted: under ${(1.5 + 0.003 * READERS).toFixed(1)})`);
}

/** A certificate that names them all, and is an anchor itself: a hundred keys would only make the bench slower to set up. */
export async function makeReadersOfOneKey(dir: string, count: number): Promise<void> {
  const names = readersOf(count)
    .map((address) => `email:${address}`)
    .join(',');
  const [file, anchor] = [join(dir, 'certs/recipients/readers.pem'), join(dir, 'certs/anchors/readers.pem')];
  const request = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '9',
    '-subj',
    '/CN=readers',
    '-keyout',
    join(dir, 'readers.key'),
    '-out',
    anchor,
  ];
  await succeed('openssl', [...request, '-addext', `subjectAltName=${names}`, '-addext', 'keyUsage=keyEncipherment']);
  await copyFile(anchor, file);
}

/** Rows and bodies; what the write-ahead log holds twice counts twice. */
async function storedOctets(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(entries.filter((entry) => entry.isFile()).map((entry) => stat(join(entry.parentPath, entry.name))));
  return sizes.reduce((sum, { size }) => sum + size, 0);
}
