import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { backoff, fewestAttempts, isExpired, type Retry } from '../../src/delivery/retry.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const usual: Retry = { maxAge: 5 * DAY, first: MINUTE, longest: 60 * MINUTE };

test('waits double from the first to the longest, with jitter, and never leave that range', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 50].map((attempts) => backoff(usual, attempts, () => 0) / MINUTE),
    [1, 2, 4, 8, 16, 30, 30, 30],
  );
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 50].map((attempts) => Math.round(backoff(usual, attempts, () => 0.999_999) / MINUTE)),
    [2, 4, 8, 16, 32, 60, 60, 60],
  );
  const retries = fc.record({ maxAge: fc.nat(), first: fc.integer({ min: 1, max: 1e7 }), longest: fc.integer({ min: 1, max: 1e9 }) });
  const random = fc.double({ min: 0, max: 0.999, noNaN: true });
  fc.assert(
    fc.property(retries, fc.nat(10_000), random, (retry, attempts, chance) => {
      const wait = backoff(retry, attempts, () => chance);
      assert.ok(wait >= retry.first && wait <= Math.max(retry.first, retry.longest));
    }),
  );
});

test('a clock that jumps bounces nothing early: age counts only with half of the attempts that belong to it', () => {
  assert.ok(fewestAttempts(usual) > 50);
  assert.equal(isExpired(usual, 0, 1, 400 * DAY), false, 'a jump a year ahead');
  assert.equal(isExpired(usual, 400 * DAY, 1000, 0), false, 'a jump a year back');
  assert.equal(isExpired(usual, 0, 1000, 4 * DAY), false);
  assert.equal(isExpired(usual, 0, fewestAttempts(usual), 5 * DAY + 1), true);
  assert.equal(fewestAttempts({ maxAge: 0, first: MINUTE, longest: MINUTE }), 2);
});

test('by itself the schedule makes enough attempts to end at the age that was set', () => {
  for (const chance of [0, 0.5, 0.999]) {
    let now = 0;
    let attempts = 1;
    while (!isExpired(usual, 0, attempts, now)) now += backoff(usual, attempts++, () => chance);
    assert.ok(now < usual.maxAge + usual.longest, `${now / DAY} days`);
  }
});
