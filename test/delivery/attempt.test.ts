/** One attempt at one upstream, against a scripted one: what goes over the wire, and which phase is known to have failed. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Result, Timeouts } from '../../src/delivery/result.ts';
import type { Outgoing } from '../../src/delivery/transaction.ts';
import type { Upstream } from '../../src/delivery/upstream.ts';
import { SealpostError } from '../../src/errors.ts';
import { converse, scriptedUpstream, type Peer, type Replies, type Transcript } from './peer.ts';
import { MemoryQueue } from './memory-queue.ts';
import { outgoing as plain, outgoingOf, running, timeouts, upstreamAt } from './surroundings.ts';

const text = 'Subject: s\r\n\r\nAAAA\r\n';

/** A small message that counts its marks past the dot. */
function outgoing(more: Partial<Outgoing> & { text?: string } = {}): Outgoing & { dots: number } {
  const { text: written = text, ...others } = more;
  const content = Buffer.from(written);
  const message = {
    ...plain({
      size: content.length,
      content: async function* () {
        yield content;
      },
    }),
    async beforeDot() {
      message.dots++;
    },
    dots: 0,
    ...others,
  };
  return message;
}

const never = new AbortController().signal;

/** One attempt at an upstream that follows `script`. */
async function attemptAt(
  script: (peer: Peer, index: number) => Promise<void>,
  { message = outgoing(), shorter = {} }: { message?: Outgoing; shorter?: Partial<Timeouts> } = {},
): Promise<{ result: Result; upstream: Upstream; peers: readonly Peer[] }> {
  await using server = await scriptedUpstream(script);
  const upstream = upstreamAt(server.port, { timeouts: timeouts(shorter) });
  const result = await upstream.attempt(message, never);
  await upstream.close();
  return { result, upstream, peers: server.peers };
}

function newTranscript(): Transcript {
  return { commands: [], messages: [] };
}

/** `rejected permanent at rcpt 550`, `failed at dot upstream-lost`: what a test wants to know of a result. */
function inShort(result: Result): string {
  if (result.kind === 'delivered') return `delivered ${result.reply.code}`;
  if (result.kind === 'unsuited') return `unsuited ${result.status}`;
  if (result.kind === 'failed') return `failed at ${result.phase} ${result.cause.code}`;
  return `rejected ${result.permanent ? 'permanent' : 'temporary'} at ${result.phase} ${result.reply.code}`;
}

test('a pipelining upstream gets MAIL with the exact size, RCPT and DATA in one group, then the message and one dot', async () => {
  const transcript = newTranscript();
  const message = outgoing();
  const { result } = await attemptAt((peer) => converse(peer, {}, transcript), { message });
  assert.equal(inShort(result), 'delivered 250');
  assert.deepEqual(transcript.commands, [
    'EHLO relay.test',
    `MAIL FROM:<forms@clinic.example> SIZE=${text.length}`,
    'RCPT TO:<anna@clinic.example>',
    'DATA',
    'QUIT',
  ]);
  assert.equal(transcript.messages.map(String).join(), `${text}.\r\n`);
  assert.equal(message.dots, 1);
});

test('what the sender asked to be told goes to an upstream that offers DSN, as it was sent, and to no other', async () => {
  const asked = { envid: 'QQ+2B1', notify: new Set(['failure', 'delay'] as const), orcpt: 'rfc822;Old+2Bone@y.example' };
  const cases: [boolean, Partial<Outgoing>, string, string][] = [
    [true, asked, ' RET=HDRS ENVID=QQ+2B1', ' NOTIFY=FAILURE,DELAY ORCPT=rfc822;Old+2Bone@y.example'],
    [true, { notify: new Set() }, ' RET=HDRS', ' NOTIFY=NEVER'],
    [true, {}, '', ''],
    [false, asked, '', ''],
  ];
  for (const [offered, message, mail, rcpt] of cases) {
    const transcript = newTranscript();
    const ehlo = `250-x\r\n${offered ? '250-dsn\r\n' : ''}250 PIPELINING\r\n`;
    const { result } = await attemptAt((peer) => converse(peer, { ehlo }, transcript), { message: outgoing(message) });
    assert.equal(result.kind === 'delivered' ? result.dsn : undefined, offered);
    assert.deepEqual(transcript.commands.slice(1, 3), [`MAIL FROM:<forms@clinic.example>${mail}`, `RCPT TO:<anna@clinic.example>${rcpt}`]);
  }
});

