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

test('SIZE of an EHLO: a number, or nothing', () => {
  const limits = ['SIZE 1000', 'SIZE', 'SIZE 0', 'SIZE -5', 'SIZE 1e9', 'SIZE 10 20', `SIZE ${'9'.repeat(21)}`, 'SIZE 0x10'];
  const read = limits.map((line) => sizeLimit(new Map([['SIZE', line.slice(5)]])));
  assert.deepEqual(read, [1000, undefined, undefined, undefined, undefined, undefined, undefined, undefined]);
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
  announced.heard(new Map([['SIZE', '1000']]));
  assert.equal(announced.largest(), 1000);
  clock += 10 * MINUTE - 1;
  assert.equal(announced.largest(), 1000);
  assert.equal(announced.shouldAsk(), false);
  clock += 1;
  assert.equal(announced.largest(), 'unknown');
  announced.heard(new Map());
  assert.equal(announced.largest(), 'unbounded');
  clock -= 1;
  assert.equal(announced.largest(), 'unknown', 'a clock that was set back');
});

test('learning opens one session, keeps it for the mail, and a failure of it counts for nothing', async () => {
  const down = upstreamAt(await freePort());
  await down.learn();
  assert.equal(down.largest(), 'unknown');
  assert.equal(down.well(), true);
  await using server = await scriptedUpstream((peer) => converse(peer, { ehlo: '250-x\r\n250 SIZE 12345\r\n' }));
  const upstream = upstreamAt(server.port);
  await Promise.all([upstream.learn(), upstream.learn()]);
  await upstream.learn();
  assert.equal(upstream.largest(), 12_345);
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
