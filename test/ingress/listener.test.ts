import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { test, type TestContext } from 'node:test';
import { parseNetworks, isListed } from '../../src/message/networks.ts';
import { makeIngress } from '../../src/ingress/smtp.ts';
import { dialogue, type Dialogue } from './dialogue.ts';
import { codeOf, makeFront } from './front.ts';

async function knock(t: TestContext, port: number, localAddress?: string): Promise<Dialogue> {
  const client = await dialogue(port, localAddress === undefined ? {} : { localAddress });
  t.after(() => client.close());
  return client;
}

test('the greeting comes without a fixed wait', async (t) => {
  const front = await makeFront(t);
  const waits: number[] = [];
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    const client = await knock(t, front.port);
    await client.expect(/^220 relay\.example ESMTP$/);
    waits.push(performance.now() - started);
  }
  assert.ok(Math.min(...waits) < 50, `fastest of ${waits.join(', ')} ms`);
});

test('A15: a client outside the networks gets 550 5.7.1 and nothing is accepted', async (t) => {
  const front = await makeFront(t, { networks: ['127.0.0.1'] });
  const client = await knock(t, front.port, '127.0.0.2');
  await client.expect(/^220/);
  await client.ask('EHLO c.example', /^250-/);
  await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1 /);
  await client.ask('RSET', /^250/);
  await client.ask('MAIL FROM:<>', /^550 5\.7\.1 /);
  await client.ask('RCPT TO:<b@y.example>', /^503 /);
  await client.ask('DATA', /^503 /);
  assert.deepEqual(front.asked, []);
  assert.ok(front.log.some(({ code, network }) => code === 'relay-denied' && network === 'foreign'));
  await (await front.open()).ask('MAIL FROM:<a@x.example>', /^250/);
});

test('networks: addresses and CIDR of both families, and a fault that names itself', () => {
  const list = parseNetworks(['10.0.0.0/8', '192.0.2.7', '::1', '2001:db8::/32']);
  for (const address of ['10.1.2.3', '192.0.2.7', '::1', '2001:db8::5', '::ffff:10.1.2.3']) assert.ok(isListed(list, address), address);
  for (const address of ['11.0.0.1', '192.0.2.8', '::2', '2001:db9::1', '', 'localhost', 'fe80::1%eth0'])
    assert.ok(!isListed(list, address), address);
  for (const bad of ['10.0.0.0/33', 'localhost', '10.0.0.0/', '10.0.0.0/8/8', '::1/129', '/8', '', '10.0.0.0/-1'])
    assert.throws(
      () => parseNetworks([bad]),
      (error: Error & { code?: string }) => error.code === 'config-invalid' && error.message.includes(JSON.stringify(bad)),
    );
});

/** What other protocols begin with, cut off where they would wait for an answer. */
const FOREIGN: Readonly<Record<string, string | Buffer>> = {
  'HTTP POST': 'POST / HTTP/1.1\r\nHost: relay.example\r\n\r\n',
  'HTTP GET of a long page': `GET /${'x'.repeat(1500)} HTTP/1.1\r\n\r\n`,
  'HTTP without a version': 'GET /\r\n',
  'HTTP with a blank in its path': 'put /a b HTTP/1.0\r\n\r\n',
  'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  RTSP: 'DESCRIBE rtsp://relay.example/ RTSP/1.0\r\n\r\n',
  SIP: 'REGISTER sip:relay.example SIP/2.0\r\n\r\n',
  SSH: 'SSH-2.0-OpenSSH_9.9\r\n',
  'a TLS ClientHello': Buffer.from('16030100c8010000c40303', 'hex'),
  'one octet of a ClientHello': Buffer.from('16', 'hex'),
  RDP: Buffer.from('030000130ee000000000000100080003000000', 'hex'),
  noughts: Buffer.alloc(100),
  'octets above ASCII': Buffer.from('fffefdfc', 'hex'),
};
for (const [name, octets] of Object.entries(FOREIGN)) {
  test(`A7: ${name} is told 421 and closed at once; nothing behind it is run`, async (t) => {
    const front = await makeFront(t);
    const client = await knock(t, front.port);
    await client.expect(/^220/);
    client.send(octets);
    if (typeof octets === 'string') client.send('EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nx\r\n.\r\n');
    await client.expect(/^421 4\.7\.0 this is not SMTP$/);
    await client.closed();
    assert.deepEqual(front.asked, []);
  });
}

test('A7: HTTP within a session is closed as well; an empty line in front of EHLO is borne', async (t) => {
  const front = await makeFront(t);
  const client = await knock(t, front.port);
  await client.expect(/^220/);
  await client.ask('', /^500/);
  await client.ask('EHLO x', /^250/);
  await client.ask('POST / HTTP/1.1', /^421 4\.7\.0 /);
  await client.closed();
});

