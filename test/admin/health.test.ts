import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { serveHealth } from '../../src/admin/health.ts';
import type { HttpServer } from '../../src/http-server.ts';
import { makeReadiness } from '../../src/readiness.ts';

describe('the health of the relay over HTTP', () => {
  const readiness = makeReadiness({ now: () => Date.UTC(2026, 0, 1), onChange: () => {} });
  let server: HttpServer;
  before(async () => {
    server = await serveHealth({ host: '127.0.0.1', port: 0, standing: () => readiness.standing(), log: pino({ level: 'silent' }) });
  });
  after(() => server.close());
  const ask = (path: string, options: RequestInit = {}): Promise<Response> => fetch(`http://127.0.0.1:${server.port}${path}`, options);

  test('ready only while mail is taken, alive all the time', async () => {
    const starting = await ask('/readyz');
    assert.equal(starting.status, 503);
    const since = '2026-01-01T00:00:00.000Z';
    const reasons = [{ code: 'starting', text: 'the relay is starting', since }];
    assert.deepEqual(await starting.json(), { state: 'stopped', since, reasons, notes: [] });
    assert.equal((await ask('/healthz')).status, 200);
    readiness.tell('starting', false);
    readiness.tell('rules-faulty', true);
    const ready = await ask('/readyz');
    assert.equal(ready.status, 200);
    assert.partialDeepStrictEqual(await ready.json(), { state: 'accepting', reasons: [], notes: [{ code: 'rules-faulty' }] });
    readiness.tell('storage-full', true);
    assert.equal((await ask('/readyz')).status, 503);
    assert.equal((await ask('/healthz')).status, 200);
    readiness.tell('storage-full', false);
  });

  test('GET and HEAD of two paths, never stored, never guessed at', async () => {
    for (const [path, method, status] of [
      ['/readyz', 'HEAD', 200],
      ['/readyz', 'POST', 405],
      ['/healthz', 'DELETE', 405],
      ['/', 'GET', 404],
      ['/readyz/', 'GET', 404],
      ['/../etc/passwd', 'GET', 404],
    ] as const) {
      const answer = await ask(path, { method });
      assert.equal(answer.status, status, `${method} ${path}`);
      assert.equal(answer.headers.get('cache-control'), 'no-store');
      assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
      assert.equal(answer.headers.get('connection'), 'close');
      await answer.text();
    }
  });

  test('a check that is too simple to name its host is answered', async () => {
    const socket = connect(server.port, '127.0.0.1');
    socket.end('GET /healthz HTTP/1.0\r\n\r\n');
    const [chunk]: Buffer[] = await once(socket, 'data');
    assert.match(String(chunk), /^HTTP\/1\.1 200 /);
    socket.destroy();
  });

  test('clients that say nothing, or a little now and then, keep nobody out (A29)', async () => {
    const slow: Socket[] = [];
    for (let index = 0; index < 80; index++) {
      const socket = connect(server.port, '127.0.0.1');
      socket.on('error', () => {});
      await once(socket, 'connect');
      socket.write('GET /readyz HTTP/1.1\r\nHost: x\r\nX-Slow: ');
      slow.push(socket);
    }
    const answer = await ask('/readyz');
    assert.equal(answer.status, 200);
    await answer.text();
    for (const socket of slow) socket.destroy();
  });

  test('a header without end is cut off (A29)', async () => {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(`GET /readyz HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(20_000)}`);
    const [chunk]: Buffer[] = await once(socket, 'data');
    assert.match(String(chunk), /^HTTP\/1\.1 431 /);
    socket.destroy();
  });
});
