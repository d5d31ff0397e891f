import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { contentFacts } from '../../src/message/facts.ts';
import { LOOK_AHEAD, readMessage } from '../../src/message/header.ts';

async function factsOf(text: string) {
  const { calendar, signed, claimsSealed } = contentFacts(await readMessage(sourceOf(Buffer.from(text, 'latin1'))));
  return { calendar, signed, claimsSealed };
}

async function* sourceOf(octets: Buffer): AsyncGenerator<Buffer> {
  yield octets;
}

const ENVELOPED = '06092a864886f70d010703';
const AUTH_ENVELOPED = '060b2a864886f70d0109100117';
const SIGNED = '06092a864886f70d010702';
const content = (oid: string): Buffer => Buffer.from(`3080${oid}a0803080020100`, 'hex');
const pkcs7 = (oid: string, parameters = '; smime-type=enveloped-data', type = 'application/pkcs7-mime'): string =>
  `Content-Type: ${type}${parameters}\r\nContent-Transfer-Encoding: base64\r\n\r\n${content(oid).toString('base64')}\r\n`;
const twice = (text: string): string => text.replace('Content-Transfer', 'Content-Transfer-Encoding: 7bit\r\nContent-Transfer');

const nothing = { calendar: false, signed: false, claimsSealed: false };
const invitation = 'Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n';
const multipart = (sub: string, ...parts: string[]): string =>
  `Content-Type: multipart/${sub}; boundary="${sub}"\r\n\r\n${parts.map((part) => `--${sub}\r\n${part}\r\n`).join('')}--${sub}--\r\n`;

const many = (count: number): readonly string[] => Array.from({ length: count }, () => 'Content-Type: text/plain\r\n\r\nx');
const long = `\r\n${'x\r\n'.repeat(LOOK_AHEAD)}`;
const longPart = (type: string): string => `Content-Type: ${type}\r\n${long}`;
const behind = (preamble: string): string => multipart('mixed', invitation).replace('\r\n\r\n', `\r\n\r\n${preamble}\r\n`);
const nest = (depth: number, part: string): string => (depth === 0 ? part : multipart(`x${depth}`, nest(depth - 1, part)));

