/** Who is told of what, in what words, and how often; A17, A18. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { causes, whyOf, type Cause } from '../../src/delivery/cause.ts';
import { conclude } from '../../src/delivery/conclude.ts';
import { identityOf, readFacts, writeFacts, type NoticeFacts } from '../../src/delivery/facts.ts';
import { composeNotice } from '../../src/delivery/notice.ts';
import { makeNotices, type NoticeOptions } from '../../src/delivery/notices.ts';
import { makeReply } from '../../src/delivery/reply.ts';
import type { Result } from '../../src/delivery/result.ts';
import { makeWindow } from '../../src/delivery/window.ts';
import { SealpostError } from '../../src/errors.ts';
import { parsePattern } from '../../src/message/pattern.ts';
import type { Lease } from '../../src/queue/queue.ts';
import { MemoryQueue, type NewRow } from './memory-queue.ts';
import { converse, scriptedUpstream, type Transcript } from './peer.ts';
import { missingReportReader, readReport } from '../interop/report.ts';
import { running, upstreamAt } from './surroundings.ts';

const NOW = Date.UTC(2026, 10, 23, 9);
const HOUR = 3_600_000;
const CANARY = 'canary-51c0';

const rejected = (code: number, text: string): Result => ({
  kind: 'rejected',
  permanent: code >= 500,
  phase: 'rcpt',
  reply: makeReply(code, [text]),
});
const refused = rejected(550, `5.1.1 ${CANARY}`);
const later = rejected(451, `4.2.0 ${CANARY}`);
const taken = { kind: 'delivered', reply: makeReply(250, ['2.0.0 ok']), tls: null, dsn: false } as const satisfies Result;

function domain(text: string) {
  const verdict = parsePattern(`*@${text}`);
  return verdict.kind === 'pattern' ? verdict.pattern : undefined;
}

const clear: NoticeOptions['sealer'] = { seal: async (notice) => notice };

function makeTeller(more: Partial<NoticeOptions> = {}) {
  let ids = 0;
  return makeNotices({
    hostname: 'relay.example',
    operator: 'postmaster@clinic.example',
    domains: domain('clinic.example'),
    delay: 4 * HOUR,
    rate: { count: 100, per: HOUR },
    maxAge: 120 * HOUR,
    sealer: clear,
    newId: () => `n${++ids}`,
    now: () => NOW,
    elapsed: () => 0,
    log: pino({ level: 'silent' }),
    ...more,
  });
}

const leaseOf = (row: NewRow = {}): Lease => new MemoryQueue().add({ acceptedAt: NOW - HOUR, ...row }).lease;

/** What is told of one attempt: who reads it, and what the audit log says beside the outcome. */
function tell(result: Result, row: NewRow = {}, notices = makeTeller()) {
  const lease = leaseOf(row);
  const retry = { maxAge: 120 * HOUR, first: 60_000, longest: HOUR };
  const told = notices.tell(lease, result, conclude(lease, { upstream: 'mx:25', result, again: 0 }, { retry, now: NOW, random: () => 0 }));
  const notice = told.telling?.notice;
  return {
    readers: notice?.recipients.map(({ address }) => address) ?? [],
    ofDelay: told.telling?.ofDelay,
    facts: typeof notice?.notice === 'string' ? readFacts(notice.notice) : undefined,
    note: told.events.find((event) => event.event === told.outcome.kind)?.['notice'],
    written: told.events.filter(({ event }) => event === 'notice').map(({ recipient }) => recipient),
    notice,
  };
}

const OPERATOR = 'postmaster@clinic.example';
const SENDER = 'forms@clinic.example';
const USER = 'web@users.example';
const old = NOW - 5 * HOUR;

