/** How cost grows with what there may be much of: one curve each, the last point where the limits of a large site are. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../interop/ports.ts';
import { makeSite } from '../relay/site.ts';
import { relayWithBacklog } from './backlog.ts';
import { addressOf, makeCertificates } from './certificates/files.ts';
import type { Bench } from './figures.ts';
import { sendLoad } from './load.ts';
import { startOurs } from './ours.ts';
import type { Owner } from './owner.ts';
import { rateOf } from './pairs.ts';
import { cpuOf, queueingRelay } from './recipients.ts';
import { missingForSource } from './relaying.ts';
import { ownSink, relayMails, SENDER } from './source.ts';

/** A hundred thousand files, on a slow disk. */
const READ_MS = 180_000;
const LIMIT = { message_bytes: '100MiB', in_flight_bytes: '1GiB', connections: 1000, connections_per_address: 1000 };

export async function benchGrowth(bench: Bench, owner: Owner): Promise<void> {
  const missing = missingForSource();
  if (missing !== undefined) return bench.print(`growth: skipped, ${missing}`);
  for (const curve of [bySize, byReaders, byCertificates, byConnections, byBacklog]) await curve(bench, owner);
}

/** Each point is measured `times` times; the least counts, since what else the machine does only adds. */
async function leastOf(times: number, measure: () => Promise<number>): Promise<number> {
  let least = Infinity;
  for (let time = 0; time < times; time++) least = Math.min(least, await measure());
  return least;
}

async function bySize({ curve, quick }: Bench, owner: Owner): Promise<void> {
  const sink = await ownSink(owner);
  const { relay } = await startOurs(owner, { upstreamPort: sink.port, config: { limits: LIMIT } });
  const at = quick ? [1_000, 100_000] : [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000];
  const pid = relay.child.pid ?? 0;
  await relayMails(relay.port, sink, { clients: 4, messages: quick ? 50 : 1000, octets: 1000 });
  const values: number[] = [];
  for (const octets of at) {
    const messages = quick ? 5 : Math.min(500, Math.max(5, Math.round(2e7 / octets)));
    const measure = async (): Promise<number> => {
      const before = await cpuOf(pid);
      await relayMails(relay.port, sink, { clients: 1, messages, octets });
      return ((await cpuOf(pid)) - before) / messages;
    };
    values.push(await leastOf(quick ? 1 : 3, measure));
  }
  curve({ name: 'size', along: 'octets of a message', at, series: [{ name: 'CPU of a message, ms', values }] });
}

async function byReaders({ curve, quick }: Bench, owner: Owner): Promise<void> {
  const at = quick ? [1, 10] : [1, 10, 100, 1000];
  const cpu = await queueingRelay(owner, at.at(-1) ?? 1);
  for (let warm = 0; warm < (quick ? 1 : 50); warm++) await cpu(1, 100_000);
  const values: number[] = [];
  for (const count of at) {
    const times = quick ? 1 : Math.max(3, 100 / count);
    const measure = async (): Promise<number> => {
      let sum = 0;
      for (let time = 0; time < times; time++) sum += await cpu(count, 100_000);
      return sum / times;
    };
    values.push(await leastOf(quick ? 1 : 3, measure));
  }
  curve({ name: 'recipients', along: 'recipients of a message of 100 KB', at, series: [{ name: 'CPU until it is queued, ms', values }] });
}

async function byCertificates({ curve, quick }: Bench, owner: Owner): Promise<void> {
  const at = quick ? [10, 100] : [10, 100, 1000, 10_000, 100_000];
  const values: number[] = [];
  for (const count of at) {
    const sink = await ownSink(owner);
    const site = await makeSite(owner, { upstreamPort: sink.port, people: [] });
    const certificates = join(site.dir, 'certs');
    mkdirSync(join(certificates, 'made'));
    const write = makeCertificates(certificates);
    for (let number = 0; number < count; number++) write(number);
    const relay = await site.serve();
    const pid = relay.child.pid ?? 0;
    const mails = quick ? 5 : 200;
    let sent = 0;
    const send = async (): Promise<void> => {
      // Each to another reader, as long as there are others.
      for (let mail = 0; mail < mails; mail++) {
        const to = addressOf((sent++ * 7919) % count);
        await sendLoad({ port: relay.port, clients: 1, messages: 1, octets: 4096, from: SENDER, to });
      }
    };
    // Until its folder is read, the relay puts mail off.
    await until(
      'the folder is read',
      () =>
        send().then(
          () => true,
          () => false,
        ),
      READ_MS,
    );
    const measure = async (): Promise<number> => {
      const before = await cpuOf(pid);
      await send();
      return ((await cpuOf(pid)) - before) / mails;
    };
    values.push(await leastOf(quick ? 1 : 3, measure));
    await relay.stop();
  }
  curve({ name: 'certificates', along: 'certificate files in the folder', at, series: [{ name: 'CPU of a 4 KB mail, ms', values }] });
}

async function byConnections({ curve, quick }: Bench, owner: Owner): Promise<void> {
  const at = quick ? [1, 20] : [1, 5, 20, 100, 500];
  const sink = await ownSink(owner);
  const upstream = [{ host: '127.0.0.1', port: sink.port, concurrency: 20 }];
  const { relay } = await startOurs(owner, { upstreamPort: sink.port, config: { upstream, limits: LIMIT } });
  const messages = quick ? 50 : 1500;
  await relayMails(relay.port, sink, { clients: 20, messages, octets: 4096 });
  const values: number[] = [];
  for (const clients of at)
    values.push(
      1000 /
        (await leastOf(quick ? 1 : 3, async () => (await relayMails(relay.port, sink, { clients, messages, octets: 4096 })) / messages)),
    );
  curve({ name: 'connections', along: 'clients at a time', at, series: [{ name: '4 KB mails/s', values }] });
}

async function byBacklog({ curve, quick }: Bench, owner: Owner): Promise<void> {
  const at = quick ? [1, 100] : [1, 1000, 10_000, 100_000, 1_000_000];
  const values: number[] = [];
  for (const rows of at) {
    const { port, sink } = await relayWithBacklog(owner, rows);
    const messages = quick ? 50 : 1500;
    const mails = { clients: 20, messages, octets: 4096 };
    await relayMails(port, sink, mails);
    values.push(1 / (await leastOf(quick ? 1 : 3, async () => 1 / (await rateOf(messages, () => relayMails(port, sink, mails))))));
  }
  curve({ name: 'queue', along: 'deferred rows in the queue', at, series: [{ name: '4 KB mails/s', values }] });
}
