/** The PROXY protocol at the port, and its reader alone. */
import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import * as fc from 'fast-check';
import { clientOf, readProxyHeader, takeProxyHeader, type Taken } from '../../src/ingress/proxy.ts';
import { LOOPBACK } from '../interop/ports.ts';
import { missingPrograms, run } from '../interop/programs.ts';
import { dialogue, type Dialogue } from './dialogue.ts';
import { makeFront, type Front } from './front.ts';

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n');
/** `addresses` as they stand in a header of version 2. */
const version2 = (command: number, family: number, addresses: Buffer): Buffer => {
  const fixed = Buffer.from([0x20 | command, family, addresses.length >> 8, addresses.length & 0xff]);
  return Buffer.concat([SIGNATURE, fixed, addresses]);
};
const TCP4 = Buffer.from([10, 1, 2, 3, 127, 0, 0, 1, 0x12, 0x34, 0, 25]);
const tcp6 = (hex: string): Buffer => Buffer.concat([Buffer.from(hex, 'hex'), Buffer.alloc(16), Buffer.from([0x12, 0x34, 0, 25])]);
const FROM_10 = 'PROXY TCP4 10.1.2.3 127.0.0.1 4660 25\r\n';

const proxied = (t: TestContext): Promise<Front> =>
  makeFront(t, { proxies: ['127.0.0.2'], networks: ['10.0.0.0/8', '127.0.0.1', '2001:db8::/32'] });

async function connectAs(t: TestContext, front: Front, localAddress: string): Promise<Dialogue> {
  const client = await dialogue(front.port, { localAddress });
  t.after(() => client.close());
  return client;
}

async function sendMail(client: Dialogue): Promise<void> {
  await client.expect(/^220 /);
  await client.ask('EHLO client.example', /^250-/);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  await client.ask('DATA', /^354/);
  await client.ask('hello\r\n.', /^250/);
}

for (const [name, header, address] of [
  ['version 1, IPv4', Buffer.from(FROM_10), '10.1.2.3'],
  ['version 1, IPv6', Buffer.from('PROXY TCP6 2001:DB8::7 ::1 4660 25\r\n'), '2001:db8::7'],
  ['version 2, IPv4', version2(1, 0x11, TCP4), '10.1.2.3'],
  ['version 2, IPv4 with more behind the addresses', version2(1, 0x11, Buffer.concat([TCP4, Buffer.alloc(200)])), '10.1.2.3'],
  ['version 2, IPv6', version2(1, 0x21, tcp6('20010db8000000000000000000000007')), '2001:db8::7'],
  ['version 2, IPv4 in the form of IPv6', version2(1, 0x21, tcp6('00000000000000000000ffff0a010203')), '10.1.2.3'],
] as const) {
  test(`a listed proxy announces the client: ${name}`, async (t) => {
    const front = await proxied(t);
    const client = await connectAs(t, front, '127.0.0.2');
    client.send(header);
    await sendMail(client);
    assert.equal(front.taken[0]?.envelope.client.address, address);
    assert.ok(front.log.some((entry) => entry['msg'] === 'message queued' && entry['client'] === address));
  });
}

test('a header in pieces, and one with commands behind it in the same segment', async (t) => {
  const front = await proxied(t);
  const slow = await connectAs(t, front, '127.0.0.2');
  for (const octet of version2(1, 0x11, TCP4)) {
    slow.send(Buffer.from([octet]));
    await new Promise(setImmediate);
  }
  await sendMail(slow);
  const eager = await connectAs(t, front, '127.0.0.2');
  eager.send(`${FROM_10}EHLO eager.example\r\nMAIL FROM:<a@x.example>\r\n`);
  for (const reply of [/^220 /, /^250-/, /^250 /]) await eager.expect(reply);
});

test('what the proxy announces is what counts: an address outside the networks may not send', async (t) => {
  const front = await proxied(t);
  const client = await connectAs(t, front, '127.0.0.2');
  client.send('PROXY TCP4 203.0.113.5 127.0.0.1 4660 25\r\n');
  await client.expect(/^220 /);
  await client.ask('EHLO client.example', /^250-/);
  await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
});

for (const [name, header] of [
  ['version 1, UNKNOWN', 'PROXY UNKNOWN\r\n'],
  ['version 1, UNKNOWN with words', 'PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n'],
  ['version 2, a UNIX socket', version2(1, 0x31, Buffer.alloc(216))],
  ['version 2, no family', version2(1, 0, Buffer.alloc(0))],
] as const) {
  test(`A15: a client that the proxy cannot name has no rights, not those of the proxy: ${name}`, async (t) => {
    const front = await makeFront(t, { proxies: ['127.0.0.1'], networks: ['127.0.0.0/8', '::1'] });
    const client = await connectAs(t, front, '127.0.0.1');
    client.send(header);
    await client.expect(/^220 /);
    await client.ask('EHLO client.example', /^250-/);
    await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
  });
}

test('a proxy that looks whether we live is greeted (LOCAL)', async (t) => {
  const front = await proxied(t);
  const client = await connectAs(t, front, '127.0.0.2');
  client.send(version2(0, 0, Buffer.alloc(0)));
  await client.expect(/^220 /);
  await client.ask('EHLO client.example', /^250-/);
  await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
});

