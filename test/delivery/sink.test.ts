/** Against Postfix's smtp-sink and its faults: an upstream that says no, hangs up or waits, at every phase. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ReplyClass } from '../../src/delivery/classes.ts';
import { MemoryQueue } from './memory-queue.ts';
import { startSink, withoutSink } from '../interop/sink.ts';
import { briefly, running, timeouts, upstreamAt } from './surroundings.ts';

/** A fault of smtp-sink by its options; what the audit log says of each recipient after two attempts, or an end; the class of the reply. */
type Row = readonly [fault: readonly string[], events: string, said?: ReplyClass];

const TWICE = 'deferred deferred';
const SOFT = 'host-trouble'; // its "450 4.3.0 Error: command failed"

const faults: readonly Row[] = [
  // Nothing is wrong, or nothing that matters.
  [[], 'delivered', 'delivered'],
  ...['-p', '-e', '-E', '-8', '-a', '-C', '-F', '-N', '-P'].map((option): Row => [[option], 'delivered', 'delivered']),
  [['-m', '1'], 'delivered', 'delivered'],
  [['-T', '1024'], 'delivered', 'delivered'],
  // Slow, and still in time. Not pipelined: it answers what came behind the command that waits before it.
  ...['CONNECT', 'EHLO', 'MAIL', 'RCPT', 'DATA', '.'].map((phase): Row => [['-p', '-W', `${phase}:1`], 'delivered', 'delivered']),
  [['-H', '1'], 'delivered', 'delivered'],
  [['-w', '1'], 'delivered', 'delivered'],
  // Disconnected without a reply: nothing is known but where.
  ...['CONNECT', 'EHLO', 'MAIL', 'RCPT', 'DATA'].map((phase): Row => [['-q', phase], TWICE]),
  [['-q', '.'], 'ambiguous deferred ambiguous deferred'],
  // 421, and disconnected.
  ...['CONNECT', 'EHLO', 'MAIL', 'RCPT', 'DATA', '.'].map((phase): Row => [['-Q', phase], TWICE, 'host-trouble']),
  // 4yz.
  ...['CONNECT', 'EHLO,HELO', 'MAIL', 'RCPT', 'DATA', '.'].map((phase): Row => [['-r', phase], TWICE, SOFT]),
  // 5yz: before MAIL about the host, from there about the message.
  ...['CONNECT', 'EHLO,HELO'].map((phase): Row => [['-f', phase], TWICE, 'host-trouble']),
  ...['MAIL', 'RCPT', 'DATA', '.'].map((phase): Row => [['-f', phase], 'bounced', 'refused']),
  [['-f', 'EHLO'], 'delivered', 'delivered'],
  // For now only, so HELO is not tried.
  [['-r', 'EHLO'], TWICE, SOFT],
  // An answer before the dot.
  [['-A', '0'], 'bounced', 'refused'],
  [['-A', '1'], 'bounced', 'refused'],
  // RSET follows a refusal only, and its end is no message's; nor is that of QUIT.
  ...['-q', '-Q', '-r'].map((kind): Row => [[kind, 'RSET', '-f', 'RCPT'], 'bounced', 'refused']),
  [['-f', 'RCPT,RSET'], 'bounced', 'refused'],
  ...['-q', '-Q', '-r', '-f'].map((kind): Row => [[kind, 'QUIT'], 'delivered', 'delivered']),
  // In words of others.
  [['-r', 'RCPT', '-b', '450 4.1.8 Sender address rejected: Domain not found'], TWICE, 'temporary'],
  [['-r', '.', '-b', '459 4.9.9 nobody knows'], TWICE, 'temporary'],
  [['-r', 'RCPT', '-b', '450 4.7.1 Greylisted, come back later'], TWICE, 'greylisted'],
  [['-r', 'MAIL', '-b', '432 4.3.2 Concurrent connections limit exceeded'], TWICE, 'throttled'],
  [['-r', '.', '-b', '452 4.5.3 Error: too many recipients'], TWICE, 'throttled'],
  [['-r', 'CONNECT', '-b', '421 4.7.0 Error: too many connections from 192.0.2.1'], TWICE, 'throttled'],
  [['-f', 'MAIL', '-B', '530 5.7.57 Client not authenticated to send mail'], TWICE, 'wants-of-relay'],
  [['-f', 'RCPT', '-B', '554 5.7.1 Relay access denied'], TWICE, 'not-relayed'],
  [['-f', 'RCPT', '-B', '550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus'], TWICE, 'blocked'],
  [['-f', '.', '-B', '550 5.7.1 Message rejected as spam'], 'bounced', 'refused'],
];

