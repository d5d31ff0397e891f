/** Mail that a rule passes: byte for byte, over verified TLS or to this machine, or not at all (P2, P3, P4, P10, A2). */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { before, describe, test } from 'node:test';
import { Session } from '../../src/delivery/session.ts';
import { transact } from '../../src/delivery/transaction.ts';
import type { Upstream } from '../../src/delivery/upstream.ts';
import { parseSpoolKeys } from '../../src/queue/spool/key.ts';
import { makeSpool } from '../../src/queue/spool/spool.ts';
import { noOpenssl } from '../certificates/openssl.ts';
import { freePort } from '../interop/ports.ts';
import { MemoryQueue, type NewRow } from './memory-queue.ts';
import { converse, goodReplies, type Replies, scriptedUpstream, type Transcript } from './peer.ts';
import { briefly, outgoing, running, timeouts, upstreamAt } from './surroundings.ts';
import { converseStartTls, type Identities, makeIdentities, type TlsPeerOptions } from './tls-peer.ts';

const spool = makeSpool({ keys: parseSpoolKeys(randomBytes(32).toString('base64'), 'spool.key'), randomBytes });
const CANARY = 'CANARY-the-diagnosis';
const EHLO_ALL = '250-upstream.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 0\r\n';

/** As the first row of a queue has it. */
const ROW = { queueId: 'Q1', sender: 'forms@clinic.example', recipient: 'r1@clinic.example' };

async function spooled(message: Buffer, facts = { eightBit: false, smtputf8: false }): Promise<NewRow> {
  const body: Buffer[] = [];
  const writer = spool.writer({ write: async (octets) => void body.push(octets) });
  await writer.write(message);
  await writer.end();
  const kept = writer.factsFor(ROW, { size: message.length, ...facts });
  writer.forget();
  return { header: Buffer.alloc(0), body, spooled: kept, needsSmtputf8: facts.smtputf8 };
}

const ended = (queue: MemoryQueue) => (): boolean =>
  queue.rows.every(({ state }) => state !== 'ready' && state !== 'leased' && state !== 'deferred');
const reasonOf = (queue: MemoryQueue): string => String(queue.events.at(-1)?.['reason'] ?? '');
const newTranscript = (): Transcript => ({ commands: [], messages: [] });
const mail = (body: string, charset: BufferEncoding = 'latin1'): Buffer => Buffer.from(`Subject: ${CANARY}\r\n\r\n${body}`, charset);

/** What came of one row, once it has ended or was put off `most` times. */
async function deliver(row: NewRow, upstreams: readonly Upstream[], { most = Infinity, without = false } = {}): Promise<MemoryQueue> {
  const queue = new MemoryQueue();
  queue.add({ ...row });
  // What the prefix of sealed mail holds is nothing of passed mail.
  Object.assign(queue.rows[0]?.lease ?? {}, { prefix: Buffer.alloc(0) });
  await using _ = running(queue, upstreams, without ? {} : { spool });
  await queue.until(() => ended(queue)() || (queue.rows[0]?.settled ?? 0) >= most);
  return queue;
}

test('A2: every octet arrives as it was, dots stuffed, and a retry is the same again (P4)', async () => {
  const lines = ['.', '..', '.a', 'text', '', '. ', `${'x'.repeat(997)}.`, 'Gr\xfc\xdfe', '.'];
  const message = mail(`${lines.join('\r\n')}\r\n`.repeat(200));
  let asked = 0;
  const transcript = newTranscript();
  const replies: Replies = Object.defineProperty({ ehlo: EHLO_ALL }, 'dot', {
    get: () => (asked++ === 0 ? '451 4.3.0 later\r\n' : goodReplies.dot),
  });
  await using server = await scriptedUpstream((peer) => converse(peer, replies, transcript));
  await deliver(await spooled(message, { eightBit: true, smtputf8: false }), [upstreamAt(server.port, { pauses: briefly })]);
  assert.equal(transcript.messages.length, 2);
  for (const sent of transcript.messages) {
    const unstuffed = sent.subarray(0, -3).toString('latin1').replaceAll('\r\n..', '\r\n.');
    assert.ok(Buffer.from(unstuffed, 'latin1').equals(message));
  }
  assert.ok(transcript.commands.includes(`MAIL FROM:<forms@clinic.example> SIZE=${message.length} BODY=8BITMIME`));
});

