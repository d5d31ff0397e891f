/** The lists over HTTP: what is answered, and what strangers cannot do to those who ask. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request, type IncomingHttpHeaders, type RequestOptions } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { pino } from 'pino';
import { writeCrl } from '../../src/certificates/authority/crl.ts';
import { type Authority, DAY_MS, makeAuthority } from '../../src/certificates/authority/issue.ts';
import type { HttpServer } from '../../src/http-server.ts';
import { serveLists } from '../../src/upkeep/crl-server.ts';
import { eventually } from '../certificates/openssl.ts';

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

describe('lists over HTTP', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-lists-'));
  const file = join(folder, 'in-house-issuing.crl');
  const logged: string[] = [];
  const start = Math.floor(Date.now() / 1000) * 1000;
  let now = start;
  let issuer: Authority;
  let server: HttpServer;
  const open = new Set<Socket>();

  const lay = (number: number, days = 7): Buffer => {
    const bytes = writeCrl({ issuer, number, from: start - 300_000, to: start + days * DAY_MS, revoked: [] });
    writeFileSync(`${file}.new`, bytes);
    renameSync(`${file}.new`, file);
    return bytes;
  };
  const ask = (options: RequestOptions): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port: server.port, path: '/in-house.crl', agent: false, ...options }, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }));
        response.on('error', reject);
      });
      asked.on('error', reject);
      asked.end();
    });
  /** A connection that says `octets` and no more. */
  const client = async (octets: string): Promise<Socket> => {
    const socket = connect(server.port, '127.0.0.1');
    open.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
    await once(socket, 'connect');
    socket.write(octets);
    return socket;
  };
  const raw = async (octets: string): Promise<string> => {
    const socket = await client(octets);
    const parts: Buffer[] = [];
    for await (const part of socket as AsyncIterable<Buffer>) parts.push(part);
    return Buffer.concat(parts).toString('latin1');
  };

  before(async () => {
    issuer = await makeAuthority({ name: 'Clinic CA', now });
    const log = pino({}, { write: (line: string) => void logged.push(line) });
    const lists = new Map([
      ['/in-house.crl', file],
      ['/in-house-root.crl', join(folder, 'in-house-root.crl')],
    ]);
    server = await serveLists({ host: '127.0.0.1', port: 0, lists, now: () => now, log });
  });
  beforeEach(() => {
    now = start;
  });
  after(async () => {
    await server.close();
    for (const socket of open) socket.destroy();
    rmSync(folder, { recursive: true, force: true });
  });

  test('GET and HEAD of the list, and no second copy to whoever has it', async () => {
    const bytes = lay(1);
    const { status, headers, body } = await ask({});
    assert.equal(status, 200);
    assert.deepEqual(body, bytes);
    assert.equal(headers['content-type'], 'application/pkix-crl');
    assert.equal(headers['cache-control'], `public, max-age=${(7 * DAY_MS) / 1000}`, 'until it ends');
    assert.equal(headers.connection, 'close');
    const head = await ask({ method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(head.headers['content-length'], String(bytes.length));
    assert.equal(head.body.length, 0);
    const { etag = '', 'last-modified': modified = '' } = headers;
    for (const known of [{ 'if-none-match': etag }, { 'if-none-match': `"x", W/${etag}` }, { 'if-modified-since': modified }]) {
      const again = await ask({ headers: known });
      assert.equal(again.status, 304, JSON.stringify(known));
      assert.equal(again.body.length, 0);
      assert.equal(again.headers.etag, etag);
    }
    const other = await ask({ headers: { 'if-none-match': '"x"', 'if-modified-since': modified } });
    assert.equal(other.status, 200, 'the tag counts before the time (RFC 9110 §13.2.2)');
  });

  test('a new list is served at once', async () => {
    lay(2);
    const before = await ask({});
    const bytes = lay(3, 8);
    const { status, body, headers } = await ask({ headers: { 'if-none-match': before.headers.etag ?? '' } });
    assert.equal(status, 200);
    assert.deepEqual(body, bytes);
    assert.notEqual(headers.etag, before.headers.etag);
  });

  test('a list that has ended, is missing or is none: 503, told once', async () => {
    lay(4, 1);
    now = start + 2 * DAY_MS;
    logged.length = 0;
    for (let times = 0; times < 3; times++) assert.equal((await ask({})).status, 503);
    assert.equal(logged.filter((line) => line.includes('cannot be served')).length, 1);
    assert.match(logged.join(''), /it has ended on/);
    now = start;
    assert.equal((await ask({})).status, 200);
    assert.equal((await ask({ path: '/in-house-root.crl' })).status, 503);
    writeFileSync(join(folder, 'in-house-root.crl'), 'no list');
    assert.equal((await ask({ path: '/in-house-root.crl' })).status, 503);
  });

  test('nothing else is there (A7): other paths, ways up, other methods, odd requests', async () => {
    lay(5);
    for (const path of [
      '/',
      '/in-house.crl/',
      '/in-house.crl?x',
      '//in-house.crl',
      '/../keys/ca.key',
      '/%2e%2e/keys/ca.key',
      '/in-house%2ecrl',
      '*',
    ])
      assert.equal((await ask({ path })).status, 404, path);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']) {
      const { status, headers } = await ask({ method });
      assert.equal(status, 405, method);
      assert.equal(headers.allow, 'GET, HEAD');
    }
    assert.match(await raw(`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`), /^HTTP\/1\.1 431 /);
    assert.match(await raw(`GET /in-house.crl HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
    assert.match(await raw('EHLO relay.example\r\n'), /^HTTP\/1\.1 400 /);
    assert.match(await raw('GET http://127.0.0.1/in-house.crl HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 404 /);
    assert.match(await raw('GET /in-house.crl HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 OK/);
    assert.equal(await raw('CONNECT 127.0.0.1:25 HTTP/1.1\r\nHost: x\r\n\r\n'), '', 'it is no proxy');
    const twice = 'GET /in-house.crl HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(50);
    assert.equal((await raw(twice)).match(/200 OK/g)?.length, 1, 'one answer a connection');
  });

  test('500 slow clients (A29): whoever really asks is answered meanwhile, and they are let go', async () => {
    const bytes = lay(6);
    const slow = await Promise.all(Array.from({ length: 500 }, () => client('GET /in-house.crl HTTP/1.1\r\nHost: x\r\nX-A: ')));
    for (let times = 0; times < 5; times++) assert.deepEqual((await ask({})).body, bytes);
    await eventually(async () => open.size <= 64);
    const drip = setInterval(() => slow.forEach((socket) => void socket.write('a')), 200);
    try {
      await eventually(async () => open.size === 0, 60_000);
      assert.deepEqual((await ask({})).body, bytes);
    } finally {
      clearInterval(drip);
    }
  });

  test('3,000 connections, one after the other, none of them closed by the client', async () => {
    const bytes = lay(7);
    for (let made = 0; made < 3000; made += 100) await Promise.all(Array.from({ length: 100 }, () => client('').catch(() => undefined)));
    await eventually(async () => open.size <= 64);
    assert.deepEqual((await ask({})).body, bytes);
  });
});
