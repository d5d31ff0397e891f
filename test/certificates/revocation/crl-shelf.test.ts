/** What is held of lists, for how long, and when the next one is got: with a clock and places of the test's own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readCrl } from '../../../src/certificates/revocation/crl-read.ts';
import { type CrlPlace, type CrlShelf, makeCrlShelf, type ShelfOptions } from '../../../src/certificates/revocation/crl-shelf.ts';
import { indexBytes } from '../../../src/certificates/revocation/crl-index.ts';
import { DAY, entry, HOUR, type ListWish, makeCa, NOW } from './lists.ts';

const ca = makeCa('CA');
const patient = AbortSignal.timeout(60_000);

interface TestPlace extends CrlPlace {
  loads: number;
  /** Undefined: refused. */
  wish: ListWish | undefined;
}

function placeOf(id: string, clock: { time: number }, wish?: ListWish): TestPlace {
  const place: TestPlace = {
    id,
    stamp: '',
    refreshed: true,
    loads: 0,
    wish,
    load: async () => {
      place.loads++;
      const refused = { kind: 'refused', why: 'it is gone', lasting: false } as const;
      return { reading: place.wish === undefined ? refused : readCrl(ca.list(place.wish), ca.issuer), got: clock.time };
    },
  };
  return place;
}

function open(t: { after(end: () => void): void }, clock: { time: number }, options: Partial<ShelfOptions> = {}): CrlShelf {
  const shelf = makeCrlShelf({
    now: () => clock.time,
    uptime: () => clock.time,
    patience: 60_000,
    random: () => 0,
    bound: 1e6,
    ...options,
  });
  t.after(() => shelf.close());
  return shelf;
}

