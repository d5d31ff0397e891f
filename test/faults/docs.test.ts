/** docs/faults.md says what is true: each fault has its line and its tests, and the tests are there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { absentTests, namedTests } from '../named-tests.ts';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(resolve(root, 'docs/faults.md'), 'utf8');

test('every fault has its line and its tests, in order, and each test that is named is there', () => {
  const lines = [...page.matchAll(/^\| \[(\w+)\]\(#(\w+)\) \|/gm)].map(([, row, place]) => (assert.equal(row, place), row));
  const { rows, tests } = namedTests(page);
  assert.ok(rows.length >= 14);
  assert.deepEqual(rows, lines);
  assert.deepEqual(
    rows.filter((row) => !tests.some((one) => one.row === row)),
    [],
    'without a test',
  );
  assert.deepEqual(absentTests(tests, root), []);
});