test('plain ASCII asks for no extension, and an upstream without any takes it', async () => {
  const transcript = newTranscript();
  await using server = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 upstream.test\r\n' }, transcript));
  const { events } = await deliver(await spooled(mail('body\r\n')), [upstreamAt(server.port)]);
  assert.deepEqual(
    events.filter(({ event }) => event === 'delivered').map(({ clear }) => clear),
    [true],
  );
  assert.deepEqual(transcript.commands.slice(1, 2), ['MAIL FROM:<forms@clinic.example>']);
  assert.equal(transcript.messages.length, 1);
});

test('5.6.3 and 5.6.7: what an upstream lacks is asked of the next; where none has it, it bounces and nothing was sent', async () => {
  const cases = [
    { facts: { eightBit: true, smtputf8: false }, status: '5.6.3', lacking: '250 upstream.test\r\n' },
    { facts: { eightBit: true, smtputf8: true }, status: '5.6.7', lacking: '250-upstream.test\r\n250 8BITMIME\r\n' },
  ];
  for (const { facts, status, lacking } of cases) {
    const [less, more] = [newTranscript(), newTranscript()];
    await using first = await scriptedUpstream((peer) => converse(peer, { ehlo: lacking }, less));
    await using second = await scriptedUpstream((peer) => converse(peer, { ehlo: EHLO_ALL }, more));
    const row = await spooled(mail('Grüße\r\n', 'utf8'), facts);
    const alone = await deliver(row, [upstreamAt(first.port)]);
    assert.equal(alone.rows[0]?.state, 'bounced');
    assert.ok(reasonOf(alone).startsWith(status), reasonOf(alone));
    const both = await deliver(row, [upstreamAt(first.port), upstreamAt(second.port)]);
    assert.equal(both.rows[0]?.state, 'delivered');
    assert.ok(
      less.commands.every((command) => command.startsWith('EHLO') || command === 'QUIT'),
      less.commands.join(),
    );
    const asked = `BODY=8BITMIME${facts.smtputf8 ? ' SMTPUTF8' : ''}`;
    assert.ok(more.commands.some((command) => command.startsWith('MAIL') && command.endsWith(asked)));
    // One that is down might have it.
    const down = await deliver(row, [upstreamAt(first.port), upstreamAt(await freePort(), { pauses: briefly })], { most: 1 });
    assert.equal(down.rows[0]?.state, 'deferred');
  }
});