test('without PIPELINING no command goes before the reply to the one before; HELO serves where EHLO is not known', async () => {
  const seen: string[] = [];
  const { result } = await attemptAt(async (peer) => {
    peer.say('220 old.test\r\n');
    for (const reply of ['500 what?', '250 old.test', '250 ok', '250 ok', '354 go']) {
      seen.push((await peer.line()) ?? '');
      // Whatever else is there now was sent too early.
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.ok(peer.received.toString().endsWith(`${seen.at(-1)}\r\n`));
      peer.say(`${reply}\r\n`);
    }
    await peer.message();
    peer.say('250 ok\r\n');
  });
  assert.equal(inShort(result), 'delivered 250');
  assert.deepEqual(seen, [
    'EHLO relay.test',
    'HELO relay.test',
    'MAIL FROM:<forms@clinic.example>',
    'RCPT TO:<anna@clinic.example>',
    'DATA',
  ]);
});

test('571 at RCPT is a verdict on the message', async () => {
  const { result } = await attemptAt((peer) => converse(peer, { rcpt: '571 5.7.1 Delivery not authorized\r\n' }));
  assert.equal(inShort(result), 'rejected permanent at rcpt 571');
});

test('a good reply counts, though what comes with it is none: the phase told is the right one', async () => {
  const { result } = await attemptAt(async (peer) => {
    peer.say('220 x\r\n');
    await peer.line();
    peer.say('250-x\r\n250 PIPELINING\r\n');
    await peer.line();
    peer.say('250 ok\r\nwhat is this\r\n');
    await peer.closed();
  });
  assert.equal(inShort(result), 'failed at rcpt upstream-protocol');
});

test('P5: 4yz to EHLO is trouble for now: HELO is not tried, and UTF-8 mail is not bounced', async () => {
  const transcript = newTranscript();
  let asked = 0;
  const replies = {
    get ehlo() {
      return ++asked === 1 ? '450 4.3.0 not now\r\n' : '250 x\r\n';
    },
  };
  const message = outgoing({ recipient: 'grüße@x.test', needsSmtputf8: true });
  const { result } = await attemptAt((peer) => converse(peer, replies, transcript), { message });
  assert.equal(inShort(result), 'rejected temporary at ehlo 450');
  assert.deepEqual(transcript.commands, ['EHLO relay.test']);
});

test('P5: where EHLO is refused nobody knows of SMTPUTF8: the mail waits for an upstream that tells', async () => {
  let asked = 0;
  const replies = {
    get ehlo() {
      return ++asked === 1 ? '500 what?\r\n' : '250 x\r\n';
    },
  };
  await using server = await scriptedUpstream((peer) => converse(peer, replies));
  const queue = new MemoryQueue();
  const row = queue.add({ recipient: 'grüße@x.test', needsSmtputf8: true });
  const retry = { maxAge: 1e9, first: 1e6, longest: 1e6 };
  await using _ = running(queue, [upstreamAt(server.port)], { retry });
  await queue.until(() => row.settled > 0);
  assert.equal(row.state, 'deferred');
  assert.match(row.reason ?? '', /^4\.6\.7 /);
});

