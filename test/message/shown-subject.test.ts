import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { simpleParser } from 'mailparser';
import { readMessage } from '../../src/message/header.ts';
import { makeInserting, shownSubject } from '../../src/message/shown-subject.ts';
import { chunked, collect } from './sources.ts';

/** The message with its subject in the text, cut anywhere; undefined where it cannot be shown. */
async function shown(text: string | Buffer, sizes: readonly number[] = []): Promise<Buffer | undefined> {
  const octets = Buffer.from(text);
  const message = await readMessage(chunked(octets));
  const insertion = shownSubject(message);
  if (insertion === undefined) return undefined;
  const inserting = makeInserting(insertion);
  const body: Buffer[] = [];
  for await (const chunk of chunked(await collect(message.body), sizes)) body.push(...inserting.push(chunk));
  const header = Buffer.concat([...message.fields.map((field) => field.octets), Buffer.from('\r\n')]);
  return Buffer.concat([header, ...body, ...inserting.end()]);
}

const mime = (type: string, encoding: string): string => `Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n`;
const subject = 'Subject: Fieber\r\n';
const umlaut = 'Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_=C4=8Cesk=C3=A1?=\r\n';
const latin = 'Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n';

const inside = (header: string, part: string): string =>
  `${header}Content-Type: multipart/mixed; boundary="b 1"\r\n\r\npreamble\r\n--b 1\r\n${part}\r\n--b 1\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b 1--\r\n`;

const cases: readonly (readonly [what: string, message: string | Buffer, text: string])[] = [
  ['no MIME at all', `${subject}\r\nbody\r\n`, 'Subject: Fieber\n\nbody'],
  ['an empty body', `${subject}\r\n`, 'Subject: Fieber'],
  ['UTF-8 in 8bit', `${umlaut}${mime('text/plain; charset=utf-8', '8bit')}\r\nGrüße\r\n`, 'Subject: Grüße aus Česká\n\nGrüße'],
  [
    'UTF-8 in quoted-printable',
    `${umlaut}${mime('text/plain; charset=UTF-8', 'quoted-printable')}\r\n=C3=BC\r\n`,
    'Subject: Grüße aus Česká\n\nü',
  ],
  [
    'a long one in quoted-printable',
    `Subject: ${'Fieber '.repeat(40)}\r\n${mime('text/plain; charset=utf-8', 'Quoted-Printable')}\r\nx\r\n`,
    `Subject: ${'Fieber '.repeat(40).trim()}\n\nx`,
  ],
  [
    'ISO 8859-1',
    Buffer.from(`${latin}${mime('text/plain; charset=iso-8859-1', '8bit')}\r\nGr\xfc\xdfe\r\n`, 'latin1'),
    'Subject: Grüße\n\nGrüße',
  ],
  ['the first part', inside(subject, '\r\nbody'), 'Subject: Fieber\n\nbody'],
  [
    'the first part with a header',
    inside(umlaut, `${mime('text/plain; charset=utf-8', '8bit')}\r\nbody`),
    'Subject: Grüße aus Česká\n\nbody',
  ],
  [
    'the first part of the first part',
    inside(subject, 'Content-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\nContent-Type: text/plain\r\n\r\nbody\r\n--b2--'),
    'Subject: Fieber\n\nbody',
  ],
];

for (const [what, message, text] of cases)
  test(`the subject is the first line of the text: ${what}`, async () => {
    const octets = await shown(message, [7]);
    assert.ok(octets);
    const parsed = await simpleParser(octets, { skipHtmlToText: true });
    assert.equal(parsed.text?.trim(), text);
  });

const not: readonly (readonly [what: string, message: string])[] = [
  ['there is none', '\r\nbody\r\n'],
  ['there are two', `${subject}${subject}\r\nbody\r\n`],
  ['it is empty', 'Subject:  \r\n\r\nbody\r\n'],
  ['base64', `${subject}${mime('text/plain', 'base64')}\r\nYm9keQ==\r\n`],
  ['HTML alone', `${subject}${mime('text/html', '7bit')}\r\n<p>\r\n`],
  ['characters that 7bit has not', `${umlaut}${mime('text/plain; charset=utf-8', '7bit')}\r\nbody\r\n`],
  ['characters that the charset has not', `${umlaut}${mime('text/plain; charset=iso-8859-1', '8bit')}\r\nbody\r\n`],
  ['a charset without ASCII in its place', `${subject}${mime('text/plain; charset=utf-16', '8bit')}\r\nbody\r\n`],
  ['a signed message', `${subject}Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nbody\r\n--b--\r\n`],
  ['a signed part', inside(subject, 'Content-Type: multipart/signed; boundary=c\r\n\r\n--c\r\n\r\nbody\r\n--c--')],
  ['a sealed message', `${subject}${mime('application/pkcs7-mime', 'base64')}\r\nMIAG\r\n`],
  ['an attached text', inside(subject, 'Content-Disposition: attachment; filename=a.txt\r\n\r\nbody')],
  [
    'a part that begins too late',
    `${subject}Content-Type: multipart/mixed; boundary=b\r\n\r\n${'x\r\n'.repeat(30_000)}--b\r\n\r\nbody\r\n--b--\r\n`,
  ],
  ['two types', `${subject}Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nbody\r\n`],
  ['a line that is too long', `Subject: ${'x'.repeat(2000)}\r\n\r\nbody\r\n`],
];

for (const [what, message] of not)
  test(`the subject is not shown: ${what}`, async () => {
    assert.equal(await shown(message), undefined);
  });

test('A9 whatever stands in the subject, one line and an empty one are put in, and the rest stays as it is', async () => {
  const encoded = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 60 })
    .map((text) => `=?utf-8?b?${Buffer.from(text).toString('base64')}?=`);
  const types = fc.constantFrom(
    '',
    mime('text/plain; charset=utf-8', '8bit'),
    mime('text/plain; charset=utf-8', 'quoted-printable'),
    mime('text/plain; charset=windows-1252', '8bit'),
  );
  await fc.assert(
    fc.asyncProperty(
      encoded,
      types,
      fc.string({ maxLength: 40 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 4 }),
      async (value, type, text, sizes) => {
        const body = `${text.replaceAll(/[\r\n\0]/g, '')}\r\n`;
        const head = `X: y\r\nSubject: ${value}\r\n${type}\r\n`;
        const octets = await shown(head + body, sizes);
        if (octets === undefined) return;
        const start = octets.indexOf('\r\n\r\n') + 4;
        assert.equal(octets.toString('latin1', 0, start), head);
        assert.ok(octets.subarray(-Buffer.byteLength(body)).equals(Buffer.from(body)));
        const added = octets.toString('latin1', start, octets.length - Buffer.byteLength(body));
        assert.match(added.replaceAll('=\r\n', ''), /^Subject: [^\r\n\0]+\r\n\r\n$/);
      },
    ),
    { numRuns: 300 },
  );
});

test('hostile structures never throw, and cost little', async () => {
  const lines = fc.constantFrom(
    '--b',
    '--b--',
    '',
    'Content-Type: text/plain',
    'Content-Type: multipart/mixed; boundary=b',
    'Content-Transfer-Encoding: 8bit',
    ' ',
    'x',
    ':',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(lines, { maxLength: 40 }), async (body) => {
      await shown(`${subject}Content-Type: multipart/mixed; boundary=b\r\n\r\n${body.join('\r\n')}\r\n`);
    }),
    { numRuns: 300 },
  );
});