test('P3: a session that is neither verified nor on this machine is not told a word; the next upstream is asked', async () => {
  const transcript = newTranscript();
  await using server = await scriptedUpstream((peer) => converse(peer, { ehlo: EHLO_ALL }, transcript));
  const clear = { eightBit: false };
  for (const tls of [null, { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', verified: false }]) {
    const socket = connect(server.port, '127.0.0.1');
    const session = new Session(socket, tls);
    await session.reply(20_000);
    const result = await transact(session, outgoing({ clear }), timeouts());
    assert.ok(result.kind === 'unsuited' && result.status === '4.7.5', result.kind);
    assert.deepEqual(transcript.commands, []);
    socket.destroy();
  }
  const remote = (host: string, port: number): Socket =>
    Object.defineProperty(connect(port, host), 'remoteAddress', { get: () => '192.0.2.7' });
  const row = await spooled(mail('body\r\n'));
  const away = await deliver(row, [upstreamAt(server.port, { connect: remote, pauses: briefly })], { most: 1 });
  assert.equal(away.rows[0]?.state, 'deferred');
  assert.match(reasonOf(away), /^127\.0\.0\.1:\d+: 4\.4\.1 .*without verified TLS only a loopback address/);
  assert.deepEqual(transcript.commands, []);
  const next = await deliver(row, [upstreamAt(server.port, { connect: remote, pauses: briefly }), upstreamAt(server.port)]);
  assert.equal(next.rows[0]?.state, 'delivered');
});

test('P10: a chunk that is changed, moved or missing is set aside, and no dot is ever sent', async () => {
  const message = mail(`${'0123456789'.repeat(9)}\r\n`.repeat(3000));
  const { body = [], ...row } = await spooled(message);
  const [one, two, ...rest] = body;
  assert.ok(one !== undefined && two !== undefined && rest.length > 0);
  const changed = Buffer.from(two);
  changed[1000] = (changed[1000] ?? 0) ^ 1;
  const forged = {
    changed: [one, changed, ...rest],
    doubled: [one, two, two, ...rest],
    truncated: [one, two],
    reordered: [one, ...rest, two],
  };
  for (const [what, octets] of Object.entries(forged)) {
    const transcript = newTranscript();
    await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
    const queue = await deliver({ ...row, body: octets }, [upstreamAt(server.port)]);
    assert.equal(queue.rows[0]?.state, 'damaged', what);
    assert.equal(queue.rows[0]?.pastDot, 0, what);
    assert.equal(transcript.messages.length, 0, what);
    assert.ok(!server.peers.some(({ received }) => received.includes('\r\n.\r\n')), what);
  }
});

test('P10: a row that names another recipient or sender than it was passed for is set aside, and nothing of the mail is sent', async () => {
  const row = await spooled(mail('body\r\n'));
  for (const changed of [{ recipient: 'thief@elsewhere.example' }, { sender: 'thief@elsewhere.example' }]) {
    const transcript = newTranscript();
    await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
    const queue = await deliver({ ...row, ...changed }, [upstreamAt(server.port)]);
    assert.equal(queue.rows[0]?.state, 'damaged');
    assert.ok(!server.peers.some(({ received }) => received.includes(CANARY)));
    assert.deepEqual(transcript.messages, []);
  }
});

test('P5: without its key, or the spool at all, it waits', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const row = await spooled(mail('body\r\n'));
  const other = Buffer.concat(row.body ?? []);
  other[8] = (other[8] ?? 0) ^ 1;
  const unknown = await deliver({ ...row, body: [other] }, [upstreamAt(server.port)], { most: 1 });
  assert.equal(unknown.rows[0]?.state, 'deferred');
  assert.match(reasonOf(unknown), /spool key [0-9a-f]{16} is not there/);
  const none = await deliver(row, [upstreamAt(server.port)], { most: 1, without: true });
  assert.equal(none.rows[0]?.state, 'deferred');
  const garbled = await deliver({ ...row, spooled: '{}' }, [upstreamAt(server.port)]);
  assert.equal(garbled.rows[0]?.state, 'damaged');
});

describe('an upstream that cannot prove its name', { skip: noOpenssl }, () => {
  let all: Identities;
  before(() => {
    all = makeIdentities();
  });

  test('wrong name, self-signed, expired, no STARTTLS: deferred, and nothing of the mail on the wire; the right one takes it', async () => {
    const stripped = { ehlo: '250 upstream.test\r\n' };
    const peers: Readonly<Record<string, readonly [TlsPeerOptions, RegExp, Parameters<typeof converseStartTls>[2]?]>> = {
      'another name': [all.otherName, /upstream-unverified/],
      'self-signed': [all.selfSigned, /upstream-unverified/],
      'another CA': [all.otherCa, /upstream-unverified/],
      expired: [all.expired, /upstream-unverified/],
      'no STARTTLS': [all.good, /upstream-tls-missing/, stripped],
      'STARTTLS refused': [all.good, /upstream-tls-failed/, { starttls: '454 4.7.0 not now\r\n' }],
    };
    const options = { host: 'localhost', tls: 'starttls', secrets: async () => ({ ca: all.ca }) } as const;
    const row = await spooled(mail(`${CANARY}\r\n`));
    for (const [what, [identity, reason, replies = {}]] of Object.entries(peers)) {
      await using server = await scriptedUpstream((peer) => converseStartTls(peer, identity, replies));
      const queue = await deliver(row, [upstreamAt(server.port, { pauses: briefly }, options)], { most: 2 });
      assert.equal(queue.rows[0]?.state, 'deferred', what);
      assert.match(reasonOf(queue), reason, what);
      const wire = Buffer.concat(server.peers.map(({ received }) => received)).toString('latin1');
      assert.ok(!wire.includes('CANARY') && !/MAIL|clinic/i.test(wire), what);
    }
    await using server = await scriptedUpstream((peer) => converseStartTls(peer, all.good));
    const taken = await deliver(row, [upstreamAt(server.port, {}, options)]);
    assert.equal(taken.rows[0]?.state, 'delivered');
    assert.equal(taken.events.at(-1)?.['tls_verified'], true);
    assert.ok(!server.peers.some(({ received }) => received.includes('CANARY')));
  });
});