test('replies that come octet by octet are the same replies', async () => {
  const { result } = await attemptAt(async (peer) => {
    const slowly = peer.say.bind(peer);
    let last = Promise.resolve();
    const after = async (before: Promise<void>, reply: string): Promise<void> => {
      await before;
      for (const octet of reply) {
        slowly(octet);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    peer.say = (reply) => {
      last = after(last, reply);
    };
    await converse(peer);
  });
  assert.equal(inShort(result), 'delivered 250');
});

test('A2: dots that begin a line are stuffed wherever the stream is cut, and there is one DATA with one end', async () => {
  const hostile = '.\r\nSubject: a\r\n.\r\n..b\r\n.c\r\n\r\n.\r\nMAIL FROM:<e@evil.test>\r\nRCPT TO:<e@evil.test>\r\nDATA\r\n.\r\n';
  for (const size of [1, 2, 3, 1000]) {
    const transcript = newTranscript();
    const message = outgoing({
      text: hostile,
      async *content() {
        for (let at = 0; at < hostile.length; at += size) yield Buffer.from(hostile.slice(at, at + size));
      },
    });
    const { result } = await attemptAt((peer) => converse(peer, {}, transcript), { message });
    assert.equal(inShort(result), 'delivered 250');
    assert.equal(transcript.commands.filter((command) => command === 'DATA').length, 1);
    assert.equal(transcript.messages.length, 1);
    const unstuffed = String(transcript.messages[0]).slice(0, -3).replace(/^\./gm, '');
    assert.equal(unstuffed, hostile);
  }
});

test('A8: an address that the parser does not read back as itself never reaches the socket', async () => {
  const hostile = [
    'a@x.test\r\nRCPT TO:<e@evil.test>',
    'a@x.test>\r\nDATA',
    'a@x.test> SIZE=1',
    'a@x.test,b@y.test',
    'a b@x.test',
    '<a@x.test>',
    'a@x.test\u2028',
    'a\uff20b@x.test',
    '"a\r\nb"@x.test',
    'a(comment)@x.test',
    'g:a@x.test;',
    'A@X.TEST',
    '@hop:a@x.test',
    'a',
  ];
  for (const address of hostile) {
    for (const field of ['sender', 'recipient'] as const) {
      const { result, peers } = await attemptAt((peer) => converse(peer, { ehlo: '250-x\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n' }), {
        message: outgoing({ [field]: address }),
      });
      assert.equal(inShort(result), 'failed at mail address-invalid', address);
      assert.equal(peers.map((peer) => peer.received.toString()).join(), 'EHLO relay.test\r\n', address);
    }
  }
});

test('quoted local parts and the null reverse-path go out as they are', async () => {
  const transcript = newTranscript();
  await attemptAt((peer) => converse(peer, {}, transcript), { message: outgoing({ sender: '', recipient: '"a b>@c"@x.test' }) });
  assert.match(transcript.commands[1] ?? '', /^MAIL FROM:<> SIZE=/);
  assert.equal(transcript.commands[2], 'RCPT TO:<"a b>@c"@x.test>');
});

test('a UTF-8 mailbox goes as SMTPUTF8, and not at all to an upstream without it; a message over its SIZE goes not at all', async () => {
  const message = outgoing({ recipient: 'grüße@x.test' });
  const transcript = newTranscript();
  await attemptAt((peer) => converse(peer, { ehlo: '250-x\r\n250 SMTPUTF8\r\n' }, transcript), { message });
  assert.deepEqual(transcript.commands.slice(1, 3), ['MAIL FROM:<forms@clinic.example> SMTPUTF8', 'RCPT TO:<grüße@x.test>']);
  const eight = newTranscript();
  await attemptAt((peer) => converse(peer, { ehlo: '250-x\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n' }, eight), { message });
  assert.equal(eight.commands[1], 'MAIL FROM:<forms@clinic.example> BODY=8BITMIME SMTPUTF8');
  const seven = newTranscript();
  await attemptAt((peer) => converse(peer, { ehlo: '250-x\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n' }, seven));
  assert.equal(seven.commands[1], 'MAIL FROM:<forms@clinic.example>', 'sealed mail is 7-bit');
  assert.equal(inShort((await attemptAt((peer) => converse(peer), { message })).result), 'unsuited 5.6.7');
  const limited = { ehlo: '250-x\r\n250 SIZE 70000\r\n' };
  assert.equal(inShort((await attemptAt((peer) => converse(peer, limited), { message: outgoingOf(70_001) })).result), 'unsuited 5.3.4');
  assert.equal(inShort((await attemptAt((peer) => converse(peer, limited), { message: outgoingOf(70_000) })).result), 'delivered 250');
  const odd = { ehlo: '250-x\r\n250 SIZE 10\r\n' };
  assert.equal(inShort((await attemptAt((peer) => converse(peer, odd))).result), 'delivered 250', 'less than any host may say');
});

const no = '550 5.1.1 no such user\r\n';
const later = '451 4.3.0 later\r\n';
const cases: readonly (readonly [string, Replies, string])[] = [
  ['a 554 greeting is the host’s trouble', { greeting: '554 no\r\n' }, 'rejected temporary at greeting 554'],
  ['a 421 greeting', { greeting: '421 busy\r\n' }, 'rejected temporary at greeting 421'],
  ['a greeting that is none', { greeting: 'SSH-2.0-x\r\n' }, 'failed at greeting upstream-protocol'],
  ['closed before the greeting', { greeting: undefined }, 'failed at greeting upstream-lost'],
  ['EHLO and HELO refused', { ehlo: '550 no\r\n' }, 'rejected temporary at ehlo 550'],
  ['closed at EHLO', { ehlo: undefined }, 'failed at ehlo upstream-lost'],
  ['two answers to EHLO', { ehlo: '250 x\r\n250 y\r\n' }, 'failed at ehlo upstream-protocol'],
  ['half an answer behind the one to EHLO', { ehlo: '250 x\r\n25' }, 'failed at ehlo upstream-protocol'],
  ['MAIL refused for good', { mail: no, rcpt: '503 no\r\n', data: '503 no\r\n' }, 'rejected permanent at mail 550'],
  ['MAIL refused for now', { mail: later, rcpt: '503 no\r\n', data: '503 no\r\n' }, 'rejected temporary at mail 451'],
  ['garbage at MAIL', { mail: 'what\r\n' }, 'failed at mail upstream-protocol'],
  ['RCPT refused for good', { rcpt: no, data: '554 no\r\n' }, 'rejected permanent at rcpt 550'],
  ['RCPT refused for now', { rcpt: later, data: '554 no\r\n' }, 'rejected temporary at rcpt 451'],
  ['RCPT refused, DATA opened all the same', { rcpt: no }, 'rejected permanent at rcpt 550'],
  ['RCPT refused, then closed', { rcpt: no, data: undefined }, 'rejected permanent at rcpt 550'],
  ['closed at RCPT', { rcpt: undefined }, 'failed at rcpt upstream-lost'],
  ['DATA refused for good', { data: '554 no\r\n' }, 'rejected permanent at data 554'],
  ['a bad sequence is the session’s trouble', { data: '503 no\r\n' }, 'rejected temporary at data 503'],
  ['250 to DATA', { data: '250 ok\r\n' }, 'rejected temporary at data 250'],
  ['a second reply behind 354', { data: '354 go\r\n250 ok\r\n' }, 'failed at body upstream-protocol'],
  ['half a reply behind 354', { data: '354 go\r\n25' }, 'failed at body upstream-protocol'],
  ['a refusal behind 354', { data: '354 go\r\n552 too big\r\n' }, 'rejected permanent at body 552'],
  ['the message refused for good', { dot: no }, 'rejected permanent at dot 550'],
  ['the message refused for now', { dot: later }, 'rejected temporary at dot 451'],
  ['421 to the message', { dot: '421 4.3.2 bye\r\n' }, 'rejected temporary at dot 421'],
  ['the reply to the dot is lost', { dot: undefined }, 'failed at dot upstream-lost'],
  ['garbage to the dot', { dot: '\0\0\0\r\n' }, 'failed at dot upstream-protocol'],
  ['354 to the dot', { dot: '354 more\r\n' }, 'failed at dot upstream-protocol'],
  ['a reply without end', { mail: `250-${'x'.repeat(100_000)}` }, 'failed at mail upstream-protocol'],
  ['lines without end', { ehlo: '250 x\r\n', rcpt: '250-x\r\n'.repeat(20_000) }, 'failed at rcpt upstream-protocol'],
  ['an EHLO answer without end', { ehlo: '250-x\r\n'.repeat(20_000) }, 'failed at ehlo upstream-protocol'],
];

for (const [name, replies, expected] of cases) {
  test(`${name}: ${expected}`, async () => {
    const message = outgoing();
    const { result } = await attemptAt((peer) => converse(peer, replies), { message });
    assert.equal(inShort(result), expected);
    // The mark past the dot stands only where the dot was written.
    if (!expected.includes('at dot')) assert.equal(message.dots, 0);
  });
}

test('silence in any phase ends at the timeout of that phase, and only behind the dot it is ambiguous', async () => {
  const silent: Replies = { ehlo: '250 x\r\n' };
  for (const phase of ['greeting', 'ehlo', 'mail', 'rcpt', 'data', 'dot'] as const) {
    const { result } = await attemptAt((peer) => converse(peer, { ...silent, [phase]: '' }), { shorter: { [phase]: 60 } });
    assert.equal(inShort(result), `failed at ${phase} upstream-silent`);
  }
});

test('nobody listens, or nobody accepts: failed at connect', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  await new Promise((resolve) => server.close(resolve));
  const result = await upstreamAt(address.port).attempt(outgoing(), never);
  assert.equal(inShort(result), 'failed at connect upstream-unreachable');
});

test('a host that answers no SYN is given up after the time to connect', async () => {
  // A socket that nobody connects is as silent as a dropped SYN.
  const upstream = upstreamAt(9, { connect: () => new Socket(), timeouts: timeouts({ connect: 50 }) });
  assert.equal(inShort(await upstream.attempt(outgoing(), never)), 'failed at connect upstream-unreachable');
});

test('a host that is not this machine is not spoken to without TLS', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const upstream = upstreamAt(server.port, {
    connect: (host, port) => {
      const socket = connect(port, host);
      Object.defineProperty(socket, 'remoteAddress', { value: '192.0.2.1' });
      return socket;
    },
  });
  const result = await upstream.attempt(outgoing(), never);
  assert.equal(inShort(result), 'failed at connect upstream-unreachable');
});

