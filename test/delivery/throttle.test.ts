/** Upstreams that say "too much", rates, and pauses: mail waits without ageing, other upstreams carry it, and nothing spins. */
import assert from 'node:assert/strict';
import process from 'node:process';
import { test } from 'node:test';
import { MemoryQueue } from './memory-queue.ts';
import { converse, scriptedUpstream, type Replies } from './peer.ts';
import { freePort } from '../interop/ports.ts';
import { strictUpstream } from './strict.ts';
import { briefly, running, upstreamAt } from './surroundings.ts';

const TOO_MUCH = '432 4.3.2 Concurrent connections limit exceeded\r\n';
const WEEK_MS = 7 * 86_400_000;

/** Says `said` at `which` as often as `times`, and is good from then on. */
function atFirst(which: keyof Replies, said: string, times: number, good = '250 ok\r\n'): Replies {
  let used = 0;
  return Object.defineProperty({ ehlo: '250 x\r\n' }, which, { enumerable: true, get: () => (used++ < times ? said : good) });
}

/** Fails where one was given up: waiting for it would have no end. */
const allDelivered = (queue: MemoryQueue) => (): boolean => {
  for (const { state, reason } of queue.rows) assert.notEqual(state, 'bounced', reason);
  return queue.rows.every((row) => row.state === 'delivered');
};
const attemptsOf = (queue: MemoryQueue): number[] => [...new Set(queue.rows.map((row) => row.attempts))];

test('a throttled answer puts the mail back uncounted, at any phase, and it goes out when the pause is over', async () => {
  for (const which of ['greeting', 'mail', 'rcpt', 'data', 'dot'] as const) {
    const good = which === 'data' ? '354 go\r\n' : which === 'greeting' ? '220 hello\r\n' : '250 ok\r\n';
    const replies = atFirst(which, '421 4.7.28 an unusual rate of mail\r\n', 3, good);
    await using server = await scriptedUpstream((peer) => converse(peer, replies));
    const queue = new MemoryQueue();
    const row = queue.add({ acceptedAt: Date.now() - 1000 * WEEK_MS });
    await using _ = running(queue, [upstreamAt(server.port, { pauses: briefly })], { retry: { maxAge: 1, first: 1, longest: 1 } });
    await queue.until(allDelivered(queue));
    assert.equal(row.attempts, 1, which);
    assert.deepEqual(
      queue.events.map(({ event, class: said, counts, attempt }) => [event, said, counts, attempt]),
      [...Array.from({ length: 3 }, () => ['deferred', 'throttled', false, 1]), ['delivered', 'delivered', undefined, 1]],
      which,
    );
  }
});

test('mail that only waited for an upstream that cools is not tried, not counted and never too old', async () => {
  const port = await freePort();
  const queue = new MemoryQueue();
  // Each would be given up by its second failure.
  for (let count = 0; count < 50; count++) queue.add({ acceptedAt: Date.now() - WEEK_MS });
  const pauses = { ...briefly, coolFirst: 300, coolLongest: 300 };
  const retry = { maxAge: 1, first: 60_000, longest: 60_000 };
  await using _ = running(queue, [upstreamAt(port, { pauses, concurrency: 20 })], { retry });
  await queue.until(() => queue.events.length >= 3);
  assert.deepEqual(
    attemptsOf(queue).toSorted((a, b) => a - b),
    [0, 1],
    'one message asks, after each pause another one',
  );
  assert.equal(queue.rows.filter((row) => row.attempts === 1).length, 3);
  await using _server = await scriptedUpstream((peer) => converse(peer), { port });
  await queue.until(() => queue.rows.filter((row) => row.state === 'delivered').length === 47);
});

test('while one upstream is throttled the mail flows through the next, in the same attempt and after it', async () => {
  await using first = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', mail: TOO_MUCH }));
  await using second = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  for (let count = 0; count < 40; count++) queue.add();
  const pauses = { ...briefly, slowFirst: 60_000, slowLongest: 60_000 };
  await using _ = running(queue, [upstreamAt(first.port, { pauses }), upstreamAt(second.port)]);
  await queue.until(allDelivered(queue));
  assert.deepEqual(attemptsOf(queue), [1]);
  assert.ok(first.peers.length <= 2, `${first.peers.length} tries at the throttled one`);
});

