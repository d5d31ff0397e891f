import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import type { Chosen, Lookup } from '../../src/certificates/directory.ts';
import { explain, showAccount } from '../../src/commands/explain.ts';
import { parseMailbox } from '../../src/message/envelope.ts';
import type { Mailbox } from '../../src/message/envelope.ts';
import { loadRules } from '../../src/policy/rules.ts';
import { sealpost, temporaryFolder } from './transcript.ts';
import { certificateNamed } from '../certificates/fixtures.ts';

function mailbox(address: string): Mailbox {
  const verdict = parseMailbox(address);
  assert.equal(verdict.kind, 'mailbox');
  return verdict.mailbox;
}

function candidate(fingerprint: string, place: string): Chosen {
  const certificate = certificateNamed('Anna', { fingerprint, addresses: [] });
  return { certificate, source: 'files', place, path: [certificate], revocation: 'off' };
}

const rejected = (reason: string) => ({ reason, verdict: 'rejected', revocation: undefined }) as const;

const answers: Readonly<Record<string, Lookup>> = {
  'anna@clinic.example': {
    kind: 'found',
    chosen: [candidate('aa11', 'anna.pem#1')],
    rejected: [{ ...candidate('bb22', 'anna\u001b[2J.pem#2'), ...rejected('expired on 2025-01-01') }],
    asked: [{ source: 'files', answer: 'found', remarks: [] }],
  },
  'ben@clinic.example': {
    kind: 'absent',
    rejected: [{ ...candidate('cc33', 'ben.pem'), ...rejected('for signing only') }],
    asked: [{ source: 'files', answer: 'found', remarks: [] }],
  },
  'carla@clinic.example': {
    kind: 'unavailable',
    source: 'ldap',
    cause: undefined,
    rejected: [],
    asked: [{ source: 'ldap', answer: 'unavailable', remarks: [], cause: new Error('connect\n ECONNREFUSED') }],
  },
};

/** Answers from the table; whoever is not in it must not be asked for. */
const book = makeAddressBook({
  lookup: async (mailbox) => answers[mailbox.address] ?? assert.fail(`${mailbox.address} was looked up`),
});

const rulesText = `rules:
  - { name: no-bounces, when: { sender: "<>" }, then: refuse, text: no bounces here }
  - { name: elsewhere, when: { sender: "*@clinic.example", recipient: "*@other.example" }, then: refuse }
  - name: inside
    when: { recipient: ["*@clinic.example", "*@*.clinic.example"] }
    then: seal
    subject: { replace: "New from {sender_domain} [{queue_id}]" }
`;

test('each recipient: the rules tried and why not, the certificate, the subject, the reply', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(path.join(folder, 'a.yaml'), rulesText);
  const rules = await loadRules(folder);
  const said = async (sender: string | null, recipient: string): Promise<string> =>
    showAccount(await explain(rules, book, { sender: sender === null ? null : mailbox(sender), recipient: mailbox(recipient) }));

  const tried = `  rules        no-bounces: no, the sender does not match <>
               elsewhere: no, the recipient does not match *@other.example
               inside: yes, the recipient matches *@clinic.example, *@*.clinic.example
`;
  assert.equal(
    await said('forms@clinic.example', 'anna@clinic.example'),
    `anna@clinic.example
${tried}  decision     seal, by the rule inside
  certificate  used: SHA-256 aa11
                 P-256, 2026-01-01 to 2027-01-01, in files: anna.pem#1
                 CN=Anna, signed by CN=CA
                 revocation: off
               not used: SHA-256 bb22
                 expired on 2025-01-01
                 P-256, 2026-01-01 to 2027-01-01, in files: anna?[2J.pem#2
                 CN=Anna, signed by CN=CA
               asked files: found
  subject      New from clinic.example [QUEUE-ID]
  reply        250 to RCPT TO, and 250 after DATA once the sealed message is durable
`,
  );
  assert.equal(
    await said('forms@clinic.example', 'ben@clinic.example'),
    `ben@clinic.example
${tried}  decision     refuse, by the rule inside
  certificate  none that can be used
               not used: SHA-256 cc33
                 for signing only
                 P-256, 2026-01-01 to 2027-01-01, in files: ben.pem
                 CN=Anna, signed by CN=CA
               asked files: found
  reply        550 5.7.1 no usable certificate for that recipient, and mail in clear is not allowed: rule inside
`,
  );
  assert.equal(
    await said('forms@clinic.example', 'carla@clinic.example'),
    `carla@clinic.example
${tried}  decision     retry, by the rule inside
  certificate  unavailable: ldap gives no usable answer
               asked ldap: unavailable
                 connect ECONNREFUSED
  reply        451 4.4.3 the certificate look-up is unavailable, please try again later: rule inside
`,
  );
  assert.equal(
    await said(null, 'dora@clinic.example'),
    `dora@clinic.example
  rules        no-bounces: yes, the sender matches <>
  decision     refuse, by the rule no-bounces
  certificate  not looked up
  reply        550 5.7.1 a rule of this relay refuses that: no bounces here
`,
  );
  assert.equal(
    await said('x@third.example', 'y@other.example'),
    `y@other.example
  rules        no-bounces: no, the sender does not match <>
               elsewhere: no, the sender does not match *@clinic.example
               inside: no, the recipient does not match *@clinic.example, *@*.clinic.example
               no rule matches
  decision     refuse
  certificate  not looked up
  reply        550 5.7.1 a rule of this relay refuses that: no rule matches
`,
  );
});