test('connections over the limit get 421 4.7.0 while all others are at work, and room that is left is used', async (t) => {
  const front = await makeFront(t, { limits: { messageBytes: 1000, recipients: 5, connections: 2 } });
  // Within a message, and no floor under the data rate: neither has to make room.
  const first = await front.openData();
  const second = await front.openData();
  const third = await knock(t, front.port);
  await third.expect(/^421 4\.7\.0 too many connections/);
  await third.closed();
  await first.ask('x\r\n.\r\nQUIT', /^250/);
  await first.expect(/^221/);
  await first.closed();
  await (await front.open()).ask('NOOP', /^250/);
  await second.ask('x\r\n.', /^250/);
});

test('the limit of connections counts over all listeners', async (t) => {
  const front = await makeFront(t, {
    listen: [
      { host: '127.0.0.1', port: 0 },
      { host: '127.0.0.1', port: 0 },
    ],
    limits: { messageBytes: 1000, recipients: 5, connections: 1 },
  });
  await front.openData();
  const other = await knock(t, front.ports[1] ?? 0);
  await other.expect(/^421 4\.7\.0 /);
});

test('A33: a hostile EHLO name is one line of printable ASCII in the envelope and escaped in the log', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  await client.ask('EHLO evil\u001b[31m', /^501/);
  await client.ask('EHLO evil\rMAIL', /^501/);
  await client.ask(`EHLO ${'x'.repeat(1000)}`, /^501/);
  await client.ask('EHLO cl\u202eient\u0301.example', /^250-relay\.example$/m);
  client.send('MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nx\r\n.\r\n');
  for (const reply of [/^250/, /^250/, /^354/, /^250/]) await client.expect(reply);
  assert.equal(front.taken[0]?.envelope.client.helo, 'cl?ient?.example');
  assert.match(JSON.stringify(front.log), /^[\x20-\x7e]*$/);
});

test('A33: what a client sent comes back on one printable line, cut', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  const [reply = ''] = await client.ask(`MAIL FROM:<a@x.example> ${'X'.repeat(1900)}`, /^555 5\.5\.4 [\x20-\x7e]*$/);
  assert.ok(reply.length <= 510, String(reply.length));
});

test('A32: a line without end is refused and closed, its sender alone', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  client.send(`MAIL FROM:<${'('.repeat(1_000_000)}`);
  await client.expect(/^500 5\.5\.2 /);
  await client.closed();
  await (await front.open()).ask('NOOP', /^250/);
});

test('a command line of 2048 octets is read, a longer one refused and closed', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  const line = (length: number): string => `NOOP ${'x'.repeat(length - 'NOOP '.length)}`;
  await client.ask(line(2048), /^250/);
  await client.ask(line(2049), /^500 5\.5\.2 /);
  await client.closed();
});

test('A32: 1 MB of hostile commands does not hold up the event loop', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  let count = 0;
  for (const seed of ['(', '<', ',', 'g:', '"', '\\"', '@', '=?utf-8?q?', '"\\', '> ', 'a.', '%', '\u00e9']) {
    const line = `MAIL FROM:<${seed.repeat(Math.floor(1900 / Buffer.byteLength(seed)))}\r\n`;
    client.send(line.repeat(40));
    count += 40;
  }
  for (let index = 0; index < count; index++) await client.expect(/^501 /);
  delay.disable();
  assert.ok(delay.max / 1e6 < 200, `${delay.max / 1e6} ms`);
});

test('a port that is taken is listen-failed with its address, and nothing stays open', async (t) => {
  const front = await makeFront(t);
  const spare = createServer();
  await new Promise<void>((resolve) => void spare.listen(0, '127.0.0.1', resolve));
  const bound = spare.address();
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0;
  await new Promise((resolve) => spare.close(resolve));
  const ingress = makeIngress({
    ...front.options,
    listen: [
      { host: '127.0.0.1', port },
      { host: '127.0.0.1', port: front.port },
    ],
  });
  await assert.rejects(
    ingress.start(),
    (error: Error & { code?: string }) => error.code === 'listen-failed' && error.message.endsWith(`127.0.0.1:${front.port}`),
  );
  await assert.rejects(dialogue(port), { code: 'ECONNREFUSED' });
});

test('stop: idle sessions get 421 4.3.2, a message under way is taken first, new clients find nobody', async (t) => {
  const front = await makeFront(t);
  const idle = await front.open();
  const busy = await front.openData();
  busy.send('half\r\n');
  const stopped = front.ingress.stop(5000);
  await idle.expect(/^421 4\.3\.2 /);
  await idle.closed();
  await assert.rejects(dialogue(front.port), { code: 'ECONNREFUSED' });
  await busy.ask('other half\r\n.', /^250 2\.0\.0 queued as Q1/);
  await busy.expect(/^421 4\.3\.2 /);
  await stopped;
  assert.equal(front.taken.length, 1);
});

test('stop: after the grace a message that does not come to its end is incomplete, and nothing of it taken', async (t) => {
  const front = await makeFront(t);
  const client = await front.openData();
  client.send('half\r\n');
  const started = performance.now();
  await front.ingress.stop(100);
  assert.ok(performance.now() - started < 2000);
  await client.closed(true);
  assert.deepEqual(front.thrown.map(codeOf), ['message-incomplete']);
  assert.deepEqual(front.taken, []);
});