test('a source that fails drops the connection before the dot, and the upstream has no message', async () => {
  const transcript = newTranscript();
  const damaged = new SealpostError('queue-item-damaged', { detail: 'Q1' });
  const message = outgoing({
    async *content() {
      yield Buffer.from('Subject: s\r\n\r\n');
      throw damaged;
    },
  });
  const { result } = await attemptAt((peer) => converse(peer, {}, transcript), { message });
  assert.ok(result.kind === 'failed' && result.phase === 'body' && result.cause === damaged);
  assert.deepEqual(transcript.messages, []);
  assert.equal(message.dots, 0);
});

test('a source that ends short of the announced size gets no dot', async () => {
  const transcript = newTranscript();
  const { result } = await attemptAt((peer) => converse(peer, {}, transcript), { message: outgoing({ size: text.length + 1 }) });
  assert.equal(inShort(result), 'failed at body internal');
  assert.deepEqual(transcript.messages, []);
});

test('a mark past the dot that cannot be made durable keeps the dot back', async () => {
  const transcript = newTranscript();
  const message = outgoing({ beforeDot: () => Promise.reject(new SealpostError('storage-failed')) });
  const { result } = await attemptAt((peer) => converse(peer, {}, transcript), { message });
  assert.equal(inShort(result), 'failed at body storage-failed');
  assert.deepEqual(transcript.messages, []);
});

