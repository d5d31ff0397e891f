/** docs/attacks.md says what is true: each attack is there, with tests that are there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { absentTests, namedTests, testNames } from './named-tests.ts';

const root = resolve(import.meta.dirname, '..');
const page = readFileSync(resolve(root, 'docs/attacks.md'), 'utf8');
/** A28 and A35 are no attacks; A39 is of a page that is not there. */
const ROWS = Array.from({ length: 38 }, (_, at) => `A${at + 1}`).filter((row) => row !== 'A28' && row !== 'A35');

test('every attack has its line and its tests, in order', () => {
  const lines = [...page.matchAll(/^\| \[(A\d+)\]\(#a\d+\) \|/gm)].map(([, row]) => row);
  const { rows, tests } = namedTests(page);
  assert.deepEqual(lines, ROWS);
  assert.deepEqual(rows, ROWS);
  for (const row of ROWS) assert.ok(page.includes(`[${row}](#${row.toLowerCase()})`), row);
  assert.deepEqual(
    ROWS.filter((row) => !tests.some((one) => one.row === row)),
    [],
    'without a test',
  );
});

test('every test that the page of attacks names is there', () => {
  const { tests } = namedTests(page);
  assert.ok(tests.length > 150, `only ${tests.length} tests`);
  assert.deepEqual(absentTests(tests, root), []);
});

test('a test that is gone, renamed, skipped or in another file is noticed', () => {
  const there = namedTests(page).tests[0] ?? assert.fail();
  for (const change of [{ name: `${there.name} ` }, { file: 'test/attacks.test.ts' }, { file: 'test/none.test.ts' }])
    assert.equal(absentTests([{ ...there, ...change }], root).length, 1, JSON.stringify(change));
  assert.throws(() => namedTests('### A1\n  - `under no file`\n'), /under no file/);
});

test('names are read as they are written', () => {
  const written = [
    String.raw`test('it\'s one', () => {});`,
    'test(',
    "  'on a line of its own',",
    ');',
    "test(`one ${of ? 'a { brace' : `or ${another}`} more`, { skip }, () => {});",
    '  describe("a suite", () => {});',
    "test.skip('left out', () => {}); pattern.test('a string'); test(name, () => {});",
  ];
  assert.deepEqual([...testNames(written.join('\n'))].sort(), ['a suite', "it's one", 'on a line of its own', 'one … more']);
});
