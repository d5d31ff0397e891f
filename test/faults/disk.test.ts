/** Faults, rows "fsync EIO" and "disk full": 451 or 452, never a 250 that does not hold; what is queued goes on. */
import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { noStrace, noUnshare } from '../queue/faulty.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import { findCanary } from './canary.ts';
import { inject } from './injected.ts';
import { CANARY, LARGE, mail, needs, quickRetry, tried } from './tried.ts';

const ANNA = ['anna@clinic.example'];
const MIB = 1024 * 1024;

type Switchable = { greeting: string | undefined } & Replies;

describe('the disk', { concurrency: 2, ...needs() }, () => {
  for (const [what, place, lines] of [
    ['the queue', 'queue.sqlite-wal', 1],
    ['a body', 'bodies', LARGE],
  ] as const)
    test(
      `fsync EIO of ${what}: 451, no 250 after it, the log says why and the relay ends with exit 1; what got 250 before is delivered (P1)`,
      { skip: noStrace },
      async (t) => {
        const replies: Switchable = { greeting: undefined };
        const upstream = await keepingUpstream(t, replies);
        // Nothing is due meanwhile: it is the mail that meets the fault.
        const retry = { first: '30m', longest: '1h', max_age: '5d' };
        const site = await tried(t, { upstreamPort: upstream.port, config: { retry } });
        const relay = await site.serve();
        const taken = [await send(relay.port, ANNA, mail()), await send(relay.port, ANNA, mail(LARGE))];
        await until('both were tried', async () => (await site.sealpost('queue', 'stats')).includes('deferred 2,'));
        const end = await inject(relay, 'fsync,fdatasync:error=EIO', [join(site.data, place)]);
        // The disk works again behind the first failure, and must not be believed.
        await assert.rejects(send(relay.port, ANNA, mail(lines)), /451 4\.3\.0/);
        await assert.rejects(send(relay.port, ANNA, mail(lines)));
        await until('it has ended', () => relay.child.exitCode !== null || relay.child.signalCode !== null, 90_000);
        await end();
        assert.deepEqual([relay.child.exitCode, relay.child.signalCode], [1, null], 'by itself, not by the signal to what hangs');
        assert.match(relay.log(), /the queue cannot be written any more and takes no mail/);
        replies.greeting = goodReplies.greeting;
        const again = await site.serve();
        await site.sealpost('queue', 'retry', '--all');
        const arrived = (id: string): boolean => upstream.deliveries().some(({ octets }) => octets.includes(id));
        await until('what got 250 is delivered', () => taken.every(arrived), 20_000);
        await send(again.port, ANNA, mail());
        await again.stop();
        await site.assertWhole(upstream.deliveries());
        await site.assertSealed(upstream.deliveries());
        await site.sealpost('audit', 'verify');
      },
    );

  test('disk full, error=ENOSPC: 452, and taken again without a restart when there is room', { skip: noStrace }, async (t) => {
    const upstream = await keepingUpstream(t);
    const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
    const relay = await site.serve();
    await send(relay.port, ANNA, mail());
    await until('the first is delivered', async () => (await site.events('delivered')).length === 1);
    const end = await inject(relay, 'pwrite64,write:error=ENOSPC', [join(site.data, 'queue.sqlite-wal')]);
    await assert.rejects(send(relay.port, ANNA, mail()), /452 4\.3\.1/);
    await end();
    await send(relay.port, ANNA, mail());
    await until('the next is delivered', () => upstream.deliveries().length === 2);
    await relay.stop();
    assert.equal(relay.child.exitCode, 0);
    await site.assertSealed(upstream.deliveries());
    await site.sealpost('audit', 'verify');
  });

  test(
    'the audit file cannot be written: 451, and the log says why; delivery goes on, and mail is taken again without a restart',
    { skip: noStrace },
    async (t) => {
      const replies: Switchable = { greeting: undefined };
      const upstream = await keepingUpstream(t, replies);
      const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
      const relay = await site.serve();
      let taken = 0;
      const refused = (): Promise<boolean> =>
        send(relay.port, ANNA, mail()).then(
          () => {
            taken++;
            return false;
          },
          (error: unknown) => /451 4\.3\.0 the audit log cannot be written/.test(String(error)),
        );
      assert.equal(await refused(), false);
      const end = await inject(relay, 'pwrite64:error=ENOSPC', [join(site.data, 'audit.jsonl')]);
      await until('mail is refused', refused, 20_000);
      assert.match(relay.log(), /the audit file cannot be written, no mail is taken/);
      replies.greeting = goodReplies.greeting;
      await until('what was queued is delivered all the same', () => upstream.deliveries().length === taken, 20_000);
      await end();
      await until('mail is taken again', async () => !(await refused()), 20_000);
      await until('all is told of', async () => (await site.events('delivered')).length === taken, 20_000);
      await relay.stop();
      assert.equal(relay.child.exitCode, 0);
      await site.assertSealed(upstream.deliveries());
      await site.sealpost('audit', 'verify');
    },
  );

  test(
    'disk full, a small tmpfs: 452 while the reserve is touched, delivery drains, and mail is taken again when room comes back (P6)',
    {
      skip: noUnshare,
    },
    async (t) => {
      const replies: Switchable = { greeting: undefined };
      const upstream = await keepingUpstream(t, replies);
      const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
      const mount = `mount -t tmpfs -o size=80m,mode=700 tmpfs "$0" && exec "$@"`;
      const relay = await site.serve(['unshare', '-rm', 'sh', '-c', mount, site.data]);
      // The mount is seen by that process alone, and by who goes through its door.
      const data = `/proc/${relay.child.pid ?? 0}/root${site.data}`;
      for (const lines of [1, LARGE, 1]) await send(relay.port, ANNA, mail(lines));
      const ballast = join(data, 'ballast');
      await writeFile(ballast, Buffer.alloc(30 * MIB));
      let taken = 3;
      const refused = (): Promise<boolean> =>
        send(relay.port, ANNA, mail()).then(
          () => {
            taken++;
            return false;
          },
          (error: unknown) => /452 4\.3\.1/.test(String(error)),
        );
      await until('mail is refused', refused);
      replies.greeting = goodReplies.greeting;
      await until('what was queued is delivered all the same', () => upstream.deliveries().length === taken, 20_000);
      await assert.rejects(send(relay.port, ANNA, mail()), /452 4\.3\.1/);
      await rm(ballast);
      await until('mail is taken again', async () => !(await refused()));
      await until('the last is delivered', () => upstream.deliveries().length === taken);
      assert.deepEqual(await findCanary([data], CANARY), []);
      await site.assertWhole(upstream.deliveries());
      await site.assertSealed(upstream.deliveries());
      await relay.stop();
    },
  );
});
