/**
 * A2: what smuggles, through the relay and out to Debian's Postfix, which takes a bare LF for a line end. A tee between the two keeps
 * every octet; behind Postfix an upstream counts what it made of it.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPostfix, startPostfix } from '../interop/postfix.ts';
import { missingPrograms } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import { startTee } from '../interop/tee.ts';
import { makeSite } from './site.ts';
import { keepingUpstream } from './upstream.ts';

const SMUGGLED = 'MAIL FROM:<smuggler@evil.example>\r\nRCPT TO:<victim@evil.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled';
/** What some server somewhere took for the end of a message; the dots are as they are sent. */
const ends = [
  '\n.\n',
  '\n.\r\n',
  '\r\n.\n',
  '\r.\r',
  '\r.\r\n',
  '\r\n.\r',
  '\n.\r',
  '\r.\n',
  '\n\n.\n\n',
  '\r\r.\r\r',
  '\r\n..\r\n',
  '\n..\n',
  '\r\n.\r\r\n',
];
/** Fields that are copied outside, with what could end a header or a message in them. */
const fields = [
  'Subject: a\r\n .\r\n x',
  'Subject: a\r\n\t.\r\n MAIL FROM:<smuggler@evil.example>',
  'Subject: a\n .\n x',
  'Subject: a\r.\rMAIL FROM:<smuggler@evil.example>',
  'Subject: =?utf-8?q?a=0D=0A=2E=0D=0AMAIL_FROM:<smuggler@evil.example>?=',
  'From: "a\r\n .\r\n" <forms@clinic.example>',
  'References: <a@b>\r\n .\r\n <c@d>',
];

const program = missingPostfix() ?? missingPrograms({ openssl: 'openssl' }) ?? false;

interface Outcome {
  readonly accepted: number;
  readonly wire: string;
  readonly recipients: readonly string[];
  readonly opened: readonly string[];
}

const keep = { name: 'shown', then: 'seal', subject: 'keep', missing: 'refuse' };

/** Sends each message, header and body as they stand, and waits until Postfix handed on as many as were answered 250. */
async function sendAll(t: TestContext, messages: readonly string[], rule: Readonly<Record<string, unknown>> = keep): Promise<Outcome> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-smuggling-'));
  const last = await keepingUpstream(t);
  const postfix = await startPostfix({ relayTo: last, dir, settings: { smtpd_forbid_bare_newline: 'no' } });
  t.after(async () => {
    await postfix.stop();
    await rm(dir, { recursive: true, force: true });
  });
  const tee = await startTee({ to: postfix.port });
  t.after(() => tee[Symbol.asyncDispose]());
  const site = await makeSite(t, { upstreamPort: tee.port, rules: [rule] });
  const relay = await site.serve();
  let accepted = 0;
  for (const message of messages) {
    const client = await dialogue(relay.port);
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
    await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
    await client.ask('DATA', /^354/);
    client.send(`${message}\r\n.\r\n`);
    const [reply = ''] = await client.expect(/^(250|550) /);
    if (reply.startsWith('250')) accepted++;
    // One reply for one message: nothing of it was read as a command.
    await client.ask('NOOP', /^250/);
    client.close();
  }
  await until('Postfix hands on what it was given', () => last.deliveries().length >= accepted, 60_000);
  await relay.stop();
  const reader = await openssl.start(site.readers);
  const opened: string[] = [];
  for (const { octets } of last.deliveries())
    opened.push((rule['then'] === 'pass' ? octets : await reader.open(octets, site.readers.people.anna)).toString('latin1'));
  assert.ok(!(await postfix.log()).includes('evil.example'));
  return { accepted, wire: tee.sent().toString('latin1'), recipients: last.deliveries().map(({ recipient }) => recipient), opened };
}

/** One DATA and one end a message, CRLF alone, no line that begins with one dot but the ends. */
function assertOneEach({ accepted, wire, recipients }: Outcome): void {
  assert.deepEqual(new Set(recipients), new Set(['anna@clinic.example']));
  assert.equal(recipients.length, accepted);
  assert.doesNotMatch(wire, /\r(?!\n)|(?<!\r)\n/, 'a bare CR or LF');
  const lines = wire.split('\r\n');
  const count = (line: string): number => lines.filter((one) => one === line).length;
  assert.equal(count('DATA'), accepted);
  assert.equal(count('.'), accepted);
  assert.ok(!lines.some((line) => /^\.[^.]/.test(line)));
}

test('A2: bodies with every end of data that some server knows stay one message each', { skip: program }, async (t) => {
  const header = 'From: forms@clinic.example\r\nTo: anna@clinic.example\r\nSubject: form\r\n\r\nlead';
  const outcome = await sendAll(
    t,
    ends.map((end) => `${header}${end}${SMUGGLED}`),
  );
  assert.equal(outcome.accepted, ends.length);
  assertOneEach(outcome);
  for (const inner of outcome.opened) {
    assert.match(inner, /smuggled$/m);
    assert.ok(inner.includes('smuggler@evil.example'), 'it is inside, for the reader to see');
  }
  assert.ok(!outcome.wire.includes('evil.example'));
});

test('A2: dots, line ends and commands in fields that are copied outside end nothing', { skip: program }, async (t) => {
  const outcome = await sendAll(
    t,
    fields.map((field) => `${field}\r\nTo: anna@clinic.example\r\n\r\nbody`),
  );
  assert.ok(outcome.accepted >= fields.length - 1, `${outcome.accepted} were taken`);
  assertOneEach(outcome);
  assert.doesNotMatch(outcome.wire, /^MAIL FROM:<smuggler/m);
  assert.doesNotMatch(outcome.wire, /^RCPT TO:<victim/m);
});

test(
  'A2: in clear by a rule: what has a bare CR or LF is refused, all else stays one message, its dots stuffed',
  { skip: program },
  async (t) => {
    const header = 'From: forms@clinic.example\r\nTo: anna@clinic.example\r\nSubject: form\r\n\r\nlead';
    const proper = ['\r\n..\r\n', '\r\n...\r\n', '\r\n..\r\n..\r\n'];
    const messages = [...proper, ...ends].map((end) => `${header}${end}${SMUGGLED}`);
    const folded = fields.map((field) => `${field}\r\nTo: anna@clinic.example\r\n\r\nbody`);
    const outcome = await sendAll(t, [...messages, ...folded], { name: 'news', when: { sender: '*@clinic.example' }, then: 'pass' });
    const bare = /\r(?!\n)|(?<!\r)\n/;
    assert.equal(outcome.accepted, [...messages, ...folded].filter((message) => !bare.test(message)).length);
    assert.deepEqual(new Set(outcome.recipients), new Set(['anna@clinic.example']));
    assert.equal(outcome.recipients.length, outcome.accepted);
    assert.doesNotMatch(outcome.wire, bare);
    const lines = outcome.wire.split('\r\n');
    assert.equal(lines.filter((line) => line === '.').length, outcome.accepted, 'one end each');
    assert.ok(!lines.some((line) => /^\.[^.]/.test(line)));
    assert.equal(outcome.opened.filter((octets) => octets.includes('smuggled\r\n')).length, proper.length + 1, 'as text, in its message');
  },
);
