/** Faults, row "EMFILE, SIGTERM, SIGHUP mid-DATA": 250 and durable, or 4xx; it stops in 30 s. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { until } from '../interop/ports.ts';
import { succeed } from '../interop/programs.ts';
import type { RunningRelay } from '../relay/site.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import { LARGE, mail, midway, needs, quickRetry, tried } from './tried.ts';

const HALF = 5_000;
const STOP_MS = 30_000;

const signal = ({ child }: RunningRelay, name: NodeJS.Signals): void => assert.ok(child.kill(name));

async function started(t: TestContext) {
  const upstream = await keepingUpstream(t);
  const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
  return { upstream, site, relay: await site.serve() };
}

describe('signals in the middle of DATA', { concurrency: 3, ...needs() }, () => {
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    test(`${name} mid-DATA: who ends the message gets 250 and is delivered, who does not is closed without a reply; exit 0 within 30 s (P1, P5)`, async (t) => {
      const { upstream, site, relay } = await started(t);
      const text = mail(LARGE);
      const ends = await midway(relay.port, text.slice(0, HALF));
      const hangs = await midway(relay.port, text.slice(0, HALF));
      const from = performance.now();
      signal(relay, name);
      await until('it stops', () => relay.log().includes('"msg":"stopping"'));
      ends.send(text.slice(HALF));
      await ends.ask('.', /^250 /);
      await hangs.closed();
      await until('it has ended', () => relay.child.exitCode !== null, STOP_MS);
      assert.ok(performance.now() - from < STOP_MS);
      assert.equal(relay.child.exitCode, 0);
      const again = await site.serve();
      await until('its delivery', () => upstream.deliveries().length > 0);
      await again.stop();
      assert.equal((await site.events('accepted')).length, 1);
      assert.equal((await site.events('delivered')).length, 1);
      await site.assertWhole(upstream.deliveries());
      await site.assertSealed(upstream.deliveries());
      await site.sealpost('audit', 'verify');
    });

  test('SIGHUP and SIGPIPE mid-DATA: the relay goes on, the message gets its 250, and the log says what a hangup does', async (t) => {
    const { upstream, site, relay } = await started(t);
    const text = mail(LARGE);
    const client = await midway(relay.port, text.slice(0, HALF));
    signal(relay, 'SIGHUP');
    signal(relay, 'SIGPIPE');
    await until('it is said', () => relay.log().includes('nothing is read again at a hangup'));
    client.send(text.slice(HALF));
    await client.ask('.', /^250 /);
    signal(relay, 'SIGHUP');
    await send(relay.port, ['anna@clinic.example'], mail());
    await until('both are delivered', () => upstream.deliveries().length === 2);
    await relay.stop();
    assert.equal(relay.child.exitCode, 0);
    await site.assertWhole(upstream.deliveries());
    await site.assertSealed(upstream.deliveries());
  });

  test(
    'EMFILE mid-DATA: 250 and durable, or 4xx; where descriptors are free again, mail flows again, and nothing is lost',
    {
      skip: needs({ prlimit: 'util-linux' }).skip,
    },
    async (t) => {
      const { upstream, site, relay } = await started(t);
      const text = mail(LARGE);
      const client = await midway(relay.port, text.slice(0, HALF));
      const allow = (count: string) => succeed('prlimit', [`--pid=${relay.child.pid ?? 0}`, `--nofile=${count}:`]);
      // Those that are open stay open; not one more is given out.
      await allow('5');
      client.send(text.slice(HALF));
      const [first = ''] = await client.ask('.', /^(?:250|4\d\d) /);
      const others = await Promise.allSettled([1, LARGE].map((lines) => send(relay.port, ['anna@clinic.example'], mail(lines))));
      await allow('4096');
      assert.equal(relay.child.exitCode, null, relay.log());
      const taken = [first.startsWith('250'), ...others.map(({ status }) => status === 'fulfilled')].filter(Boolean).length;
      await until('mail is taken again', () =>
        send(relay.port, ['anna@clinic.example'], mail(LARGE)).then(
          () => true,
          () => false,
        ),
      );
      await until('all that got 250 is delivered', () => upstream.deliveries().length >= taken + 1, STOP_MS);
      await relay.stop();
      assert.equal(relay.child.exitCode, 0);
      assert.equal((await site.events('delivered')).length, (await site.events('accepted')).length);
      await site.assertWhole(upstream.deliveries());
      await site.assertSealed(upstream.deliveries());
      await site.sealpost('audit', 'verify');
    },
  );
});