test('A18 who is told: senders of our domains, else the user who logged in, and the operator; nobody of the null sender', () => {
  const cases: readonly (readonly [string, Result, NewRow, readonly string[]])[] = [
    ['refused', refused, {}, [SENDER, OPERATOR]],
    ['forged', refused, { sender: 'visitor@gmail.example' }, [OPERATOR]],
    ['a domain below ours is not ours', refused, { sender: 'a@sub.clinic.example' }, [OPERATOR]],
    ['the user', refused, { sender: 'visitor@gmail.example', asked: { submitter: USER } }, [USER, OPERATOR]],
    ['the sender before the user', refused, { asked: { submitter: USER } }, [SENDER, OPERATOR]],
    ['operator and sender are one', refused, { sender: 'Postmaster@CLINIC.example' }, ['postmaster@clinic.example']],
    [
      'the sender as accepted, not as replaced',
      refused,
      { sender: 'bounce@clinic.example', asked: { originalSender: SENDER } },
      [SENDER, OPERATOR],
    ],
    ['null', refused, { sender: '' }, []],
    ['null, with a user', refused, { sender: '', asked: { submitter: USER } }, []],
    ['a notice', refused, { sender: '', notice: '{}' }, []],
    ['NEVER', refused, { asked: { notify: new Set() } }, [OPERATOR]],
    ['without FAILURE', refused, { asked: { notify: new Set(['success', 'delay']) } }, [OPERATOR]],
    ['with FAILURE', refused, { asked: { notify: new Set(['failure']) } }, [SENDER, OPERATOR]],
    ['NEVER holds for the user too', refused, { sender: 'v@gmail.example', asked: { submitter: USER, notify: new Set() } }, [OPERATOR]],
    ['young', later, {}, []],
    ['late', later, { acceptedAt: old }, [SENDER, OPERATOR]],
    ['late and told', later, { acceptedAt: old, asked: { delayNoticed: true } }, []],
    ['late without DELAY', later, { acceptedAt: old, asked: { notify: new Set(['failure']) } }, [OPERATOR]],
    ['late, null', later, { acceptedAt: old, sender: '' }, []],
    ['from the future', later, { acceptedAt: NOW + HOUR }, []],
    ['stopped', { kind: 'failed', phase: 'body', cause: new SealpostError('shutting-down') }, { acceptedAt: old }, []],
    ['delivered', taken, {}, []],
    ['SUCCESS', taken, { asked: { notify: new Set(['success']) } }, [SENDER]],
    ['SUCCESS, an upstream with DSN', { ...taken, dsn: true }, { asked: { notify: new Set(['success']) } }, []],
    ['SUCCESS, forged', taken, { sender: 'visitor@gmail.example', asked: { notify: new Set(['success']) } }, []],
    ['damaged', { kind: 'failed', phase: 'body', cause: new SealpostError('queue-item-damaged') }, {}, []],
    ['a sender that the disk changed', refused, { sender: 'forms@@' }, [OPERATOR]],
  ];
  for (const [what, result, row, readers] of cases) {
    const told = tell(result, row);
    assert.deepEqual(
      told.readers.map((one) => one.toLowerCase()),
      readers,
      what,
    );
    assert.deepEqual(
      told.written.map((one) => one?.toLowerCase()),
      readers,
      what,
    );
  }
  assert.equal(tell(refused, { sender: 'v@gmail.example' }, makeTeller({ domains: undefined })).readers.join(), OPERATOR);
  assert.equal(tell(refused, {}, makeTeller({ domains: undefined })).readers.join(), OPERATOR, 'no domain is ours where none is named');
});

test('A18 facts and never content: status, cause and times in the queue, no word of the upstream', () => {
  const header = Buffer.from(
    `Subject: ${CANARY}\r\nDate: Mon, 23 Nov 2026 08:00:00 +0000\r\nmessage-id:\r\n <a@b.example>\r\nX-Message-ID: no\r\nFrom: ${CANARY}@x.example\r\n\r\n`,
  );
  const { facts, notice, note } = tell(refused, { header, asked: { envid: 'e+2B', orcpt: 'rfc822;o@x.example' } });
  assert.deepEqual(facts, {
    kind: 'failed',
    reporter: 'relay.example',
    writtenAt: NOW,
    queueId: 'Q1',
    acceptedAt: NOW - HOUR,
    date: 'Mon, 23 Nov 2026 08:00:00 +0000',
    messageId: '<a@b.example>',
    envid: 'e+2B',
    orcpt: 'rfc822;o@x.example',
    recipient: 'r1@clinic.example',
    status: '5.1.1',
    cause: 'address-unknown',
    expired: false,
    attemptedAt: NOW,
    retryUntil: null,
  } satisfies NoticeFacts);
  assert.ok(!JSON.stringify(notice).includes(CANARY));
  assert.equal(note, 'n1');
  assert.partialDeepStrictEqual(notice, { id: 'n1', sender: '', size: 0, submitter: null, bodies: [{ length: 0 }] });
  for (const recipient of notice?.recipients ?? [])
    assert.partialDeepStrictEqual(recipient, { sender: '', notify: new Set(), orcpt: null });
  const late = tell(later, { acceptedAt: old }).facts;
  assert.deepEqual([late?.kind, late?.status, late?.retryUntil], ['delayed', '4.2.0', old + 120 * HOUR]);
});

