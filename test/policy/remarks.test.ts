import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyRemarks, sayRemark } from '../../src/policy/remarks.ts';
import { loadRules } from '../../src/policy/rules.ts';
import { folderWith } from './folder.ts';

const refuse = 'then: refuse';
const pass = 'then: pass';
const seal = 'then: seal, subject: keep';

/** Rules in their order, and what is said of the last one; '' where nothing is. */
const table: readonly (readonly [rules: readonly string[], said: RegExp | ''])[] = [
  [[refuse, refuse], /a\.yaml:3:13: the rule r1 is never reached: r0 before it matches all mail/],
  [
    [`${refuse}, when: { recipient: "*@x.example" }`, `${refuse}, when: { recipient: a@x.example }`],
    /never reached: r0 .* all that it matches/,
  ],
  [[`${refuse}, when: { recipient: a@x.example }`, `${refuse}, when: { recipient: "*@x.example" }`], ''],
  [
    [`${refuse}, when: { recipient: "*@*.example" }`, `${refuse}, when: { recipient: ["*@x.example", b@y.example, "*@*.z.example"] }`],
    /never reached/,
  ],
  [[`${refuse}, when: { recipient: "*@*.example" }`, `${refuse}, when: { recipient: ["*@x.example", b@example] }`], ''],
  [[`${refuse}, when: { recipient: "*@*" }`, `${refuse}, when: { recipient: "a*@x.example", user: b }`], /never reached/],
  [[`${refuse}, when: { recipient: "*@*" }`, `${refuse}, when: { sender: "<>" }`], ''],
  [[`${refuse}, when: { sender: a@x.example }`, `${refuse}, when: { sender: a@x.example, size: { over: 1MB } }`], /never reached/],
  [[`${refuse}, when: { sender: a@x.example, size: { over: 1MB } }`, `${refuse}, when: { sender: a@x.example }`], ''],
  [[`${refuse}, when: { size: { over: 1MB } }`, `${seal}, when: { size: { over: 2MB } }`], /never reached/],
  [[`${refuse}, when: { client: 10.0.0.0/8 }`, `${seal}, when: { any: [{ client: 10.0.0.0/8, user: a }] }`], /never reached/],
  [[`${refuse}, when: { any: [{ user: a }, { user: b }] }`, `${seal}, when: { user: b }`], /never reached/],
  [[`${seal}, when: { subject: "*a*" }`, `${seal}, when: { subject: "*a*", sender: x@y.example }`], /never reached/],
  // What is unclear goes by a rule that refuses, and what is in doubt by one that passes.
  [[`${refuse}, when: { subject: "*a*" }`, `${seal}, when: { subject: "*a*" }`], ''],
  [[`${pass}, when: { user: a }`, `${seal}, when: { user: a }`], ''],
  [[`${seal}, domain_certificate: only, when: { certificate: found }`, `${seal}, when: { certificate: found }`], ''],
  [[`${refuse}, when: { recipient: { file: list.txt } }`, `${refuse}, when: { recipient: b@x.example }`], /never reached/],
  [
    [`${refuse}, when: { all: [{ sender: a@x.example }, { sender: b@x.example }] }`],
    /can never match: no sender is both a@x\.example and b@x/,
  ],
  [[`${refuse}, when: { all: [{ recipient: "*@x.example" }, { recipient: "a*@y.example" }] }`], /can never match/],
  [[`${refuse}, when: { all: [{ recipient: "*@*.example" }, { recipient: "*@x.example" }] }`], ''],
  [[`${refuse}, when: { all: [{ recipient: "a*@*.example" }, { recipient: "*b@x.example" }] }`], ''],
  [[`${refuse}, when: { all: [{ recipient: "*@*" }, { recipient: a@x.example }] }`], ''],
  [[`${refuse}, when: { all: [{ sender: "<>" }, { sender: "*@*" }] }`], /can never match/],
  [[`${refuse}, when: { size: { over: 2MB, under: 1MB } }`], /can never match: no size/],
  [[`${refuse}, when: { all: [{ size: { over: 2MB } }, { size: { under: 1MB } }] }`], /can never match: no size/],
  [[`${refuse}, when: { recipient: { file: empty.txt } }`], /can never match: the list empty\.txt is empty/],
  [[`${refuse}, when: { user: { file: empty.txt } }`], /can never match: the list/],
  [[`${refuse}, when: { subject: { file: empty.txt } }`], /can never match: the list/],
  [[`${refuse}, when: { all: [{ signed: true }, { signed: false }] }`], /can never match: signed is not true and false at once/],
  [[`${refuse}, when: { sealed: true, certificate: missing }`], /can never match: nothing is sealed to who has no certificate/],
  [[`${seal}, when: { sealed: true, certificate: unavailable }`], ''],
  [
    [`${refuse}, when: { recipient: "*@x.example" }`, `${refuse}, when: { any: [{ recipient: a@x.example }, { recipient: b@x.example }] }`],
    /never reached/,
  ],
  [
    [`${refuse}, when: { recipient: "*@x.example" }`, `${refuse}, when: { any: [{ recipient: a@x.example }, { recipient: b@y.example }] }`],
    '',
  ],
  [[`${refuse}, when: { user: a, not: { user: a } }`], /can never match: one condition takes back another/],
  [[`${refuse}, when: { sender: "*@x.example", not: { sender: a@x.example } }`], ''],
  [[`${refuse}, when: { any: [{ size: { over: 2, under: 1 } }, { user: a }] }`], ''],
];

for (const [rules, said] of table) {
  test(`${said === '' ? 'nothing is remarked' : `remarked: ${said.source}`}: ${rules.join(' | ')}`, async (t) => {
    const text = rules.map((rule, index) => `  - { name: r${index}, ${rule} }\n`).join('');
    const folder = await folderWith(t, { 'list.txt': 'a@x.example\nb@x.example\n', 'empty.txt': '# none\n', 'a.yaml': `rules:\n${text}` });
    const remarks = policyRemarks(await loadRules(folder)).map(sayRemark);
    if (said === '') assert.deepEqual(remarks, []);
    else assert.match(remarks.join('\n'), said);
  });
}

test('what the site makes impossible is remarked where it is known', async (t) => {
  const text = [`${refuse}, when: { size: { over: 30MiB } }`, `${refuse}, when: { user: bob }`, `${refuse}, when: { user: <none> }`];
  const folder = await folderWith(t, { 'a.yaml': `rules:\n${text.map((rule, index) => `  - { name: r${index}, ${rule} }\n`).join('')}` });
  const rules = await loadRules(folder);
  const said = (largest: number, users: boolean): string[] => policyRemarks(rules, { largest, users }).map(({ rule }) => rule);
  assert.deepEqual(said(25 * 2 ** 20, false), ['r0', 'r1']);
  assert.deepEqual(said(40 * 2 ** 20, true), []);
  assert.deepEqual(policyRemarks(rules), []);
});
