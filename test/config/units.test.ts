import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { readDuration } from '../../src/config/units.ts';
import { readSize } from '../../src/document/size.ts';
import { readRate } from '../../src/document/rate.ts';

const sizes = { '': 1, kB: 1000, KB: 1000, MB: 1000 ** 2, GB: 1000 ** 3, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
const durations = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const YEAR = 366 * durations.d;

test('a size is its number times its unit, in octets', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8_000_000 }), fc.constantFrom(...Object.entries(sizes)), (amount, [unit, factor]) => {
      assert.deepEqual(readSize(`${amount}${unit}`), { kind: 'value', value: amount * factor });
    }),
  );
  assert.deepEqual(readSize(26_214_400), { kind: 'value', value: 26_214_400 });
});

test('a duration is its number times its unit, in milliseconds', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3650 }), fc.constantFrom(...Object.entries(durations)), (amount, [unit, factor]) => {
      assert.deepEqual(readDuration(`${amount}${unit}`), { kind: 'value', value: amount * factor });
    }),
  );
});

test('a year is never shorter than one of the calendar, and ten are the most', () => {
  assert.deepEqual(readDuration('6y'), { kind: 'value', value: 6 * YEAR });
  assert.deepEqual(readDuration('10y'), { kind: 'value', value: 10 * YEAR });
  assert.equal(readDuration('11y').kind, 'wrong');
});

test('a rate is a count and the time it counts in', () => {
  assert.deepEqual(readRate('30/min'), { kind: 'value', value: { count: 30, per: 60_000 } });
  assert.deepEqual(readRate('5/s'), { kind: 'value', value: { count: 5, per: 1000 } });
  for (const written of ['30', '30/', '0/min', '/min', '-1/min', '1.5/s', '30/constructor', '9999999/h', 30, null])
    assert.equal(readRate(written).kind, 'wrong', String(written));
});

test('whatever is written, the answer is a sound number or a fault with a mend', () => {
  const written = fc.oneof(
    fc.anything(),
    fc.string(),
    fc.tuple(fc.nat(), fc.string({ maxLength: 4 })).map(([amount, unit]) => `${amount}${unit}`),
  );
  fc.assert(
    fc.property(written, (written) => {
      for (const judged of [readSize(written), readDuration(written)]) {
        if (judged.kind === 'value') assert.ok(Number.isSafeInteger(judged.value) && judged.value > 0);
        else assert.ok(judged.wrong.length > 0 && (judged.mend ?? '').length > 0);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('what only looks like a size or a duration is refused', () => {
  for (const text of [
    '',
    '0',
    '-1',
    '1.5MiB',
    '25 MiB',
    '25mb',
    '25M',
    '1e6',
    '0x10',
    'MiB',
    '1constructor',
    '999999999999999GiB',
    ' 1',
    '1\n',
  ]) {
    assert.equal(readSize(text).kind, 'wrong', text);
  }
  for (const text of ['', '5', '0s', '-1s', '1.5h', '5 d', '5D', '5w', '1h30m', '3651d', 'd', '5toString', '1s\n']) {
    assert.equal(readDuration(text).kind, 'wrong', text);
  }
  assert.deepEqual(readDuration(90), { kind: 'wrong', wrong: 'is not a duration', mend: 'a unit behind the number: 90s, 90m, 90h or 90d' });
});
