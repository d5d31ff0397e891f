/** 200 mails at once for an upstream that allows three connections and thirty messages a minute: with `rate` set, and by its refusals alone. */
import { performance } from 'node:perf_hooks';
import { strictUpstream } from '../delivery/strict.ts';
import { until } from '../interop/ports.ts';
import { sendLoad } from './load.ts';
import { startOurs } from './ours.ts';
import type { Owner } from './owner.ts';

const MAILS = 200;
const ALLOWED = { connections: 3, messages: 30, per: 60_000 };
const LONGEST_MS = 1_500_000;

export async function benchThrottled(print: (line: string) => void, owner: Owner): Promise<void> {
  await Promise.all([
    run('rate: 30/min', { concurrency: 3, rate: '30/min' }, print, owner),
    run('no rate', { concurrency: 3 }, print, owner),
    run('no rate, five connections', { concurrency: 5 }, print, owner),
  ]);
}

async function run(name: string, keys: Readonly<Record<string, unknown>>, print: (line: string) => void, owner: Owner): Promise<void> {
  const strict = await strictUpstream(ALLOWED);
  owner.after(() => strict[Symbol.asyncDispose]());
  const upstream = [{ host: '127.0.0.1', port: strict.port, ...keys }];
  const { site, relay } = await startOurs(owner, { upstreamPort: strict.port, config: { upstream } });
  const start = performance.now();
  await sendLoad({ port: relay.port, clients: 10, messages: MAILS, octets: 4096, from: 'forms@clinic.example', to: 'anna@clinic.example' });
  await until('everything is delivered', () => strict.taken >= MAILS, LONGEST_MS);
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  await until('the queue is empty', async () => (await site.sealpost('queue', 'list')).trim() === '', 10_000);
  const attempts = [...(await site.sealpost('audit', 'show', '--event', 'delivered')).matchAll(/attempt=(\d+)/g)].map(([, n]) => Number(n));
  print(
    `throttled, ${name}: ${strict.taken} of ${MAILS} taken in ${seconds} s; refused ${strict.refusedMessages} messages and ` +
      `${strict.refusedConnections} connections; at most ${strict.mostConnections} connections and ${strict.mostMessages} messages in ` +
      `any ${ALLOWED.per / 1000} s, refused ones included; the highest attempt that counted: ${Math.max(...attempts)}`,
  );
}