test('a clock that jumps a month ahead makes no mail late: what counts is how long it really waited', () => {
  let [wall, elapsed] = [NOW, 0];
  const pass = (ms: number, step = 0): void => {
    wall += ms + step;
    elapsed += ms;
  };
  const notices = makeTeller({ now: () => wall, elapsed: () => elapsed });
  const kinds = (acceptedAt: number) => tell(later, { acceptedAt }, notices).facts?.kind;
  assert.equal(kinds(NOW - 5 * HOUR), 'delayed', 'accepted by an earlier process');
  const before = wall;
  pass(HOUR);
  pass(10_000, 30 * 24 * HOUR);
  assert.deepEqual([kinds(before), kinds(before + HOUR), kinds(wall)], [undefined, undefined, undefined]);
  const after = wall;
  pass(3 * HOUR);
  assert.deepEqual([kinds(before), kinds(before + HOUR), kinds(after)], ['delayed', undefined, undefined]);
  pass(HOUR + 1);
  assert.deepEqual([kinds(before + HOUR), kinds(after)], ['delayed', 'delayed']);
  // The clock is right again.
  pass(0, -30 * 24 * HOUR);
  assert.deepEqual([kinds(before), kinds(after), kinds(wall)], ['delayed', undefined, undefined]);
});

test('an upstream that wants a login is told of as late with a status that is not permanent', () => {
  assert.equal(tell(rejected(530, '5.7.0 authenticate first'), { acceptedAt: old }).facts?.status, '4.0.0');
});

test('what is given up for its age is 4.4.7, with the cause of the last attempt', () => {
  const lease = leaseOf({ acceptedAt: NOW - 200 * HOUR });
  const tired = { ...lease, attempts: 1000 };
  const conclusion = conclude(
    tired,
    { upstream: 'mx', result: later, again: 0 },
    { retry: { maxAge: HOUR, first: 1, longest: 1 }, now: NOW, random: () => 0 },
  );
  const facts = readFacts(makeTeller().tell(tired, later, conclusion).telling?.notice?.notice ?? '');
  assert.deepEqual([facts.kind, facts.status, facts.expired, facts.cause], ['failed', '4.4.7', true, 'later']);
});

test('A17 a rate holds for each mailbox and for all; what is withheld is counted, and the bounce says so', () => {
  const clock = { now: NOW };
  const notices = makeTeller({ rate: { count: 2, per: HOUR }, now: () => clock.now });
  const readers = (sender: string) => tell(refused, { sender }, notices);
  for (let n = 0; n < 2; n++) assert.deepEqual(readers(SENDER).readers, [SENDER, OPERATOR]);
  const third = readers(SENDER);
  assert.deepEqual([third.readers, third.written, third.note], [[], [], 'none, there are too many']);
  const other = readers('a@clinic.example');
  assert.deepEqual([other.readers, other.note], [['a@clinic.example'], 'n3, and others withheld']);
  assert.deepEqual(notices.counters(), { notices: 5, noticesWithheld: 3 });
  for (let n = 0; n < 30; n++) readers(`b${n}@clinic.example`);
  assert.equal(notices.counters().notices, 20, 'ten times the rate in all');
  clock.now += HOUR;
  assert.deepEqual(readers(SENDER).readers, [SENDER, OPERATOR]);
});

test('the delay of a row is told once even where all who would be told are withheld', () => {
  const notices = makeTeller({ rate: { count: 1, per: HOUR } });
  tell(refused, {}, notices);
  const { notice, ofDelay } = tell(later, { acceptedAt: old }, notices);
  assert.deepEqual([notice, ofDelay], [null, true]);
});

