/** Faults, row "clock jumps": no early bounce, no early end of what is held or kept, and mail that flows when the clock is right again. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import { mail, needs, quickRetry, tried } from './tried.ts';

const ANNA = ['anna@clinic.example'];

/** As year.test.ts has it: without the program, which leaves semaphores behind. */
const clock = (shift: string): readonly string[] => [
  'env',
  'LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1',
  'FAKETIME_DONT_FAKE_MONOTONIC=1',
  `FAKETIME=${shift}`,
];

test(
  'clock jumps a year ahead: nothing bounces, held mail stays held, bounced mail is kept; set back, everything flows (P7)',
  needs({ faketime: 'faketime' }),
  async (t) => {
    const replies: { greeting: string | undefined; mail: string | undefined; dot: string } & Replies = {
      greeting: goodReplies.greeting,
      mail: goodReplies.mail,
      dot: '550 5.7.1 Message rejected as spam\r\n',
    };
    const upstream = await keepingUpstream(t, replies);
    const rules = [
      { name: 'wait', when: { sender: 'hold@clinic.example' }, then: 'hold', subject: { replace: 'held [{queue_id}]' } },
      { name: 'everything', then: 'seal', subject: { replace: 'sealed [{queue_id}]' }, missing: 'refuse' },
    ];
    const site = await tried(t, { upstreamPort: upstream.port, rules });
    await site.sealpost('queue', 'hold-key');
    const of = async (event: string): Promise<number> => (await site.events(event)).filter(({ recipient }) => recipient === ANNA[0]).length;
    const first = await site.serve();
    await send(first.port, ANNA, mail());
    await until('it bounced', async () => (await of('bounced')) === 1, 20_000);
    replies.greeting = undefined;
    // Of the session that stands, too.
    replies.mail = undefined;
    await send(first.port, ANNA, mail());
    await send(first.port, ANNA, mail(), { sender: 'hold@clinic.example' });
    await until('it was tried', async () => (await of('deferred')) > 0, 20_000);
    await first.stop();
    const before = await of('deferred');

    /** Notices stand in the queue too. */
    const states = async (): Promise<string[]> => {
      const lines = (await site.sealpost('queue', 'list')).split('\n').filter((line) => line.includes('anna@'));
      return lines.map((line) => line.split(/\s+/)[1] ?? '').toSorted((one, other) => one.localeCompare(other));
    };
    const ahead = await site.serve(clock('+366d'));
    await until('it is tried again', async () => (await of('deferred')) > before, 20_000);
    assert.deepEqual(await states(), ['bounced', 'deferred', 'held']);
    await ahead.stop();

    replies.greeting = goodReplies.greeting;
    replies.mail = goodReplies.mail;
    replies.dot = goodReplies.dot;
    const right = await site.serve();
    await until('what waited is delivered', async () => (await of('delivered')) === 1, 20_000);
    await send(right.port, ANNA, mail());
    await until('and the next', async () => (await of('delivered')) === 2, 20_000);
    assert.deepEqual(await states(), ['bounced', 'held']);
    await right.stop();
    assert.equal(await of('bounced'), 1);
    await site.assertWhole(upstream.deliveries().filter(({ recipient }) => recipient === ANNA[0]));
    await site.assertSealed(upstream.deliveries());
    await site.sealpost('audit', 'verify');
  },
);

test(
  'clock set ahead and back under a running relay: mail goes on being tried, without a storm, and goes out (P7)',
  needs({ faketime: 'faketime' }),
  async (t) => {
    const replies: { dot: string } & Replies = { dot: '451 4.2.1 The mailbox is busy\r\n' };
    const upstream = await keepingUpstream(t, replies);
    const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
    const shift = join(site.dir, 'shift');
    const set = (to: string): Promise<void> => writeFile(shift, `${to}\n`);
    await set('+0');
    const [env = '', preload = '', monotonic = ''] = clock('');
    const relay = await site.serve([env, preload, monotonic, `FAKETIME_TIMESTAMP_FILE=${shift}`, 'FAKETIME_NO_CACHE=1']);
    const deferred = async (): Promise<number> => (await site.events('deferred')).length;
    const ids = [await send(relay.port, ANNA, mail())];
    await until('it is tried', async () => (await deferred()) > 0, 20_000);
    // Minutes, below the age at which mail is given up, and far above the wait for the next attempt.
    for (const to of ['+30m', '-30m', '+0']) {
      const before = await deferred();
      await set(to);
      // Before their first second certificates are none.
      if (!to.startsWith('-')) ids.push(await send(relay.port, ANNA, mail()));
      await until(`all are tried at ${to}`, async () => (await deferred()) > before + ids.length, 20_000);
    }
    replies.dot = goodReplies.dot;
    await until('all of it is delivered', async () => (await site.events('delivered')).length === ids.length, 20_000);
    await relay.stop();
    assert.equal(new Set(ids).size, ids.length);
    assert.deepEqual((await site.events('bounced')).length, 0);
    // One a second and message, and some for the jumps.
    const started = Date.parse(String((await site.events('started'))[0]?.['time']));
    const lasted = (Date.now() - started) / 1000;
    assert.ok((await deferred()) < ids.length * (lasted + 10), `${await deferred()} attempts in ${Math.round(lasted)} s`);
    await site.assertWhole(upstream.deliveries());
    await site.assertSealed(upstream.deliveries());
    await site.sealpost('audit', 'verify');
  },
);