test('behind the dot a throttled answer asks no other upstream: the row goes back, and the next attempt does', async () => {
  const hosts: string[] = [];
  await using first = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', dot: '451 4.7.500 Server busy\r\n' }));
  await using second = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  queue.add();
  const pauses = { ...briefly, slowFirst: 60_000, slowLongest: 60_000 };
  await using _ = running(queue, [upstreamAt(first.port, { pauses }), upstreamAt(second.port)]);
  await queue.until(allDelivered(queue));
  for (const { event, upstream } of queue.events) hosts.push(`${event} ${String(upstream).split(':')[1]}`);
  assert.deepEqual(hosts, [`deferred ${first.port}`, `delivered ${second.port}`]);
});

test('show: an upstream of 3 connections and 15 messages a second and a half refuses none of 60, and none of them ages', async () => {
  await using strict = await strictUpstream({ connections: 3, messages: 15, per: 1500 });
  const queue = new MemoryQueue();
  for (let count = 0; count < 60; count++) queue.add();
  await using _ = running(queue, [upstreamAt(strict.port, { concurrency: 3, rate: { count: 15, per: 1500 } })]);
  await queue.until(allDelivered(queue));
  assert.deepEqual([strict.refusedMessages, strict.refusedConnections], [0, 0]);
  assert.deepEqual([strict.mostMessages, strict.mostConnections], [15, 3]);
  assert.deepEqual(attemptsOf(queue), [1]);
  assert.ok(
    queue.rows.every((row) => row.settled === 1),
    'claimed only what could be sent',
  );
});

test('show: without a rate of its own the relay learns from the refusals: few of them, none lost, none aged', async () => {
  await using strict = await strictUpstream({ connections: 3, messages: 20, per: 1500 });
  const queue = new MemoryQueue();
  for (let count = 0; count < 100; count++) queue.add({ acceptedAt: Date.now() - WEEK_MS });
  const pauses = { ...briefly, slowFirst: 200, slowLongest: 2000 };
  const retry = { maxAge: 1, first: 10, longest: 40 };
  await using _ = running(queue, [upstreamAt(strict.port, { concurrency: 5, pauses })], { retry });
  await queue.until(allDelivered(queue));
  assert.equal(strict.taken, 100);
  assert.deepEqual(attemptsOf(queue), [1]);
  assert.ok(strict.refusedMessages > 0 && strict.refusedMessages <= 60, `${strict.refusedMessages} refused messages`);
  assert.ok(strict.refusedConnections <= 20, `${strict.refusedConnections} refused connections`);
});

test('a rate that is used up delays no mail of the next upstream', async () => {
  await using first = await scriptedUpstream((peer) => converse(peer));
  await using second = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  for (let count = 0; count < 30; count++) queue.add();
  await using _ = running(queue, [upstreamAt(first.port, { rate: { count: 2, per: 3_600_000 } }), upstreamAt(second.port)]);
  await queue.until(allDelivered(queue));
  const by = (port: number): number => queue.events.filter(({ upstream }) => upstream === `127.0.0.1:${port}`).length;
  assert.deepEqual([by(first.port), by(second.port)], [2, 28]);
});

test('mail that only one upstream can carry waits for it without a storm, and the others flow', async () => {
  await using plain = await scriptedUpstream((peer) => converse(peer));
  const down = await freePort();
  const queue = new MemoryQueue();
  const waits = queue.add({ recipient: 'grüße@x.test', needsSmtputf8: true });
  for (let count = 0; count < 10; count++) queue.add();
  const pauses = { ...briefly, coolFirst: 3_600_000, coolLongest: 3_600_000 };
  await using _ = running(queue, [upstreamAt(plain.port), upstreamAt(down, { pauses })], {
    retry: { maxAge: WEEK_MS, first: 1, longest: 1 },
  });
  await queue.until(() => queue.rows.filter((row) => row.state === 'delivered').length === 10);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(waits.settled <= 2, `${waits.settled} times`);
  assert.notEqual(waits.state, 'bounced');
});

