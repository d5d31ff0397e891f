import assert from 'node:assert/strict';
import path from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { parseMailbox } from '../../src/message/envelope.ts';
import { contentFacts } from '../../src/message/facts.ts';
import type { CertificateState } from '../../src/policy/condition.ts';
import { decide, makeRuleSet } from '../../src/policy/decide.ts';
import { loadRules } from '../../src/policy/rules.ts';
import { folderWith } from './folder.ts';

const shipped = path.resolve(import.meta.dirname, '../../policies');

test('the shipped rules seal everything and hold what they cannot seal, since a script does not come back', async () => {
  const rules = await loadRules(shipped);
  const verdict = parseMailbox('anna@clinic.example');
  assert.equal(verdict.kind, 'mailbox');
  const template = 'New message from {sender_domain} [{queue_id}]';
  const content = contentFacts({ fields: [], lookAhead: Buffer.alloc(0), whole: true, body: Readable.from([]) });
  const decided = (state: CertificateState) => {
    const facts = { sender: null, recipient: verdict.mailbox, client: '127.0.0.1', user: null, size: null, content };
    const answer = decide(makeRuleSet(rules), { ...facts, lookedUp: { never: { state, sealedFor: false } } });
    assert.ok(answer.kind === 'decided');
    return answer.decision;
  };
  assert.deepEqual(decided('found'), { kind: 'seal', rule: 'everything-else', subject: { kind: 'replace', template } });
  for (const [state, because] of [
    ['absent', 'missing'],
    ['unavailable', 'unavailable'],
  ] as const) {
    const decision = decided(state);
    assert.ok(decision.kind === 'hold' && decision.because === because, state);
  }
});

test('files are read in the order of their names, each from top to bottom', async (t) => {
  const rule = (name: string): string => `  - { name: ${name}, then: refuse, when: { sender: "<>" } }\n`;
  const folder = await folderWith(t, {
    '90-b.yaml': `rules:\n${rule('last')}`,
    '10-a.yaml': `rules:\n${rule('first')}${rule('second')}`,
    'README.md': 'not a rule',
  });
  assert.deepEqual(
    (await loadRules(folder)).map((rule) => rule.name),
    ['first', 'second', 'last'],
  );
});

test('an address may be a list', async (t) => {
  const folder = await folderWith(t, { 'a.yaml': 'rules:\n  - { name: a, then: refuse, when: { sender: ["<>", "*@b.example"] } }\n' });
  const [rule] = await loadRules(folder);
  assert.ok(rule?.when.kind === 'sender');
  assert.equal(rule.when.pattern.source, '<>, *@b.example');
  assert.equal(rule.when.pattern.matches(null), true);
});

const broken: readonly (readonly [what: string, text: string, said: string])[] = [
  [
    'an unknown key',
    'rules:\n  - name: a\n    then: refuse\n    wen: {}\n',
    'a.yaml:4:5: rules[0].wen: no such key\n  mend: did you mean when?',
  ],
  [
    'an unknown key of when',
    'rules:\n  - { name: a, then: refuse, when: { form: x } }\n',
    'a.yaml:2:38: rules[0].when.form: no such key\n  mend: here stand: sender, header_from, recipient, client, user, subject, header, size, calendar, signed, sealed, certificate, all, any, not',
  ],
  [
    'pass without a condition',
    'rules:\n  - { name: a, then: pass }\n',
    'a.yaml:2:5: rules[0].when: is missing: the rule would pass all mail in clear\n  mend: when wants a condition: { sender: "news@clinic.example" }',
  ],
  [
    'an outcome that is misspelt',
    'rules:\n  - { name: a, then: refus }\n',
    'a.yaml:2:22: rules[0].then: is not known\n  mend: did you mean refuse?',
  ],
  [
    'an outcome that is none',
    'rules:\n  - { name: a, then: discard }\n',
    'a.yaml:2:22: rules[0].then: is not known\n  mend: there are: seal, pass, refuse, hold',
  ],
  [
    'a pattern without quotes',
    'rules:\n  - name: a\n    when: { sender: *@b.example }\n    then: refuse\n',
    'a.yaml:3:21: an unquoted * begins a YAML alias, and this one leads nowhere\n  mend: put the value in quotes: "*@clinic.example"',
  ],
  [
    'a pattern without @',
    'rules:\n  - { name: a, then: refuse, when: { sender: "*" } }\n',
    'a.yaml:2:46: rules[0].when.sender: "*" has no @ in it\n  mend: "*@*" is every mailbox',
  ],
  [
    'a field that no template has',
    'rules:\n  - { name: a, then: seal, subject: { replace: "{subject}" } }\n',
    'a.yaml:2:37: rules[0].subject: knows no field {subject}\n  mend: text with {queue_id}, {sender}, {sender_domain}, {recipient} in it',
  ],
  [
    'sealing without a word on the subject',
    'rules:\n  - { name: a, then: seal }\n',
    'a.yaml:2:5: rules[0].subject: is missing\n  mend: subject: keep shows the original to everybody on the way; subject: { replace: "New message [{queue_id}]" } does not',
  ],
  [
    'a subject on a refusal',
    'rules:\n  - { name: a, then: refuse, subject: keep }\n',
    'a.yaml:2:39: rules[0].subject: means nothing beside then: refuse\n  mend: take it out',
  ],
  [
    'a From on a refusal',
    'rules:\n  - { name: a, then: refuse, from: { replace: a@b.example } }\n',
    'a.yaml:2:36: rules[0].from: means nothing beside then: refuse\n  mend: take it out',
  ],
  [
    'A9: a From with a line end in it',
    'rules:\n  - { name: a, then: seal, subject: keep, from: { replace: "x\\r\\nBcc: y@b.example" } }\n',
    'a.yaml:2:49: rules[0].from: holds a control character, or more than 200 characters\n  mend: one mailbox: "Clinic forms <forms@clinic.example>"',
  ],
  [
    'a From of two mailboxes',
    'rules:\n  - { name: a, then: seal, subject: keep, from: { replace: "a@b.example, c@d.example" } }\n',
    'a.yaml:2:49: rules[0].from: is not one mailbox\n  mend: one mailbox: "Clinic forms <forms@clinic.example>"',
  ],
  [
    'a From that hopes for a template',
    'rules:\n  - { name: a, then: seal, subject: keep, from: { replace: "{sender}@b.example" } }\n',
    'a.yaml:2:49: rules[0].from: holds a brace, and nothing is filled in here\n  mend: one mailbox: "Clinic forms <forms@clinic.example>"',
  ],
  [
    'an original that goes nowhere',
    'rules:\n  - { name: a, then: seal, subject: keep, from: { replace: a@b.example, original: drop } }\n',
    'a.yaml:2:49: rules[0].from: does not know this original\n  mend: original: reply_to or inside',
  ],
  [
    'an envelope sender that is none',
    'rules:\n  - { name: a, then: seal, subject: keep, envelope_from: bounces }\n',
    'a.yaml:2:58: rules[0].envelope_from: is not a mail address: no @ in it\n  mend: bounces@clinic.example, without a name',
  ],
  [
    'a name that stands twice',
    'rules:\n  - { name: a, then: refuse }\n  - { name: a, then: refuse }\n',
    'a.yaml:3:13: name: "a" is the name of the rule at FOLDER/a.yaml:2:13\n  mend: give one of the two another name',
  ],
  ['no rules', 'rules: []\n', 'a.yaml:1:8: rules: an empty list\n  mend: for example rules: [{ name: all, then: refuse }]'],
  ['an empty file', '', 'a.yaml:1:1: rules: is missing: a list\n  mend: for example rules: [{ name: all, then: refuse }]'],
  [
    'a reply text of two lines',
    'rules:\n  - { name: a, then: refuse, text: "x\\r\\n250 ok" }\n',
    'a.yaml:2:36: rules[0].text: is not a line of plain text\n  mend: ASCII, at most 200 characters',
  ],
];