test('P6 a window remembers no more than its bound, and forgets what a clock ahead left', () => {
  const clock = { now: 0 };
  const window = makeWindow({ perKey: 2, inAll: 3, per: 10, now: () => clock.now });
  const take = (...keys: string[]) => keys.map((key) => window.take(key));
  assert.deepEqual(take('a', 'a', 'a', 'b', 'c'), [true, true, false, true, false]);
  clock.now = 10;
  assert.deepEqual(take('a', 'a', 'a'), [true, true, false]);
  clock.now = 3;
  assert.deepEqual(take('a', 'b'), [true, true], 'set back');
});

test('every class of reply has words of its own; unknown statuses fall back on the code', () => {
  const of = (code: number, text: string): Cause => whyOf(rejected(code, text)).cause;
  assert.equal(of(550, '5.1.1 x'), 'address-unknown');
  assert.equal(of(550, '5.1.2 x'), 'domain-unknown');
  assert.equal(of(556, '5.1.10 x'), 'domain-unknown');
  assert.equal(of(550, '5.1.8 x'), 'sender-refused');
  assert.equal(of(550, '5.2.1 x'), 'mailbox-closed');
  assert.equal(of(452, '4.2.2 x'), 'mailbox-full');
  assert.equal(of(552, '5.3.4 x'), 'too-big');
  assert.equal(of(554, '5.4.6 x'), 'loop');
  assert.equal(of(553, '5.6.7 x'), 'smtputf8');
  assert.equal(of(554, '5.6.0 x'), 'content');
  assert.equal(of(554, '5.7.26 x'), 'policy');
  assert.deepEqual(whyOf(rejected(550, 'go away')), { cause: 'refused', status: '5.0.0' });
  assert.deepEqual(whyOf(rejected(451, 'wait')), { cause: 'later', status: '4.0.0' });
  assert.deepEqual(whyOf(rejected(451, '4.9.9 wait')), { cause: 'later', status: '4.9.9' });
  const failed = (code: 'upstream-paused' | 'upstream-unverified'): Cause =>
    whyOf({ kind: 'failed', phase: 'connect', cause: new SealpostError(code) }).cause;
  assert.deepEqual([failed('upstream-paused'), failed('upstream-unverified')], ['later', 'barred']);
  // What the upstream says of the relay is not put down to the recipient.
  assert.equal(of(535, '5.7.8 authentication failed'), 'barred');
  assert.equal(of(421, '4.7.0 too many connections'), 'later');
  assert.equal(whyOf({ kind: 'unsuited', status: '5.3.4', text: 'x' }).cause, 'too-big');
  const unreachable: Result = { kind: 'failed', phase: 'connect', cause: new SealpostError('upstream-unreachable') };
  assert.deepEqual(whyOf(unreachable), { cause: 'unreachable', status: '4.4.1' });
  assert.equal(whyOf({ kind: 'failed', phase: 'connect', cause: new SealpostError('internal') }).cause, 'relay');
});

const mailboxes = fc.constantFrom(
  'a@b.example',
  '"a b"@c.example',
  'grüße@bücher.example',
  "o'brien+x=1@c.example",
  '\u{1f600}\\+=@x.example',
);
const shown = fc.option(
  fc
    .string({ unit: fc.constantFrom('a', ' ', '<', '@', '>', '"', '-', '=', '.'), minLength: 1, maxLength: 80 })
    .filter((text) => text.trim() === text),
);
const anyFacts: fc.Arbitrary<NoticeFacts> = fc.record({
  kind: fc.constantFrom('failed', 'delayed', 'relayed'),
  reporter: fc.constant('relay.example'),
  writtenAt: fc.integer({ min: 0, max: NOW }),
  queueId: fc.constant('1m83nqxc7kbkeh1'),
  acceptedAt: fc.integer({ min: 0, max: NOW }),
  date: shown,
  messageId: shown,
  envid: fc.constantFrom(null, 'a+2Bb+20c+3D', 'x'.repeat(100)),
  orcpt: fc.constantFrom(null, 'rfc822;a+2Bb@x.example', 'utf-8;\\x{FC}@x.example', `rfc822;${'y'.repeat(493)}`),
  recipient: mailboxes,
  status: fc.constantFrom('5.1.1', '4.4.7', '2.1.9'),
  cause: fc.constantFrom(...Object.keys(causes).filter((name): name is Cause => name in causes)),
  expired: fc.boolean(),
  attemptedAt: fc.integer({ min: 0, max: NOW }),
  retryUntil: fc.option(fc.integer({ min: 0, max: NOW })),
});