test('20,000 rows that are due while the only upstream is left alone cost nothing: no claim, no spin', async () => {
  for (const upstream of ['cooling', 'throttled', 'used up'] as const) {
    await using server = await scriptedUpstream((peer) =>
      converse(peer, upstream === 'cooling' ? { greeting: '421 4.3.2 closed\r\n' } : upstream === 'throttled' ? { mail: TOO_MUCH } : {}),
    );
    const queue = new MemoryQueue();
    for (let count = 0; count < 20_000; count++) queue.add();
    const pauses = { ...briefly, coolFirst: 3_600_000, coolLongest: 3_600_000, slowFirst: 3_600_000, slowLongest: 3_600_000 };
    const rate = { count: 3, per: 3_600_000 };
    await using relay = running(queue, [upstreamAt(server.port, { pauses, ...(upstream === 'used up' ? { rate } : {}) })]);
    await queue.until(() => queue.events.length >= (upstream === 'used up' ? 3 : 1));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const claims = queue.calls.claim;
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const { user, system } = process.cpuUsage(before);
    assert.equal(queue.calls.claim, claims, upstream);
    assert.ok(user + system < 300_000, `${upstream}: ${(user + system) / 1000} ms of one second`);
    assert.equal(relay.scheduler.counters().running, 0);
  }
});

test('an operator who asks ends a pause, and what waits goes out', async () => {
  const replies = atFirst('mail', TOO_MUCH, 1);
  await using server = await scriptedUpstream((peer) => converse(peer, replies));
  const queue = new MemoryQueue();
  const row = queue.add();
  for (let count = 0; count < 5; count++) queue.add();
  const pauses = { ...briefly, slowFirst: 3_600_000, slowLongest: 3_600_000 };
  await using relay = running(queue, [upstreamAt(server.port, { pauses })]);
  await queue.until(() => queue.events.length >= 1);
  // What `queue retry` does: the rows are due, the upstreams are asked anew.
  row.dueAt = Date.now();
  relay.route.revive();
  relay.scheduler.wake();
  await queue.until(allDelivered(queue));
});

test('fewer connections are allowed than are configured: few are refused, and nothing ages', async () => {
  await using strict = await strictUpstream({ connections: 2, messages: 1000, per: 1000 });
  const queue = new MemoryQueue();
  for (let count = 0; count < 60; count++) queue.add();
  await using _ = running(queue, [upstreamAt(strict.port, { concurrency: 5, pauses: briefly })]);
  await queue.until(allDelivered(queue));
  assert.ok(strict.refusedConnections > 0 && strict.refusedConnections <= 30, `${strict.refusedConnections} refused`);
  assert.deepEqual(attemptsOf(queue), [1]);
});

test('a session that has had enough is followed by a new one, and its upstream is not left alone', async () => {
  let sessions = 0;
  await using server = await scriptedUpstream((peer) => {
    sessions++;
    return converse(peer, {
      ehlo: '250 x\r\n',
      get mail() {
        return peer.received.toString('latin1').split('\r\nMAIL ').length <= 4
          ? '250 ok\r\n'
          : '421 4.7.0 too many messages in this session\r\n';
      },
    });
  });
  const queue = new MemoryQueue();
  for (let count = 0; count < 10; count++) queue.add();
  const pauses = { ...briefly, coolFirst: 3_600_000, coolLongest: 3_600_000, slowFirst: 3_600_000, slowLongest: 3_600_000 };
  await using _ = running(queue, [upstreamAt(server.port, { concurrency: 1, pauses })]);
  await queue.until(allDelivered(queue));
  assert.equal(sessions, 4);
  assert.deepEqual(attemptsOf(queue), [1]);
});

test('P7: a message that alone is told "too much" while others are taken is given up in the end', { timeout: 60_000 }, async () => {
  await using server = await scriptedUpstream(async (peer) => {
    peer.say('220 hello\r\n');
    for (let line = await peer.line(); line !== undefined; line = await peer.line()) {
      if (line === 'DATA') {
        peer.say('354 go\r\n');
        await peer.message();
      }
      peer.say(line.includes('odd@') ? '450 4.7.1 the limit exceeded\r\n' : '250 ok\r\n');
    }
  });
  const queue = new MemoryQueue();
  const odd = queue.add({ recipient: 'odd@clinic.example', acceptedAt: Date.now() - 1000 * WEEK_MS });
  const pauses = { ...briefly, slowFirst: 5, slowLongest: 5 };
  await using relay = running(queue, [upstreamAt(server.port, { pauses })], { retry: { maxAge: 1, first: 1, longest: 1 } });
  for (let settled = 0; odd.state !== 'bounced'; settled = odd.settled) {
    const other = queue.add();
    relay.scheduler.wake();
    await queue.until(() => other.state === 'delivered' && (odd.settled > settled || odd.state === 'bounced'));
  }
  assert.match(odd.reason ?? '', /^4\.4\.7 expired/);
});
