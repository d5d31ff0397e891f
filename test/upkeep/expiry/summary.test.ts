/** When the operator hears of it, and what. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { DAY_MS } from '../../../src/certificates/authority/issue.ts';
import { certificatePem } from '../../../src/certificates/pem.ts';
import { hashesOf, isDue } from '../../../src/upkeep/expiry/summary.ts';
import { type Item, summaryText } from '../../../src/upkeep/expiry/words.ts';
import { addressOf, makeSetting } from './setting.ts';

const NOW = Date.UTC(2026, 0, 1);
const item = (key: string, section: Item['section'] = 'ending'): Item => ({ key, section, line: `${key}@clinic.example` });
const lastOf = (items: readonly Item[], days: number) => ({ at: NOW - days * DAY_MS, told: hashesOf(items) });

test('changes: on news, weekly while something is open, and never else', () => {
  const [one, two] = [item('one'), item('two')];
  const due = (items: readonly Item[], last?: ReturnType<typeof lastOf>): boolean => isDue('changes', items, last, NOW);
  assert.equal(due([]), false);
  assert.equal(due([one]), true, 'the first time');
  assert.equal(due([one], lastOf([one], 1)), false);
  assert.equal(due([one, two], lastOf([one], 1)), true, 'news');
  assert.equal(due([two], lastOf([one, two], 1)), false, 'one less is no news');
  assert.equal(due([one], lastOf([one], 7)), true, 'weekly');
  assert.equal(due([item('r', 'renewed')], lastOf([item('r', 'renewed')], 30)), false, 'a renewal is told of once');
  assert.equal(due([], lastOf([one], 30)), false);
});

test('daily is every day, off never', () => {
  assert.equal(isDue('daily', [], lastOf([], 1), NOW), true);
  assert.equal(isDue('off', [item('one')], undefined, NOW), false);
});

test('of very many, any change is news, and the record stays small', () => {
  const many = Array.from({ length: 20_000 }, (_, index) => item(`p${index}`));
  assert.ok(hashesOf(many).length < 100);
  assert.ok(hashesOf(many.slice(0, 8000)).length < 128 * 1024);
  assert.equal(isDue('changes', many, lastOf(many, 1), NOW), false);
  assert.equal(isDue('changes', many.slice(1), lastOf(many, 1), NOW), true);
});

test('at most 500 lines, then counts; text of strangers does no harm', () => {
  const many = Array.from({ length: 700 }, (_, index) => item(`p${index}`));
  const text = summaryText([...many, { ...item('bad', 'waiting'), line: 'a\u202eb\u001b[2J\r\nSubject: x' }], { old: 3 });
  assert.match(text, /nothing else of the reader lasts: 700\n/);
  assert.match(text, / {2}p499@clinic\.example\n {2}and 200 more\n/);
  assert.match(text, /Wait for your approval[^\n]*: 1\n {2}and 1 more\n/);
  assert.match(text, /3 certificates ended more than 90 days ago/);
  assert.equal(
    summaryText([{ ...item('bad', 'waiting'), line: 'a\u202eb\u001b[2J\r\nSubject: x' }], { old: 0 }).split('\n')[1],
    '  a?b?[2J??Subject: x',
  );
});

test('an operator without a certificate is sent nothing, the log says so daily; with one the same news come', async (t) => {
  const setting = await makeSetting(t, {
    people: { anna: { by: 'vendor', ends: 5 }, boss: { by: 'vendor', ends: 500, address: addressOf('boss') } },
  });
  await setting.open().round.turn();
  setting.clock.now += DAY_MS + 60_000;
  const daily = setting.open();
  await daily.round.turn();
  assert.deepEqual([setting.sent, daily.round.last()?.failed], [[], []]);
  const warnings = setting.logged.filter(({ msg }) => msg === 'the summary is not sent: the operator has no usable certificate');
  assert.equal(warnings.length, 2);

  const other = await makeSetting(t, { people: { anna: { by: 'vendor', ends: 5 }, operator: { by: 'vendor', ends: 500 } } });
  const operator = other.people.get('operator');
  assert.ok(operator);
  writeFileSync(join(dirname(other.config.file), 'certs/recipients/again.pem'), certificatePem(operator));
  await other.refresh();
  await other.open().round.turn();
  assert.deepEqual(
    other.sent.map(({ to, subject }) => [to, subject]),
    [[addressOf('operator'), 'Certificates: 1 end soon']],
  );
  assert.match(other.sent[0]?.text ?? '', /2026-01-06 {2}anna@clinic\.example {2}recipients\/anna\.pem {2}CN=Vendor CA/);
  assert.partialDeepStrictEqual((await other.events('summary-sent'))[0], { recipient: addressOf('operator'), ending: 1 });
});
