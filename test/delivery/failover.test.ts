/** Upstreams that are dead, half-open, slow, or hang up: who gets the mail meanwhile, when the first one is back, and no second copy. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chaosProxy, type ChaosProxy, type Mood } from './chaos.ts';
import { MemoryQueue } from './memory-queue.ts';
import { converse, scriptedUpstream, type ScriptedUpstream, type Transcript } from './peer.ts';
import { briefly, running, timeouts, upstreamAt, type Running } from './surroundings.ts';

interface Scene extends AsyncDisposable {
  readonly queue: MemoryQueue;
  readonly proxy: ChaosProxy;
  readonly relay: Running;
  /** What the upstream behind the proxy, and the second one, took. */
  readonly first: Transcript;
  readonly second: Transcript;
  /** Adds so many messages and waits until they are delivered. */
  send(messages: number): Promise<void>;
}

const PAUSES = { ...briefly, coolFirst: 200, coolLongest: 200 };

async function setScene({
  mood,
  concurrency = 3,
  greeting = 20_000,
  patience = 20_000,
}: {
  mood: Mood;
  concurrency?: number;
  greeting?: number;
  patience?: number;
}): Promise<Scene> {
  const open: ScriptedUpstream[] = [];
  const keeping = async (): Promise<[number, Transcript]> => {
    const transcript: Transcript = { commands: [], messages: [] };
    const server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
    open.push(server);
    return [server.port, transcript];
  };
  const [firstPort, first] = await keeping();
  const [secondPort, second] = await keeping();
  const proxy = await chaosProxy(firstPort);
  proxy.mood = mood;
  const queue = new MemoryQueue();
  const relay = running(queue, [
    upstreamAt(proxy.port, { concurrency, pauses: { ...PAUSES, patience }, timeouts: timeouts({ greeting }), idle: 20 }),
    upstreamAt(secondPort),
  ]);
  return {
    queue,
    proxy,
    relay,
    first,
    second,
    async send(messages) {
      const added = Array.from({ length: messages }, () => queue.add());
      relay.scheduler.wake();
      await queue.until(() => added.every((row) => row.state === 'delivered'));
    },
    async [Symbol.asyncDispose]() {
      await relay[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
      for (const server of open) await server[Symbol.asyncDispose]();
    },
  };
}

for (const mood of ['shut', 'reset'] as const) {
  test(`an upstream that accepts and then says ${mood}: the next one carries all of it, and the first is asked by one message at a time`, async () => {
    await using scene = await setScene({ mood });
    await scene.send(30);
    assert.deepEqual([scene.first.messages.length, scene.second.messages.length], [0, 30]);
    assert.ok(scene.proxy.connections <= 10, `${scene.proxy.connections} connections`);
    assert.ok(scene.queue.rows.every((row) => row.attempts === 1));
  });
}

test('a half-open upstream holds one message, and the others pass it after its patience', async () => {
  await using scene = await setScene({ mood: 'mute', patience: 50 });
  const held = scene.queue.add();
  scene.relay.scheduler.wake();
  while (scene.proxy.connections === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await scene.send(30);
  assert.equal(held.state, 'leased');
  assert.equal(scene.proxy.connections, 1);
  assert.equal(scene.second.messages.length, 30);
});

test('the message that a half-open upstream held goes out by the next one at the end of its time', async () => {
  await using scene = await setScene({ mood: 'mute', greeting: 300, patience: 50 });
  await scene.send(10);
  assert.deepEqual([scene.first.messages.length, scene.second.messages.length], [0, 10]);
  assert.ok(scene.queue.rows.every((row) => row.attempts === 1));
});

test('a slow upstream is still the first one, and gets all of it once', async () => {
  await using scene = await setScene({ mood: 'slow', patience: 50 });
  await scene.send(3);
  assert.equal(scene.first.messages.length + scene.second.messages.length, 3);
  scene.proxy.mood = 'well';
  while (scene.relay.route.room().places < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  await scene.send(5);
  assert.ok(scene.first.messages.length >= 5);
});

test(
  'an upstream that takes MAIL and never answers RCPT: the next one carries the others after its patience',
  { timeout: 60_000 },
  async () => {
    const taken: Transcript = { commands: [], messages: [] };
    await using first = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', rcpt: '' }));
    await using second = await scriptedUpstream((peer) => converse(peer, {}, taken));
    const queue = new MemoryQueue();
    for (let count = 0; count < 30; count++) queue.add();
    const pauses = { ...PAUSES, patience: 100 };
    await using _ = running(queue, [upstreamAt(first.port, { concurrency: 3, pauses }), upstreamAt(second.port)]);
    await queue.until(() => queue.rows.filter((row) => row.state === 'delivered').length === 27);
    assert.equal(queue.rows.filter((row) => row.state === 'leased').length, 3, 'one for each of its places');
    assert.deepEqual([first.peers.length, taken.messages.length], [3, 27]);
  },
);

test('an upstream that hangs up behind MAIL is left alone, and asked by one message after each pause', async () => {
  const taken: Transcript = { commands: [], messages: [] };
  await using first = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', rcpt: undefined }));
  await using second = await scriptedUpstream((peer) => converse(peer, {}, taken));
  const queue = new MemoryQueue();
  for (let count = 0; count < 30; count++) queue.add();
  const pauses = { ...PAUSES, coolFirst: 60_000, coolLongest: 60_000 };
  await using _ = running(queue, [upstreamAt(first.port, { concurrency: 3, pauses }), upstreamAt(second.port)]);
  await queue.until(() => queue.rows.every((row) => row.state === 'delivered'));
  assert.equal(taken.messages.length, 30);
  assert.ok(first.peers.length <= 3, `${first.peers.length} connections`);
});

test('P7: a message at whose dot the upstream hangs up does not shut out the others', async () => {
  await using server = await scriptedUpstream(async (peer) => {
    peer.say('220 hello\r\n');
    let poison = false;
    for (let line = await peer.line(); line !== undefined; line = await peer.line()) {
      if (line.startsWith('RCPT')) poison = line.includes('poison');
      if (line !== 'DATA') peer.say('250 ok\r\n');
      else {
        peer.say('354 go\r\n');
        await peer.message();
        if (poison) peer.socket.destroy();
        else peer.say('250 ok\r\n');
      }
    }
  });
  const queue = new MemoryQueue();
  queue.add({ recipient: 'poison@clinic.example' });
  const pauses = { ...PAUSES, coolFirst: 20, coolLongest: 100 };
  await using _ = running(queue, [upstreamAt(server.port, { concurrency: 2, pauses })]);
  for (let count = 0; count < 20; count++) queue.add();
  await queue.until(() => queue.rows.slice(1).every((row) => row.state === 'delivered'));
  assert.deepEqual([...new Set(queue.rows.slice(1).map((row) => row.attempts))], [1]);
});

test('back to the first when it is well again: one message probes, then all of them', async () => {
  await using scene = await setScene({ mood: 'shut', concurrency: 8 });
  await scene.send(10);
  assert.equal(scene.first.messages.length, 0);
  await new Promise((resolve) => setTimeout(resolve, 250));
  const before = scene.proxy.connections;
  await scene.send(20);
  assert.ok(scene.proxy.connections - before <= 4, 'still ill: one message asked, and one more where this takes long');
  scene.proxy.mood = 'well';
  await new Promise((resolve) => setTimeout(resolve, 250));
  await scene.send(1);
  await scene.send(40);
  assert.equal(scene.first.messages.length, 41);
});

test('connections that break all at once: each message arrives, none is lost, and only what was behind the dot may arrive twice', async () => {
  await using scene = await setScene({ mood: 'well' });
  const passDot = scene.queue.passDot.bind(scene.queue);
  let dots = 0;
  scene.queue.passDot = async (lease) => {
    await passDot(lease);
    if (++dots % 5 === 0) scene.proxy.breakAll();
  };
  await scene.send(40);
  const sent = scene.first.messages.length + scene.second.messages.length;
  const ambiguous = scene.queue.events.filter(({ event }) => event === 'ambiguous').length;
  assert.ok(sent >= 40 && sent <= 40 + ambiguous, `${sent} copies, ${ambiguous} ambiguous`);
});

test('an answer about the message, and everything behind the dot, asks no second upstream', async () => {
  const answers = [
    { mail: '550 5.7.60 no permission to send as this sender\r\n' },
    { rcpt: '550 5.1.1 user unknown\r\n' },
    { rcpt: '450 4.2.1 mailbox busy\r\n' },
    { rcpt: '450 4.7.1 Greylisted\r\n' },
    { data: '451 4.7.1 try again later\r\n' },
    { dot: '554 5.7.1 spam\r\n' },
    { dot: '451 4.3.0 queue file write error\r\n' },
    { dot: '421 4.3.2 shutting down\r\n' },
    { dot: '550 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org\r\n' },
    { dot: undefined },
  ];
  for (const replies of answers) {
    const taken: Transcript = { commands: [], messages: [] };
    await using first = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', ...replies }));
    await using second = await scriptedUpstream((peer) => converse(peer, {}, taken));
    const queue = new MemoryQueue();
    queue.add();
    await using _ = running(queue, [upstreamAt(first.port), upstreamAt(second.port)], { retry: { maxAge: 1e9, first: 1e6, longest: 1e6 } });
    await queue.until(() => queue.rows.every((row) => row.settled > 0));
    assert.deepEqual(taken.commands, [], JSON.stringify(replies));
  }
});

test('an answer of the host about itself asks the next one: its trouble, a login, relaying, its lists', async () => {
  const answers = [
    { mail: '451 4.3.2 try again later\r\n' },
    { rcpt: '452 4.3.1 Insufficient system storage\r\n' },
    { mail: '530 5.7.0 Authentication required\r\n' },
    { mail: '454 4.7.0 Temporary authentication failure\r\n' },
    { rcpt: '554 5.7.1 <r1@clinic.example>: Relay access denied\r\n' },
    { rcpt: '550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus\r\n' },
    { data: '421 4.3.2 shutting down\r\n' },
  ];
  for (const replies of answers) {
    await using first = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', ...replies }));
    await using second = await scriptedUpstream((peer) => converse(peer));
    const queue = new MemoryQueue();
    const row = queue.add();
    await using _ = running(queue, [upstreamAt(first.port), upstreamAt(second.port)]);
    await queue.until(() => row.settled > 0);
    assert.equal(row.state, 'delivered', JSON.stringify(replies));
    assert.equal(queue.events[0]?.['upstream'], `127.0.0.1:${second.port}`);
  }
});

test('where it is the only upstream, what it says of itself defers, and is said with its class', async () => {
  for (const [said, expected] of [
    ['554 5.7.1 <r1@clinic.example>: Relay access denied', 'not-relayed'],
    ['550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus', 'blocked'],
    ['535 5.7.8 no', 'wants-of-relay'],
    ['450 4.7.1 Greylisted', 'greylisted'],
  ] as const) {
    await using server = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', rcpt: `${said}\r\n` }));
    const queue = new MemoryQueue();
    const row = queue.add();
    await using _ = running(queue, [upstreamAt(server.port)], { retry: { maxAge: 1e9, first: 1e6, longest: 1e6 } });
    await queue.until(() => row.settled > 0);
    assert.equal(row.state, 'deferred', said);
    assert.equal(queue.events[0]?.['class'], expected);
    assert.equal(row.dueAt - Date.now() < 500_000, expected === 'greylisted', 'greylisting wants to see it soon');
  }
});
