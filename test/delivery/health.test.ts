/** Pauses, places and their recovery, by a clock of the test. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Health, usualPauses } from '../../src/delivery/health.ts';

const MINUTE = 60_000;

function makeHealth(concurrency = 8): { readonly health: Health; readonly clock: { now: number } } {
  const clock = { now: 1_000_000 };
  // The longest pause there can be, so that sums are easy.
  return {
    health: new Health(
      concurrency,
      usualPauses,
      () => clock.now,
      () => 1,
    ),
    clock,
  };
}

/** Throttled by a message that begins now. */
function throttle(health: Health, clock: { now: number }): number {
  clock.now += health.pause + 1;
  health.slow(clock.now);
  return health.pause;
}

test('each throttled answer makes the pause longer and the places fewer, to a longest and to one', () => {
  const { health, clock } = makeHealth();
  const seen: [number, number][] = [];
  for (let count = 0; count < 9; count++) {
    const pause = throttle(health, clock);
    clock.now += pause;
    health.judged();
    seen.push([pause / 1000, health.places]);
  }
  assert.deepEqual(
    seen.map(([pause]) => pause),
    [5, 10, 20, 40, 80, 160, 320, 600, 600],
  );
  assert.deepEqual(
    seen.map(([, places]) => places),
    [4, 2, 1, 1, 1, 1, 1, 1, 1],
  );
});

test('places and pauses come back step by step with success, and at once after an hour in peace', () => {
  const { health, clock } = makeHealth();
  for (let count = 0; count < 4; count++) throttle(health, clock);
  clock.now += health.pause;
  assert.equal(health.places, 1);
  for (let count = 0; count < 30; count++) health.took();
  assert.equal(health.places, 2);
  assert.equal(throttle(health, clock), 10_000, 'four doublings less three');
  clock.now += health.pause;
  for (let count = 0; count < 60; count++) health.took();
  assert.equal(health.places, 4);
  clock.now += 61 * MINUTE;
  health.took();
  assert.equal(health.places, 8);
  assert.equal(throttle(health, clock), 5_000);
});

test('sessions that hear it together count once', () => {
  const { health, clock } = makeHealth();
  const begun = clock.now;
  clock.now += 10;
  for (let count = 0; count < 5; count++) health.slow(begun);
  assert.equal(health.pause, 5_000);
  clock.now += health.pause;
  health.judged();
  assert.equal(health.places, 4);
  clock.now += 10;
  health.cool(clock.now);
  const { pause } = health;
  health.cool(begun);
  assert.equal(health.pause, pause);
});

test('after a pause one message probes, and its end decides', () => {
  const { health, clock } = makeHealth();
  health.cool(clock.now);
  clock.now += health.pause;
  assert.deepEqual([health.probed, health.places], [true, 1]);
  health.cool(clock.now);
  assert.equal(health.pause, 10_000);
  clock.now += health.pause;
  health.judged();
  assert.deepEqual([health.probed, health.places], [false, 8]);
});

test('connections that were too many are fewer from now on, without a pause', () => {
  const { health } = makeHealth();
  health.narrow(3);
  assert.deepEqual([health.pause, health.places], [0, 3]);
});

test('an operator ends all of it; a clock that was set back ends a pause', () => {
  const { health, clock } = makeHealth();
  for (let count = 0; count < 3; count++) throttle(health, clock);
  health.revive();
  assert.deepEqual([health.pause, health.places, health.probed], [0, 8, false]);
  assert.equal(throttle(health, clock), 5_000);
  clock.now -= 3_600_000;
  assert.equal(health.pause, 0);
});

test('after the clock was set back an upstream is left alone and slowed as before', () => {
  for (const fail of ['cool', 'slow'] as const) {
    const { health, clock } = makeHealth();
    health[fail](clock.now);
    clock.now -= 3_600_000;
    health.judged();
    health[fail](clock.now);
    assert.ok(health.pause > 0, fail);
  }
});
