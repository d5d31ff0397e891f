/** When bounced mail leaves, by a clock that leaps. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { BOUNCED, clearBounced } from '../../src/upkeep/bounced.ts';
import { memoryRecords } from './records-memory.ts';

const START = Date.UTC(2026, 0, 1);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const KEPT = 30 * DAY;

function makeSetting() {
  const clock = { now: START };
  const records = memoryRecords(() => clock.now);
  const cleared: number[] = [];
  const logged: Record<string, unknown>[] = [];
  const log = pino({}, { write: (line: string) => logged.push({ ...JSON.parse(line) }) });
  const queue = { records, prune: async (before: number) => cleared.push(before) };
  /** As a round does it, also one of the next process. */
  const clear = (): Promise<number> => clearBounced({ queue, kept: KEPT, now: () => clock.now, log });
  return { clock, records, cleared, logged, clear };
}

test('every day, and after a stop of a day: what is older than it is kept goes', async () => {
  const { clock, cleared, logged, clear } = makeSetting();
  for (const hours of [0, 24, 24 + 23]) {
    clock.now += hours * HOUR;
    await clear();
    assert.equal(cleared.at(-1), clock.now - KEPT);
  }
  assert.deepEqual([cleared.length, logged.length], [3, 0]);
});

test('a clock that has leapt a year ahead clears nothing for a week, over starts too; set back, all is as before', async () => {
  const { clock, cleared, logged, clear } = makeSetting();
  await clear();
  clock.now += 366 * DAY;
  for (let day = 0; day < 7; day++) {
    await clear();
    clock.now += DAY - HOUR;
  }
  assert.equal(cleared.length, 1);
  assert.equal(logged.length, 7);
  assert.match(String(logged[0]?.['msg']), /the clock has leapt/);
  clock.now = START + 7 * DAY;
  await clear();
  assert.equal(cleared.at(-1), START + 7 * DAY - KEPT);
});

test('a relay that did not run for long: what is due goes a week later, and a second leap begins a second week', async () => {
  const { clock, cleared, clear } = makeSetting();
  await clear();
  clock.now += 40 * DAY;
  await clear();
  clock.now += 3 * DAY;
  await clear();
  for (let day = 0; day < 8; day++) {
    assert.equal(cleared.length, 1, `day ${day}`);
    clock.now += DAY - HOUR;
    await clear();
  }
  assert.equal(cleared.at(-1), clock.now - KEPT);
});

test('a record that makes no sense is none, and is written anew', async () => {
  const { clock, records, cleared, clear } = makeSetting();
  for (const value of ['', 'null', '[]', '{"at":"x"}', '7']) {
    await records.change([{ kind: BOUNCED, key: 'last', value }], []);
    await clear();
    assert.deepEqual(JSON.parse((await records.get(BOUNCED, 'last'))?.value ?? ''), { at: clock.now, doubted: 0 });
  }
  assert.equal(cleared.length, 5);
});
