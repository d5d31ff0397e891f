/** When rows are attempted, how each ends, what the queue and the audit log are told; P4, P5, P7, P10. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeRoute } from '../../src/delivery/route.ts';
import { makeScheduler } from '../../src/delivery/scheduler.ts';
import { MemoryQueue } from './memory-queue.ts';
import { converse, scriptedUpstream, type Replies, type Transcript } from './peer.ts';
import { freePort } from '../interop/ports.ts';
import { briefly, log, running, silent, soon, upstreamAt } from './surroundings.ts';

function newTranscript(): Transcript {
  return { commands: [], messages: [] };
}

const ended = (queue: MemoryQueue) => (): boolean =>
  queue.rows.every((row) => row.state === 'delivered' || row.state === 'bounced' || row.state === 'damaged');
const eventNames = (queue: MemoryQueue): string => queue.events.map((event) => event.event).join(' ');

/** A reply that changes with each use; the last one stays. */
function changing(which: keyof Replies, list: readonly (string | undefined)[], others: Replies = {}): Replies {
  let used = 0;
  return Object.defineProperty({ ...others }, which, { get: () => list[Math.min(used++, list.length - 1)] });
}

test('P5: a host that wants authentication or TLS of the relay says nothing about the message, which waits', async () => {
  for (const said of ['530 5.7.0 Must issue a STARTTLS command first', '534 5.7.9 too weak', '535 5.7.8 no', '538 5.7.11 encrypt']) {
    const replies = changing('mail', [`${said}\r\n`, '250 ok\r\n'], { ehlo: '250 x\r\n' });
    await using server = await scriptedUpstream((peer) => converse(peer, replies));
    const queue = new MemoryQueue();
    queue.add();
    await using _ = running(queue, [upstreamAt(server.port, { pauses: briefly })]);
    await queue.until(ended(queue));
    assert.equal(eventNames(queue), 'deferred delivered', said);
  }
});

test('what is due is delivered and told of once, with host and reply', async () => {
  const transcript = newTranscript();
  await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
  const queue = new MemoryQueue();
  for (let count = 0; count < 20; count++) queue.add();
  await using relay = running(queue, [upstreamAt(server.port)]);
  await queue.until(ended(queue));
  assert.equal(transcript.messages.length, 20);
  assert.ok(queue.rows.every((row) => row.state === 'delivered' && row.settled === 1 && row.pastDot === 1));
  const upstream = `127.0.0.1:${server.port}`;
  const about = { queue_id: 'Q1', recipient: 'r1@clinic.example', upstream, attempt: 1, class: 'delivered' };
  assert.deepEqual(queue.events[0], { event: 'delivered', ...about, tls: 'off', reply: '250 2.0.0 Ok: queued' });
  assert.equal(relay.scheduler.counters().delivered, 20);
});

test('wake() brings a new row out at once, and an idle scheduler asks the queue for nothing', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  await using relay = running(queue, [upstreamAt(server.port)]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(queue.calls, { claim: 1, nextDue: 1 });
  queue.add();
  relay.scheduler.wake();
  await queue.until(ended(queue));
});

test('a row that is due later is waited for without asking, and one that is named due but not given is no storm', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const later = new MemoryQueue();
  later.add().dueAt = Date.now() + 3_600_000;
  const odd = new MemoryQueue();
  odd.nextDue = async () => 0;
  {
    await using _ = running(later, [upstreamAt(server.port)]);
    await using __ = running(odd, [upstreamAt(server.port)]);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assert.equal(later.calls.claim, 1);
  assert.ok(odd.calls.claim >= 2 && odd.calls.claim <= 8, String(odd.calls.claim));
});

test('4yz at any phase: deferred and tried again; the two messages are the same octets on the wire (P4)', async () => {
  for (const which of ['mail', 'rcpt', 'data', 'dot'] as const) {
    const transcript = newTranscript();
    const after = which === 'data' ? '354 go\r\n' : '250 ok\r\n';
    const replies = changing(which, ['450 4.2.1 later\r\n', after], { ehlo: '250 x\r\n' });
    await using server = await scriptedUpstream((peer) => converse(peer, replies, transcript));
    const queue = new MemoryQueue();
    queue.add({ body: [Buffer.alloc(100_000, 1), Buffer.alloc(33, 2)] });
    await using _ = running(queue, [upstreamAt(server.port)]);
    await queue.until(ended(queue));
    assert.equal(eventNames(queue), 'deferred delivered');
    assert.match(String(queue.events[0]?.['reason']), new RegExp(`^127.0.0.1:\\d+ said 450 4\\.2\\.1 later \\(at ${which}\\)$`));
    assert.equal(transcript.messages.length, which === 'dot' ? 2 : 1);
    assert.deepEqual(transcript.messages.at(0), transcript.messages.at(-1));
  }
});

