/** Faults, rows "upstream dead, slow, half-open" and "upstream says no at every phase": deferred and sent again, bounced, or ambiguous. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { chaosProxy, type Mood } from '../delivery/chaos.ts';
import { freePort, LOOPBACK, until } from '../interop/ports.ts';
import { startSink, withoutSink } from '../interop/sink.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import { LARGE, mail, needs, quickRetry, tried } from './tried.ts';

const ANNA = 'anna@clinic.example';
const OTTO = 'otto@clinic.example';
const WAIT_MS = 40_000;

describe('an upstream that is there and is not', { concurrency: 3, ...needs() }, () => {
  for (const mood of ['shut', 'reset', 'cut', 'slow'] as const satisfies readonly Mood[])
    test(`upstream ${mood}: ${mood === 'slow' ? 'delivered' : 'deferred, and delivered once it is well'}, once and whole (P4, P7)`, async (t) => {
      const upstream = await keepingUpstream(t);
      await using proxy = await chaosProxy(upstream.port);
      proxy.mood = mood;
      const site = await tried(t, { upstreamPort: proxy.port, config: quickRetry });
      const relay = await site.serve();
      await send(relay.port, [ANNA], mail(LARGE));
      if (mood !== 'slow') await until('it is deferred', async () => (await site.events('deferred')).length > 0);
      if (mood !== 'slow') proxy.mood = 'well';
      await until('it is delivered', async () => (await site.events('delivered')).length === 1, WAIT_MS);
      await relay.stop();
      assert.equal(upstream.deliveries().length, 1);
      assert.equal((await site.events('bounced')).length, 0);
      await site.assertWhole(upstream.deliveries());
      await site.assertSealed(upstream.deliveries());
    });

  test(
    'upstream half-open, a stopped smtp-sink, and one that is dead: other mail flows through the next one, and the first once it answers (P7)',
    { skip: withoutSink },
    async (t) => {
      await using stuck = await startSink();
      stuck.freeze();
      t.after(() => stuck.thaw());
      const upstream = await keepingUpstream(t);
      const hosts = [await freePort(), stuck.port, upstream.port].map((port) => ({ host: LOOPBACK, port, concurrency: 1 }));
      const site = await tried(t, { upstreamPort: upstream.port, config: { ...quickRetry, upstream: hosts } });
      const relay = await site.serve();
      for (const lines of [1, LARGE, 1]) await send(relay.port, [ANNA], mail(lines));
      await until('the others are delivered', async () => (await site.events('delivered')).length === 2, WAIT_MS);
      stuck.thaw();
      await until('the first is delivered', async () => (await site.events('delivered')).length === 3, WAIT_MS);
      await relay.stop();
      assert.deepEqual([upstream.deliveries().length, stuck.received()], [2, 1]);
      await site.assertWhole(upstream.deliveries());
      await site.assertSealed(upstream.deliveries());
    },
  );
});

/** What smtp-sink is told, and what the audit log says of each recipient. Those that refuse for good come first: nothing waits then. */
const faults: readonly (readonly [readonly string[], readonly string[]])[] = [
  ...['MAIL', 'RCPT', '.'].map((phase) => [['-f', phase], ['bounced']] as const),
  [['-A', '1'], ['bounced']],
  [['-p', '-W', '.:1'], ['delivered']],
  ...['CONNECT', 'MAIL', 'DATA'].map((phase) => [['-q', phase], ['deferred']] as const),
  ...['.'].map((phase) => [['-Q', phase], ['deferred']] as const),
  ...['RCPT', '.'].map((phase) => [['-r', phase], ['deferred']] as const),
  [
    ['-q', '.'],
    ['ambiguous', 'deferred'],
  ],
];

test(
  `upstream says no at every phase, ${faults.length} faults of smtp-sink: 5xx bounces, 4xx and the unknown wait, a lost 250 is ambiguous, each recipient alone (P7)`,
  { skip: withoutSink === false ? needs().skip : withoutSink, timeout: 300_000 },
  async (t) => {
    const port = await freePort();
    const site = await tried(t, { upstreamPort: port, config: { retry: { first: '30m', longest: '1h', max_age: '5d' } } });
    const relay = await site.serve();
    const waiting: string[] = [];
    for (const [fault, expected] of faults) {
      await using _sink = await startSink(fault, port);
      const id = await send(relay.port, [ANNA, OTTO], mail());

      const said = async (recipient: string): Promise<string> => {
        const events = await site.events('bounced', 'delivered', 'deferred', 'ambiguous');
        const own = events.filter((event) => event['queue_id'] === id && event['recipient'] === recipient);
        return own.map(({ event }) => String(event)).join(' ');
      };
      for (const recipient of [ANNA, OTTO])
        await until(
          `${fault.join(' ')} for ${recipient}`,
          async () => {
            if ((await said(recipient)).startsWith(expected.join(' '))) return true;
            // Ends the pause that the fault before has earned the upstream.
            if (waiting.length > 0) await site.sealpost('queue', 'retry', id).catch(() => '');
            return false;
          },
          60_000,
        );
      if (expected.includes('deferred')) waiting.push(id);
    }
    await using _sink = await startSink([], port);
    await site.sealpost('queue', 'retry', '--all');
    const delivered = async (): Promise<string[]> => (await site.events('delivered')).map((event) => String(event['queue_id']));
    await until('all that waited is delivered', async () => {
      const ids = await delivered();
      return waiting.every((id) => ids.filter((one) => one === id).length === 2);
    });
    await relay.stop();
    assert.equal(relay.child.exitCode, 0);
    assert.match(await site.sealpost('queue', 'stats'), /ready 0, leased 0, deferred 0, /);
    await site.assertSealed();
    await site.sealpost('audit', 'verify');
  },
);