const table: readonly (readonly [what: string, text: string, expected: Partial<typeof nothing> | object])[] = [
  ['no Content-Type', 'Subject: x\r\n\r\nmethod=REQUEST text/calendar', {}],
  ['an invitation', invitation, { calendar: true }],
  ['an invitation among alternatives', multipart('alternative', 'Content-Type: text/plain\r\n\r\nx', invitation), { calendar: true }],
  ['one in a multipart of a multipart', multipart('mixed', multipart('alternative', invitation)), { calendar: true }],
  ['a folded header of the part', multipart('mixed', 'content-type: text/calendar;\r\n\tmethod=REQUEST\r\n\r\nx'), { calendar: true }],
  ['a calendar file, which invites nobody', multipart('mixed', 'Content-Type: text/calendar\r\n\r\nx'), {}],
  ['a text that speaks of invitations', multipart('mixed', 'Content-Type: text/plain\r\n\r\nContent-Type: text/calendar; method=x'), {}],
  ['behind the end', `${multipart('mixed', 'Content-Type: text/plain\r\n\r\nx')}--mixed\r\n${invitation}`, {}],
  ['two Content-Types', `Content-Type: text/plain\r\n${invitation}`, { calendar: 'unclear' }],
  ['a Content-Type that is none', 'Content-Type: text/calendar; method\r\n\r\nx', { calendar: 'unclear' }],
  ['a broken one of something else', 'Content-Type: text\r\n\r\nx', {}],
  ['a part type with a comment', multipart('mixed', 'Content-Type: text/calendar; method=REQUEST (c)\r\n\r\nx'), { calendar: 'unclear' }],
  ['an unclosed quote', multipart('mixed', 'Content-Type: text/calendar; name="a; method=REQUEST\r\n\r\nx'), { calendar: 'unclear' }],
  ['a part of two types', multipart('mixed', `Content-Type: text/plain\r\n${invitation}`), { calendar: 'unclear' }],
  ['a part of two types, neither a calendar', multipart('mixed', 'Content-Type: a/b\r\nContent-Type: c/d\r\n\r\ncalendar'), {}],
  ['a method in pieces', 'Content-Type: text/calendar; method*0=REQ; method*1=UEST\r\n\r\nx', { calendar: 'unclear' }],
  ['one in a part', multipart('mixed', "Content-Type: text/calendar; method*=us-ascii''REQUEST\r\n\r\nx"), { calendar: 'unclear' }],
  ['a boundary in pieces', multipart('mixed', invitation).replace('boundary=', 'boundary*0='), { calendar: 'unclear' }],
  [
    'a part with a boundary in pieces',
    multipart('x', multipart('mixed', invitation).replace('boundary=', 'boundary*0=')),
    { calendar: 'unclear' },
  ],
  ['a boundary in pieces around no calendar', multipart('mixed', 'Content-Type: a/b\r\n\r\nx').replace('boundary=', 'boundary*0='), {}],
  [
    'a boundary that is none, around a text that speaks of a calendar',
    multipart('mixed', 'Content-Type: text/plain\r\n\r\nmy calendar').replaceAll('"mixed"', '--=mixed').replaceAll('--mixed', '----=mixed'),
    {},
  ],
  [
    'a boundary that is none, around an invitation',
    multipart('mixed', invitation).replaceAll('"mixed"', '--=mixed').replaceAll('--mixed', '----=mixed'),
    { calendar: 'unclear' },
  ],
  ['an attachment whose name is not in quotes', multipart('mixed', 'Content-Type: a/b; name=my file.pdf\r\n\r\nx'), {}],
  ['more parts than are read', multipart('mixed', ...many(101), invitation), { calendar: 'unclear' }],
  ['more parts than are read, and no calendar', multipart('mixed', ...many(101)), {}],
  ['deeper than is read', nest(12, invitation), { calendar: 'unclear' }],
  ['a preamble longer than the look-ahead', behind(long), { calendar: 'unclear' }],
  ['a text longer than the look-ahead', multipart('mixed', longPart('text/plain'), invitation), { calendar: 'unclear' }],
  ['a long text that has no type', multipart('mixed', long, invitation), { calendar: 'unclear' }],
  [
    'a long alternative',
    multipart('alternative', 'Content-Type: text/plain\r\n\r\nx', longPart('text/html'), invitation),
    { calendar: 'unclear' },
  ],
  ['a header longer than the look-ahead', multipart('mixed', ...many(1), `X-Long: ${long}\r\n${invitation}`), { calendar: 'unclear' }],
  ['a large attachment behind a text', multipart('mixed', 'Content-Type: text/plain\r\n\r\nx', longPart('application/pdf')), {}],
  ['a scan, which is nothing else', multipart('mixed', longPart('application/pdf')), {}],
  ['a large picture of a page', multipart('alternative', ...many(1), multipart('related', ...many(1), longPart('image/png'))), {}],
  ['a long text that is no multipart', longPart('text/plain'), {}],
  ['multipart/signed', multipart('signed', 'x'), { signed: true }],
  ['a broken multipart/signed', 'Content-Type: multipart/signed; a\r\n\r\nx', { signed: 'unclear' }],
  ['opaque, by what it says', pkcs7(SIGNED, '; smime-type=signed-data'), { signed: true }],
  ['opaque, by what it is', pkcs7(SIGNED, ''), { signed: true }],
  ['A12: a bag of certificates', pkcs7(SIGNED, '; smime-type=certs-only'), {}],
  ['sealed', pkcs7(ENVELOPED), { claimsSealed: true }],
  ['sealed, with a MAC', pkcs7(AUTH_ENVELOPED, '; smime-type=authEnveloped-data'), { claimsSealed: true }],
  ['sealed, under the old name', pkcs7(ENVELOPED, '', 'application/x-pkcs7-mime'), { claimsSealed: true }],
  ['A12: signed-data that calls itself sealed', pkcs7(SIGNED), { signed: true }],
  ['A12: a plain body', 'Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nhello', {}],
  ['A12: plain text in base64', `Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n`, {}],
  ['A12: sealed octets under another type', pkcs7(ENVELOPED, '', 'application/octet-stream'), {}],
  ['A12: two encodings', twice(pkcs7(ENVELOPED)), { signed: 'unclear' }],
  ['signed or not, under two encodings', twice(pkcs7(SIGNED, '')), { signed: 'unclear' }],
  ['signed or not, under an encoding with a comment', pkcs7(SIGNED, '').replace(': base64', ': base64 (x)'), { signed: 'unclear' }],
];

for (const [what, text, expected] of table) {
  test(`the kind of a message: ${what}`, async () => assert.deepEqual(await factsOf(text), { ...nothing, ...expected }));
}

test('A12: sealed as it is, without an encoding', () => {
  const octets = Buffer.from('Content-Type: application/pkcs7-mime\r\n');
  const fields = [{ name: 'Content-Type', key: 'content-type', octets }];
  assert.equal(contentFacts({ fields, lookAhead: content(ENVELOPED) }).claimsSealed, true);
});

test('any structure has an answer, in time', async () => {
  const line = fc.constantFrom(
    '--a',
    '--a--',
    '--b',
    '',
    'Content-Type: multipart/mixed; boundary=a',
    'Content-Type: multipart/x; boundary=b',
    'x',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 60 }), async (lines) => {
      const { calendar } = await factsOf(`Content-Type: multipart/mixed; boundary=a\r\n\r\n${lines.join('\r\n')}`);
      assert.notEqual(calendar, true);
    }),
  );
  const nested = Array.from({ length: 2000 }, (_, at) => `--${at}\r\nContent-Type: multipart/mixed; boundary=${at + 1}\r\n\r\n`).join('');
  const started = performance.now();
  await factsOf(`Content-Type: multipart/mixed; boundary=0\r\n\r\n${nested}`);
  assert.ok(performance.now() - started < 2000);
});