test('whatever the facts, a notice is ASCII in lines of CRLF, the same each time, and reads back from the queue', () => {
  fc.assert(
    fc.property(anyFacts, (facts) => {
      const notice = composeNotice(facts, { queueId: 'n1', recipient: 'anna@clinic.example' });
      assert.ok(notice.equals(composeNotice(readFacts(writeFacts(facts)), { queueId: 'n1', recipient: 'anna@clinic.example' })));
      const text = notice.toString('latin1');
      assert.match(text, /^(?:[\x20-\x7e]{0,998}\r\n)+$/);
      assert.equal(text.split('\r\n').filter((line) => line.startsWith('--=_n1')).length, 4);
      const [header = ''] = text.split('\r\n\r\n', 1);
      assert.equal(header.split('\r\n').length, 9);
    }),
    { numRuns: 500 },
  );
});

test('the notice that docs/notices.md shows is one', () => {
  const facts: NoticeFacts = {
    kind: 'failed',
    reporter: 'relay.clinic.example',
    writtenAt: Date.UTC(2026, 10, 23, 9, 14, 2),
    queueId: '1m83nqxc7kbkeh1',
    acceptedAt: Date.UTC(2026, 10, 23, 9, 14, 1),
    date: 'Mon, 23 Nov 2026 10:14:00 +0100',
    messageId: '<form-17@web.clinic.example>',
    envid: 'form+2B17',
    orcpt: null,
    recipient: 'ben@partner.example',
    status: '5.1.1',
    cause: 'address-unknown',
    expired: false,
    attemptedAt: Date.UTC(2026, 10, 23, 9, 14, 2),
    retryUntil: null,
  };
  const notice = composeNotice(facts, { queueId: '1m83nqxg20qw7pd', recipient: 'forms@clinic.example' })
    .toString()
    .replaceAll('\r\n', '\n');
  const page = readFileSync(new URL('../../docs/notices.md', import.meta.url), 'utf8');
  assert.ok(page.includes(`\n\`\`\`\n${notice}\`\`\`\n`));
});

test('facts that are none are damage', () => {
  for (const text of ['', '{}', 'null', '{"kind":"failed"}', '[]']) assert.throws(() => readFacts(text), { code: 'queue-item-damaged' });
});

test('a stored header is read for Date and Message-ID alone, and only for what can be shown', () => {
  const of = (header: string) => identityOf({ header: Buffer.from(header) });
  assert.deepEqual(of(`Message-ID: <ü@x>\r\nDate: ${'x'.repeat(600)}\r\n\r\n`), { date: null, messageId: null });
  assert.deepEqual(of('Subject: s\r\n Message-ID: <folded@x>\r\n\r\n'), { date: null, messageId: null });
  assert.deepEqual(of(''), { date: null, messageId: null });
});

test('a stranger reads what was written: Python finds each field', { skip: missingReportReader() ?? false }, async () => {
  const facts = tell(refused, {
    recipient: 'grüße@clinic.example',
    asked: { envid: 'e+2B1', orcpt: 'utf-8;gr\\x{FC}\\x{DF}e@clinic.example' },
  }).facts;
  assert.ok(facts !== undefined);
  const report = await readReport(composeNotice(facts, { queueId: 'n1', recipient: SENDER }));
  assert.deepEqual(report.defects, []);
  assert.deepEqual(report.message, {
    'original-envelope-id': 'e+1',
    'reporting-mta': 'dns; relay.example',
    'arrival-date': 'Mon, 23 Nov 2026 08:00:00 +0000',
    'x-sealpost-queue-id': 'Q1',
  });
  assert.deepEqual(report.recipient, {
    'original-recipient': 'utf-8; gr\\x{FC}\\x{DF}e@clinic.example',
    'final-recipient': 'utf-8; gr\\x{FC}\\x{DF}e@clinic.example',
    action: 'failed',
    status: '5.1.1',
    'diagnostic-code': 'x-sealpost; the mailbox is not known there',
    'last-attempt-date': 'Mon, 23 Nov 2026 09:00:00 +0000',
  });
});