/** Until what was begun beside the answer has ended. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the shelf of lists', () => {
  test('gets the next one by itself, once half of the life of a list has passed, while it is in use', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const clock = { time: NOW };
    const place = placeOf('a', clock, { from: NOW, until: NOW + 10 * HOUR });
    const shelf = open(t, clock);
    await shelf.list(place, ca.issuer, patient);
    clock.time = NOW + 4 * HOUR;
    t.mock.timers.tick(30_000);
    await settle();
    assert.equal(place.loads, 1);
    clock.time = NOW + 5 * HOUR;
    place.wish = { from: NOW + 5 * HOUR, until: NOW + 60 * DAY };
    t.mock.timers.tick(30_000);
    await settle();
    assert.equal(place.loads, 2);
    clock.time = NOW + 4 * DAY;
    t.mock.timers.tick(30_000);
    await settle();
    assert.equal(place.loads, 2, 'nobody has asked for three days');
  });

  test('asks for a list that lives for years once a day, and spreads that', async (t) => {
    const clock = { time: NOW };
    const place = placeOf('a', clock, { from: NOW - DAY, until: NOW + 900 * DAY });
    const shelf = open(t, clock, { random: () => 1 });
    await shelf.list(place, ca.issuer, patient);
    clock.time = NOW + 21 * HOUR;
    await shelf.list(place, ca.issuer, patient);
    assert.equal(place.loads, 1);
    clock.time = NOW + 22 * HOUR;
    await shelf.list(place, ca.issuer, patient);
    assert.equal(place.loads, 2);
  });

  test('A23: leaves a place that fails alone for a while that doubles, and says why meanwhile', async (t) => {
    const clock = { time: NOW };
    const place = placeOf('a', clock);
    const shelf = open(t, clock);
    const ask = (): Promise<unknown> => shelf.list(place, ca.issuer, patient);
    const none = { kind: 'none', why: 'is not used: it is gone', lasting: false };
    for (const [passed, loads] of [
      [0, 1],
      [4999, 1],
      [2, 2],
      [9999, 2],
      [2, 3],
    ] as const) {
      clock.time += passed;
      assert.deepEqual(await ask(), none);
      assert.equal(place.loads, loads);
    }
    place.wish = {};
    clock.time += 600_001;
    assert.equal((await shelf.list(place, ca.issuer, patient)).kind, 'list');
  });

  test('one load is waited for once: what is late then is late for whoever asks', async (t) => {
    const clock = { time: NOW };
    const shelf = open(t, clock, { patience: 3000 });
    const place = { ...placeOf('a', clock), load: () => new Promise<never>(() => {}) };
    const late = { kind: 'none', why: 'is being fetched', lasting: false };
    assert.deepEqual(await shelf.list(place, ca.issuer, AbortSignal.timeout(1)), late);
    clock.time += 3001;
    // Else it would wait for ever.
    assert.deepEqual(await shelf.list(place, ca.issuer, patient), late);
  });

  test('A23: the first who asks after days waits for the next list, while that is to be had', async (t) => {
    const clock = { time: NOW };
    const place = placeOf('a', clock, { from: NOW, until: NOW + 30 * DAY });
    const shelf = open(t, clock);
    const dateOf = async (): Promise<number> => {
      const shelved = await shelf.list(place, ca.issuer, patient);
      return shelved.kind === 'list' ? shelved.list.thisUpdate : 0;
    };
    assert.equal(await dateOf(), NOW);
    clock.time = NOW + 28 * DAY;
    place.wish = { from: NOW + 27 * DAY, until: NOW + 60 * DAY };
    assert.deepEqual(await Promise.all([dateOf(), dateOf()]), [NOW + 27 * DAY, NOW + 27 * DAY]);
    place.wish = undefined;
    clock.time += 20 * DAY;
    assert.equal(await dateOf(), NOW + 27 * DAY);
  });

  test('A23: a clock that was ahead keeps nothing from being asked for once it is set right', async (t) => {
    const time = { wall: NOW + 200 * DAY, up: 0 };
    const place = placeOf('a', { time: NOW });
    const shelf = open(t, { time: 0 }, { now: () => time.wall, uptime: () => time.up });
    const ask = (): Promise<unknown> => shelf.list(place, ca.issuer, patient);
    await ask();
    place.wish = { from: NOW - DAY, until: NOW + 300 * DAY };
    time.wall = NOW;
    time.up += 5001;
    await ask();
    assert.equal(place.loads, 2, 'the failure of a time that never was');
    time.wall = NOW - 10 * DAY;
    await ask();
    await settle();
    assert.equal(place.loads, 3, 'a list that was got ten days ahead');
  });

  test('P6: lets go of what was asked for longest ago where all together are too large', async (t) => {
    const clock = { time: NOW };
    const entries = Array.from({ length: 100 }, (_, index) => entry(Buffer.from([0x40, index])));
    const [a, b, c] = ['a', 'b', 'c'].map((id) => placeOf(id, clock, { entries }));
    assert.ok(a && b && c);
    const reading = readCrl(ca.list({ entries }), ca.issuer);
    assert.ok(reading.kind === 'list');
    const shelf = open(t, clock, { bound: 2.5 * indexBytes(reading.list.index) });
    for (const place of [a, b, a, c, a]) await shelf.list(place, ca.issuer, patient);
    assert.deepEqual([a.loads, b.loads, c.loads], [1, 1, 1]);
    await shelf.list(b, ca.issuer, patient);
    assert.equal(b.loads, 2);
  });

  test('P6: remembers no more places than it may, however many are named', async (t) => {
    const clock = { time: NOW };
    const shelf = open(t, clock);
    const places = Array.from({ length: 600 }, (_, index) => placeOf(`${index}`, clock, {}));
    for (const place of places) await shelf.list(place, ca.issuer, patient);
    for (const place of places.slice(-400)) await shelf.list(place, ca.issuer, patient);
    assert.ok(places.slice(-400).every(({ loads }) => loads === 1));
    const [first] = places;
    if (first !== undefined) await shelf.list(first, ca.issuer, patient);
    assert.equal(first?.loads, 2);
  });
});
