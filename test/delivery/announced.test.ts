/** What is remembered of an upstream's EHLO, for how long, and how it is learnt without harm. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Announced, sizeLimit } from '../../src/delivery/announced.ts';
import { usuallyFits } from '../../src/delivery/admission.ts';
import { wireSize } from '../../src/delivery/wire.ts';
import { freePort } from '../interop/ports.ts';
import { converse, scriptedUpstream } from './peer.ts';
import { outgoing, upstreamAt } from './surroundings.ts';

const MINUTE = 60_000;

test('SIZE of an EHLO: a number that a host may say (RFC 5321 §4.5.3.1.7), or nothing', () => {
  const words = ['100000', '65536', '65535', '1000', '', '0', '-70000', '1e9', '100000 20', '9'.repeat(21), '0x100000'];
  const read = words.map((word) => sizeLimit(new Map([['SIZE', word]])));
  assert.deepEqual(read, [100_000, 65_536, ...words.slice(2).map(() => undefined)]);
  assert.equal(sizeLimit(new Map()), undefined);
});

test('what was said counts for ten minutes, and is asked for at most once a minute', () => {
  let clock = 1_000_000;
  const announced = new Announced(() => clock);
  assert.equal(announced.largest(), 'unknown');
  assert.equal(announced.shouldAsk(), true);
  assert.equal(announced.shouldAsk(), false);
  clock += MINUTE;
  assert.equal(announced.shouldAsk(), true);
  announced.heard(new Map());
  assert.equal(announced.largest(), 'unbounded');
  clock += 10 * MINUTE - 1;
  assert.equal(announced.largest(), 'unbounded');
  assert.equal(announced.shouldAsk(), false);
  clock += 1;
  assert.equal(announced.largest(), 'unknown');
  announced.heard(new Map([['SIZE', '100000']]));
  assert.equal(announced.largest(), 100_000);
  clock -= 1;
  assert.equal(announced.largest(), 'unknown', 'a clock that was set back');
});

test('P5 behind one name are several hosts: the largest that was heard counts, and a limit that was heard once is asked for again', () => {
  let clock = 1_000_000;
  const announced = new Announced(() => clock);
  const hear = (size: number): void => announced.heard(new Map([['SIZE', String(size)]]));
  hear(100_000);
  assert.equal(announced.shouldAsk(), false, 'it has just been said');
  clock += MINUTE;
  assert.equal(announced.shouldAsk(), true);
  assert.equal(announced.shouldAsk(), false);
  hear(100_000_000);
  assert.equal(announced.largest(), 100_000_000);
  clock += 5 * MINUTE;
  hear(100_000);
  assert.equal(announced.largest(), 100_000_000);
  assert.equal(announced.shouldAsk(), false, 'two said something');
  clock += 5 * MINUTE;
  assert.equal(announced.largest(), 100_000, 'nobody has said more for ten minutes');
  for (let size = 99_999; size > 99_900; size--) hear(size);
  assert.equal(announced.largest(), 100_000);
});

test('learning opens one session, keeps it for the mail, and a failure of it counts for nothing', async () => {
  const down = upstreamAt(await freePort());
  await down.learn();
  assert.equal(down.largest(), 'unknown');
  assert.equal(down.well(), true);
  await using server = await scriptedUpstream((peer) => converse(peer, { ehlo: '250-x\r\n250 SIZE 1234567\r\n' }));
  const upstream = upstreamAt(server.port);
  await Promise.all([upstream.learn(), upstream.learn()]);
  await upstream.learn();
  assert.equal(upstream.largest(), 1_234_567);
  assert.equal((await upstream.attempt(outgoing(), new AbortController().signal)).kind, 'delivered');
  assert.equal(server.peers.length, 1);
  await upstream.close();
});

test('a stop does not wait for an upstream that is being asked', { timeout: 5_000 }, async () => {
  await using server = await scriptedUpstream((peer) => peer.closed());
  const upstream = upstreamAt(server.port);
  const learning = upstream.learn();
  while (server.peers.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await upstream.close();
  await learning;
});

test('what a client is told to fit does fit, with kilobytes to spare for header and structures', () => {
  fc.assert(
    fc.property(fc.integer({ min: 10_000, max: 200_000_000 }), (limit) => {
      assert.ok(wireSize(3_000, usuallyFits(limit) + 3_000) <= limit);
    }),
  );
});