test('P3 P5 a notice waits while nobody knows whether its reader has a certificate; it is never sent as it is meanwhile', async () => {
  const transcript: Transcript = { commands: [], messages: [] };
  await using server = await scriptedUpstream((peer) => converse(peer, { ehlo: '250-x\r\n250 DSN\r\n' }, transcript));
  const facts = tell(refused).facts;
  assert.ok(facts !== undefined);
  let asked = 0;
  const sealer: NoticeOptions['sealer'] = {
    seal: async () => {
      if (++asked < 3) throw new SealpostError('lookup-unavailable');
      return Buffer.from('Subject: sealed\r\n\r\nsealed\r\n');
    },
  };
  const queue = new MemoryQueue();
  queue.add({ sender: '', recipient: SENDER, body: [], notice: writeFacts(facts), asked: { notify: new Set() } });
  await using _ = running(queue, [upstreamAt(server.port)], { notices: makeTeller({ sealer }) });
  await queue.until(() => queue.rows.every(({ state }) => state === 'delivered'));
  assert.deepEqual(transcript.messages.map(String), ['Subject: sealed\r\n\r\nsealed\r\n.\r\n']);
  assert.deepEqual(transcript.commands.slice(1, 3), ['MAIL FROM:<> RET=HDRS', `RCPT TO:<${SENDER}> NOTIFY=NEVER`]);
  assert.deepEqual(
    queue.events.map(({ event }) => event),
    ['deferred', 'deferred', 'delivered'],
  );
});

test('P10 a notice whose row was damaged is set aside and not sent', async () => {
  const transcript: Transcript = { commands: [], messages: [] };
  await using server = await scriptedUpstream((peer) => converse(peer, {}, transcript));
  const facts = tell(refused).facts;
  assert.ok(facts !== undefined);
  const queue = new MemoryQueue();
  queue.failing = { damaged: true };
  queue.add({ sender: '', body: [Buffer.alloc(0)], notice: writeFacts(facts) });
  await using _ = running(queue, [upstreamAt(server.port)], { notices: makeTeller() });
  await queue.until(() => (queue.rows[0]?.settled ?? 0) > 0);
  assert.equal(queue.rows[0]?.state, 'damaged');
  assert.deepEqual(transcript.messages, []);
});

test('of mail that passed in clear a notice says what it says of any other, and nothing of the content', () => {
  const header = Buffer.alloc(0);
  const facts = '{"size":7,"eightBit":false,"smtputf8":false}';
  const { notice, readers } = tell(refused, { header, body: [Buffer.from(CANARY)], asked: { spooled: facts } });
  assert.deepEqual(readers, [SENDER, OPERATOR]);
  assert.deepEqual([told(notice).date, told(notice).messageId], [null, null]);
  const text = composeNotice(told(notice), { queueId: 'n1', recipient: SENDER }).toString();
  assert.ok(text.includes('Final-Recipient: rfc822;') && !text.includes(CANARY), text);
});

const heldMessage = { id: 'Q7', acceptedAt: NOW - HOUR, sender: SENDER, envid: null, submitter: null };
const heldRow = {
  address: 'anna@patients.example',
  notify: null,
  orcpt: null,
  header: Buffer.from(`Date: Mon, 23 Nov 2026 08:00:00 +0000\r\nSubject: ${CANARY}\r\n\r\n`),
};
const holding = { rule: 'patients', because: 'unavailable', since: NOW - HOUR } as const;

const told = (notice: { readonly notice: string | null } | null | undefined): NoticeFacts => readFacts(notice?.notice ?? '');

