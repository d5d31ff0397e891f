/** Faults, row "clock jumps": no early bounce, no early end of what is held or kept, and mail that flows when the clock is right again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import { mail, needs, tried } from './tried.ts';

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
