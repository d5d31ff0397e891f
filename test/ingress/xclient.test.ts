/** XCLIENT at the port, and its reader alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import * as fc from 'fast-check';
import { believe } from '../../src/ingress/announced.ts';
import { readXclient } from '../../src/ingress/xclient.ts';
import { missingPrograms, run } from '../interop/programs.ts';
import { dialogue, type Dialogue } from './dialogue.ts';
import { codeOf, makeFront, type Front } from './front.ts';
import { elsewhere, noElsewhere } from './secure.ts';

const trusting = (t: TestContext): Promise<Front> => makeFront(t, { xclients: ['127.0.0.2'], networks: ['10.0.0.0/8', '127.0.0.2'] });

async function greetedAs(t: TestContext, front: Front, localAddress: string, offered: boolean): Promise<Dialogue> {
  const client = await dialogue(front.port, { localAddress });
  t.after(() => client.close());
  await client.expect(/^220 /);
  const lines = await client.ask('EHLO proxy.example', /^250-/);
  assert.equal(
    lines.some((line) => line.endsWith('XCLIENT NAME ADDR PORT PROTO HELO')),
    offered,
  );
  return client;
}

async function mail(client: Dialogue): Promise<void> {
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  await client.ask('DATA', /^354/);
  await client.ask('hello\r\n.', /^250/);
}

test('a listed address names the client, who is greeted, says EHLO and is the one in envelope and log', async (t) => {
  const front = await trusting(t);
  const client = await greetedAs(t, front, '127.0.0.2', true);
  await client.ask('XCLIENT NAME=web.example ADDR=10.1.2.3 PORT=4660 PROTO=ESMTP', /^220 relay\.example ESMTP/);
  await client.ask('MAIL FROM:<a@x.example>', /^503/);
  const lines = await client.ask('EHLO web.example', /^250-/);
  assert.ok(!lines.some((line) => line.includes('XCLIENT')), 'what comes now may be the client itself');
  await mail(client);
  assert.deepEqual(front.taken[0]?.envelope.client, { address: '10.1.2.3', helo: 'web.example', tls: null, user: null });
  await client.ask('XCLIENT ADDR=10.9.9.9', /^500/);
  await mail(client);
  assert.equal(front.taken[1]?.envelope.client.address, '10.1.2.3');
});

test('HELO and PROTO stand in for what the client would have said', async (t) => {
  const front = await trusting(t);
  const client = await greetedAs(t, front, '127.0.0.2', true);
  await client.ask('XCLIENT ADDR=10.1.2.3 HELO=old+20name PROTO=SMTP', /^220 /);
  await mail(client);
  assert.equal(front.taken[0]?.envelope.client.helo, 'old name');
  assert.equal(front.taken[0]?.envelope.protocol, 'SMTP');
});

test('what was begun before it is gone; within a message it is refused', async (t) => {
  const front = await trusting(t);
  const client = await greetedAs(t, front, '127.0.0.2', true);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('XCLIENT ADDR=10.1.2.3', /^503 5\.5\.1/);
  await client.ask('RSET', /^250/);
  await client.ask('XCLIENT ADDR=203.0.113.5', /^220 /);
  await client.ask('EHLO web.example', /^250-/);
  await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
});

test('several commands may name the client, and the one with the address is the last', async (t) => {
  const front = await trusting(t);
  const client = await greetedAs(t, front, '127.0.0.2', true);
  await client.ask('XCLIENT NAME=[UNAVAILABLE] PROTO=ESMTP', /^220 /);
  await client.ask('XCLIENT ADDR=IPv6:2001:db8::7', /^220 /);
  await client.ask('XCLIENT NAME=x', /^500/);
});

test('A15: an address that is unavailable has no rights', async (t) => {
  const front = await trusting(t);
  const client = await greetedAs(t, front, '127.0.0.2', true);
  await client.ask('XCLIENT ADDR=[UNAVAILABLE]', /^220 /);
  await client.ask('EHLO web.example', /^250-/);
  await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
});

test('A15: XCLIENT from an address that is not listed is a command that does not exist, and changes nothing', async (t) => {
  const front = await trusting(t);
  const client = await greetedAs(t, front, '127.0.0.3', false);
  await client.ask('XCLIENT ADDR=10.1.2.3', /^500 5\.5\.2/);
  await client.ask('xclient addr=127.0.0.2', /^500 5\.5\.2/);
  await client.ask('XFORWARD ADDR=10.1.2.3', /^500 5\.5\.2/);
  await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
});

test('A15: nor does the one that a proxy or XCLIENT announced get its rights by XCLIENT', async (t) => {
  const front = await makeFront(t, { proxies: ['127.0.0.2'], xclients: ['127.0.0.2'], networks: ['10.0.0.0/8'] });
  const client = await dialogue(front.port, { localAddress: '127.0.0.2' });
  t.after(() => client.close());
  client.send('PROXY TCP4 203.0.113.5 127.0.0.1 4660 25\r\n');
  await client.expect(/^220 /);
  await client.ask('EHLO client.example', /^250-/);
  await client.ask('XCLIENT ADDR=10.1.2.3', /^500 5\.5\.2/);
});

test('A15: another machine does not speak for loopback, which may do what others may not', () => {
  assert.equal(believe('127.0.0.1', '10.0.0.1'), '::');
  assert.equal(believe('::1', '2001:db8::1'), '::');
  assert.equal(believe('127.0.0.1', '127.0.0.2'), '127.0.0.1');
  assert.equal(believe('10.1.2.3', '10.0.0.1'), '10.1.2.3');
});

test('A15: XCLIENT from another machine makes nobody loopback', { skip: noElsewhere }, async (t) => {
  const host = elsewhere ?? '';
  const front = await makeFront(t, { xclients: [host], networks: ['127.0.0.0/8'], listen: [{ host, port: 0 }] });
  const client = await dialogue(front.port, { host, localAddress: host });
  t.after(() => client.close());
  await client.expect(/^220 /);
  await client.ask('EHLO proxy.example', /XCLIENT/);
  await client.ask('XCLIENT ADDR=127.0.0.1', /^220 /);
  await client.ask('EHLO web.example', /^250-/);
  await client.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
});

test('LOGIN is not believed; what is malformed is refused as a whole and counts for nothing', async (t) => {
  const front = await trusting(t);
  const client = await greetedAs(t, front, '127.0.0.2', true);
  for (const [words, reply] of [
    ['ADDR=10.1.2.3 LOGIN=forms', /^555 5\.5\.4 .*LOGIN/],
    ['ADDR=10.1.2.3 COLOUR=red', /^555 5\.5\.4/],
    ['ADDR=10.1.2.3 PORT=x', /^501 5\.5\.4/],
    ['ADDR=10.1.2', /^501 5\.5\.4/],
    ['ADDR=fe80::1%eth0', /^501 5\.5\.4/],
    ['ADDR=10.1.2.3 ADDR=10.1.2.4', /^501 5\.5\.4/],
    ['ADDR=10.1.2.3 PROTO=HTTP', /^501 5\.5\.4/],
    ['ADDR', /^501 5\.5\.4/],
    ['', /^501 5\.5\.4/],
  ] as const)
    await client.ask(`XCLIENT ${words}`, reply);
  await mail(client);
  assert.equal(front.taken[0]?.envelope.client.address, '127.0.0.2');
});

test('whatever is said, it is read or refused, and hidden control characters reach nobody', () => {
  const part = fc.oneof(
    fc.string(),
    fc.constantFrom('XCLIENT ', 'ADDR=', '10.1.2.3', ' ', 'HELO=', '+0D+0A', '+1B', 'PORT=', '25', '[UNAVAILABLE]'),
  );
  fc.assert(
    fc.property(fc.array(part), (parts) => {
      try {
        const { helo } = readXclient(Buffer.from(`XCLIENT ${parts.join('')}`));
        assert.match(helo ?? '', /^[\x20-\x7e]*$/);
      } catch (error) {
        assert.ok(['parameter-invalid', 'parameter-unknown'].includes(codeOf(error) ?? ''), String(error));
      }
    }),
    { numRuns: 3000 },
  );
});

test('swaks as the proxy', { skip: missingPrograms({ swaks: 'swaks' }) }, async (t) => {
  const front = await makeFront(t, { xclients: ['127.0.0.1'], networks: ['10.0.0.0/8'] });
  const named = [
    '--xclient-addr',
    '10.1.2.3',
    '--xclient-name',
    'web.example',
    '--xclient-helo',
    'first.example',
    '--xclient-proto',
    'ESMTP',
  ];
  const args = ['--server', `127.0.0.1:${front.port}`, '--from', 'a@x.example', '--to', 'b@y.example', '--ehlo', 'web.example'];
  const { code, stdout, stderr } = await run('swaks', [...args, ...named]);
  assert.equal(code, 0, `${stdout.toString()}${stderr}`);
  assert.deepEqual(front.taken[0]?.envelope.client, { address: '10.1.2.3', helo: 'web.example', tls: null, user: null });
});
