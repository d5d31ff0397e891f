/** Clients that end their side of the connection behind their last octet, and those that are gone without a word. */
import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import { test, type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { noOpenssl } from '../certificates/openssl.ts';
import { LOOPBACK, until } from '../interop/ports.ts';
import { dialogue, type Dialogue } from './dialogue.ts';
import { codeOf, makeFront } from './front.ts';
import { makeSecureFront } from './secure.ts';

const ENVELOPE = 'EHLO c.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n';
const MESSAGE = 'Subject: x\r\n\r\nbody\r\n.\r\n';

async function connected(t: TestContext, port: number, tls = false): Promise<Dialogue> {
  const client = await dialogue(port, { allowHalfOpen: true, ...(tls ? { tls: {} } : {}) });
  t.after(() => client.close());
  await client.expect(/^220 /);
  return client;
}

async function hearAll(client: Dialogue): Promise<void> {
  await client.expect(/^250-/);
  await client.expect(/^250 2\.1\.0/);
  await client.expect(/^250 2\.1\.5/);
  await client.expect(/^354 /);
  await client.expect(/^250 2\.0\.0 queued/);
}

for (const tls of [false, true]) {
  test(
    `a client that ends its side behind its last octet is told the verdict${tls ? ', under TLS' : ''}`,
    {
      skip: tls && noOpenssl,
    },
    async (t) => {
      const reception = {
        recipient: () => pause(20),
        async accept(_envelope: unknown, source: AsyncIterable<Buffer>): Promise<string> {
          for await (const chunk of source) void chunk;
          await pause(100);
          return 'Q1';
        },
      };
      const front = tls ? await makeSecureFront(t, { tls: 'implicit', reception }) : await makeFront(t, { reception });
      const parting = await connected(t, front.port, tls);
      parting.send(`${ENVELOPE}${MESSAGE}QUIT\r\n`);
      parting.end();
      await hearAll(parting);
      await parting.expect(/^221 /);
      await parting.closed();
      const silent = await connected(t, front.port, tls);
      silent.send(ENVELOPE + MESSAGE);
      silent.end();
      await hearAll(silent);
      await silent.closed();
      await until('no seat is taken', () => front.ingress.sessions.size === 0);
    },
  );
}

test('a client that ends its side while nothing is owed to it is closed at once', async (t) => {
  const front = await makeFront(t);
  for (const said of ['', 'EHLO c.example\r\n', 'EHLO c.example\r\nMAIL FROM:<a@x.example>\r\n']) {
    const client = await connected(t, front.port);
    client.send(said);
    for (let replies = said.split('\r\n').length - 1; replies > 0; replies--) await client.expect(/^250/);
    client.end();
    await client.closed();
  }
  await until('no seat is taken', () => front.ingress.sessions.size === 0);
});

test('a message whose client ended its side before the final dot is not taken, and its client closed', async (t) => {
  const front = await makeFront(t);
  const client = await connected(t, front.port);
  client.send(`${ENVELOPE}Subject: x\r\n\r\nhalf\r\n`);
  client.end();
  await client.closed(true);
  await until('thrown', () => front.thrown.length === 1);
  assert.deepEqual(front.thrown.map(codeOf), ['message-incomplete']);
  assert.equal(front.taken.length, 0);
});

test('a command line that ends with the connection and not with a line end is none', async (t) => {
  const front = await makeFront(t);
  const client = await connected(t, front.port);
  client.send(ENVELOPE.trimEnd());
  client.end();
  for (const reply of [/^250-/, /^250 2\.1\.0/, /^250 2\.1\.5/]) await client.expect(reply);
  await client.closed();
});

test('A29: a client that ended its side and does not read holds neither its seat nor its socket', { skip: noOpenssl }, async (t) => {
  const front = await makeFront(t, { timeouts: { command: 400, message: 10_000, session: 10_000 } });
  const client = await connected(t, front.port);
  client.pause();
  // Replies to fill every buffer on the way.
  for (let round = 0; round < 200; round++) client.send('NOOP\r\n'.repeat(5_000));
  client.end();
  await until('no seat is taken', () => front.ingress.sessions.size === 0, 20_000);
});

for (const tls of ['starttls', 'implicit'] as const) {
  test(
    `A29: a client that is gone with a reset right behind the handshake leaves no session and no socket (${tls})`,
    {
      skip: noOpenssl,
    },
    async (t) => {
      const front = await makeSecureFront(t, { tls });
      for (let round = 0; round < 100; round++) {
        const below = connectTcp(front.port, LOOPBACK);
        below.on('error', () => undefined);
        await new Promise<void>((resolve) => void below.once('connect', resolve));
        if (tls === 'starttls') {
          await new Promise<void>((resolve) => void below.once('data', () => resolve()));
          below.write('EHLO c.example\r\nSTARTTLS\r\n');
          await new Promise<void>((resolve) => below.on('data', (octets: Buffer) => octets.includes('220 ') && resolve()));
        }
        below.removeAllListeners('data');
        const secure = connectTls({ socket: below, rejectUnauthorized: false });
        secure.on('error', () => undefined);
        await new Promise<void>((resolve) => void secure.once('secureConnect', resolve));
        // By now the handshake's last octets have left; a reset in the same breath would overtake them.
        await new Promise<void>((resolve) => void setImmediate(resolve));
        below.resetAndDestroy();
      }
      await until('no session', () => front.ingress.sessions.size === 0, 3000);
      // A stop waits for sockets, for as long as its grace: what is left of them goes by itself.
      const started = performance.now();
      await front.ingress.stop(20_000);
      assert.ok(performance.now() - started < 15_000, 'a socket stays');
    },
  );
}
