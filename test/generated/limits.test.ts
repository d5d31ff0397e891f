/** docs/limits.md against the code: every key that is a bound stands there with its default, and every line names the test that goes over it. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { renderReference } from '../../src/config/reference.ts';
import { codeOf, makeFront } from '../ingress/front.ts';
import { absentTests, type NamedTest } from '../named-tests.ts';

const root = join(import.meta.dirname, '../..');
const rowsOf = (page: string): string[][] =>
  [...page.matchAll(/^\| (.+) \|$/gm)].map(([, row = '']) => row.split(' | ')).filter(([first]) => first !== 'limit' && first !== 'key');

/** `10m` as the page writes it: `10 min`. */
const UNITS: Readonly<Record<string, string>> = { s: 's', m: 'min', h: 'h', d: 'd' };
const shown = (standard: string): string =>
  standard.replace(/^`(.*)`$/, '$1').replace(/^(\d+)(\D.*)?$/, (_, count: string, unit?: string) => {
    const digits = count.replace(/\B(?=(\d{3})+$)/g, ',');
    return unit === undefined ? digits : `${digits} ${UNITS[unit] ?? unit}`;
  });

test('P6: every key of limits and timeouts stands in docs/limits.md, with its default and what happens beyond it', async () => {
  const page = rowsOf(await readFile(join(root, 'docs/limits.md'), 'utf8'));
  const keys = rowsOf(renderReference()).filter(([key = '']) => /^`(?:limits|timeouts)\./.test(key));
  assert.ok(keys.length >= 12, `only ${keys.length} keys`);
  for (const [key, , standard = ''] of keys) {
    const [, value = '', beyond = ''] = page.find(([first]) => first === key) ?? [];
    const said = standard.startsWith('none') ? 'none' : shown(standard);
    assert.ok(
      value === said || value.startsWith(`${said} `) || value.startsWith(`${said},`) || value.startsWith(`${said};`),
      `${key}: ${value}`,
    );
    assert.ok(beyond.length > 5, key);
  }
});

test('P6: every line of docs/limits.md has a value, an effect and a test that is there', async () => {
  const page = rowsOf(await readFile(join(root, 'docs/limits.md'), 'utf8'));
  assert.ok(page.length > 70, `only ${page.length} lines`);
  for (const cells of page) {
    assert.equal(cells.length, 4, cells.join(' | '));
    assert.ok(
      cells.every((cell) => cell.trim() !== ''),
      cells.join(' | '),
    );
  }
});

/** What the last cell of each line names: a file, and behind it the tests in it. */
const namedIn = (cells: readonly string[]): NamedTest[] =>
  [...(cells[3] ?? '').matchAll(/`(test\/[\w/.-]+\.ts)`: ((?:`(?!test\/)[^`]+`(?:; )?)+)/g)].flatMap(([, file = '', names = '']) =>
    [...names.matchAll(/`([^`]+)`/g)].map(([, name = '']) => ({ row: cells[0] ?? '', file, name })),
  );

test('P6: every line of docs/limits.md names the tests that go over its bound, and they are there', async () => {
  const page = rowsOf(await readFile(join(root, 'docs/limits.md'), 'utf8'));
  const tests = page.flatMap((cells) => {
    const named = namedIn(cells);
    assert.ok(named.length > 0, cells.join(' | '));
    const said = (cells[3] ?? '').split('`').filter((_, at) => at % 2 === 1);
    assert.equal(said.length, named.length + new Set(named.map(({ file }) => file)).size, cells.join(' | '));
    return named;
  });
  assert.ok(tests.length > 90, `only ${tests.length} tests`);
  assert.deepEqual(absentTests(tests, root), []);
  const [one = assert.fail()] = tests;
  assert.equal(absentTests([{ ...one, name: `${one.name} ` }], root).length, 1);
});

test('commands that are none: ten in a row end the session with 421, and the next client is served', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  for (let count = 1; count < 10; count++) await client.ask(`BREW ${count}`, /^500 5\.5\.\d /);
  await client.ask('BREW 10', /^421 4\.\d\.\d /);
  await client.closed();
  const next = await front.openData();
  next.send('Subject: x\r\n\r\nx\r\n');
  await next.ask('.', /^250/);
  assert.equal(front.taken.length, 1);
  assert.deepEqual(front.thrown.map(codeOf), []);
});
