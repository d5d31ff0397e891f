/** What a rule may show in place of what the script wrote: nothing is lost, and nothing new is shown. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseAddressList } from '../../src/message/addresses.ts';
import { innerHeader } from '../../src/message/entity.ts';
import { type Envelope, parseMailbox, plainRecipient } from '../../src/message/envelope.ts';
import { readMessage } from '../../src/message/header.ts';
import type { Look } from '../../src/message/look.ts';
import { outerBlock } from '../../src/message/outer.ts';
import { expectedEntity, missingPerl } from '../interop/expected-entity.ts';
import { streams } from '../interop/streams.ts';
import { chunked, collect } from './sources.ts';

function mailbox(text: string) {
  const verdict = parseMailbox(text);
  assert.equal(verdict.kind, 'mailbox', text);
  return verdict.mailbox;
}

const envelope: Envelope = {
  sender: mailbox('www@clinic.example'),
  recipients: [plainRecipient(mailbox('anna@clinic.example'))],
  envid: null,
  client: { address: '192.0.2.7', helo: 'web.clinic.example', tls: null, user: null },
  protocol: 'ESMTP',
};
const replace = { name: 'Clinic, forms', mailbox: mailbox('forms@clinic.example') };
const replyTo: Look = { from: { replace, original: 'reply_to' } };
const inside: Look = { from: { replace, original: 'inside' } };

async function show(text: Buffer | string, look: Look) {
  const message = await readMessage(chunked(text));
  const block = outerBlock(message.fields, { envelope, queueId: 'q1', hostname: 'relay.example', now: new Date(0) });
  const { octets, needsSmtputf8 } = block.withLook(look);
  const inner = Buffer.concat([innerHeader(message, { alsoInside: block.insideOf(look) }), await collect(message.body)]);
  // Without our own Received, which stands in front of all.
  return { outer: octets.toString().replace(/^Received:.*\r\n\t.*\r\n\t.*\r\n/, ''), inner: inner.toString(), needsSmtputf8 };
}

const DATE = 'Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n';
const visitor = `From: Vera Visitor <vera@gmail.example>\r\nSender: web <web@gmail.example>\r\nTo: anna@clinic.example\r\n${DATE}Message-ID: <1@web>\r\nSubject: x\r\n`;

test('worked example: another From, replies to the visitor, the original and its Sender inside', async () => {
  const { outer, inner } = await show(`${visitor}\r\nbody`, replyTo);
  assert.equal(
    outer,
    `From: "Clinic, forms" <forms@clinic.example>\r\nTo: anna@clinic.example\r\n${DATE}Message-ID: <1@web>\r\nSubject: x\r\nReply-To: Vera Visitor <vera@gmail.example>\r\n`,
  );
  assert.equal(inner, 'From: Vera Visitor <vera@gmail.example>\r\nSender: web <web@gmail.example>\r\n\r\nbody');
});

test('a Reply-To that the script wrote stays as it is', async () => {
  const { outer, inner } = await show(`Reply-To: other@gmail.example\r\n${visitor}\r\n`, replyTo);
  assert.match(outer, /^Reply-To: other@gmail\.example\r$/m);
  assert.equal(outer.match(/^Reply-To:/gm)?.length, 1);
  assert.ok(!outer.includes('vera'));
  assert.match(inner, /^From: Vera Visitor/m);
});

test('original: inside shows the visitor to nobody on the way', async () => {
  const { outer, inner } = await show(`${visitor}\r\n`, inside);
  assert.ok(!outer.includes('gmail'), outer);
  assert.match(inner, /^From: Vera Visitor <vera@gmail\.example>\r$/m);
});

test('where the script wrote the replacement itself, or no From at all, there is no Reply-To', async () => {
  for (const from of ['From: Forms@CLINIC.example\r\n', '', 'From: nobody in particular\r\n', 'From:\r\n']) {
    const { outer } = await show(`${from}To: anna@clinic.example\r\n\r\n`, replyTo);
    assert.doesNotMatch(outer, /Reply-To/);
    assert.equal(outer.match(/^From:.*\r$/gm)?.join(), 'From: "Clinic, forms" <forms@clinic.example>\r');
  }
});

test('a visitor whose name is outside ASCII: encoded words and A-labels', async () => {
  const { outer, needsSmtputf8 } = await show('From: J\u00f6rg <vera@b\u00fccher.example>\r\n\r\n', replyTo);
  assert.match(outer, /^Reply-To: =\?UTF-8\?B\?SsO2cmc=\?= <vera@xn--bcher-kva\.example>\r$/m);
  assert.equal(needsSmtputf8, false);
});

test('a visitor whose address has no ASCII form stands inside alone: the rule makes no message that an upstream cannot carry', async () => {
  for (const look of [replyTo, inside]) {
    const { outer, inner, needsSmtputf8 } = await show('From: Visitor <gr\u00fc\u00dfe@visitor.example>\r\n\r\n', look);
    assert.doesNotMatch(outer, /Reply-To/);
    assert.equal(needsSmtputf8, false);
    assert.match(inner, /^From: Visitor <gr\u00fc\u00dfe@visitor\.example>\r$/m);
  }
  const two = await show('From: gr\u00fc\u00dfe@visitor.example, vera@gmail.example\r\n\r\n', replyTo);
  assert.match(two.outer, /^Reply-To: vera@gmail\.example\r$/m);
  assert.equal(two.needsSmtputf8, false);
});

test('a Reply-To that names nobody counts as none: it stands inside, and replies go to the visitor', async () => {
  for (const empty of ['', ' ', ' <>', ' ()', ' ,', ' nobody in particular']) {
    const { outer, inner } = await show(`Reply-To:${empty}\r\n${visitor}\r\n`, replyTo);
    assert.equal(outer.match(/^Reply-To:.*\r$/gm)?.join(), 'Reply-To: Vera Visitor <vera@gmail.example>\r', empty);
    assert.ok(inner.includes(`Reply-To:${empty}\r\n`), empty);
  }
});

test('a Message-ID of its own: the original inside, and in References, so that later mail is of the same conversation', async () => {
  const { outer, inner } = await show(`References: <0@web>\r\n${visitor}\r\n`, { messageId: '<q1.77@relay.example>' });
  assert.match(outer, /^Message-ID: <q1\.77@relay\.example>\r$/m);
  assert.match(outer, /^References: <0@web> <1@web>\r$/m);
  assert.match(inner, /^Message-ID: <1@web>\r$/m);
  const first = await show(`${visitor}\r\n`, { messageId: '<q1.77@relay.example>' });
  assert.match(first.outer, /^References: <1@web>\r$/m);
  const without = await show('Subject: x\r\n\r\n', { messageId: '<q1.77@relay.example>' });
  assert.doesNotMatch(without.outer, /References/);
  assert.match(without.outer, /^Message-ID: <q1\.77@relay\.example>\r$/m);
  const long = `References: ${Array.from({ length: 400 }, (_, index) => `<${index}@web>`).join(' ')}\r\n`;
  const folded = (await show(`${long.replace(/(.{900}\S*) /g, '$1\r\n ')}${visitor}\r\n`, { messageId: '<x@y>' })).outer;
  assert.match(folded.replace(/\r\n /g, ' '), /^References: <0@web> .* <399@web> <1@web>\r$/m);
});

const names = ['From', 'from', 'Reply-To', 'Sender', 'Message-ID', 'References'];
const signs = [':', ': ', '\r\n', '\r\n ', '\r\n\t', ' ', '"', '<', '>', '@', ',', ';', '(', ')', '\\', '\x01', '\x7f', '\r', '\n'];
const words = ['a', 'vera', 'gmail.example', 'vera@gmail.example', '<1@web>', '\u00e9', '\u{1F600}', '\u2028', 'x'.repeat(990)];
const encoded = ['=?utf-8?Q?=0D=0ABcc:_x@evil?=', '=?utf-8?B?DQpCY2M6IHhAZXZpbA==?='];
const hostile = fc.array(fc.constantFrom(...names, ...signs, ...words, ...encoded), { maxLength: 60 });

test('A9 whatever From, Reply-To and Message-ID hold, the block has one From, at most one Reply-To, and no field of theirs', async () => {
  const looks = fc.constantFrom(replyTo, inside, { ...replyTo, messageId: '<q1.77@relay.example>', subject: 'fixed' });
  await fc.assert(
    fc.asyncProperty(hostile, looks, async (pieces, look) => {
      const { outer, inner, needsSmtputf8 } = await show(`From: ${pieces.join('')}\r\n\r\n`, look);
      assert.ok(needsSmtputf8 || /^[\x20-\x7e\t\r\n]*$/.test(outer), 'ASCII');
      for (const line of outer.slice(0, -2).split('\r\n')) {
        assert.doesNotMatch(line, /[\r\n\x00\x01\x7f]/);
        assert.ok(Buffer.byteLength(line) <= 998);
        assert.notEqual(line.trim(), '');
        assert.match(line, /^(?:[ \t]|(?:From|Sender|Reply-To|To|Cc|Date|Message-ID|References|Subject|Received):)/i);
      }
      for (const name of ['From', 'Message-ID', 'Date']) assert.equal(outer.match(new RegExp(`^${name}[ \\t]*:`, 'gim'))?.length, 1, name);
      for (const name of ['Reply-To', 'References', 'Sender'])
        assert.ok((outer.match(new RegExp(`^${name}:`, 'gim'))?.length ?? 0) <= 1, name);
      assert.match(outer, /^From: "Clinic, forms" <forms@clinic\.example>\r$/m);
      assert.doesNotMatch(outer, /^Sender/im);
      assert.match(inner, /^From:/im, 'the original is lost');
    }),
    { numRuns: 1000 },
  );
});

test('only mailboxes that From showed become a Reply-To', async () => {
  const name = fc.constantFrom('Vera', '"Vera, V"', '=?utf-8?Q?V=C3=A9?=', 'V\u00e9ra', '');
  const address = fc.constantFrom('vera@gmail.example', 'otto@web.example', 'kaputt@@x', 'nobody');
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(name, address), { minLength: 1, maxLength: 4 }), async (people) => {
      const list = people.map(([name, address]) => (name === '' ? address : `${name} <${address}>`)).join(', ');
      const { outer } = await show(`From: ${list}\r\n\r\n`, replyTo);
      const shown = /^Reply-To:((?:.*\r\n[ \t])*.*)\r$/m.exec(outer)?.[1] ?? '';
      const addresses = (text: string): string[] => parseAddressList(text).mailboxes.map(({ mailbox }) => mailbox.address);
      assert.deepEqual(addresses(shown.replace(/\r\n/g, '')), addresses(list));
      assert.doesNotMatch(shown, /kaputt|nobody/);
    }),
  );
});

test('inside is what a program that shares nothing with the relay says', { skip: missingPerl() ?? false }, async () => {
  const look: Look = { ...replyTo, messageId: '<q1.77@relay.example>', subject: 'fixed' };
  for (const { name, octets } of streams) {
    const message = await readMessage(chunked(octets()));
    const block = outerBlock(message.fields, { envelope, queueId: 'q1', hostname: 'relay.example', now: new Date(0) });
    const header = innerHeader(message, { alsoInside: block.insideOf(look) });
    const entity = Buffer.concat([header, await collect(message.body)]);
    assert.ok(entity.equals(await expectedEntity(octets(), 'replace', 'replace')), name);
  }
});

test('P6 as much header as may stay readable, in a look for each of a hundred readers', { timeout: 20_000 }, async () => {
  const lists = Array.from({ length: 1_500 }, (_, index) => `List-Id: <${index}.clinic.example>\r\n`).join('');
  const message = await readMessage(chunked(`${lists}References: ${'<1@web> '.repeat(100)}\r\n${visitor}\r\n`));
  const block = outerBlock(message.fields, { envelope, queueId: 'q1', hostname: 'relay.example', now: new Date(0) });
  const started = performance.now();
  for (let reader = 0; reader < 100; reader++) block.withLook({ ...replyTo, messageId: `<q1.${reader}@relay.example>`, subject: 'x' });
  assert.ok(performance.now() - started < 2_000, `${performance.now() - started} ms`);
});
