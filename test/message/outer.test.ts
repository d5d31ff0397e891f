import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Envelope } from '../../src/message/envelope.ts';
import { parseMailbox, plainRecipient } from '../../src/message/envelope.ts';
import { assertNoLoop, innerHeader } from '../../src/message/entity.ts';
import { readMessage } from '../../src/message/header.ts';
import type { Look } from '../../src/message/look.ts';
import { outerBlock } from '../../src/message/outer.ts';
import { chunked } from './sources.ts';

function mailbox(text: string) {
  const verdict = parseMailbox(text);
  assert.equal(verdict.kind, 'mailbox', text);
  return verdict.mailbox;
}

const envelope: Envelope = {
  sender: mailbox('forms@clinic.example'),
  recipients: [mailbox('anna@clinic.example'), mailbox('hidden@clinic.example')].map(plainRecipient),
  envid: null,
  client: { address: '192.0.2.7', helo: 'web.clinic.example', tls: null, user: null },
  protocol: 'ESMTP',
};

async function split(text: Buffer | string, subject?: string, look: Look = {}) {
  const message = await readMessage(chunked(text));
  const outer = outerBlock(message.fields, { envelope, queueId: 'q1', hostname: 'relay.example', now: new Date(0) });
  const whole = { subject, ...look };
  const inner = innerHeader(message, { alsoInside: outer.insideOf(whole) });
  const { octets, needsSmtputf8 } = outer.withLook(whole);
  return { mended: outer.mended, needsSmtputf8, outer: octets.toString(), inner: inner.toString() };
}

const trace =
  'Received: from web.clinic.example ([192.0.2.7])\r\n\tby relay.example with ESMTP id q1;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n';

test('worked example: what stands outside, what goes inside', async () => {
  const script = [
    'Received: from a by b for <hidden@clinic.example>; Mon, 1 Jan 2024 00:00:00 +0000',
    'Return-Path: <forms@clinic.example>',
    'From: Form <forms@clinic.example>',
    'To: anna@clinic.example',
    'Bcc: hidden@clinic.example',
    'Date: Mon, 1 Jan 2024 00:00:00 +0000',
    'Message-ID: <1@web>',
    'Subject: Anna has the flu',
    'X-Patient: 4711',
    'MIME-Version: 1.0',
    'Content-Type: text/plain;',
    '  charset=utf-8',
    'List-Id: <forms.clinic.example>',
    '',
    'body',
  ].join('\r\n');
  const { outer, inner, mended } = await split(script, 'New message [q1]');
  assert.equal(
    outer,
    [
      trace + 'Received: from a by b ; Mon, 1 Jan 2024 00:00:00 +0000',
      'From: Form <forms@clinic.example>',
      'To: anna@clinic.example',
      'Date: Mon, 1 Jan 2024 00:00:00 +0000',
      'Message-ID: <1@web>',
      'List-Id: <forms.clinic.example>',
      'Subject: New message [q1]',
      '',
    ].join('\r\n'),
  );
  assert.equal(
    inner,
    'Subject: Anna has the flu\r\nX-Patient: 4711\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n  charset=utf-8\r\n\r\n',
  );
  assert.deepEqual(mended, []);
});

test('what legacy scripts leave out is made: From, Date, Message-ID', async () => {
  const { outer, mended } = await split('Subject: x\r\n\r\n');
  assert.match(outer, /^From: forms@clinic\.example\r$/m);
  assert.match(outer, /^Date: Thu, 01 Jan 1970 00:00:00 \+0000\r$/m);
  assert.match(outer, /^Message-ID: <q1@relay\.example>\r$/m);
  assert.deepEqual([...mended], ['From', 'Date', 'Message-ID']);
});

test('several To fields become one; a second From stands inside', async () => {
  const { outer, inner } = await split('To: a@x.example\r\nTo:b@x.example\r\nFrom: f@x.example\r\nFrom: g@x.example\r\n\r\n');
  assert.match(outer, /^To: a@x\.example,\r\n b@x\.example\r$/m);
  assert.match(outer, /^From: f@x\.example\r$/m);
  assert.doesNotMatch(outer, /g@x/);
  assert.match(inner, /From: g@x\.example/);
});

