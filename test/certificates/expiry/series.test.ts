/** Numbers for whoever watches: each certificate once, in the narrowest time that holds it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DAY_MS } from '../../../src/certificates/authority/issue.ts';
import { makeTally } from '../../../src/certificates/expiry/series.ts';

const NOW = Date.UTC(2026, 0, 1);

test('nothing: no end, and no time until it', () => {
  assert.partialDeepStrictEqual(makeTally(NOW).series(), { usable: 0, unusable: 0, inHouse: 0, nextEnd: null });
});

test('usable ones by how long they last, the borders with the narrower; what is not usable is counted apart', () => {
  const tally = makeTally(NOW);
  const take = (days: number, standing: 'usable' | 'ended' | 'other' = 'usable', inHouse = false): void =>
    tally.take({ notAfter: NOW + days * DAY_MS, standing, inHouse });
  for (const days of [1, 1.5, 7, 30, 31, 90, 91, 800]) take(days);
  take(5, 'usable', true);
  take(-1, 'ended', true);
  take(0.1, 'other');
  const before = tally.series();
  assert.deepEqual(before, {
    ends: { ended: 1, '1d': 1, '7d': 3, '30d': 1, '90d': 2, more: 2 },
    usable: 9,
    unusable: 2,
    inHouse: 1,
    nextEnd: 86_400,
  });
  take(0.5);
  assert.equal(before.ends['1d'], 1, 'what was answered stays as it was');
  assert.equal(tally.series().nextEnd, 43_200);
});
