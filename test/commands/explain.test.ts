import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import type { Chosen, Lookup } from '../../src/certificates/directory.ts';
import { type Account, explain } from '../../src/commands/explain/account.ts';
import { assume, type Told } from '../../src/commands/explain/assumed.ts';
import { sayNotTaken, signingFaults } from '../../src/commands/explain/site.ts';
import { showAccount } from '../../src/commands/explain/show.ts';
import { parseMailbox } from '../../src/message/envelope.ts';
import type { Mailbox } from '../../src/message/envelope.ts';
import { makeRuleSet, type Rule } from '../../src/policy/decide.ts';
import { loadRules } from '../../src/policy/rules.ts';
import { ALWAYS, type Condition } from '../../src/policy/condition.ts';
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

const words = { held: ['kept under the hold certificate'], passed: ['by 127.0.0.1:25 alone'] };
const formFor = () => ({ cipher: 'aes-256-cbc', keyTransport: 'rsaes-pkcs1' }) as const;

async function accountFor(rules: readonly Rule[], sender: string | null, recipient: string, told: Told = {}): Promise<Account> {
  const parties = { sender: sender === null ? null : mailbox(sender), recipient: mailbox(recipient) };
  const assumed = await assume(told, parties.sender);
  const question = { ...parties, client: { address: '127.0.0.1', user: null }, size: null, content: assumed?.content };
  return explain({ rules: makeRuleSet(rules), addressBook: book, formFor }, question);
}

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
    showAccount(await accountFor(rules, sender, recipient), words);

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
  sealed with  aes-256-cbc, its key by ecdh
  at RCPT      250 recipient taken
  after DATA   250 queued as QUEUE-ID
`,
  );
  assert.equal(
    await said('forms@clinic.example', 'ben@clinic.example'),
    `ben@clinic.example
${tried}  decision     refuse, by the rule inside: no usable certificate
  certificate  none that can be used
               not used: SHA-256 cc33
                 for signing only
                 P-256, 2026-01-01 to 2027-01-01, in files: ben.pem
                 CN=Anna, signed by CN=CA
               asked files: found
  at RCPT      550 5.7.1 no usable certificate for that recipient, and mail in clear is not allowed: rule inside
`,
  );
  assert.equal(
    await said('forms@clinic.example', 'carla@clinic.example'),
    `carla@clinic.example
${tried}  decision     retry, by the rule inside
  certificate  unavailable: ldap gives no usable answer
               asked ldap: unavailable
                 connect ECONNREFUSED
  at RCPT      451 4.4.3 the certificate look-up is unavailable, please try again later: rule inside
`,
  );
  assert.equal(
    await said(null, 'dora@clinic.example'),
    `dora@clinic.example
  rules        no-bounces: yes, the sender matches <>
  decision     refuse, by the rule no-bounces
  certificate  not looked up
  at RCPT      550 5.7.1 a rule of this relay refuses that: no bounces here (rule no-bounces)
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
  at RCPT      550 5.7.1 a rule of this relay refuses that: no rule matches
