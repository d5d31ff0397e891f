import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseMailbox } from '../../src/message/envelope.ts';
import type { Mailbox } from '../../src/message/envelope.ts';
import { type CertificateState, type Condition, type Facts } from '../../src/policy/condition.ts';
import { decide, type Decision, makeRuleSet, matchRule, refusal, type Rule } from '../../src/policy/decide.ts';
import { contentFacts } from '../../src/message/facts.ts';
import { type AddressPattern, parsePattern } from '../../src/message/pattern.ts';
import { parseTemplate, renderSubject } from '../../src/policy/subject.ts';

function mailbox(address: string): Mailbox {
  const verdict = parseMailbox(address);
  assert.equal(verdict.kind, 'mailbox');
  return verdict.mailbox;
}

function glob(source: string): AddressPattern {
  const verdict = parsePattern(source);
  assert.equal(verdict.kind, 'pattern');
  return verdict.pattern;
}

const sender = (source: string): Condition => ({ kind: 'sender', pattern: glob(source) });
const recipient = (source: string): Condition => ({ kind: 'recipient', pattern: glob(source) });

const content = contentFacts({ fields: [], lookAhead: Buffer.alloc(0), whole: true, body: Readable.from([]) });

function factsOf(sender: Mailbox | null, recipient: Mailbox, state: CertificateState): Facts {
  const found = { state, sealedFor: false };
  const lookedUp = { never: found, fallback: found, only: found };
  return { sender, recipient, client: '127.0.0.1', user: null, size: null, content, lookedUp };
}

function decided(rules: readonly Rule[], facts: Facts): Decision {
  const answer = decide(makeRuleSet(rules), facts);
  assert.ok(answer.kind === 'decided');
  return answer.decision;
}

const seal = { then: 'seal', missing: 'refuse', unavailable: 'retry', subject: { kind: 'replace', template: 'New' } } as const;
const refuse = { then: 'refuse', missing: 'refuse', unavailable: 'retry', subject: { kind: 'keep' } } as const;

const rules: readonly Rule[] = [
  { name: 'bounces', when: sender('<>'), ...refuse, text: 'no bounces here' },
  { name: 'forms', when: { kind: 'all', of: [sender('forms@clinic.example'), recipient('*@clinic.example')] }, ...seal },
  { name: 'elsewhere', when: recipient('*@other.example'), ...refuse },
  { name: 'inside', when: recipient('*@clinic.example'), ...seal, subject: { kind: 'keep' }, text: 'ask the office' },
];

const anna = mailbox('anna@clinic.example');
const forms = mailbox('forms@clinic.example');
const web = mailbox('web@clinic.example');
const New = { kind: 'replace', template: 'New' } as const;

const table: readonly (readonly [Mailbox | null, Mailbox, CertificateState, unknown])[] = [
  [forms, anna, 'found', { kind: 'seal', rule: 'forms', subject: New }],
  [forms, anna, 'absent', { kind: 'refuse', rule: 'forms', because: 'missing' }],
  [forms, anna, 'unavailable', { kind: 'retry', rule: 'forms' }],
  [web, anna, 'found', { kind: 'seal', rule: 'inside', subject: { kind: 'keep' } }],
  [web, anna, 'absent', { kind: 'refuse', rule: 'inside', because: 'missing', text: 'ask the office' }],
  [null, anna, 'found', { kind: 'refuse', rule: 'bounces', because: 'rule', text: 'no bounces here' }],
  [forms, mailbox('x@other.example'), 'found', { kind: 'refuse', rule: 'elsewhere', because: 'rule' }],
  [forms, mailbox('x@third.example'), 'found', { kind: 'refuse', rule: null, because: 'no-rule' }],
  [forms, mailbox('x@third.example'), 'unavailable', { kind: 'refuse', rule: null, because: 'no-rule' }],
];

for (const [sender, recipient, certificate, expected] of table) {
  test(`P3: ${sender?.address ?? '<>'} to ${recipient.address}, certificate ${certificate}`, () => {
    assert.deepEqual(decided(rules, factsOf(sender, recipient, certificate)), expected);
  });
}

test('P3: nothing is sealed without a rule that says so and a certificate that was found; P5: unavailable is never refused as missing', () => {
  const states = fc.constantFrom<CertificateState>('found', 'absent', 'unavailable');
  const parties = fc.constantFrom(forms, web, anna, mailbox('x@other.example'), mailbox('x@third.example'));
  fc.assert(
    fc.property(fc.shuffledSubarray([...rules]), parties, parties, states, (rules, sender, recipient, certificate) => {
      const facts = factsOf(sender, recipient, certificate);
      const decision = decided(rules, facts);
      const rule = rules.find((one) => matchRule(one, facts) === 'yes');
      assert.equal(decision.kind === 'seal', rule?.then === 'seal' && certificate === 'found');
      assert.equal(decision.kind === 'retry', rule?.then === 'seal' && certificate === 'unavailable');
    }),
  );
});

test('each refusal has its reply, with the words of the site behind those of the table', () => {
  assert.match(
    refusal({ kind: 'refuse', rule: 'r', because: 'rule', text: 'no bounces here' }).reply.text,
    /refuses that: no bounces here \(rule r\)$/,
  );
  assert.equal(refusal({ kind: 'refuse', rule: 'r', because: 'missing' }).code, 'certificate-missing');
  assert.equal(refusal({ kind: 'refuse', rule: null, because: 'no-rule' }).reply.code, 550);
  assert.equal(refusal({ kind: 'retry', rule: 'r' }).reply.code, 451);
});

test('a template is filled from the envelope alone', () => {
  const facts = { queueId: 'Q1', sender: forms, recipient: anna };
  assert.equal(renderSubject('New message from {sender_domain} [{queue_id}]', facts), 'New message from clinic.example [Q1]');
  assert.equal(renderSubject('{sender} to {recipient}', facts), 'forms@clinic.example to anna@clinic.example');
  assert.equal(renderSubject('{sender}', { ...facts, sender: null }), '<>');
});

test('a field that comes from an address is not read as a template again', () => {
  const facts = { queueId: 'Q1', sender: mailbox('{queue_id}$&@clinic.example'), recipient: anna };
  assert.equal(renderSubject('{sender}', facts), '{queue_id}$&@clinic.example');
});

test('A9: a template with a line end, a control character, an unknown field or nothing in it is a fault', () => {
  for (const template of [
    '',
    '  ',
    'a\r\nBcc: x@y',
    'a\u0000',
    'a\u2028b',
    'a\u202eb',
    '{subject}',
    '{constructor}',
    '{queue_id',
    'a}',
    'x'.repeat(201),
  ]) {
    assert.equal(parseTemplate(template).kind, 'fault', JSON.stringify(template));
  }
});