test('a listed proxy without a header is closed and gets no greeting; so is one that says nothing, at the stop', async (t) => {
  const front = await proxied(t);
  for (const garbage of [
    'EHLO client.example\r\n',
    'PROXY TCP4 10.1.2.3 127.0.0.1 4660\r\n',
    'PROXY TCP4 10.1.2.3 127.0.0.1 4660 70000\r\n',
    'PROXY TCP4 ::1 ::1 1 1\r\n',
    'PROXY TCP6 10.1.2.3 127.0.0.1 1 1\r\n',
    'PROXY TCP4 10.1.2.3\n127.0.0.1 1 1\r\n',
    `PROXY UNKNOWN ${'x'.repeat(100)}\r\n`,
    'PROXY ' + 'x'.repeat(5000),
    version2(2, 0x11, TCP4),
    version2(1, 0x11, TCP4.subarray(0, 8)),
    Buffer.concat([SIGNATURE, Buffer.from([0x31, 0x11, 0, 12]), TCP4]),
    Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11, 0xff, 0xff])]),
  ]) {
    const client = await connectAs(t, front, '127.0.0.2');
    client.send(garbage);
    await client.closed();
  }
  assert.equal(front.log.filter((entry) => entry['msg'] === 'connection without a PROXY header refused').length, 12);
  const silent = await connectAs(t, front, '127.0.0.2');
  await front.ingress.stop(0);
  await silent.closed();
});

test('A15: PROXY from an address that is not listed is a command that does not exist, and changes nothing', async (t) => {
  const front = await proxied(t);
  const client = await connectAs(t, front, '127.0.0.3');
  client.send(FROM_10);
  await client.expect(/^220 /);
  await client.expect(/^500 5\.5\.2/);
  await client.ask('EHLO client.example', /^250-/);
  await client.ask('PROXY TCP4 10.1.2.3 127.0.0.1 4660 25', /^500 5\.5\.2/);
  await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
  const binary = await connectAs(t, front, '127.0.0.3');
  binary.send(version2(1, 0x11, TCP4));
  await binary.closed(true);
  assert.equal(front.taken.length, 0);
});

test('A15: another machine does not speak for a client on this one', () => {
  const local = { kind: 'client', address: '127.0.0.1', port: 1 } as const;
  assert.deepEqual(clientOf(local, '10.0.0.1'), { remoteAddress: '::', remotePort: 1 });
  assert.deepEqual(clientOf(local, '127.0.0.2'), { remoteAddress: '127.0.0.1', remotePort: 1 });
});

test('A29: a header must be whole in time, however its octets come', async (t) => {
  const taken = Promise.withResolvers<Taken>();
  const server = createServer((socket) => takeProxyHeader(socket, taken.resolve, 100));
  await new Promise<void>((resolve) => void server.listen(0, LOOPBACK, resolve));
  const bound = server.address();
  const client = connect(bound !== null && typeof bound === 'object' ? bound.port : 0, LOOPBACK);
  client.on('error', () => undefined);
  t.after(() => {
    client.destroy();
    server.close();
  });
  client.write('PROXY ');
  const trickle = setInterval(() => client.write('x'), 20);
  t.after(() => clearInterval(trickle));
  assert.deepEqual(await taken.promise, { kind: 'fault', fault: 'no header in time' });
});

test('whatever comes, the reader answers, never throws, and takes no more than was there', () => {
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.constantFrom('PROXY ', 'TCP4 ', 'TCP6 ', 'UNKNOWN', '10.1.2.3 ', '::1 ', '25', ' ', '\r\n', '\r').map((text) => Buffer.from(text)),
    fc.constantFrom(SIGNATURE, version2(1, 0x11, TCP4), version2(0, 0, Buffer.alloc(3)), SIGNATURE.subarray(0, 5)),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
      const octets = Buffer.concat(parts);
      const verdict = readProxyHeader(octets);
      if (verdict.kind === 'header') assert.ok(verdict.octets <= octets.length);
      if (verdict.kind !== 'open') return;
      // What is open is short: nobody makes us wait for more than a header.
      assert.ok(octets.length < 16 + 4096);
    }),
    { numRuns: 5000 },
  );
});

test('swaks speaks both versions of it', { skip: missingPrograms({ swaks: 'swaks' }) }, async (t) => {
  const front = await makeFront(t, { proxies: ['127.0.0.1'], networks: ['10.0.0.0/8'] });
  const ends = ['--proxy-family', 'TCP4', '--proxy-source', '10.1.2.3', '--proxy-source-port', '4660', '--proxy-dest', '127.0.0.1'];
  for (const version of ['1', '2']) {
    const more = version === '2' ? ['--proxy-protocol', 'STREAM', '--proxy-command', 'PROXY'] : [];
    const family = version === '2' ? ['--proxy-family', 'AF_INET', ...ends.slice(2)] : ends;
    const args = ['--server', `127.0.0.1:${front.port}`, '--from', 'a@x.example', '--to', 'b@y.example', '--proxy-version', version];
    const { code, stdout, stderr } = await run('swaks', [...args, ...family, '--proxy-dest-port', '25', ...more]);
    assert.equal(code, 0, `${stdout.toString()}${stderr}`);
  }
  assert.deepEqual(
    front.taken.map(({ envelope }) => envelope.client.address),
    ['10.1.2.3', '10.1.2.3'],
  );
});