for (const [what, text, said] of broken) {
  test(`the fault says where, what and how to mend it: ${what}`, async (t) => {
    const folder = await folderWith(t, { 'a.yaml': text });
    const expected = `the policies are not valid: 1 fault\n${folder}/${said.replace('FOLDER', folder)}`;
    await assert.rejects(loadRules(folder), { code: 'policy-invalid', message: expected });
  });
}

test('From, envelope sender and Message-ID are read, and their defaults leave no trace', async (t) => {
  const folder = await folderWith(t, {
    'a.yaml':
      'rules:\n  - { name: a, then: seal, subject: keep, from: { replace: "F <f@b.example>" }, envelope_from: x@B.example, message_id: per_recipient }\n  - { name: b, then: seal, subject: keep, message_id: keep }\n',
  });
  const [first, second] = await loadRules(folder);
  assert.equal(first?.from?.original, 'reply_to');
  assert.deepEqual([first?.from?.replace.name, first?.from?.replace.mailbox.address], ['F', 'f@b.example']);
  assert.deepEqual([first?.envelopeFrom?.address, first?.messageId], ['x@b.example', 'per_recipient']);
  assert.deepEqual(Object.keys(second ?? {}), ['name', 'when', 'then', 'missing', 'unavailable', 'subject', 'place']);
});

test('domain_certificate is read; never leaves no trace, and beside refuse it means nothing', async (t) => {
  const rule = (name: string, use: string): string => `  - { name: ${name}, then: seal, subject: keep, domain_certificate: ${use} }\n`;
  const folder = await folderWith(t, { 'a.yaml': `rules:\n${rule('a', 'fallback')}${rule('b', 'only')}${rule('c', 'never')}` });
  assert.deepEqual(
    (await loadRules(folder)).map(({ domainCertificate }) => domainCertificate),
    ['fallback', 'only', undefined],
  );
  const refusing = await folderWith(t, { 'a.yaml': 'rules:\n  - { name: a, then: refuse, domain_certificate: only }\n' });
  await assert.rejects(loadRules(refusing), /domain_certificate: means nothing beside then: refuse, .*\n {2}mend: take it out/);
  const unknown = await folderWith(t, { 'a.yaml': 'rules:\n  - { name: a, then: seal, subject: keep, domain_certificate: fall_back }\n' });
  await assert.rejects(loadRules(unknown), /domain_certificate: is not known\n {2}mend: did you mean fallback\?/);
});

test('a folder without rules, and a file that would be passed over, are faults', async (t) => {
  await assert.rejects(loadRules(await folderWith(t, {})), /no rule in the whole folder/);
  const folder = await folderWith(t, { '10-refuse.yml': 'rules: []', '90.yaml': 'rules:\n  - { name: a, then: refuse }\n' });
  await assert.rejects(loadRules(folder), /10-refuse\.yml: would not be read.*\n {2}mend: rename it to 10-refuse\.yaml/);
});

test('a folder that is not there is said so', async () => {
  await assert.rejects(loadRules('/nowhere/policies'), { code: 'file-unreadable', message: /\/nowhere\/policies \(ENOENT\)/ });
});