test('of a held message the operator alone is told: recipient, rule, why, until when and what to do; no content', () => {
  const { notice, events, note } = makeTeller({ holdMaxAge: 24 * HOUR }).held(
    heldMessage,
    [heldRow, { ...heldRow, address: 'ben@patients.example' }],
    holding,
  );
  assert.deepEqual(
    notice?.recipients.map(({ address }) => address),
    [OPERATOR],
  );
  assert.deepEqual([note, events.map(({ event, kind, recipient }) => [event, kind, recipient])], ['n1', [['notice', 'held', OPERATOR]]]);
  const text = composeNotice(told(notice), { queueId: 'n1', recipient: OPERATOR }).toString();
  for (const part of [
    'Subject: Mail is held [Q7]',
    '    anna@patients.example',
    'Rule: patients',
    'Why: a source of certificates does not answer',
    'one of their own: 1 more',
    'Held since Mon, 23 Nov 2026 08:00:00 +0000',
    'Will-Retry-Until: Tue, 24 Nov 2026 08:00:00 +0000',
    'sealpost queue release Q7 --key FILE',
    'Action: delayed',
  ])
    assert.ok(text.includes(part), `${part} in ${text}`);
  assert.ok(!text.includes(CANARY));
  assert.ok(text.split('\r\n').every((line) => line.length <= 998 && /^[\x20-\x7e]*$/.test(line)));
});

test('what to do about held mail is what helps against its reason', () => {
  const said = {
    rule: /by your word alone:/,
    missing: /know a usable certificate/,
    unavailable: /which source does not.*no new certificate/s,
  };
  for (const because of ['rule', 'missing', 'unavailable'] as const) {
    const { notice } = makeTeller().held(heldMessage, [heldRow], { ...holding, because });
    const text = composeNotice(told(notice), { queueId: 'n1', recipient: OPERATOR }).toString();
    for (const [reason, words] of Object.entries(said)) assert.equal(words.test(text), reason === because, `${because}: ${text}`);
  }
});

test('mail that is held for an hour makes few notices, the next of which counts the rest, and keeps no other notice back (A17)', () => {
  let now = NOW;
  const notices = makeTeller({ rate: { count: 3, per: HOUR }, now: () => now });
  const words = Array.from({ length: 1000 }, () => notices.held(heldMessage, [heldRow], holding).notice);
  assert.equal(words.filter((one) => one !== undefined).length, 3);
  assert.deepEqual(tell(refused, {}, notices).readers, [SENDER, OPERATOR]);
  now += HOUR + 1;
  assert.equal(told(notices.held(heldMessage, [heldRow], holding).notice).alsoHeld, 997);
  assert.equal(told(notices.held(heldMessage, [heldRow], holding).notice).alsoHeld, 0);
});

test('held mail that nobody released is told as failed, to the sender and the operator; nobody is told of the null sender', () => {
  const notices = makeTeller();
  const { address, ...parts } = heldRow;
  const nothing = Buffer.alloc(0);
  const row = { row: 1, queueId: 'Q7', acceptedAt: NOW - HOUR, originalSender: SENDER, sender: SENDER, recipient: address, ...parts };
  const sealed = {
    prefix: nothing,
    suffix: nothing,
    size: 1,
    bodyLength: 0,
    needsSmtputf8: false,
    envid: null,
    submitter: null,
    facts: '{}',
    heldSince: NOW,
  };
  const { outcome, events, telling } = notices.heldTooLong({ ...row, ...sealed }, holding);
  assert.equal(outcome.reason, '4.4.7 held for too long by rule patients');
  assert.deepEqual(
    events.map(({ event, recipient }) => [event, recipient]),
    [
      ['bounced', 'anna@patients.example'],
      ['notice', SENDER],
      ['notice', OPERATOR],
    ],
  );
  assert.equal(events[0]?.['notice'], telling?.notice?.id);
  const text = composeNotice(told(telling?.notice), { queueId: 'n2', recipient: SENDER }).toString();
  assert.ok(text.includes('It was held for too long') && text.includes('Rule: patients') && !text.includes(CANARY), text);
  const ofNull = notices.heldTooLong({ ...row, ...sealed, originalSender: '' }, holding);
  assert.deepEqual([ofNull.telling, ofNull.events.length, ofNull.events[0]?.['notice']], [undefined, 1, 'none, the sender is null']);
});
