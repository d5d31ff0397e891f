import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { noOpenssl, rsa } from '../certificates/openssl.ts';
import type { Dialogue } from './dialogue.ts';
import { codeOf } from './front.ts';
import { LOOPBACK, until } from '../interop/ports.ts';
import { run } from '../interop/programs.ts';
import { elsewhere, handIn, makeCertificate, makeSecureFront, noElsewhere } from './secure.ts';

const skip = noOpenssl;
const LIMITS = { messageBytes: 1000, recipients: 5, connections: 20 };

test('STARTTLS: offered before and not after, the session begins anew, the envelope says TLSv1.3 and ESMTPS', { skip }, async (t) => {
  const front = await makeSecureFront(t);
  const client = await front.greet();
  assert.ok((await front.ehlo(client)).includes('STARTTLS'));
  await client.ask('MAIL FROM:<forgotten@x.example>', /^250/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  const socket = await client.startTls();
  assert.equal(socket.getProtocol(), 'TLSv1.3');
  for (const command of ['MAIL FROM:<a@x.example>', 'RCPT TO:<b@y.example>', 'DATA']) await client.ask(command, /^503 5\.5\.1/);
  await client.ask('EHLO inside.example', /^250-relay\.example/);
  await client.ask('RCPT TO:<b@y.example>', /^503 5\.5\.1/);
  assert.ok(!(await front.ehlo(client)).includes('STARTTLS'));
  await client.ask('STARTTLS', /^503 5\.5\.1/);
  await handIn(client);
  const [taken] = front.taken;
  assert.deepEqual(taken?.envelope.client, { address: '127.0.0.1', helo: 'client.example', tls: 'TLSv1.3', user: null });
  assert.equal(taken?.envelope.protocol, 'ESMTPS');
  assert.equal(taken?.envelope.sender?.address, 'a@x.example');
});

test('the EHLO name of before STARTTLS is forgotten, HELO behind it is SMTP', { skip }, async (t) => {
  const front = await makeSecureFront(t);
  const client = await front.greet();
  await front.ehlo(client);
  await client.startTls();
  await client.ask('HELO old.example', /^250/);
  await handIn(client);
  assert.deepEqual([front.taken[0]?.envelope.protocol, front.taken[0]?.envelope.client.helo], ['SMTP', 'old.example']);
});

test('implicit TLS: from the first octet, and STARTTLS is no command there', { skip }, async (t) => {
  const front = await makeSecureFront(t, { tls: 'implicit' });
  const client = await front.greet({ tls: { maxVersion: 'TLSv1.2' } });
  assert.ok(!(await front.ehlo(client)).includes('STARTTLS'));
  await client.ask('STARTTLS', /^500 5\.5\./);
  await handIn(client);
  assert.equal(front.taken[0]?.envelope.client.tls, 'TLSv1.2');
  assert.equal(front.taken[0]?.envelope.protocol, 'ESMTPS');
});

test('a client that speaks in clear to a listener with implicit TLS gets no session', { skip }, async (t) => {
  const front = await makeSecureFront(t, { tls: 'implicit' });
  const socket = connect(front.port, LOOPBACK);
  t.after(() => socket.destroy());
  let heard = '';
  socket.on('data', (octets: Buffer) => (heard += octets.toString('latin1')));
  socket.on('error', () => undefined);
  socket.write('EHLO x\r\nMAIL FROM:<a@x.example>\r\n');
  await until('closed', () => socket.destroyed);
  assert.doesNotMatch(heard, /\d{3} /);
  assert.ok(front.log.some(({ msg }) => msg === 'TLS handshake failed'));
  await (await front.greet()).ask('NOOP', /^250/);
});

test('A4: what is said in clear behind STARTTLS is never run, 1,000 times', { skip }, async (t) => {
  const front = await makeSecureFront(t, { limits: { ...LIMITS, connections: 2000 } });
  const injected = 'RSET\r\nEHLO evil.example\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@y.example>\r\n';
  const RUNS = 1000;
  let stood = 0;
  const attack = async (index: number): Promise<void> => {
    // In the same segment, in a second one at once, or in a second one after the 220, and of different length.
    const way = index % 3;
    // Some are so many that they would outlast the handshake.
    const commands = index % 12 === 0 ? 'RSET\r\n'.repeat(9000) + injected : injected.repeat(1 + (index % 40));
    const socket = connect({ port: front.port, host: LOOPBACK, noDelay: true });
    socket.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => void socket.once('close', () => resolve()));
    const heard = await hear(socket, /^220 .*\r\n/, () => socket.write('EHLO x\r\n'));
    await hear(socket, /250 [^\r]*\r\n$/, () => undefined, heard);
    socket.write(way === 0 ? `STARTTLS\r\n${commands}` : 'STARTTLS\r\n');
    if (way === 1) socket.write(commands);
    await hear(socket, /^220 2\.0\.0 .*\r\n/, () => undefined);
    if (way === 2) socket.write(commands);
    const secure = connectTls({ socket, rejectUnauthorized: false });
    secure.on('error', () => undefined);
    const stands = await Promise.race([
      new Promise<boolean>((resolve) => void secure.once('secureConnect', () => resolve(true))),
      closed.then(() => false),
    ]);
    if (!stands) return;
    stood++;
    // Nothing is answered that was not asked in TLS, and nothing is known of before.
    const said = await hear(secure, /\r\n$/, () => secure.write('RCPT TO:<b@y.example>\r\n'));
    assert.match(said, /^503 5\.5\.1 [^\r]*EHLO[^\r]*\r\n$/);
    const greeted = await hear(secure, /250 [^\r]*\r\n$/, () => secure.write('EHLO inside.example\r\n'));
    assert.match(greeted, /^250-relay\.example\r\n/);
    assert.match(await hear(secure, /\r\n$/, () => secure.write('RCPT TO:<b@y.example>\r\n')), /^503 5\.5\.1 [^\r]*MAIL[^\r]*\r\n$/);
    secure.destroy();
    await closed;
  };
  const WIDTH = 20;
  for (let at = 0; at < RUNS; at += WIDTH) await Promise.all(Array.from({ length: WIDTH }, (_, step) => attack(at + step)));
  // The commands of the first way arrive with STARTTLS itself, so that TLS can come to stand behind them.
  assert.ok(stood >= Math.floor(RUNS / 3), `TLS stood ${stood} times`);
  assert.deepEqual(front.asked, []);
  assert.doesNotMatch(JSON.stringify(front.log), /evil[@.]/);
});

