/** The sessions of one upstream, and the upstreams in their order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeRoute } from '../../src/delivery/route.ts';
import { converse, scriptedUpstream, type Transcript } from './peer.ts';
import { freePort } from '../interop/ports.ts';
import { log, outgoing, timeouts, upstreamAt } from './surroundings.ts';

const never = new AbortController().signal;

function newTranscript(): Transcript {
  return { commands: [], messages: [] };
}

const verbs = (transcript: Transcript): string => transcript.commands.map((line) => line.slice(0, 4)).join(' ');

test('a session serves message after message without RSET, and QUIT follows when nothing came for a while', async () => {
  const transcript = newTranscript();
  await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
  const upstream = upstreamAt(server.port, { idle: 50 });
  for (let count = 0; count < 3; count++) assert.equal((await upstream.attempt(outgoing(), never)).kind, 'delivered');
  await server.peers[0]?.closed();
  assert.equal(server.peers.length, 1);
  assert.equal(verbs(transcript), 'EHLO MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA QUIT');
});

test('P6: a session ends after a hundred messages, and the next message has another', async () => {
  const transcript = newTranscript();
  await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
  const upstream = upstreamAt(server.port, { idle: 20_000 });
  for (let count = 0; count < 100; count++) assert.equal((await upstream.attempt(outgoing(), never)).kind, 'delivered');
  await server.peers[0]?.closed();
  assert.equal(server.peers.length, 1);
  assert.equal((await upstream.attempt(outgoing(), never)).kind, 'delivered');
  assert.equal(server.peers.length, 2);
  await upstream.close();
});

test('after a refusal RSET comes before the next message', async () => {
  const transcript = newTranscript();
  let first = true;
  await using server = await scriptedUpstream((peer) =>
    converse(
      peer,
      {
        ehlo: '250 x\r\n',
        get rcpt() {
          const reply = first ? '550 5.1.1 no\r\n' : '250 ok\r\n';
          first = false;
          return reply;
        },
      },
      transcript,
    ),
  );
  const upstream = upstreamAt(server.port);
  assert.equal((await upstream.attempt(outgoing(), never)).kind, 'rejected');
  assert.equal((await upstream.attempt(outgoing(), never)).kind, 'delivered');
  await upstream.close();
  assert.equal(verbs(transcript), 'EHLO MAIL RCPT RSET MAIL RCPT DATA QUIT');
});

test(
  'an idle session that the upstream closes or speaks on is dropped, and the next message gets a new one',
  { timeout: 8_000 },
  async () => {
    for (const disturb of ['close', '421 4.4.2 idle too long\r\n', 'half a li', 'late'] as const) {
      let mails = 0;
      const closing = {
        // Closed only when the next MAIL is under way, which no look at an idle session can foresee.
        get mail() {
          return ++mails === 2 ? undefined : '250 ok\r\n';
        },
      };
      await using server = await scriptedUpstream((peer) => converse(peer, disturb === 'late' ? closing : {}));
      const upstream = upstreamAt(server.port, { idle: 60_000 });
      assert.equal((await upstream.attempt(outgoing(), never)).kind, 'delivered');
      const [peer] = server.peers;
      assert.ok(peer !== undefined);
      if (disturb === 'close') {
        peer.socket.end();
        await peer.closed();
      } else if (disturb !== 'late') {
        peer.say(disturb);
        await peer.closed();
      }
      assert.equal((await upstream.attempt(outgoing(), never)).kind, 'delivered', disturb);
      assert.equal(server.peers.length, 2, disturb);
      await upstream.close();
    }
  },
);

test('no more sessions than the concurrency, and nobody who waits is forgotten', async () => {
  let open = 0;
  let most = 0;
  await using server = await scriptedUpstream(async (peer) => {
    most = Math.max(most, ++open);
    peer.socket.on('close', () => open--);
    await converse(peer);
  });
  const upstream = upstreamAt(server.port, { concurrency: 3 });
  const results = await Promise.all(Array.from({ length: 20 }, () => upstream.attempt(outgoing(), never)));
  assert.ok(results.every((result) => result.kind === 'delivered'));
  assert.equal(most, 3);
  await upstream.close();
});

test('an upstream that cannot be reached is left alone for a while, and is the first again once it is well', async () => {
  let clock = 1_000_000;
  const port = await freePort();
  await using second = await scriptedUpstream((peer) => converse(peer));
  const quick = { now: () => clock, random: () => 0 };
  const route = makeRoute([upstreamAt(port, quick), upstreamAt(second.port, quick)], log);
  const ask = async (): Promise<string | null> => {
    const { upstream, result } = await route.attempt(outgoing(), never);
    assert.equal(result.kind, 'delivered');
    return upstream;
  };
  assert.equal(await ask(), `127.0.0.1:${second.port}`);
  {
    await using first = await scriptedUpstream((peer) => converse(peer), { port });
    clock += 2_000;
    assert.equal(await ask(), `127.0.0.1:${second.port}`, 'it is back, but was not asked again so soon');
    clock += 2_000;
    assert.equal(await ask(), `127.0.0.1:${first.port}`);
  }
  await route.close();
});

test('an operator who mended an upstream need not wait for it to cool', async () => {
  const port = await freePort();
  const route = makeRoute([upstreamAt(port, { now: () => 0, random: () => 0 })], log);
  assert.equal((await route.attempt(outgoing(), never)).result.kind, 'failed');
  await using _ = await scriptedUpstream((peer) => converse(peer), { port });
  assert.equal((await route.attempt(outgoing(), never)).result.kind, 'failed');
  route.revive();
  assert.equal((await route.attempt(outgoing(), never)).result.kind, 'delivered');
  await route.close();
});

test('while it cools no session is opened, and every failure in a row doubles the time', async () => {
  let clock = 1_000_000;
  const port = await freePort();
  const upstream = upstreamAt(port, { now: () => clock, random: () => 0 });
  for (const cooling of [2_500, 5_000, 10_000, 20_000]) {
    assert.equal((await upstream.attempt(outgoing(), never)).kind, 'failed');
    clock += cooling - 1;
    assert.equal(upstream.well(), false);
    await using server = await scriptedUpstream((peer) => converse(peer), { port });
    assert.equal((await upstream.attempt(outgoing(), never)).kind, 'failed');
    assert.equal(server.peers.length, 0);
    clock += 1;
    assert.equal(upstream.well(), true);
  }
  clock -= 3_600_000;
  assert.equal(upstream.well(), true, 'a clock that was set back does not cool for an hour');
});

test('hosts that refuse to talk hand the message on; an answer about the message is final', async () => {
  await using second = await scriptedUpstream((peer) => converse(peer));
  const handsOn = [
    { greeting: '554 no\r\n' },
    { greeting: undefined },
    { ehlo: '421 no\r\n' },
    { mail: undefined },
    { mail: '421 bye\r\n' },
    { data: undefined },
    { data: '354 go\r\n250 what\r\n' },
  ];
  for (const replies of handsOn) {
    await using first = await scriptedUpstream((peer) => converse(peer, replies));
    const route = makeRoute([upstreamAt(first.port), upstreamAt(second.port)], log);
    const { upstream, result } = await route.attempt(outgoing(), never);
    assert.equal(result.kind, 'delivered', JSON.stringify(replies));
    assert.equal(upstream, `127.0.0.1:${second.port}`);
    await route.close();
  }
  const final = [{ mail: '550 no\r\n' }, { rcpt: '450 later\r\n' }, { dot: '451 later\r\n' }, { dot: undefined }];
  for (const replies of final) {
    await using first = await scriptedUpstream((peer) => converse(peer, replies));
    const route = makeRoute([upstreamAt(first.port), upstreamAt(second.port)], log);
    const { upstream } = await route.attempt(outgoing(), never);
    assert.equal(upstream, `127.0.0.1:${first.port}`, JSON.stringify(replies));
    await route.close();
  }
});

test('a UTF-8 mailbox goes to the upstream that has SMTPUTF8; where one that may have it is down, it waits', async () => {
  const message = outgoing({ recipient: 'grüße@x.test', needsSmtputf8: true });
  await using plain = await scriptedUpstream((peer) => converse(peer));
  await using utf8 = await scriptedUpstream((peer) => converse(peer, { ehlo: '250-x\r\n250 SMTPUTF8\r\n' }));
  let greeted = 0;
  const old = {
    get ehlo() {
      return ++greeted % 2 === 1 ? '502 what?\r\n' : '250 x\r\n';
    },
  };
  await using helo = await scriptedUpstream((peer) => converse(peer, old));
  const down = await freePort();
  const kinds: (readonly [readonly number[], string])[] = [
    [[plain.port, utf8.port], 'delivered'],
    [[plain.port], 'unsuited 5.6.7'],
    [[helo.port, utf8.port], 'delivered'],
    [[plain.port, helo.port], 'unsuited 4.6.7'],
    [[helo.port, plain.port], 'unsuited 4.6.7'],
    [[plain.port, down], 'failed'],
    [[down, plain.port], 'failed'],
  ];
  for (const [ports, kind] of kinds) {
    const route = makeRoute(
      ports.map((port) => upstreamAt(port)),
      log,
    );
    const { result } = await route.attempt(message, never);
    assert.equal(result.kind === 'unsuited' ? `unsuited ${result.status}` : result.kind, kind);
    await route.close();
  }
});

test('abort ends those who wait for a place, too', async () => {
  await using server = await scriptedUpstream(async (peer) => {
    peer.say('220 hello\r\n');
    await peer.closed();
  });
  const upstream = upstreamAt(server.port, { concurrency: 1, timeouts: timeouts() });
  const abort = new AbortController();
  const both = Promise.all([upstream.attempt(outgoing(), abort.signal), upstream.attempt(outgoing(), abort.signal)]);
  while (server.peers.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  abort.abort();
  for (const result of await both) assert.ok(result.kind === 'failed' && result.cause.code === 'shutting-down');
});