test('8-bit text outside becomes encoded words and A-labels', async () => {
  const { outer } = await split(
    'From: Jörg <joerg@bücher.example>\r\nSubject: Grüße 🙂\r\nTo: "Doe, J" <a@b.example>, Ü <u@b.example>\r\n\r\n',
  );
  assert.match(outer, /^From: =\?UTF-8\?B\?SsO2cmc=\?= <joerg@xn--bcher-kva\.example>\r$/m);
  assert.match(outer, /^Subject: =\?UTF-8\?B\?R3LDvMOfZSDwn5mC\?=\r$/m);
  assert.match(outer, /^To: "Doe, J" <a@b\.example>, =\?UTF-8\?B\?w5w=\?= <u@b\.example>\r$/m);
});

test('a mailbox that has no ASCII form stays raw and marks the message', async () => {
  const { outer, needsSmtputf8 } = await split('From: jörg@example.org\r\n\r\n');
  assert.match(outer, /^From: jörg@example\.org\r$/m);
  assert.equal(needsSmtputf8, true);
});

test('an address that cannot be read is not shown, and the whole field stands inside', async () => {
  const { outer, inner } = await split('To: gut@b.example, k\u00fc putt@@x\r\nFrom: \u00fc nobody\r\n\r\n');
  assert.match(outer, /^To: gut@b\.example\r$/m);
  assert.match(outer, /^From: forms@clinic\.example\r$/m);
  assert.match(inner, /To: gut@b\.example, kü putt@@x\r\n/);
  assert.match(inner, /From: ü nobody\r\n/);
});

const hostile = fc.array(
  fc.constantFrom(
    'From',
    'To',
    'Cc',
    'Reply-To',
    'Subject',
    'Date',
    'Message-ID',
    'References',
    'List-Id',
    'Received',
    'Importance',
    ':',
    ': ',
    '\r\n',
    '\r\n ',
    ' ',
    '\t',
    '"',
    '<',
    '>',
    '@',
    ',',
    ';',
    '(',
    ')',
    '\\',
    'a',
    'b.example',
    '\u00e9',
    '\u{1F600}',
    '\u2028',
    '\u200b',
    '\x01',
    '\x1b',
    '\x7f',
    'for <hidden@clinic.example>',
    '=?utf-8?Q?=0D=0ABcc:_x@evil?=',
    'x'.repeat(1200),
    'x'.repeat(990),
    'x'.repeat(985),
    `List-${'a'.repeat(2000)}`,
    '\xff',
  ),
  { maxLength: 60 },
);

test('A3 A9 whatever the header, the outer block is ASCII but for mailboxes, CRLF, at most 998 octets a line, fields of the list only', async () => {
  await fc.assert(
    fc.asyncProperty(hostile, fc.boolean(), async (pieces, replaced) => {
      const { outer, needsSmtputf8 } = await split(pieces.join(''), replaced ? 'fixed' : undefined);
      assert.ok(needsSmtputf8 || /^[\x20-\x7e\t\r\n]*$/.test(outer), 'ASCII');
      assert.ok(outer.endsWith('\r\n'));
      for (const line of outer.slice(0, -2).split('\r\n')) {
        assert.doesNotMatch(line, /[\r\n\x00\x01\x1b\x7f]/);
        assert.ok(Buffer.byteLength(line) <= 998);
        assert.notEqual(line.trim(), '', 'an empty line would end the header');
        assert.match(
          line,
          /^(?:[ \t]|(?:From|Sender|Reply-To|To|Cc|Date|Message-ID|In-Reply-To|References|Subject|Importance|Received|List-[A-Za-z]+(?:-[A-Za-z]+)?):)/i,
        );
      }
      for (const name of ['From', 'Date', 'Message-ID']) {
        assert.equal(outer.match(new RegExp(`^${name}[ \\t]*:`, 'gim'))?.length, 1, name);
      }
      assert.ok((outer.match(/^To[ \t]*:/gim)?.length ?? 0) <= 1);
    }),
    { numRuns: 500 },
  );
});

test('A3 A9 a field that is no address and holds more than printable ASCII stands inside alone, and asks for no SMTPUTF8', async () => {
  const shown = ['Date', 'Message-ID', 'In-Reply-To', 'References', 'Auto-Submitted', 'Precedence', 'Importance', 'List-Id'];
  for (const name of shown)
    for (const odd of ['\u00e9', '\xa0', '\x01', '\x1b[2J', '\x7f', '\u2028', '\u202e', '\x0bBcc: x@evil.example']) {
      const value = `canary${odd}4711`;
      const { outer, inner, needsSmtputf8, mended } = await split(`${name}: ${value}\r\n\r\n`);
      const tried = `${name} ${JSON.stringify(odd)}`;
      assert.ok(!outer.includes('canary') && !outer.includes('evil'), tried);
      assert.match(outer, /^[\x20-\x7e\t\r\n]+$/, tried);
      assert.equal(needsSmtputf8, false, tried);
      assert.ok(inner.includes('canary'), tried);
      assert.ok(mended.includes(name), tried);
    }
});