test('explain tells what else the rule changes', async (t) => {
  const folder = await temporaryFolder(t);
  const keys = 'from: { replace: "F <f@clinic.example>" }, envelope_from: b@clinic.example, message_id: per_recipient';
  await writeFile(path.join(folder, 'a.yaml'), `rules:\n  - { name: a, then: seal, subject: keep, ${keys} }\n`);
  const rules = await loadRules(folder);
  const account = await explain(rules, book, { sender: mailbox('x@third.example'), recipient: mailbox('anna@clinic.example') });
  const lines = showAccount(account).split('\n');
  assert.ok(
    lines.includes('  from         F <f@clinic.example>; the original stands inside the seal, and in Reply-To where the message has none'),
  );
  assert.ok(lines.includes('  envelope     MAIL FROM:<b@clinic.example> towards the upstream'));
  assert.ok(lines.includes('  message-id   one of this recipient alone; the original stands inside the seal, and last in References'));
  const bounce = await explain(rules, book, { sender: null, recipient: mailbox('anna@clinic.example') });
  assert.deepEqual(bounce.changes, {
    from: { replace: 'F <f@clinic.example>', original: 'reply_to' },
    envelope_from: null,
    message_id: 'per_recipient',
  });
});

test('explain on the command line, for people and for programs', async (t) => {
  const folder = await temporaryFolder(t);
  assert.equal((await sealpost(folder, ['init'])).exit, 0);
  await writeFile(path.join(folder, 'policies/10-own.yaml'), rulesText);
  const people = await sealpost(folder, ['explain', '--from', '<>', '--to', 'Anna@Clinic.Example', 'b@B.example']);
  const account = (recipient: string): string => `${recipient}
  rules        no-bounces: yes, the sender matches <>
  decision     refuse, by the rule no-bounces
  certificate  not looked up
  reply        550 5.7.1 a rule of this relay refuses that: no bounces here
`;
  assert.deepEqual(people, { exit: 0, stderr: '', stdout: `${account('Anna@clinic.example')}\n${account('b@b.example')}` });
  const programs = await sealpost(folder, ['explain', '--json', '--from', '<>', '--to', 'b@b.example']);
  const read: unknown = JSON.parse(programs.stdout);
  assert.deepEqual(read, [
    {
      recipient: 'b@b.example',
      rules: [{ rule: 'no-bounces', match: 'matches', because: 'the sender matches <>' }],
      decision: 'refuse',
      rule: 'no-bounces',
      certificate: { state: 'not asked', by: null, addresses: [], notes: [] },
      subject: null,
      changes: null,
      reply: '550 5.7.1 a rule of this relay refuses that: no bounces here',
    },
  ]);
});

test('a command line that is not right says how to write it, and exits 2', async (t) => {
  const folder = await temporaryFolder(t);
  assert.deepEqual(await sealpost(folder, ['explain', '--from', 'forms', '--to', 'a@b.example']), {
    exit: 2,
    stdout: '',
    stderr: `sealpost: that command line is not right: --from "forms": no @ in it
  hint: write it as --from anna@clinic.example, or --from '<>' for the null sender
`,
  });
  const missing = await sealpost(folder, ['explain', '--from', 'a@b.example']);
  assert.equal(missing.exit, 2);
  assert.match(missing.stderr, /required option '--to <address...>' not specified/);
});
