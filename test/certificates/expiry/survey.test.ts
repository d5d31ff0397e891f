/** Which certificates are due, and which of them matter since nothing else of their address lasts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { daysLeft, type Due, type Holding, isCovered, makeSurvey, type Standing } from '../../../src/certificates/expiry/survey.ts';

const NOW = Date.UTC(2026, 0, 1);
const DAY = 86_400_000;

const holding = (fingerprint: string, days: number, more: Partial<Holding> = {}): Holding => ({
  address: 'anna@clinic.example',
  fingerprint,
  issuer: 'CN=clinic CA',
  serial: '01',
  notBefore: NOW - 300 * DAY,
  notAfter: NOW + days * DAY,
  place: `recipients/${fingerprint}.pem`,
  standing: days < 0 ? 'ended' : 'usable',
  inHouse: false,
  ...more,
});

function dueOf(holdings: readonly Holding[], within = 30): Due[] {
  const survey = makeSurvey({ now: NOW, horizon: 60 * DAY });
  for (const one of holdings) survey.take(one);
  return survey.due(within * DAY);
}

const open = (due: readonly Due[], within = 30): string[] =>
  due.filter((one) => !isCovered(one, NOW, NOW + within * DAY)).map(({ fingerprint }) => fingerprint);

test('what ends within the time or has ended is due, and nothing else', () => {
  const due = dueOf([holding('later', 31), holding('soon', 30, { address: 'ben@clinic.example' }), holding('gone', -1)]);
  assert.deepEqual(
    due.map(({ fingerprint }) => fingerprint),
    ['gone', 'soon'],
  );
});

test('another usable one of the address that outlives the time covers it; of another address, or one that ends too, does not', () => {
  assert.deepEqual(open(dueOf([holding('old', 3), holding('new', 400)])), []);
  assert.deepEqual(open(dueOf([holding('new', 400), holding('old', -3)])), []);
  assert.deepEqual(open(dueOf([holding('old', 3), holding('new', 400, { address: 'ben@clinic.example' })])), ['old']);
  assert.deepEqual(open(dueOf([holding('old', 3), holding('also', 20)])), ['old', 'also']);
  assert.deepEqual(open(dueOf([holding('old', 3), holding('also', 20)], 7), 7), [], 'of the nearer time it is one that lasts');
});

test('what has ended is covered by any other that is usable now: the end of that one is told of by itself', () => {
  assert.deepEqual(open(dueOf([holding('gone', -3), holding('also', 20)])), ['also']);
  assert.deepEqual(open(dueOf([holding('gone', -3), holding('before', -40)])), ['before', 'gone']);
});

test('what is not usable for another reason is not due and covers nothing', () => {
  const other: Standing = 'other';
  assert.deepEqual(open(dueOf([holding('old', 3), holding('revoked', 400, { standing: other })])), ['old']);
  assert.deepEqual(dueOf([holding('signing', 3, { standing: other })]), []);
});

test('one certificate in two places is one, by the first of them, and covers itself not', () => {
  const due = dueOf([holding('old', 3), holding('old', 3, { place: 'more/old.pem' })]);
  assert.deepEqual(
    due.map(({ place, cover }) => ({ place, cover })),
    [{ place: 'recipients/old.pem', cover: undefined }],
  );
});

test('days that are left are whole ones', () => {
  assert.deepEqual(
    [NOW + 2 * DAY - 1, NOW + DAY, NOW, NOW - 1].map((end) => daysLeft(end, NOW)),
    [1, 1, 0, -1],
  );
});

test('in any order the answer is the one of the definition', () => {
  const some = fc.record({
    address: fc.constantFrom('a@x.example', 'b@x.example'),
    fingerprint: fc.constantFrom('1', '2', '3', '4'),
    standing: fc.constantFrom<Standing>('usable', 'other'),
  });
  /** A certificate ends when it ends, wherever it stands. */
  const ends: Readonly<Record<string, number>> = { 1: 5, 2: 20, 3: 29, 4: 90 };
  fc.assert(
    fc.property(fc.array(some, { maxLength: 8 }), (all) => {
      const holdings = all.map(({ address, fingerprint, standing }) => holding(fingerprint, ends[fingerprint] ?? 0, { address, standing }));
      const usable = holdings.filter(({ standing }) => standing === 'usable');
      const lasts = (one: Holding): boolean =>
        usable.some((other) => other.address === one.address && other.fingerprint !== one.fingerprint && other.notAfter > NOW + 30 * DAY);
      const expected = usable.filter((one) => one.notAfter <= NOW + 30 * DAY && !lasts(one)).map((one) => one.address + one.fingerprint);
      const found = dueOf(holdings).filter((one) => !isCovered(one, NOW, NOW + 30 * DAY));
      assert.deepEqual(new Set(found.map((one) => one.address + one.fingerprint)), new Set(expected));
    }),
  );
});
