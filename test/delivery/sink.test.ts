/** Against Postfix's smtp-sink and its faults: an upstream that says no, hangs up or waits, at every phase. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryQueue } from './memory-queue.ts';
import { startSink, withoutSink } from '../interop/sink.ts';
import { briefly, running, timeouts, upstreamAt } from './surroundings.ts';

/** After two attempts, or an end: the events that the audit log has. */
const faults: readonly (readonly [string, string])[] = [
  ['', 'delivered'],
  ['-p', 'delivered'],
  ['-e', 'delivered'],
  ['-E', 'delivered'],
  ['-f EHLO', 'delivered'],
  ['-W .:1', 'delivered'],
  ['-H 1', 'delivered'],
  ['-w 1', 'delivered'],
  ['-q .', 'ambiguous deferred ambiguous deferred'],
  ['-Q .', 'deferred deferred'],
  ['-r .', 'deferred deferred'],
  ['-f .', 'bounced'],
  ['-q DATA', 'deferred deferred'],
  ['-Q DATA', 'deferred deferred'],
  ['-r DATA', 'deferred deferred'],
  ['-f DATA', 'bounced'],
  ['-q RCPT', 'deferred deferred'],
  ['-Q RCPT', 'deferred deferred'],
  ['-r RCPT', 'deferred deferred'],
  ['-f RCPT', 'bounced'],
  ['-q MAIL', 'deferred deferred'],
  ['-Q MAIL', 'deferred deferred'],
  ['-r MAIL', 'deferred deferred'],
  ['-f MAIL', 'bounced'],
  ['-q EHLO', 'deferred deferred'],
  ['-f EHLO,HELO', 'deferred deferred'],
  ['-q CONNECT', 'deferred deferred'],
  ['-Q CONNECT', 'deferred deferred'],
  ['-f CONNECT', 'deferred deferred'],
  ['-r CONNECT', 'deferred deferred'],
  ['-A 0', 'bounced'],
];

for (const [fault, expected] of faults) {
  test(`smtp-sink ${fault}: ${expected}`, { skip: withoutSink }, async () => {
    await using sink = await startSink(fault === '' ? [] : fault.replace(' ', '\0').split('\0'));
    const queue = new MemoryQueue();
    const row = queue.add({ body: [Buffer.alloc(5_000, 1)] });
    await using _ = running(queue, [upstreamAt(sink.port, { pauses: briefly })]);
    await queue.until(() => row.settled === 2 || (row.settled === 1 && row.state !== 'deferred'));
    const names = queue.events.map((event) => event.event).join(' ');
    assert.equal(names, expected, row.reason);
  });
}

test('smtp-sink -M 3, which goes away after three messages: the others wait, and flow once it is back', { skip: withoutSink }, async () => {
  const queue = new MemoryQueue();
  for (let count = 0; count < 6; count++) queue.add();
  const started = Date.now();
  const now = (): number => started + (Date.now() - started) * 200;
  const first = await startSink(['-M', '3']);
  await using _ = running(queue, [upstreamAt(first.port, { now, concurrency: 1 })]);
  await queue.until(() => queue.rows.filter((row) => row.settled > 0).length === 6);
  await first[Symbol.asyncDispose]();
  await using _second = await startSink([], first.port);
  await queue.until(() => queue.rows.every((row) => row.state === 'delivered'));
});

test(
  'a half-open upstream, a stopped smtp-sink: other mail flows through the next one, and back once it answers',
  { skip: withoutSink },
  async () => {
    const started = Date.now();
    const now = (): number => started + (Date.now() - started) * 200;
    await using stuck = await startSink();
    await using next = await startSink();
    stuck.freeze();
    const queue = new MemoryQueue();
    for (let count = 0; count < 4; count++) queue.add();
    const first = upstreamAt(stuck.port, { now, concurrency: 4, timeouts: timeouts({ greeting: 100 }) });
    await using relay = running(queue, [first, upstreamAt(next.port)]);
    const hosts = (): unknown[] => [...new Set(queue.events.map((event) => event['upstream']))];
    await queue.until(() => queue.rows.every((row) => row.state === 'delivered'));
    assert.deepEqual(hosts(), [`127.0.0.1:${next.port}`]);
    stuck.thaw();
    while (!first.well()) await new Promise((resolve) => setTimeout(resolve, 5));
    queue.events.length = 0;
    queue.add();
    relay.scheduler.wake();
    await queue.until(() => queue.events.length > 0);
    assert.deepEqual(hosts(), [`127.0.0.1:${stuck.port}`]);
  },
);
