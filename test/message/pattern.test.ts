import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseMailbox } from '../../src/message/envelope.ts';
import type { Mailbox } from '../../src/message/envelope.ts';
import { type AddressPattern, compileGlob, parsePattern } from '../../src/message/pattern.ts';

function mailbox(address: string): Mailbox {
  const verdict = parseMailbox(address);
  assert.equal(verdict.kind, 'mailbox', address);
  return verdict.mailbox;
}

function pattern(source: string): AddressPattern {
  const verdict = parsePattern(source);
  if (verdict.kind === 'fault') throw new Error(`${source}: ${verdict.fault}`);
  return verdict.pattern;
}

const table: readonly (readonly [pattern: string, matches: readonly string[], differs: readonly string[]])[] = [
  ['anna@clinic.example', ['anna@clinic.example', 'ANNA@Clinic.Example'], ['ann@clinic.example', 'anna@clinic.example.org']],
  [
    '*@clinic.example',
    ['a@clinic.example', '"a@b"@clinic.example'],
    ['a@ward.clinic.example', 'a@clinic.example.org', 'a@xclinic.example'],
  ],
  ['*@*.clinic.example', ['a@ward.clinic.example', 'a@x.ward.clinic.example'], ['a@clinic.example', 'a@evilclinic.example']],
  ['*@*', ['a@b', '"x y"@b.example'], []],
  ['forms*@clinic.example', ['forms@clinic.example', 'FORMS-2@clinic.example'], ['xforms@clinic.example', 'forms@b.example']],
  ['a*a@b.example', ['aa@b.example', 'aXa@b.example'], ['a@b.example', 'aab@b.example']],
  ['*+sealed@*', ['anna+sealed@b.example'], ['anna@sealed.example', 'anna+sealed.x@b.example']],
  ['*@bücher.example', ['a@xn--bcher-kva.example', 'a@BÜCHER.example'], ['a@bucher.example']],
  ['*@*.bücher.example', ['a@x.xn--bcher-kva.example'], ['a@xn--bcher-kva.example']],
  ['Änne@b.example', ['Änne@b.example'], ['änne@b.example']],
  ['"a b"@b.example', ['"A b"@b.example'], ['a@b.example']],
];

for (const [source, matches, differs] of table) {
  test(`${source} matches what it says and nothing else`, () => {
    for (const address of matches) assert.equal(pattern(source).matches(mailbox(address)), true, address);
    for (const address of differs) assert.equal(pattern(source).matches(mailbox(address)), false, address);
  });
}

test('the null sender matches where the pattern says <> and nowhere else', () => {
  assert.equal(pattern('<>').matches(null), true);
  assert.equal(pattern('<>').matches(mailbox('a@b')), false);
  assert.equal(pattern('*@*').matches(null), false);
});

test('a pattern that can match no mailbox is a fault with a mend', () => {
  for (const source of [
    '',
    '*',
    'clinic.example',
    '@clinic.example',
    'a@',
    'a b@c',
    'a..b@c',
    'a@b..c',
    'a@*_*.c',
    '*@ü*.c',
    'a@b@c',
    'a@-b',
    '<>@b',
  ]) {
    const verdict = parsePattern(source);
    assert.equal(verdict.kind, 'fault', source);
    assert.notEqual(verdict.mend, '');
  }
});

/** Few letters, so that globs and texts meet often. */
const letters = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 });
const globs = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 8 });

/** What a glob means, as plainly as it can be said, at whatever cost. */
function matchesNaively(glob: string, text: string): boolean {
  if (glob === '') return text === '';
  if (glob.startsWith('*')) return matchesNaively(glob.slice(1), text) || (text !== '' && matchesNaively(glob, text.slice(1)));
  return text !== '' && glob[0] === text[0] && matchesNaively(glob.slice(1), text.slice(1));
}

test('the compiled glob says what the naive one says', () => {
  fc.assert(
    fc.property(globs, letters, (glob, text) => {
      assert.equal(compileGlob(glob)(text), matchesNaively(glob, text));
    }),
    { numRuns: 5_000 },
  );
});

test('a * never matches across the @', () => {
  const local = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 });
  const localGlob = fc.string({ unit: fc.constantFrom('a', 'b', '*'), minLength: 1, maxLength: 4 });
  const quoted = fc.tuple(local, local).map(([a, b]) => `"${a}@${b}"`);
  fc.assert(
    fc.property(localGlob, localGlob, fc.oneof(local, quoted), local, (left, right, localPart, domain) => {
      const whole = pattern(`${left}@${right}`).matches(mailbox(`${localPart}@${domain}`));
      assert.equal(whole, matchesNaively(left, localPart) && matchesNaively(right, domain));
    }),
    { numRuns: 2_000 },
  );
});

test('A32: globs that make a backtracking matcher hang take linear time on a megabyte', () => {
  const text = 'a'.repeat(1_000_000);
  const nasty = ['*a'.repeat(500) + '*b', `*${'a'.repeat(1_000)}b*c`, `*${'a'.repeat(500_000)}b*`, '*'.repeat(1_000) + 'b'];
  for (const glob of nasty) {
    const matches = compileGlob(glob);
    const before = process.hrtime.bigint();
    assert.equal(matches(text), false);
    const milliseconds = Number(process.hrtime.bigint() - before) / 1e6;
    assert.ok(milliseconds < 200, `${glob.slice(0, 20)}…: ${milliseconds} ms`);
  }
});