`,
  );
});

const asking = (when: Condition, over: Partial<Rule> = {}): Rule => ({
  name: 'asking',
  when,
  then: 'seal',
  missing: 'refuse',
  unavailable: 'retry',
  subject: { kind: 'keep' },
  ...over,
});
const aboutSubject: Condition = { kind: 'subject', pattern: { source: '/intake/i', matches: (text) => /intake/i.test(text) } };
const unless: Rule = { ...asking(ALWAYS), name: 'else', then: 'refuse' };

test('before the header is told, explain says what is open and what would settle it', async () => {
  const rules = [asking(aboutSubject), unless];
  const shown = showAccount(await accountFor(rules, 'x@third.example', 'anna@clinic.example'), words);
  assert.match(shown, /^ {2}rules {8}asking: not known yet, the Subject needs the header: give --subject or --message$/m);
  assert.match(
    shown,
    /^ {2}decision {5}open until the header is known: .*\n {15} {2}seal, by the rule asking\n {15} {2}refuse, by the rule else if/m,
  );
  assert.match(shown, /^ {2}at RCPT {6}250 recipient taken$/m);
  assert.doesNotMatch(shown, /after DATA/);
  const told = await accountFor(rules, 'x@third.example', 'anna@clinic.example', { subject: 'New INTAKE form' });
  assert.deepEqual([told.decision, told.rule, told.rules[0]?.because], ['seal', 'asking', 'the Subject matches /intake/i']);
  const other = await accountFor(rules, 'x@third.example', 'anna@clinic.example', { subject: 'Lunch' });
  assert.deepEqual([other.decision, other.rule, other.at], ['refuse', 'else', 'data'], 'the header decides, so DATA tells');
  assert.match(showAccount(other, words), /^ {2}asking|asking: no, the Subject does not match \/intake\/i$/m);
  assert.match(showAccount(other, words), /^ {2}at RCPT {6}250 .*\n {2}after DATA {3}550 5\.7\.1 .*rule else$/m);
});

test('what is in doubt is sealed, and explain says that it is in doubt (A13)', async () => {
  // Two Subjects, of which one matches: each reader shows the one or the other.
  const both: Told = { subject: 'intake', headers: ['Subject: lunch'] };
  const sealed = await accountFor([asking(aboutSubject), unless], 'x@third.example', 'anna@clinic.example', both);
  assert.deepEqual([sealed.decision, sealed.rules[0]?.match], ['seal', 'unclear']);
  const shown = showAccount(sealed, words);
  assert.match(shown, /asking: unclear, the Subject is unclear: it matches \/intake\/i in one reading and not in another$/m);
  assert.match(shown, /in doubt, and what is in doubt is sealed$/m);
  const rules = [
    asking(aboutSubject, { then: 'refuse' }),
    asking(ALWAYS, { name: 'clear', then: 'pass' }),
    asking(ALWAYS, { name: 'last' }),
  ];
  const passed = await accountFor(rules, 'x@third.example', 'anna@clinic.example', both);
  assert.deepEqual([passed.decision, passed.rule], ['seal', 'last'], 'no clear mail behind a doubt');
  assert.match(showAccount(passed, words), /clear: yes, it matches all mail \(in doubt: it decides nothing\)$/m);
});

test('conditions within conditions are told by what decides them', async () => {
  const client: Condition = { kind: 'client', source: '10.0.0.0/8', matches: () => false };
  const size: Condition = { kind: 'size', over: 10 * 1024 * 1024 };
  const rules = [asking({ kind: 'any', of: [client, size, aboutSubject] }), asking({ kind: 'not', of: aboutSubject }, { name: 'other' })];
  const { rules: traced } = await accountFor(rules, 'x@third.example', 'anna@clinic.example', { subject: 'lunch' });
  assert.deepEqual(
    traced.map(({ rule, match, because }) => [rule, match, because]),
    [
      [
        'asking',
        'no',
        'one of (the client does not match 10.0.0.0/8, the declared size is not over 10MiB, the Subject does not match /intake/i)',
      ],
      ['other', 'yes', 'the Subject does not match /intake/i'],
    ],
  );
});

test('held and passed mail: where it waits, and who may take it', async () => {
  const hold = await accountFor([asking(ALWAYS, { missing: 'hold' })], 'x@third.example', 'ben@clinic.example');
  assert.deepEqual([hold.decision, hold.because, hold.replies.data], ['hold', 'missing', '250 queued as QUEUE-ID']);
  assert.match(showAccount(hold, words), /hold, by the rule asking: no usable certificate\n {15}kept under the hold certificate$/m);
  const pass = await accountFor([asking(ALWAYS, { then: 'pass' })], 'x@third.example', 'dora@clinic.example');
  assert.equal(pass.certificate.state, 'not asked');
  assert.match(showAccount(pass, words), /pass, by the rule asking\n {15}by 127\.0\.0\.1:25 alone$/m);
});

test('a copy for the archive that cannot be made is told as the relay tells it: no 250 (P5, P7)', async () => {
  const to = (archive: string, over: Partial<Rule> = {}) =>
    accountFor([asking(ALWAYS, { archive: mailbox(archive), ...over })], 'x@third.example', 'anna@clinic.example', {});
  const none = await to('ben@clinic.example');
  assert.deepEqual([none.decision, none.because, none.at, none.archive_copy?.becomes], ['retry', 'archive', 'data', 'retry']);
  assert.match(none.replies.data ?? '', /^451 4\.3\.0 the message is to be archived and cannot be.*rule asking$/);
  assert.match(
    showAccount(none, words),
    /^ {2}archive {6}ben@clinic\.example has no usable certificate: the whole message is refused for the time being\n {17}none that can be used/m,
  );
  const held = await to('ben@clinic.example', { missing: 'hold' });
  assert.deepEqual([held.decision, held.archive_copy?.becomes], ['seal', 'hold']);
  assert.match(showAccount(held, words), /^ {2}archive .*: its copy is held$/m);
  const down = await to('carla@clinic.example', { then: 'pass' });
  assert.deepEqual([down.decision, down.archive_copy?.because], ['retry', 'unavailable']);
  const made = await to('anna@clinic.example');
  assert.deepEqual([made.decision, made.archive_copy?.becomes, made.replies.data], ['seal', 'seal', '250 queued as QUEUE-ID']);
});

test('rules that sign as an identity that the site has not are told as not taken', async () => {
  const sign = { identity: 'clinic', form: 'detached', recode: 'none' } as const;
  const config = { file: 'f', hold: { maxAge: 1000 }, identities: [], keys: '/nowhere', policies: 'policies' };
  const rules = [asking(ALWAYS, { sign, from: { replace: { name: '', mailbox: mailbox('a@b.example') }, original: 'inside' } })];
  assert.equal(
    sayNotTaken(await signingFaults(config, rules, {})),
    'sealpost: the relay does not take these rules as they are:\npolicies: sign: the rule asking signs as clinic, which is none of identities\n  mend: declare it there\n',
  );
  assert.equal(sayNotTaken(await signingFaults(config, [asking(ALWAYS)], {})), '');
});

test('explain tells what else the rule changes', async (t) => {
  const folder = await temporaryFolder(t);
  const keys = 'from: { replace: "F <f@clinic.example>" }, envelope_from: b@clinic.example, message_id: per_recipient';
  await writeFile(path.join(folder, 'a.yaml'), `rules:\n  - { name: a, then: seal, subject: keep, ${keys} }\n`);
  const rules = await loadRules(folder);
  const account = await accountFor(rules, 'x@third.example', 'anna@clinic.example');
  const lines = showAccount(account, words).split('\n');
  assert.ok(
    lines.includes('  from         F <f@clinic.example>; the original stands inside the seal, and in Reply-To where the message has none'),
  );
  assert.ok(lines.includes('  envelope     MAIL FROM:<b@clinic.example> towards the upstream'));
  assert.ok(lines.includes('  message-id   one of this recipient alone; the original stands inside the seal, and last in References'));
  const bounce = await accountFor(rules, null, 'anna@clinic.example');
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
  at RCPT      550 5.7.1 a rule of this relay refuses that: no bounces here (rule no-bounces)
`;
  assert.deepEqual(people, { exit: 0, stderr: '', stdout: `${account('Anna@clinic.example')}\n${account('b@b.example')}` });
  const programs = await sealpost(folder, ['explain', '--json', '--from', '<>', '--to', 'b@b.example']);
  const read: unknown = JSON.parse(programs.stdout);
  assert.deepEqual(read, [
    {
      recipient: 'b@b.example',
      rules: [
        {
          rule: 'no-bounces',
          match: 'yes',
          because: 'the sender matches <>',
          conditions: [{ condition: 'sender', match: 'yes', because: 'the sender matches <>' }],
        },
      ],
      decision: 'refuse',
      rule: 'no-bounces',
      because: 'rule',
      at: 'rcpt',
      open: [],
      certificate: { state: 'not asked', by: null, addresses: [], notes: [] },
      subject: null,
      changes: null,
      algorithms: null,
      signed: null,
      archive: null,
      archive_copy: null,
      replies: { rcpt: '550 5.7.1 a rule of this relay refuses that: no bounces here (rule no-bounces)', data: null },
    },
  ]);
});

test('a message that is there is read as the relay reads it, and its size is what a client would declare', async (t) => {
  const folder = await temporaryFolder(t);
  const file = path.join(folder, 'form.eml');
  await writeFile(file, 'From: a@b.example\nSubject: =?utf-8?q?f=C3=BCr?= Anna\n\nbody\n');
  const assumed = await assume({ message: file }, null);
  assert.equal(assumed?.size, Buffer.byteLength('From: a@b.example\r\nSubject: =?utf-8?q?f=C3=BCr?= Anna\r\n\r\nbody\r\n'));
  assert.deepEqual(assumed.content.from, mailbox('a@b.example'));
  await assert.rejects(assume({ message: path.join(folder, 'none.eml') }, null), /none\.eml/);
  await assert.rejects(assume({ headers: ['X: a\r\nBcc: b@c.example'] }, null), /no header field/, 'a line end would begin another field');
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
