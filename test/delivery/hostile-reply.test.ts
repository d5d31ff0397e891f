/** What an upstream says reaches the queue, the audit log and the log; it is hostile text in all three. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import pino from 'pino';
import { makeRoute } from '../../src/delivery/route.ts';
import { makeScheduler } from '../../src/delivery/scheduler.ts';
import { MemoryQueue } from './memory-queue.ts';
import { converse, scriptedUpstream } from './peer.ts';
import { upstreamAt, silent } from './surroundings.ts';

const MEGABYTE = 1_000_000;

test('A33: CR, LF, ESC, bidi marks and a megabyte in the reply of an upstream are escaped and cut, in reason, audit event and log', async () => {
  const hostile: readonly (readonly [string, string])[] = [
    ['550 5.1.1 a\rb\x1b[31mred\x07 \u202egnp.exe \u2028 \u0085\r\n', 'bounced'],
    ['550-5.1.1 one\r\n550 5.1.1 {"level":"info","msg":"delivered"}\r\n', 'bounced'],
    [`550 5.1.1 ${'x'.repeat(8000)}\r\n`, 'bounced'],
    [`550 5.1.1 ${'\x1b'.repeat(MEGABYTE)}\r\n`, 'deferred'],
    [`${'550-5.1.1 \u202e line\r\n'.repeat(MEGABYTE / 20)}550 5.1.1 end\r\n`, 'deferred'],
    ['550 5.1.1 a\n250 2.0.0 forged\r\n', 'bounced'],
  ];
  for (const [reply, state] of hostile) {
    await using server = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', rcpt: reply }));
    const lines: string[] = [];
    const stream = new PassThrough();
    stream.on('data', (chunk: Buffer) => lines.push(chunk.toString()));
    const log = pino({ level: 'trace' }, stream);
    const queue = new MemoryQueue();
    const row = queue.add();
    const route = makeRoute([upstreamAt(server.port)], log);
    const retry = { maxAge: 1e9, first: 1e6, longest: 1e6 };
    const scheduler = makeScheduler({ queue, route, notices: silent, retry, now: Date.now, random: Math.random, log });
    scheduler.start();
    await queue.until(() => row.settled > 0);
    await scheduler.stop(1000);
    await route.close();
    assert.equal(row.state, state, reply.slice(0, 40));
    assert.match(row.reason ?? '', /^[\x20-\x7e]{1,400}$/);
    for (const event of queue.events) assert.match(JSON.stringify(event), /^[\x20-\x7e]{1,1000}$/);
    assert.ok(lines.length > 0);
    for (const line of lines.join('').trimEnd().split('\n')) {
      assert.match(line, /^[\x20-\x7e]{1,2000}$/);
      assert.doesNotThrow(() => JSON.parse(line));
    }
  }
});