for (const [fault, expected, said] of faults) {
  test(`smtp-sink ${fault.join(' ')}: ${expected}${said === undefined ? '' : `, ${said}`}`, { skip: withoutSink }, async () => {
    await using sink = await startSink(fault);
    const queue = new MemoryQueue();
    const rows = [queue.add({ body: [Buffer.alloc(5_000, 1)] }), queue.add()];
    await using relay = running(queue, [upstreamAt(sink.port, { pauses: briefly, idle: 100 })]);
    await queue.until(() => rows.every((row) => row.settled >= 2 || row.state === 'delivered' || row.state === 'bounced'));
    // Each recipient has its own end. One may have been tried again while the other was tried the second time.
    for (const { lease, reason } of rows) {
      const events = queue.events.filter(({ queue_id: id }) => id === lease.queueId);
      const steps = expected.split(' ').length;
      assert.equal(
        events
          .slice(0, steps)
          .map(({ event }) => event)
          .join(' '),
        expected,
        reason,
      );
      for (const { class: found } of events) assert.equal(found, said, reason);
    }
    const counts = relay.scheduler.counters();
    assert.equal(counts.ambiguous > 0, expected.startsWith('ambiguous'));
    const uncounted = said === 'throttled';
    assert.ok(
      rows.every((row) => row.attempts === (uncounted ? 0 : row.settled)),
      'throttling is no attempt',
    );
  });
}

test('smtp-sink -r ., -q .: what is tried again is the same octets', { skip: withoutSink }, async (t) => {
  for (const fault of ['-r', '-q']) {
    const folder = await mkdtemp(join(tmpdir(), 'sealpost-sink-'));
    t.after(() => rm(folder, { recursive: true }));
    // It writes as another user.
    await chmod(folder, 0o777);
    await using sink = await startSink([fault, '.', '-d', join(folder, 'mail.')]);
    const queue = new MemoryQueue();
    const row = queue.add({ body: [Buffer.alloc(50_000, 1)] });
    await using _ = running(queue, [upstreamAt(sink.port, { pauses: briefly })]);
    await queue.until(() => row.settled >= 3);
    const names = await readdir(folder);
    const mails = await Promise.all(names.map((name) => readFile(join(folder, name), 'latin1')));
    // Its own fields stand in front.
    const sent = mails.map((mail) => mail.slice(mail.indexOf('\nFrom: forms@'))).filter((mail) => mail.length > 60_000);
    assert.ok(sent.length >= 2, `${sent.length} of ${mails.length} mails were kept`);
    assert.equal(new Set(sent).size, 1);
  }
});

test('smtp-sink -t 1: a session that ends between two messages costs neither of them anything', { skip: withoutSink }, async () => {
  await using sink = await startSink(['-t', '1']);
  const queue = new MemoryQueue();
  queue.add();
  await using relay = running(queue, [upstreamAt(sink.port, { idle: 60_000 })]);
  await queue.until(() => queue.rows.every((row) => row.state === 'delivered'));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  queue.add();
  relay.scheduler.wake();
  await queue.until(() => queue.rows.every((row) => row.state === 'delivered'));
  assert.ok(queue.rows.every((row) => row.attempts === 1));
});

test('smtp-sink -M 3, which goes away after three messages: the others wait, and flow once it is back', { skip: withoutSink }, async () => {
  const queue = new MemoryQueue();
  for (let count = 0; count < 6; count++) queue.add();
  const first = await startSink(['-M', '3']);
  await using _ = running(queue, [upstreamAt(first.port, { pauses: briefly, concurrency: 1 })]);
  await queue.until(() => queue.events.filter(({ event }) => event === 'deferred').length >= 3);
  await first[Symbol.asyncDispose]();
  await using _second = await startSink([], first.port);
  await queue.until(() => queue.rows.every((row) => row.state === 'delivered'));
});

test(
  'a half-open upstream, a stopped smtp-sink: other mail flows through the next one, and back once it answers',
  { skip: withoutSink },
  async () => {
    await using stuck = await startSink();
    await using next = await startSink();
    stuck.freeze();
    const queue = new MemoryQueue();
    for (let count = 0; count < 4; count++) queue.add();
    const first = upstreamAt(stuck.port, { pauses: briefly, concurrency: 4, timeouts: timeouts({ greeting: 100 }) });
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
