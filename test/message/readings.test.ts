/** A13: what readers of a field may differ in is nobody's fact. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { contentFacts, type Tally } from '../../src/message/facts.ts';
import { readField } from '../../src/message/readings.ts';
import { anyText } from '../../src/policy/text-pattern.ts';
import { encodeWords } from '../../src/message/words.ts';

function fieldOf(value: string | Buffer) {
  const octets = Buffer.concat([Buffer.from('Subject: '), typeof value === 'string' ? Buffer.from(value) : value, Buffer.from('\r\n')]);
  return { name: 'Subject', key: 'subject', octets };
}

function tally(pattern: string, ...values: (string | Buffer)[]): Tally {
  const verdict = anyText([pattern]);
  assert.ok(verdict.kind === 'pattern');
  return contentFacts({ fields: values.map(fieldOf), lookAhead: Buffer.alloc(0) }).tally('subject', verdict.pattern);
}

const q = (text: string, charset = 'utf-8'): string => `=?${charset}?q?${text}?=`;
const b = (octets: Buffer | string, charset = 'utf-8'): string => `=?${charset}?b?${Buffer.from(octets).toString('base64')}?=`;

const table: readonly (readonly [what: string, value: string | Buffer, pattern: string, expected: Tally])[] = [
  ['plain text', 'New [clear] mail', '*[clear]*', 'all'],
  ['case', 'NEW [CLEAR] mail', '*[clear]*', 'all'],
  ['another text', 'New mail', '*[clear]*', 'none'],
  ['an encoded word that needed no encoding', q('=5Bclear=5D'), '*[clear]*', 'some'],
  ['the same in base64', b('[clear] mail'), '*[clear]*', 'some'],
  ['text that can only be encoded', q('Rezept_f=C3=BCr_Anna'), '*Rezept für*', 'all'],
  ['the same in latin1', q('Rezept_f=FCr_Anna', 'iso-8859-1'), '*Rezept für*', 'all'],
  ['the same in a charset with a language', q('Rezept_f=FCr', 'windows-1252*de'), '*rezept für*', 'all'],
  ['8-bit octets as they are', Buffer.from('Rezept für'), '*rezept für*', 'all'],
  ['a letter and its dots apart', 'Rezept fu\u0308r', '*rezept für*', 'all'],
  ['adjacent words are one text', `${q('f=C3=BCr_Sie:_cl')} ${q('ear_=E2=80=A6')}`, '*clear*', 'all'],
  ['adjacent words over a fold', `${q('f=C3=BCr_Sie:_cl')}\r\n ${q('ear_=E2=80=A6')}`, '*clear*', 'all'],
  ['a character cut in two', `${b(Buffer.from('für').subarray(0, 2))} ${b(Buffer.from('für').subarray(2))}`, '*für*', 'some'],
  ['words without a blank between', `${q('=C3=BC_cl')}${q('ear=C3=BC')}`, '*clear*', 'some'],
  ['a word within a word', `x${q('=C3=BC_clear')}`, '*ü clear*', 'some'],
  ['blanks in a word', q('=C3=BC clear'), '*ü clear*', 'some'],
  ['a charset that nobody knows', q('[clear]', 'x-none'), '*[clear]*', 'some'],
  ['a charset that nobody knows may say anything', q('abc', 'x-none'), '*[clear]*', 'some'],
  ['octets that are none of the charset', q('=FF=FE'), '*[clear]*', 'some'],
  ['a word that does not end', '=?utf-8?b?W2NsZWFyXQ', '*[clear]*', 'some'],
  ['full-width letters', '［ｃｌｅａｒ］', '*[clear]*', 'some'],
  ['Cyrillic look-alikes', '[сlеаr]', '*[clear]*', 'some'],
  ['letters that do not show', '[cl\u200bear]', '*[clear]*', 'some'],
  ['a soft hyphen', '[cl\u00adear]', '*[clear]*', 'some'],
  ['a control', Buffer.from('[cl\u0007ear]'), '*[clear]*', 'some'],
  ['mathematical letters', '[𝐜𝐥𝐞𝐚𝐫]', '*[clear]*', 'some'],
  ['big-endian UTF-16 with its mark', '=?utf-16?B?/v8AaQBuAHQAYQBrAGU=?=', '*intake*', 'some'],
  ['UTF-16 by another name', '=?ucs-2?B?AGkAbgB0AGEAawBl?=', '*intake*', 'some'],
  ['a language longer than any', `=?utf-8*${'a'.repeat(70)}?Q?=69nt=61ke?=`, '*intake*', 'some'],
  ['a charset longer than any', `=?${'a'.repeat(70)}?Q?=69nt=61ke?=`, '*intake*', 'some'],
  ['no charset', '=??Q?=69nt=61ke?=', '*intake*', 'some'],
  ['a blank behind the charset', '=?utf-8 ?Q?=69nt=61ke?=', '*intake*', 'some'],
  ['a blank in front of the charset', '=? utf-8?Q?=69nt=61ke?=', '*intake*', 'some'],
  ['a blank in front of the encoding', '=?utf-8? Q?=69nt=61ke?=', '*intake*', 'some'],
  ['a question mark in a word', '=?utf-8?Q?=69nt=61ke?!?=', '*intake*', 'some'],
  ['a word folded inside', '=?utf-8?Q?=69nt\r\n =61ke?=', '*intake*', 'some'],
  ['a word folded as quoted-printable is', '=?utf-8?Q?=69nt=\r\n =61ke?=', '*intake*', 'some'],
  ['a character cut in two by a fold', '=?utf-8?Q?f=C3\r\n =BCr?=', '*für*', 'some'],
  ['blanks in a word do not make it anything', q('Termin am Montag f=C3=BCr Sie'), '*intake*', 'none'],
  ['questions', 'Is it =? or ?= or what?', '*intake*', 'none'],
  ['small capitals', 'ɪɴᴛᴀᴋᴇ', '*intake*', 'some'],
  ['letters with a line below', 'i̲n̲t̲a̲k̲e̲', '*intake*', 'some'],
  ['letters with a line below and an accent', 'í̲n̲t̲á̲k̲e̲', '*intake*', 'some'],
  ['Cyrillic look-alikes with a line below', 'int\u0430\u0332ke', '*intake*', 'some'],
  ['an accent that makes a letter', 'Rezept fu\u0308r caf\u00e9', '*für café*', 'all'],
  ['marks of a script that is written with them', 'हिन्दी', '*हिन्दी*', 'all'],
  ['a language of its own script', q('=D0=9F=D1=80=D0=B8=D0=B2=D0=B5=D1=82'), '*привет*', 'all'],
  ['what differs does not matter to another pattern', `${q('=5Bclear=5D')} intake`, '*intake*', 'all'],
];

for (const [what, value, pattern, expected] of table) {
  test(`A13: ${what}`, () => assert.equal(tally(pattern, value), expected));
}

test('A13: two fields of a name must agree; none matches nothing', () => {
  assert.equal(tally('*clear*', 'clear', 'other'), 'some');
  assert.equal(tally('*clear*', 'clear', 'all clear'), 'all');
  assert.equal(tally('*'), 'none');
});

test('A13: what our own encoder writes is read as it was', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
      const value = encodeWords(`ü${text}`).join('\r\n ');
      const plain = `ü${text}`.replace(/\p{Cc}+/gu, ' ').normalize('NFC');
      assert.equal(readField(fieldOf(value)).texts[0], plain);
    }),
  );
});

test('hostile fields are read, and always alike', () => {
  const part = fc.constantFrom('=?utf-8?q?', '?=', '=?', 'x', ' ', '\r\n ', '=C3', '_', '?', 'W2Ns', '=?x?b?=?=', '\u0301', 'а');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 40 }), (parts) => {
      const { texts } = readField(fieldOf(parts.join('')));
      assert.ok(texts.length >= 1 && new Set(texts).size === texts.length);
      assert.deepEqual(readField(fieldOf(parts.join(''))).texts, texts);
    }),
  );
});

/** As long as a header may be, and each of these takes minutes where anything is quadratic. */
const LONG = 256 * 1024;
for (const [what, piece] of [
  ['encoded words', '=?utf-8?q?=C3=BC?= '],
  ['beginnings of encoded words', '=?utf-8?q?'],
  ['question marks', '=?'],
  ['marks in the wrong order', '\u0301\u0323'],
  ['half-width marks between marks', '\u0301\u0323\uff9e'],
  ['marks between what does not show', '\u0301\u200d\u0323'],
  ['letters with a line below', 'i\u0332'],
  ['words with blanks in them', '=?utf-8?q?=C3= =BC =?= '],
  ['look-alikes', 'аa'],
  ['blanks', ' \t'],
] as const) {
  test(`A32: a field full of ${what} is read in linear time`, () => {
    const many = piece.repeat(LONG / Buffer.byteLength(piece));
    const value = what.startsWith('marks') ? `a${'\u0301'.repeat(LONG / 4)}${'\u0323'.repeat(LONG / 4)}` : many;
    const started = performance.now();
    readField(fieldOf(value));
    assert.ok(performance.now() - started < 3000);
  });
}
