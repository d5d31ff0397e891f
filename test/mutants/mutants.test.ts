/** The list of guards is sound, and whoever takes them out tells a test that notices from everything else. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { faultOf, mutate, promiseNames, root, type Guard } from './guard.ts';
import { guards } from './guards.ts';
import { hunt, type Finding, type Verdict } from './hunt.ts';
import { keep, readKept } from './kept.ts';

test('at least three guards of each promise are listed, and sixty in all', () => {
  const all = Object.values(guards);
  for (const name of promiseNames) assert.ok(all.filter(({ promise }) => promise === name).length >= 3, name);
  assert.ok(all.length >= 60, `only ${all.length}`);
});

for (const [name, guard] of Object.entries(guards))
  test(`guard ${name}: stands once in its file, which is a program without it, and has tests`, () => {
    assert.equal(faultOf(guard), undefined);
    assert.match(guard.file, /^src\/.*\.ts$/);
    assert.match(guard.without, /^.{20,120}[^.]$/, 'words');
    if (guard.named !== undefined) assert.doesNotThrow(() => new RegExp(guard.named ?? ''));
  });

test('no two mutants are the same', () => {
  const seen = Object.values(guards).map(({ file, text, by }) => JSON.stringify([file, text, by]));
  assert.equal(new Set(seen).size, seen.length);
});

test('a text that is not there, that stands twice, that changes nothing or breaks the file is no guard', () => {
  const source = 'export const a: number = 1;\nexport const b: number = 1;\n';
  const kindOf = (text: string, by: string) => mutate(source, { text, by }).kind;
  assert.deepEqual(mutate(source, { text: 'b: number = 1', by: 'b: number = 2' }), {
    kind: 'mutated',
    source: source.replace('b: number = 1', 'b: number = 2'),
  });
  for (const [text, by] of [
    ['c', 'd'],
    ['number', 'string'],
    ['', 'x'],
    ['a: number', 'a: number'],
    ['a: number = 1', '{'],
  ] as const)
    assert.equal(kindOf(text, by), 'unsound', text);
});

/** Cheap, and on a file of their own. */
const base: Guard = {
  promise: 'P6',
  without: 'a size is read as something else',
  file: 'src/document/size.ts',
  text: 'MiB: 2 ** 20,',
  by: 'MiB: 2 ** 21,',
  tests: ['config/units'],
};

test('what was found is kept for the next run: the last of each, marked where its octets changed, and nothing that proved nothing', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-kept-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'kept.jsonl');
  assert.equal(readKept(path, { base }).size, 0);
  const found = (name: string, verdict: Verdict): Finding => ({ name, guard: base, verdict, seconds: 1 });
  const caught: Verdict = { kind: 'caught', by: 'a test', hung: false };
  keep(path, found('base', { kind: 'survived', ran: 3 }));
  keep(path, found('base', caught));
  keep(path, found('other', { kind: 'unproved', fault: 'it does not compile' }));
  assert.deepEqual([...readKept(path, { base, other: base })], [['base', found('base', caught)]]);
  const changed = { ...base, by: 'MiB: 2 ** 22,' };
  assert.deepEqual(readKept(path, { base: changed }).get('base'), { ...found('base', caught), guard: changed, earlier: true });
});

test('tried for real: caught, survived, and what proves nothing', { timeout: 120_000 }, async () => {
  const before = readFileSync(join(root, base.file), 'utf8');
  const tried = {
    caught: base,
    survived: { ...base, tests: ['document/csv'] },
    'no test of that name': { ...base, named: 'nobody is called so' },
    'not there': { ...base, text: 'MiB: 2 ** 70,' },
    'does not compile': { ...base, by: 'MiB: noSuchUnit(),' },
  } satisfies Record<string, Guard>;
  const findings = await hunt(tried, { at: 1 });
  const kinds = Object.fromEntries(findings.map(({ name, verdict }): [string, Verdict['kind']] => [name, verdict.kind]));
  assert.deepEqual(kinds, {
    caught: 'caught',
    survived: 'survived',
    'no test of that name': 'unproved',
    'not there': 'unproved',
    'does not compile': 'unproved',
  });
  assert.equal(readFileSync(join(root, base.file), 'utf8'), before, 'the work tree is left alone');
});