/** Resolves with all that came since `then` was done, once it matches. */
function hear(
  socket: NodeJS.ReadableStream & { on: Function; off: Function },
  whole: RegExp,
  then: () => unknown,
  before = '',
): Promise<string> {
  return new Promise((resolve, reject) => {
    let heard = '';
    const timer = setTimeout(() => reject(new Error(`heard ${JSON.stringify(before + heard)}`)), 20_000);
    const end = (): void => {
      clearTimeout(timer);
      socket.off('data', take);
      socket.off('close', left);
    };
    const left = (): void => {
      end();
      reject(new Error(`closed after ${JSON.stringify(heard)}`));
    };
    const take = (octets: Buffer): void => {
      heard += octets.toString('latin1');
      if (!whole.test(heard)) return;
      end();
      resolve(heard);
    };
    socket.on('data', take);
    socket.on('close', left);
    then();
  });
}

for (const tls of ['starttls', 'implicit'] as const) {
  test(`A29: a handshake that does not come to its end is cut off, octet after octet or silent (${tls})`, { skip }, async (t) => {
    const front = await makeSecureFront(t, { tls, limits: { ...LIMITS, handshakeMs: 300 } });
    const sockets = [connect(front.port, LOOPBACK), connect(front.port, LOOPBACK)];
    t.after(() => sockets.forEach((socket) => socket.destroy()));
    for (const socket of sockets) {
      socket.on('error', () => undefined);
      socket.resume();
      if (tls === 'starttls') socket.write('EHLO x\r\nSTARTTLS\r\n');
    }
    // A record of 16 KiB is announced, and comes an octet at a time.
    sockets[0]?.write(Buffer.from([22, 3, 1, 64, 0, 1, 0, 63, 252]));
    const trickle = setInterval(() => sockets[0]?.write(Buffer.from([3])), 20);
    t.after(() => clearInterval(trickle));
    await until('both are closed', () => sockets.every((socket) => socket.destroyed));
    await (await front.greet()).ask('NOOP', /^250/);
  });
}

test('stop: a session in its handshake is closed at once, and nothing stays open', { skip }, async (t) => {
  const front = await makeSecureFront(t, { tls: 'implicit' });
  // It does not go by itself where the server ends its side.
  const socket = connect({ port: front.port, host: LOOPBACK, allowHalfOpen: true });
  t.after(() => socket.destroy());
  socket.on('error', () => undefined);
  socket.resume();
  await new Promise<void>((resolve) => void socket.once('connect', resolve));
  const idle = await front.greet();
  const started = performance.now();
  await front.ingress.stop(3000);
  assert.ok(performance.now() - started < 2500);
  await idle.expect(/^421 4\.3\.2 /);
  await idle.closed();
  await until('closed', () => socket.readableEnded || socket.destroyed);
});