test('A10 a canary in Subject, Comments, X- fields, file names, boundary and Thread-Topic is not outside', async () => {
  const canary = 'CANARY-4711';
  const fields = [
    'Subject',
    'Comments',
    'Keywords',
    'X-Form',
    'Thread-Topic',
    'Content-Description',
    'Organization',
    'Content-Type: multipart/mixed; boundary="CANARY-4711"\r\nX-Mailer',
  ];
  const { outer, inner } = await split(`${fields.map((name) => `${name}: ${canary}\r\n`).join('')}\r\n`, 'New message [q1]');
  assert.ok(!outer.includes(canary));
  assert.equal(inner.split(canary).length - 1, fields.length + 1);
});

test('A16 no field names a Bcc recipient, outside or inside', async () => {
  const names = [
    'Bcc',
    'Resent-Bcc',
    'X-Bcc',
    'X-Original-Bcc',
    'X-Receiver',
    'X-Envelope-Recipient',
    'X-Apparently-To',
    'X-Rcpt-To',
    'X-Delivered-To',
    'X-Forwarded-To',
    'Original-Recipient',
    'X-Original-Recipient',
    'Delivered-To',
    'X-Original-To',
    'Envelope-To',
    'X-Envelope-To',
    'Apparently-To',
    'Return-Path',
  ];
  const received =
    'Received: from w (w [1.2.3.4]) by x with SMTP id 1\r\n\tfor <hidden@clinic.example>; Mon, 1 Jan 2024 00:00:00 +0000\r\n';
  const odd =
    'Received: from w by x for <"a;hidden"@clinic.example>; date\r\nReceived: from w by x (envelope-to <hidden@clinic.example>); date\r\n';
  const unclean = 'Received: from \u00fc by x for <hidden@clinic.example>; date\r\n';
  const text = `${received}${odd}${unclean}To: anna@clinic.example\r\nCc: ben@clinic.example\r\n${names.map((name) => `${name}: hidden@clinic.example\r\n`).join('')}\r\n`;
  const { outer, inner } = await split(text);
  assert.ok(!outer.includes('hidden'), outer);
  assert.ok(!inner.includes('hidden'), inner);
  assert.match(outer, /^To: anna@clinic\.example\r\nCc: ben@clinic\.example\r$/m);
});

test('A17 the 51st hop is a loop', async () => {
  const hops = (count: number) => readMessage(chunked(`${'Received: from a by b; date\r\n'.repeat(count)}\r\n`));
  assertNoLoop((await hops(50)).fields);
  const { fields } = await hops(51);
  assert.throws(() => assertNoLoop(fields), { code: 'mail-loop' });
});

test('A32 as much hostile text as a field may hold is read in one short turn', { timeout: 20_000 }, async () => {
  const seeds = ['(', '<', ',', 'g:', '"', '\\"', '=?utf-8?Q?=', ' ', '\u00fc@', 'for ', ';', '<a@', '"\\', 'a@b.example,'];
  for (const name of ['From', 'To', 'Reply-To', 'Subject', 'References', 'Received', 'List-Post', 'Content-Type']) {
    for (const seed of seeds) {
      const started = process.hrtime.bigint();
      await split(`${name}: \u00fc${seed.repeat(Math.floor(60_000 / Buffer.byteLength(seed)))}\r\n\r\n`);
      const milliseconds = Number(process.hrtime.bigint() - started) / 1e6;
      assert.ok(milliseconds < 1_000, `${name} of ${seed}: ${milliseconds} ms`);
    }
  }
  const started = process.hrtime.bigint();
  await split(`${'To: a@b\r\n'.repeat(2_000)}\r\n`);
  assert.ok(Number(process.hrtime.bigint() - started) / 1e6 < 2_000);
});

test('A30 more of a header than may stay readable is refused before it is worked on', async () => {
  await assert.rejects(split(`To: ${'a@b.example,'.repeat(6_000)}\r\n\r\n`), { code: 'header-too-big' });
  await assert.rejects(split(`${`Received: from a by b; ${'x'.repeat(900)}\r\n`.repeat(80)}\r\n`), { code: 'header-too-big' });
});