test('a lost 250 is ambiguous, counted, and the message is sent again, octet for octet (P4)', async () => {
  const transcript = newTranscript();
  const replies = changing('dot', [undefined, '250 ok\r\n']);
  await using server = await scriptedUpstream((peer) => converse(peer, replies, transcript));
  const queue = new MemoryQueue();
  queue.add({ body: [Buffer.alloc(100_000, 1)] });
  await using relay = running(queue, [upstreamAt(server.port)]);
  await queue.until(ended(queue));
  assert.equal(eventNames(queue), 'ambiguous deferred delivered');
  assert.equal(relay.scheduler.counters().ambiguous, 1);
  assert.equal(transcript.messages.length, 2);
  assert.deepEqual(transcript.messages[0], transcript.messages[1]);
});

test('5yz about one recipient bounces that row with the upstream’s words, and the rest flows (P7)', async () => {
  const replies = changing('rcpt', ['550 5.1.1 no \x1b[31m such user\r\n', '250 ok\r\n'], { ehlo: '250 x\r\n' });
  await using server = await scriptedUpstream((peer) => converse(peer, replies));
  const queue = new MemoryQueue();
  for (let count = 0; count < 5; count++) queue.add();
  await using _ = running(queue, [upstreamAt(server.port, { concurrency: 1 })]);
  await queue.until(ended(queue));
  assert.deepEqual(
    queue.rows.map((row) => row.state),
    ['bounced', 'delivered', 'delivered', 'delivered', 'delivered'],
  );
  assert.match(queue.rows[0]?.reason ?? '', / said 550 5\.1\.1 no \?\[31m such user \(at rcpt\)$/);
});

test('P10: a damaged item never gets its dot, is set aside, and the rest flows', async () => {
  const transcript = newTranscript();
  await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
  const queue = new MemoryQueue();
  queue.failing.damaged = true;
  queue.add();
  await using relay = running(queue, [upstreamAt(server.port)]);
  await queue.until(ended(queue));
  queue.failing.damaged = false;
  queue.add();
  relay.scheduler.wake();
  await queue.until(ended(queue));
  assert.equal(eventNames(queue), 'damaged delivered');
  assert.equal(transcript.messages.length, 1);
  assert.equal(queue.rows[0]?.pastDot, 0);
});

test('a UTF-8 mailbox where no upstream has SMTPUTF8 bounces with 5.6.7', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  queue.add({ recipient: 'grüße@x.test', needsSmtputf8: true });
  await using _ = running(queue, [upstreamAt(server.port)]);
  await queue.until(ended(queue));
  assert.equal(queue.rows[0]?.state, 'bounced');
  assert.match(queue.rows[0]?.reason ?? '', /^5\.6\.7 /);
});

test('faults of our own side defer the row and lose nothing (P5, P7)', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  queue.failing.passDot = 1;
  queue.add();
  // An address the parser refuses can stand in the queue by a fault only; it waits for somebody to look.
  const odd = queue.add({ recipient: 'a@x.test>\r\nDATA' });
  const read = queue.read.bind(queue);
  let failures = 1;
  queue.read = (lease) => {
    if (lease.row === 3 && failures-- > 0) throw new TypeError('a fault with personal data in it');
    return read(lease);
  };
  queue.add();
  await using _ = running(queue, [upstreamAt(server.port)]);
  await queue.until(() => queue.rows.every((row) => row.state === 'delivered' || (row === odd && row.settled > 2)));
  assert.equal(odd.state, 'deferred');
  assert.match(odd.reason ?? '', /address-invalid/);
  assert.ok(queue.events.every((event) => !JSON.stringify(event).includes('personal data')));
  assert.deepEqual(
    queue.events.filter((event) => event.queue_id === 'Q3').map((event) => event.event),
    ['deferred', 'delivered'],
  );
});