test('stop: after the grace an encrypted client in the middle of its message is closed', { skip }, async (t) => {
  const front = await makeSecureFront(t);
  const client = await front.greet();
  await front.ehlo(client);
  await client.startTls();
  await front.ehlo(client);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  await client.ask('DATA', /^354/);
  client.send('half\r\n');
  const started = performance.now();
  await front.ingress.stop(100);
  assert.ok(performance.now() - started < 2500);
  await client.closed(true);
  assert.deepEqual(front.thrown.map(codeOf), ['message-incomplete']);
});

test('a session that ends in TLS leaves no seat taken', { skip }, async (t) => {
  const front = await makeSecureFront(t, { limits: { ...LIMITS, connections: 1 } });
  const sit = async (): Promise<Dialogue> => {
    const seats: Dialogue[] = [];
    await until('the seat is free', async () => {
      await front.greet().then(
        (client) => seats.push(client),
        () => undefined,
      );
      return seats.length > 0;
    });
    const [seat] = seats;
    assert.ok(seat !== undefined);
    return seat;
  };
  for (const leave of ['quit', 'close', 'reset'] as const) {
    const client = await sit();
    await front.ehlo(client);
    await client.startTls();
    await front.ehlo(client);
    if (leave === 'quit') await client.ask('QUIT', /^221/);
    else client[leave]();
  }
  await sit();
});

test(
  'clients of other machines hand in nothing in clear where there is STARTTLS; those of this one may',
  { skip: skip || noElsewhere },
  async (t) => {
    const front = await makeSecureFront(t, { networks: ['127.0.0.1', elsewhere ?? ''] });
    const far = await front.greet({ host: elsewhere ?? '' });
    await front.ehlo(far);
    await far.ask('MAIL FROM:<a@x.example>', /^530 5\.7\.0 must issue STARTTLS first$/);
    await far.ask('AUTH PLAIN', /^538 5\.7\.11 /);
    await far.startTls();
    await front.ehlo(far);
    await handIn(far);
    const near = await front.greet();
    await front.ehlo(near);
    await handIn(near);
    assert.deepEqual(
      front.taken.map(({ envelope }) => envelope.protocol),
      ['ESMTPS', 'ESMTP'],
    );
  },
);

test('openssl: TLS 1.2 and 1.3 stand, 1.1 does not, nor RSA key exchange, CBC with SHA-1 or 3DES', { skip }, async (t) => {
  const files = makeCertificate({ name: 'server-rsa', key: rsa(2048) });
  const front = await makeSecureFront(t, { files });
  const shake = async (...args: string[]): Promise<boolean> => {
    const at = ['s_client', '-connect', `${LOOPBACK}:${front.port}`, '-starttls', 'smtp', '-servername', 'relay.example'];
    const { code, stdout } = await run('openssl', [...at, ...args], { input: Buffer.from('QUIT\r\n') });
    return code === 0 && /Cipher is (?!\(NONE\))/.test(stdout.toString());
  };
  assert.ok(await shake('-tls1_3'));
  assert.ok(await shake('-tls1_2'));
  assert.ok(await shake('-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256'));
  assert.ok(await shake('-tls1_2', '-cipher', 'ECDHE-RSA-AES256-SHA384'));
  for (const old of ['-tls1_1', '-tls1']) assert.ok(!(await shake(old, '-cipher', 'ALL:@SECLEVEL=0')), old);
  for (const cipher of ['AES128-GCM-SHA256', 'AES256-SHA', 'ECDHE-RSA-AES128-SHA', 'DES-CBC3-SHA', 'ECDHE-RSA-CHACHA20-POLY1305'])
    assert.ok(!(await shake('-tls1_2', '-cipher', `${cipher}:@SECLEVEL=0`)), cipher);
});

test('openssl: a client that renegotiates in TLS 1.2 is cut off', { skip }, async (t) => {
  const front = await makeSecureFront(t, { tls: 'implicit' });
  const child = spawn('openssl', ['s_client', '-connect', `${LOOPBACK}:${front.port}`, '-tls1_2', '-crlf'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let heard = '';
  child.stdout.on('data', (octets: Buffer) => (heard += octets.toString('latin1')));
  child.stderr.on('data', (octets: Buffer) => (heard += octets.toString('latin1')));
  child.stdin.on('error', () => undefined);
  await until('the greeting', () => heard.includes('220 relay.example'));
  child.stdin.write('EHLO c.example\n');
  await until('the reply', () => heard.includes('250 '));
  // To openssl a line that begins with R is the order to renegotiate.
  child.stdin.write('R\n');
  await until('the client is gone', () => child.exitCode !== null);
  assert.match(heard, /RENEGOTIATING/);
  await (await front.greet()).ask('NOOP', /^250/);
});
