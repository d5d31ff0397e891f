/** The rate of an upstream: what it counts itself never passes what it allows, and a restart allows nothing more. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import { SlidingRate, usedUp, type RatePlace } from '../../src/delivery/rate.ts';
import { openRateFile } from '../../src/delivery/rate-record.ts';
import { hasCode } from '../queue/site.ts';
import { converse, scriptedUpstream } from './peer.ts';
import { log, outgoing, upstreamAt } from './surroundings.ts';

const START = 1_700_000_000_123;

/** The most moments that any stretch of `per` holds. */
function mostWithin(moments: readonly number[], per: number): number {
  const sorted = moments.toSorted((a, b) => a - b);
  return sorted.reduce((most, from) => Math.max(most, sorted.filter((at) => at >= from && at < from + per).length), 0);
}

test('no stretch of time holds more messages than the rate, whenever the upstream counts them, and over restarts', () => {
  const step = fc.record({
    pause: fc.nat(400),
    takes: fc.nat(6),
    lasts: fc.nat(900),
    counted: fc.double({ min: 0, max: 1, noNaN: true }),
    restart: fc.integer({ min: 0, max: 9 }),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 200, max: 2000 }),
      fc.array(step, { maxLength: 60 }),
      (count, per, steps) => {
        let now = START;
        let rate = new SlidingRate({ count, per }, () => now);
        const counted: number[] = [];
        let running: { readonly place: RatePlace; readonly until: number }[] = [];
        for (const { pause, takes, lasts, counted: share, restart } of steps) {
          const end = now + pause;
          for (const one of running.toSorted((a, b) => a.until - b.until).filter(({ until }) => until <= end)) {
            now = Math.max(now, one.until);
            one.place.end();
          }
          running = running.filter(({ until }) => until > end);
          now = end;
          if (restart === 0) {
            // It was killed: what ran broke off, and was counted before now or never.
            rate = new SlidingRate({ count, per }, () => now, rate.record);
            running = [];
          }
          for (let taken = 0; taken < takes; taken++) {
            const place = rate.take();
            if (place === undefined) break;
            running.push({ place, until: now + lasts });
            // Behind a kill nothing is counted any more: such a message counts at once here.
            counted.push(now + (steps.some((other) => other.restart === 0) ? 0 : lasts * share));
          }
        }
        assert.ok(mostWithin(counted, per) <= count, `${mostWithin(counted, per)} in ${per} ms, ${count} allowed`);
      },
    ),
    { numRuns: 500 },
  );
});

test('a rate that is used up says when to come back, to the cell, and what comes then is taken', () => {
  let now = START;
  const rate = new SlidingRate({ count: 30, per: 60_000 }, () => now);
  const places = Array.from({ length: 30 }, () => rate.take());
  assert.equal(rate.take(), undefined);
  assert.equal(rate.wait, Infinity, 'one of the thirty has to end first');
  for (const place of places) place?.end();
  assert.ok(rate.wait > 60_000 && rate.wait < 64_000, String(rate.wait));
  now += rate.wait - 1;
  assert.equal(rate.free, 0);
  now += 1;
  assert.equal(rate.free, 30);
});

test('what was never begun does not count', () => {
  const rate = new SlidingRate({ count: 1, per: 60_000 }, () => START);
  const place = rate.take();
  place?.release();
  place?.end();
  assert.equal(rate.free, 1);
});

test('a clock that is set back does not hold mail for years, and the memory of a great rate is small', () => {
  let now = START;
  const rate = new SlidingRate({ count: 1_000_000, per: 86_400_000 }, () => now);
  for (let count = 0; count < 100_000; count++) {
    now += 500;
    rate.take()?.end();
  }
  assert.ok(rate.record.length <= 62, String(rate.record.length));
  now -= 365 * 86_400_000;
  assert.equal(rate.free, 900_000);
  now += 86_400_000 * 1.1;
  assert.equal(rate.free, 1_000_000);
});

test('where nobody knows what was sent before, the rate counts as used up, but of a day only a minute', () => {
  for (const [per, wait] of [
    [1000, 1000],
    [60_000, 60_000],
    [86_400_000, 60_000],
  ] as const) {
    const rate = new SlidingRate({ count: 5, per }, () => START, usedUp({ count: 5, per }, START));
    assert.ok(rate.wait >= wait && rate.wait <= wait + 2000, `${per}: ${rate.wait}`);
  }
});

async function newFile(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-rates-'));
  t.after(() => rm(folder, { recursive: true }));
  return join(folder, 'rates.json');
}

test('what was counted is read back, the last of many that were written at once', async (t) => {
  const path = await newFile(t);
  const first = await openRateFile(path, log);
  assert.deepEqual(first.kept('a:25'), []);
  await Promise.all(Array.from({ length: 50 }, (_, index) => first.keep('a:25', [[START, index + 1]])));
  await first.keep('b:25', [[START, 7]]);
  const second = await openRateFile(path, log);
  assert.deepEqual(second.kept('a:25'), [[START, 50]]);
  assert.deepEqual(second.kept('b:25'), [[START, 7]]);
});

test('two accounts at one host have a rate each, over a restart too', async (t) => {
  const path = await newFile(t);
  await using server = await scriptedUpstream((peer) => converse(peer));
  const open = async (account: string) =>
    upstreamAt(server.port, { rates: await openRateFile(path, log), rate: { count: 1, per: 3_600_000 } }, { account });
  const before = await open('a');
  assert.equal((await before.attempt(outgoing(), new AbortController().signal)).kind, 'delivered');
  await before.close();
  const [a, b] = [await open('a'), await open('b')];
  assert.deepEqual([a.readiness().kind, b.readiness().kind], ['paused', 'ready']);
  await Promise.all([a.close(), b.close()]);
});

test('a file that was damaged tells nothing, is said so, and is written anew; a prepared one is refused (A36)', async (t) => {
  const path = await newFile(t);
  for (const text of ['', '{', '[]x', '{"a:25":[[1]]}', '{"a:25":[[-1,2]]}', '{"a:25":"x"}', `{"a:25":[${'[1,1],'.repeat(2000)}[1,1]]}`]) {
    await writeFile(path, text, { mode: 0o600 });
    const file = await openRateFile(path, log);
    assert.equal(file.kept('a:25'), 'unreadable', text.slice(0, 20));
    await file.keep('a:25', [[1, 1]]);
    assert.equal(await readFile(path, 'utf8'), '{"a:25":[[1,1]]}');
  }
  await chmod(path, 0o644);
  await assert.rejects(openRateFile(path, log), hasCode('data-folder-unsafe'));
});

test('a folder that cannot be written stops no mail', async (t) => {
  const file = await openRateFile(join(await newFile(t), 'not/there'), log);
  await file.keep('a:25', [[START, 1]]);
  assert.deepEqual(file.kept('a:25'), [[START, 1]]);
});