test('a settle that fails halts claiming, sends nothing again, and is tried until it holds', async () => {
  const transcript = newTranscript();
  await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
  const queue = new MemoryQueue();
  queue.failing.settle = 2;
  queue.add();
  await using relay = running(queue, [upstreamAt(server.port)]);
  while (relay.scheduler.counters().unsettled === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  queue.add();
  const claims = queue.calls.claim;
  relay.scheduler.wake();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(queue.calls.claim, claims);
  await queue.until(ended(queue));
  assert.equal(transcript.messages.length, 2);
  assert.equal(relay.scheduler.counters().unsettled, 0);
});

test('a claim that fails is tried again, and not in a storm', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  queue.failing.claim = 1;
  queue.add();
  await using relay = running(queue, [upstreamAt(server.port)]);
  for (let count = 0; count < 20; count++) relay.scheduler.wake();
  await queue.until(ended(queue));
  assert.equal(queue.failing.claim, 0);
  assert.ok(queue.calls.claim <= 4, String(queue.calls.claim));
});

test('a message is tried to its age and bounces as expired; a clock that jumps ahead bounces none', async () => {
  const port = await freePort();
  const queue = new MemoryQueue();
  const old = queue.add({ acceptedAt: Date.now() - 10_000 });
  const young = queue.add();
  const retry = { maxAge: 5_000, first: 5, longest: 500 };
  await using _ = running(queue, [upstreamAt(port, { pauses: { ...briefly, coolLongest: 40 } })], { retry });
  await queue.until(() => old.state === 'bounced');
  assert.match(old.reason ?? '', /^4\.4\.7 expired after \d+ attempts, the last: 127\.0\.0\.1:\d+: 4\.4\.1 the upstream cannot be reached/);
  assert.ok(old.attempts > 5, 'age alone does not bounce');
  assert.equal(young.state === 'bounced', false);
});

test('an upstream that is down defers the mail, and it flows when it is back', async () => {
  const port = await freePort();
  const queue = new MemoryQueue();
  for (let count = 0; count < 10; count++) queue.add();
  await using _ = running(queue, [upstreamAt(port, { pauses: briefly })]);
  await queue.until(() => queue.events.length >= 3);
  assert.ok(queue.rows.every((row) => row.state !== 'delivered' && row.state !== 'bounced'));
  await using _server = await scriptedUpstream((peer) => converse(peer), { port });
  await queue.until(ended(queue));
  assert.ok(queue.rows.every((row) => row.state === 'delivered'));
});

test('stop() lets running attempts end and claims no more', async () => {
  const transcript = newTranscript();
  const queue = new MemoryQueue();
  await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
  const route = makeRoute([upstreamAt(server.port, { concurrency: 1 })], log);
  const scheduler = makeScheduler({ queue, route, retry: soon, notices: silent, now: Date.now, random: Math.random, log });
  let stopped: Promise<void> | undefined;
  const passDot = queue.passDot.bind(queue);
  queue.passDot = async (lease) => {
    stopped = scheduler.stop(10_000);
    queue.add();
    await passDot(lease);
  };
  queue.add();
  scheduler.start();
  await queue.until(() => queue.rows[0]?.settled === 1);
  await stopped;
  await route.close();
  assert.deepEqual(
    queue.rows.map((row) => row.state),
    ['delivered', 'ready'],
  );
  assert.equal(transcript.messages.length, 1);
});

test('stop() breaks a hanging upstream off before the dot, settles within its grace, and the row is due again at once', async () => {
  for (const [silent, names] of [
    ['data', 'deferred'],
    ['dot', 'ambiguous deferred'],
  ] as const) {
    await using server = await scriptedUpstream((peer) => converse(peer, { [silent]: '' }));
    const queue = new MemoryQueue();
    const row = queue.add();
    const relay = running(queue, [upstreamAt(server.port)]);
    const asked = silent === 'data' ? 'DATA' : '\r\n.\r\n';
    while (server.peers[0]?.received.includes(asked) !== true) await new Promise((resolve) => setTimeout(resolve, 5));
    const started = performance.now();
    await relay.scheduler.stop(300);
    assert.ok(performance.now() - started < 400);
    assert.equal(row.state, 'deferred');
    assert.ok(row.dueAt <= Date.now());
    assert.equal(eventNames(queue), names);
    await relay.route.close();
  }
});

test('stop() ends in its grace even where the queue takes nothing any more; the row stays leased for the next start', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  queue.failing.settle = 1000;
  const row = queue.add();
  const relay = running(queue, [upstreamAt(server.port)]);
  while (relay.scheduler.counters().unsettled === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const started = performance.now();
  await relay.scheduler.stop(200);
  assert.ok(performance.now() - started < 400);
  assert.equal(row.state, 'leased');
  await relay.route.close();
});