test('the whole message but the dot is written before the mark is asked for', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const message = outgoing({
    async beforeDot() {
      const [peer] = server.peers;
      assert.ok(peer !== undefined);
      while (!peer.received.toString().endsWith(text)) await once(peer.socket, 'data');
    },
  });
  const upstream = upstreamAt(server.port);
  assert.equal(inShort(await upstream.attempt(message, never)), 'delivered 250');
  await upstream.close();
});

test('an upstream that closes in the middle of the body: failed at body, nothing ambiguous', async () => {
  const message = outgoing({
    size: 64 * 1024 * 1024,
    async *content() {
      for (let block = 0; block < 1024; block++) yield Buffer.alloc(65_536, 'A\r\n');
    },
  });
  const { result } = await attemptAt(
    async (peer) => {
      void converse(peer);
      while (peer.received.length < 300_000) await once(peer.socket, 'data');
      peer.socket.destroy();
    },
    { message },
  );
  assert.equal(inShort(result), 'failed at body upstream-lost');
});

test('an upstream that stops reading is given up after the time of one block', async () => {
  const message = outgoing({
    size: 64 * 1024 * 1024,
    async *content() {
      for (let block = 0; block < 1024; block++) yield Buffer.alloc(65_536, 'A\r\n');
    },
  });
  const { result } = await attemptAt(
    async (peer) => {
      void converse(peer);
      while (peer.received.length < 100_000) await once(peer.socket, 'data');
      peer.socket.pause();
      await peer.closed();
    },
    { message, shorter: { block: 150 } },
  );
  assert.equal(inShort(result), 'failed at body upstream-silent');
});

test('P6: a body that goes out octet by octet is given up, however regularly it moves', async () => {
  const line = Buffer.from('AAAA\r\n');
  const message = outgoing({
    size: 100 * line.length,
    async *content() {
      for (let at = 0; at < 100; at++) {
        await pause(25);
        yield line;
      }
    },
  });
  const { result } = await attemptAt((peer) => converse(peer), { message, shorter: { block: 150 } });
  assert.equal(inShort(result), 'failed at body upstream-silent');
  assert.equal(message.dots, 0);
});

test('abort breaks a running attempt off before the dot', async () => {
  const abort = new AbortController();
  const transcript = newTranscript();
  await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
  const message = outgoing({ beforeDot: async () => abort.abort() });
  assert.equal(inShort(await upstreamAt(server.port).attempt(message, abort.signal)), 'failed at body shutting-down');
  assert.deepEqual(transcript.messages, []);
});
