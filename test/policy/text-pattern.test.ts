import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { anyText } from '../../src/policy/text-pattern.ts';

function matches(pattern: string | readonly string[], text: string): boolean {
  const verdict = anyText(typeof pattern === 'string' ? [pattern] : pattern);
  assert.ok(verdict.kind === 'pattern');
  return verdict.pattern.matches(text);
}

test('globs are of the whole text and without case; expressions are found anywhere, and with case but for /i', () => {
  assert.equal(matches('Intake', 'intake'), true);
  assert.equal(matches('intake', 'new intake'), false);
  assert.equal(matches('*intake*', 'New INTAKE form'), true);
  assert.equal(matches('*GRÖSSE*', 'größe, grösse'), true);
  assert.equal(matches('/intake/', 'New intake form'), true);
  assert.equal(matches('/intake/', 'New INTAKE form'), false);
  assert.equal(matches('/^new .*form$/i', 'New INTAKE form'), true);
  assert.equal(matches(String.raw`/a\/b/`, 'a/b'), true);
  assert.equal(matches(['one', '*two*', '/three$/'], 'twenty three'), true);
  assert.equal(matches(['one', '*two*', '/three$/'], 'ONE'), true);
  assert.equal(matches(['one', '*two*', '/three$/'], 'four'), false);
});

for (const [source, said] of [
  ['', 'is empty'],
  ['a\nb', 'holds a control character'],
  ['/intake', 'has no second slash'],
  ['//', 'holds no expression'],
  ['/a/g', 'knows no flag g'],
  ['/(?=a)/', 'is no expression in linear time'],
  [String.raw`/(a)\1/`, 'is no expression in linear time'],
  ['/[a/', 'is no expression in linear time'],
  ['/a{900}b{900}c{900}/', 'repeats too much'],
  [`/${'(a|b|c)?'.repeat(62)}/`, ''],
  ['x'.repeat(501), 'is longer than 500 characters'],
] as const) {
  test(`a text pattern that is refused, or is none the worse: ${source.slice(0, 20)}`, () => {
    const verdict = anyText([source]);
    if (said === '') return assert.equal(verdict.kind, 'pattern');
    assert.ok(verdict.kind === 'fault', 'taken');
    assert.match(verdict.fault, new RegExp(said));
    assert.ok(verdict.mend.length > 0);
  });
}

test('A32: hostile expressions take linear time', () => {
  const text = `${'a'.repeat(1_000_000)}!`;
  for (const pattern of ['/(a+)+$/', '/(a|a)*b/', '/(a*)*(a*)*c/', '/(?:a?){200}b/', '/.*.*.*.*=/', '*a*a*a*a*b*']) {
    const started = performance.now();
    assert.equal(matches(pattern, text), false);
    assert.ok(performance.now() - started < 10_000, pattern);
  }
});

test('an expression finds what the engine of the language finds', () => {
  const piece = fc.constantFrom('a', 'b', 'a*', '(?:a|b)', '[ab]+', '.', 'b?');
  fc.assert(
    fc.property(
      fc.array(piece, { minLength: 1, maxLength: 5 }),
      fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 12 }),
      (pieces, text) => {
        assert.equal(matches(`/${pieces.join('')}/`, text), new RegExp(pieces.join(''), 'u').test(text));
      },
    ),
  );
});
