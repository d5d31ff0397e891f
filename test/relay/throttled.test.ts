/** Slow and strict upstreams behind the running relay: what the operator configures, sees in the queue and reads in the audit log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { strictUpstream } from '../delivery/strict.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { startSink, withoutSink } from '../interop/sink.ts';
import { makeSite } from './site.ts';
import { send } from './submit.ts';

const ANNA = 'anna@clinic.example';
const OTTO = 'otto@clinic.example';
const options = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };

test(
  'show: `rate` and `concurrency` keep to what an upstream enforces: 30 mails, none refused, each by its first attempt',
  options,
  async (t) => {
    await using strict = await strictUpstream({ connections: 3, messages: 6, per: 1000 });
    const upstream = [{ host: '127.0.0.1', port: strict.port, concurrency: 3, rate: '6/s' }];
    const site = await makeSite(t, { upstreamPort: strict.port, config: { upstream } });
    const relay = await site.serve();
    await Promise.all(Array.from({ length: 30 }, () => send(relay.port, [ANNA])));
    await until('all are taken', () => strict.taken === 30, 60_000);
    assert.deepEqual([strict.refusedMessages, strict.refusedConnections], [0, 0]);
    assert.ok(strict.mostMessages <= 6 && strict.mostConnections <= 3, `${strict.mostMessages} messages`);
    await until('all are settled', async () => (await site.sealpost('queue', 'list')) === '');
    const delivered = await site.sealpost('audit', 'show', '--event', 'delivered');
    assert.equal([...delivered.matchAll(/attempt=1 /g)].length, 30);
    assert.equal(await site.sealpost('audit', 'show', '--event', 'deferred'), '');
  },
);

test('a restart, or a kill, allows no second stretch of a rate: what the first one sent counts', options, async (t) => {
  await using strict = await strictUpstream({ connections: 3, messages: 3, per: 60_000 });
  const upstream = [{ host: '127.0.0.1', port: strict.port, rate: '3/min' }];
  const site = await makeSite(t, { upstreamPort: strict.port, config: { upstream } });
  for (const end of ['stop', 'kill', 'stop'] as const) {
    const relay = await site.serve();
    await Promise.all(Array.from({ length: 4 }, () => send(relay.port, [ANNA])));
    await until('three are taken', () => strict.taken === 3, 20_000);
    await sleep(300);
    await relay[end]();
  }
  assert.deepEqual([strict.taken, strict.refusedMessages], [3, 0]);
  const waiting = await site.sealpost('queue', 'list');
  assert.deepEqual(
    [...waiting.matchAll(/attempts (\d+)/g)].map(([, attempts]) => attempts),
    Array.from({ length: 9 }, () => '0'),
  );
});

const seen: readonly (readonly [readonly string[], string, RegExp])[] = [
  [['-f', 'RCPT'], 'bounced', /500 5\.3\.0 Error: command failed \(at rcpt\)/],
  [['-r', '.'], 'deferred', /450 4\.3\.0 Error: command failed \(at dot\)/],
  [['-q', '.'], 'deferred', /upstream-lost at dot/],
  [['-f', 'RCPT', '-B', '554 5.7.1 Relay access denied'], 'deferred', /554 5\.7\.1 Relay access denied \(at rcpt\)/],
];

for (const [fault, state, reason] of seen) {
  test(`smtp-sink ${fault.join(' ')} behind the relay: each recipient ${state}`, { skip: options.skip || withoutSink }, async (t) => {
    await using sink = await startSink(fault);
    const site = await makeSite(t, { upstreamPort: sink.port });
    const relay = await site.serve();
    const id = await send(relay.port, [ANNA, OTTO]);
    /** Those of the message; of a bounce a notice waits beside them. */
    const lines = async (): Promise<string[]> => (await site.sealpost('queue', 'list')).split('\n').filter((line) => line.startsWith(id));
    await until('both were tried', async () => (await lines()).every((line) => /attempts [1-9]/.test(line)), 30_000);
    for (const [index, line] of (await lines()).entries()) {
      assert.ok(line.includes([ANNA, OTTO][index] ?? '?') && line.includes(` ${state} `), line);
      assert.match(line, reason);
    }
    const [, ambiguous] = /"ambiguous":(\d+)/.exec(await site.sealpost('queue', 'stats', '--json')) ?? [];
    assert.equal(Number(ambiguous) > 0, fault[0] === '-q');
  });
}
