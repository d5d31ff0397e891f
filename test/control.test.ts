import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { callControl, serveControl, type ControlHandlers } from '../src/control.ts';
import { SealpostError } from '../src/errors.ts';

const log = pino({ level: 'silent' });

async function makeSocket(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-control-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'control.sock');
}

const failure = (code: string, detail: string) => (error: unknown) => {
  assert.ok(error instanceof SealpostError);
  assert.deepEqual([error.code, error.detail], [code, detail]);
  return true;
};

async function serve(t: TestContext, handlers: ControlHandlers): Promise<string> {
  const socket = await makeSocket(t);
  const control = await serveControl({ socket, handlers, log });
  t.after(() => control.close());
  return socket;
}

/** One raw exchange, as a program other than ours would make it. */
function exchange(socket: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const client = connect({ path: socket });
    let answer = '';
    client.setEncoding('utf8');
    client.on('data', (chunk: string) => (answer += chunk));
    client.on('end', () => client.destroy());
    client.on('close', () => resolve(answer));
    client.on('error', reject);
    client.write(text);
  });
}

test('a request reaches its handler, its answer or its error comes back, and the socket is 0600', async (t) => {
  const socket = await serve(t, {
    add: async ({ a, b }) => Number(a) + Number(b),
    fail: () => Promise.reject(new SealpostError('queue-id-unknown', { detail: 'q1' })),
    burst: () => Promise.reject(new Error('secret')),
  });
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  assert.equal(await callControl(socket, { command: 'add', a: 2, b: 3 }), 5);
  await assert.rejects(callControl(socket, { command: 'fail' }), failure('queue-id-unknown', 'q1'));
  await assert.rejects(callControl(socket, { command: 'burst' }), (error: Error) => !error.message.includes('secret'));
  await assert.rejects(callControl(socket, { command: 'toString' }), failure('usage', 'the running relay does not know that command'));
});

test('nobody listening is said as such, with and without a stale socket', async (t) => {
  const socket = await makeSocket(t);
  const asked = () => callControl(socket, { command: 'x' });
  await assert.rejects(asked(), (error: SealpostError) => error.code === 'relay-not-running');
  const control = await serveControl({ socket, handlers: {}, log });
  await control.close();
  writeStaleSocket(socket);
  await assert.rejects(asked(), (error: SealpostError) => error.code === 'relay-not-running');
  const again = await serveControl({ socket, handlers: { x: async () => 'here' }, log });
  assert.equal(await asked(), 'here');
  await again.close();
});

/** What a killed relay leaves: a socket with nobody behind it. */
function writeStaleSocket(socket: string): void {
  const script = `require('net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(execPath, ['-e', script]);
  assert.ok(existsSync(socket));
}

test('a file in the place of the socket is not deleted', async (t) => {
  const socket = await makeSocket(t);
  writeFileSync(socket, 'precious');
  await assert.rejects(serveControl({ socket, handlers: {}, log }), (error: SealpostError) => error.code === 'data-folder-unsafe');
  assert.ok(existsSync(socket));
});

test('what is no request is answered as such, and the next one is served', async (t) => {
  const socket = await serve(t, { ping: async () => 'pong' });
  for (const text of ['GET / HTTP/1.1\r\n\r\n', '[]\n', '{"command":5}\n', `${'x'.repeat(100_000)}\n`])
    assert.match(await exchange(socket, text), /^\{"ok":false,"code":"usage"/);
  assert.equal(await exchange(socket, '{"command":"ping"}\n'), '{"ok":true,"answer":"pong"}\n');
});

test('clients that never close behind their answer keep nobody out', async (t) => {
  const socket = await serve(t, { ping: async () => 'pong' });
  const clients = Array.from({ length: 16 }, () => connect({ path: socket, allowHalfOpen: true }));
  t.after(() => clients.forEach((client) => client.destroy()));
  for (const client of clients) client.on('error', () => undefined).write('{"command":"ping"}\n');
  await Promise.all(clients.map((client) => once(client, 'data')));
  const ends = performance.now() + 10_000;
  const asked = (): Promise<unknown> => callControl(socket, { command: 'ping' }).catch(() => undefined);
  while ((await asked()) !== 'pong') assert.ok(performance.now() < ends, 'kept out');
});

test('P6: a request that does not come to its end, and a seventeenth connection, are closed', async (t) => {
  const socket = await serve(t, { ping: async () => 'pong' });
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const open = (): Socket => {
    const client = connect({ path: socket });
    t.after(() => client.destroy());
    return client.on('error', () => undefined).resume();
  };
  const clients = Array.from({ length: 16 }, open);
  for (const client of clients) client.write('{"command":');
  const late = open();
  // Those in front of it are there by then.
  await once(late, 'close');
  const closed = clients.map((client) => once(client, 'close'));
  t.mock.timers.tick(5000);
  await Promise.all(closed);
  t.mock.timers.reset();
  assert.equal(await callControl(socket, { command: 'ping' }), 'pong');
});

test('a path that no socket can have is an error that says so', async (t) => {
  const socket = join(await makeSocket(t), 'x'.repeat(120));
  await assert.rejects(serveControl({ socket, handlers: {}, log }), (error: SealpostError) => error.code === 'listen-failed');
});
