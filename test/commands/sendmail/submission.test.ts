/** What `sealpost sendmail` says to the relay, and how it takes what the relay says: a scripted peer stands in its place. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { sendmail } from '../../../src/commands/sendmail.ts';
import { converse, type Replies, scriptedUpstream, type Transcript } from '../../delivery/peer.ts';

const MESSAGE = 'To: anna@clinic.example\nBcc: otto@clinic.example\nResent-Bcc: x@clinic.example\nSubject: x\n\nbody\n';

interface Said extends Transcript {
  readonly exit: number;
  readonly stderr: string;
}

async function run(t: TestContext, words: readonly string[], replies: Replies = {}, input: Readable | string = MESSAGE): Promise<Said> {
  const transcript: Transcript = { commands: [], messages: [] };
  await using relay = await scriptedUpstream((peer) => converse(peer, replies, transcript));
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-sendmail-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'sealpost.yaml');
  const listen = [
    { host: '192.0.2.1', port: 25 },
    { host: '0.0.0.0', port: relay.port },
  ];
  const upstream = [{ host: '127.0.0.1', port: 26 }];
  await writeFile(file, JSON.stringify({ hostname: 'relay.example', operator: 'o@relay.example', listen, upstream }));
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const stdin = typeof input === 'string' ? Readable.from([Buffer.from(input)]) : input;
  const exit = await sendmail(words, file, { stdin, stdout, stderr, env: {}, cwd: '/', colour: false });
  return { exit, stderr: String(stderr.read() ?? ''), ...transcript };
}

const DSN = { ehlo: '250-relay\r\n250-DSN\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n' };
const ASKED = ['-N', 'failure,delay', '-R', 'hdrs', '-V', 'QQ 314', '-B', '8bitmime', '-f', 'forms@clinic.example'];

test('A16 Bcc is not even told to the relay', async (t) => {
  const { exit, commands, messages } = await run(t, ['-i', 'anna@clinic.example']);
  assert.equal(exit, 0);
  assert.deepEqual(commands.slice(1), [commands[1], 'RCPT TO:<anna@clinic.example>', 'DATA', 'QUIT']);
  assert.equal(messages[0]?.toString(), 'To: anna@clinic.example\r\nSubject: x\r\n\r\nbody\r\n.\r\n');
});

test('NOTIFY, RET, ENVID and BODY are passed on where the relay offers them, and else kept back', async (t) => {
  const offered = await run(t, [...ASKED, 'anna@clinic.example'], DSN);
  assert.deepEqual(offered.commands.slice(1, 3), [
    'MAIL FROM:<forms@clinic.example> BODY=8BITMIME RET=HDRS ENVID=QQ+20314',
    'RCPT TO:<anna@clinic.example> NOTIFY=FAILURE,DELAY',
  ]);
  const without = await run(t, [...ASKED, 'anna@clinic.example']);
  assert.deepEqual(without.commands.slice(1, 3), ['MAIL FROM:<forms@clinic.example>', 'RCPT TO:<anna@clinic.example>']);
});

test('an address outside ASCII asks for SMTPUTF8', async (t) => {
  const { commands } = await run(t, ['-f', 'forms@clinic.example', 'j\u00f6rg@clinic.example'], DSN);
  assert.equal(commands[1], 'MAIL FROM:<forms@clinic.example> SMTPUTF8');
});

test('the null sender, and a sender without a domain', async (t) => {
  assert.equal((await run(t, ['-f', '<>', 'a@b.example'])).commands[1], 'MAIL FROM:<>');
  assert.equal((await run(t, ['-f', '', 'a@b.example'])).commands[1], 'MAIL FROM:<>');
  assert.equal((await run(t, ['-fwww-data', 'a@b.example'])).commands[1], 'MAIL FROM:<www-data@relay.example>');
  assert.equal((await run(t, ['-f', 'Form <f@b.example>', 'a@b.example'])).commands[1], 'MAIL FROM:<f@b.example>');
});

const refusals: readonly (readonly [what: string, replies: Replies, exit: number, said: RegExp])[] = [
  ['a sender refused', { mail: '550 5.7.1 not from you\r\n' }, 77, /550 5\.7\.1 not from you .*nothing was sent/],
  ['a login wanted', { mail: '530 5.7.0 log in\r\n' }, 77, /530/],
  ['a recipient refused', { rcpt: '550 5.7.1 no certificate\r\n' }, 67, /550.*nothing was sent to anybody/],
  ['a recipient put off', { rcpt: '451 4.4.3 later\r\n' }, 69, /451.*try again later/],
  ['too many recipients', { rcpt: '452 4.5.3 too many\r\n' }, 69, /452/],
  ['DATA refused', { data: '554 5.5.1 no\r\n' }, 65, /554/],
  ['the message refused', { dot: '552 5.3.4 too big\r\n' }, 65, /552/],
  ['the message put off', { dot: '452 4.3.1 no room\r\n' }, 69, /452.*nothing was sent/],
  ['no greeting', { greeting: undefined }, 69, /cannot be reached/],
  ['a full relay', { greeting: '421 4.7.0 too many connections\r\n' }, 69, /421 4\.7\.0/],
  ['something else on the port', { greeting: 'SSH-2.0-x\r\n' }, 69, /nothing was sent/],
  ['the relay gone at RCPT', { rcpt: undefined }, 69, /nothing was sent/],
  ['the relay gone behind the dot', { dot: undefined }, 69, /the relay may have the message/],
];

for (const [what, replies, exit, said] of refusals) {
  test(`P7 ${what} is exit ${exit}, in one line`, async (t) => {
    const { exit: status, stderr } = await run(t, ['-f', 'f@b.example', 'a@b.example'], replies);
    assert.equal(status, exit, stderr);
    assert.match(stderr, /^sendmail: [^\n]* \(hint: [^\n]*\)\n$/);
    assert.match(stderr, said);
    assert.ok(exit === 69 && /may have/.test(String(said)) ? !stderr.includes('nothing was sent') : true);
  });
}

test('P1 a standard input that fails in the middle is no message: no dot is sent', async (t) => {
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from(`Subject: x\n\n${'text\n'.repeat(100_000)}`);
      throw new Error('gone');
    })(),
  );
  const { exit, messages, stderr } = await run(t, ['-i', 'a@b.example'], {}, broken);
  assert.equal(exit, 66, stderr);
  assert.deepEqual(messages, []);
});

test('A9 a name of -F and addresses with line ends make no field and no command', async (t) => {
  const { messages } = await run(t, ['-f', 'f@b.example', '-F', 'x\r\nBcc: y@b.example', 'a@b.example'], {}, 'Subject: x\n\n');
  assert.match(messages[0]?.toString() ?? '', /^From: "x Bcc: y@b\.example" <f@b\.example>\r\nSubject: x\r\n\r\n/);
  for (const words of [['a@b.example\r\nRCPT TO:<e@evil.example>'], ['-f', 'f@b.example>\r\nRCPT TO:<e@evil.example', 'a@b.example']]) {
    const { exit, commands } = await run(t, words);
    assert.equal(exit, 65);
    assert.deepEqual(commands, []);
  }
});
