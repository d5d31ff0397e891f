/** What operators write, with every kind of slip in it: rules, users, the configuration. Faults with their place, or all of it as it was meant. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { readConfig } from '../../src/config.ts';
import { readYaml } from '../../src/document/yaml.ts';
import type { Fault } from '../../src/document/fault.ts';
import { readUserEntries } from '../../src/ingress/users/entries.ts';
import { ALWAYS } from '../../src/policy/condition.ts';
import { readPolicy } from '../../src/policy/rules.ts';
import { codeOf } from '../ingress/front.ts';
import { folderWith } from '../policy/folder.ts';
import { mutations } from './mutations.ts';
import { runs } from './runs.ts';

const MIB = 2 ** 20;
/** Ten times what the largest file that is read may take. */
const CEILING_MS = 30_000;

const POLICY = `rules:
  - name: intake-forms
    when: { sender: "forms@clinic.example", recipient: "*@clinic.example", subject: /intake/i }
    then: seal
    subject: { replace: "New intake form [{queue_id}]" }
    missing: hold
  - name: strangers
    when: { not: { recipient: "*@clinic.example" } }
    then: refuse
    text: not from here
  - name: everything-else
    then: seal
    subject: keep
    missing: refuse
`;

const USERS = `users:
  - name: form
    password: $argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g
    senders: ["*@clinic.example"]
    rate: 60/min
  - name: web
    certificates: ["${'ab'.repeat(32)}"]
`;

const CONFIG = `hostname: relay.clinic.example
operator: postmaster@clinic.example
listen:
  - { host: 127.0.0.1, port: 2525 }
upstream:
  - { host: 127.0.0.1, port: 25 }
limits: { message_bytes: 25MiB, recipients: 100, data_rate: 512 }
timeouts: { command: 5m }
`;

/** Each says where and what, in bounded text. */
function assertTold(faults: readonly Fault[]): void {
  assert.ok(faults.length > 0 && faults.length <= 200, `${faults.length} faults`);
  for (const { place, wrong, mend } of faults) {
    assert.match(place, /:\d+:\d+$|^[^:]+$/);
    assert.ok(wrong.length > 3 && wrong.length < 2000 && mend.length < 2000, wrong.slice(0, 200));
  }
}

/** Pieces that YAML gives a meaning, strewn in. */
const piece = fc.constantFrom(
  '&a ',
  '*a',
  '? ',
  '- ',
  '[',
  '{',
  ']',
  '}',
  '|\n',
  '>-\n',
  '---\n',
  '!!str ',
  '<<: ',
  ': ',
  '#',
  '\t',
  '"',
  "'",
  '\0',
);
const strewn = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), piece), { minLength: 1, maxLength: 3 });
const slipped = (text: string): fc.Arbitrary<string> =>
  fc.oneof(
    mutations.map((change) => change(Buffer.from(text)).toString()),
    strewn.map((list) =>
      list.reduce((made, [where, put]) => made.slice(0, where * made.length) + put + made.slice(where * made.length), text),
    ),
  );

test('P3: a rule file with slips is told of with its place, or read; no slip makes a rule that passes, and no key is passed over', async (t) => {
  const folder = await folderWith(t, { 'a.yaml': POLICY });
  const whole = await readPolicy(folder);
  assert.equal(whole.kind, 'valid');
  let valid = 0;
  const property = fc.asyncProperty(slipped(POLICY), async (text) => {
    await writeFile(join(folder, 'a.yaml'), text);
    const read = await readPolicy(folder);
    if (read.kind === 'invalid') return assertTold(read.faults);
    valid++;
    for (const { then, when } of read.value.rules) {
      assert.ok(then === 'seal' || then === 'refuse' || then === 'hold', then);
      assert.ok(when !== undefined);
    }
  });
  await fc.assert(property, runs(400));
  assert.ok(valid > 5, `only ${valid} were rules still`);
});

test('P3: a rule that was to pass is read with every condition that stands there, or not at all', async (t) => {
  const PASS = 'rules:\n  - name: p\n    when: { sender: "a@clinic.example", recipient: "b@clinic.example" }\n    then: pass\n';
  const folder = await folderWith(t, { 'a.yaml': PASS });
  const property = fc.asyncProperty(slipped(PASS), async (text) => {
    await writeFile(join(folder, 'a.yaml'), text);
    const read = await readPolicy(folder);
    if (read.kind === 'invalid') return assertTold(read.faults);
    for (const rule of read.value.rules) {
      if (rule.then !== 'pass') continue;
      // An independent reader of the same text: as many conditions as keys stand there.
      const document = readYaml('a.yaml', text);
      assert.equal(document.kind, 'valid');
      const written = JSON.stringify(document.kind === 'valid' ? document.value.value : null);
      assert.match(written, /"when":\{"sender":"[^"]+","recipient":"[^"]+"\}|"when":\{"(?:sender|recipient)":"[^"]+"\}|^(?!.*"when")/);
      assert.equal(/"when":/.test(written), rule.when !== ALWAYS, written);
    }
  });
  await fc.assert(property, runs(300));
});

test('a users file with slips is told of with its place, or every user in it is one that may log in; nothing of a hash is told', () => {
  const property = fc.property(slipped(USERS), (text) => {
    const read = readUserEntries('users.yaml', text);
    if (read.kind === 'valid')
      return assert.ok(read.value.every(({ password, certificates }) => password !== null || certificates.length > 0));
    assertTold(read.faults);
    assert.ok(!JSON.stringify(read.faults).includes('aGFzaGhhc2ho'));
  });
  fc.assert(property, runs(500));
});

test('a configuration with slips is told of with its place, or read', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-generated-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'sealpost.yaml');
  const property = fc.asyncProperty(
    mutations.map((change) => change(Buffer.from(CONFIG))),
    async (octets) => {
      await writeFile(file, octets);
      try {
        const read = await readConfig({ file, env: {}, cwd: folder });
        if (read.kind === 'invalid') return assertTold(read.faults);
        const { limits } = read.value;
        assert.ok(limits.messageBytes > 0 && limits.recipients >= 1 && limits.recipients <= 10_000 && limits.dataRate >= 1);
      } catch (error) {
        assert.equal(codeOf(error), 'file-unreadable');
      }
    },
  );
  await fc.assert(property, runs(300));
});

for (const [what, text] of [
  ['nested lists', '['.repeat(50_000)],
  ['nested lists that are closed', '['.repeat(20_000) + ']'.repeat(20_000)],
  ['nested entries', `${'- '.repeat(20_000)}x`],
  ['a bracket open on every line', 'a: [\n'.repeat(10_000)],
  ['aliases in every line', `x: &a [1]\n${Array.from({ length: 3_000 }, (_, line) => `k${line}: *a`).join('\n')}`],
  ['aliases that lead nowhere', Array.from({ length: 3_000 }, (_, line) => `k${line}: *a`).join('\n')],
  [
    'aliases of aliases',
    [
      'a: &a [x]',
      ...Array.from({ length: 40 }, (_, n) => `b${n}: &${'a'.repeat(n + 2)} [*${'a'.repeat(n + 1)}, *${'a'.repeat(n + 1)}]`),
    ].join('\n'),
  ],
] as const) {
  test(`A32: a document of ${what} is refused in bounded time, and told of in a few lines`, () => {
    const started = performance.now();
    const read = readYaml('a.yaml', text);
    assert.ok(performance.now() - started < CEILING_MS);
    assert.equal(read.kind, 'invalid');
    if (read.kind === 'invalid') assert.ok(JSON.stringify(read.faults).length < 20_000, `${read.faults.length} faults`);
  });
}

test('P6: as many keys, all unknown, as a file may hold are read in bounded time, and told of by a hundred faults', () => {
  const text = Array.from({ length: 100_000 }, (_, line) => `k${line}: 1`).join('\n');
  assert.ok(text.length < MIB);
  const started = performance.now();
  const document = readYaml('a.yaml', text);
  assert.equal(document.kind, 'valid');
  const users = readUserEntries('users.yaml', text);
  assert.ok(performance.now() - started < CEILING_MS);
  const faults = users.kind === 'invalid' ? users.faults : [];
  assert.equal(faults.length, 101);
  assert.match(faults.at(-1)?.wrong ?? '', /^99901 further faults are not told$/);
});

for (const [what, text, place] of [
  ['a word', 'a: 1\nb: 2\na: 3\n', '3:1'],
  ['a number and the same in quotes', '1: a\n"1": b\n', '2:1'],
  ['nothing and an empty word', '? \n: a\n"": b\n', '3:1'],
  ['a word of a section in one line', 'x: { a: 1, b: 2, a: 3 }\n', '1:18'],
] as const) {
  test(`a key that stands twice is told with its place: ${what}`, () => {
    const read = readYaml('a.yaml', text);
    assert.deepEqual(read.kind === 'invalid' ? read.faults.map((fault) => [fault.place, fault.wrong]) : [], [
      [`a.yaml:${place}`, 'this key stands twice'],
    ]);
  });
}

test('an alias is no key: which one it names stands elsewhere', () => {
  const read = readYaml('a.yaml', '&a k: 1\n*a : 2\n');
  assert.match(read.kind === 'invalid' ? (read.faults[0]?.wrong ?? '') : '', /an alias stands in the place of a key/);
});

test("an operator's file of more than 1 MiB is refused unread", async (t) => {
  const folder = await folderWith(t, { 'a.yaml': `${POLICY}#${'x'.repeat(MIB)}\n` });
  await assert.rejects(readPolicy(folder), { code: 'file-unreadable' });
});
