/** Worked examples that hold expected-entity.pl itself to the written rules; the strangers' output is later held to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expectedEntity, missingPerl } from './expected-entity.ts';
import { run } from './programs.ts';
import { streamNamed, streams } from './streams.ts';

const skip = missingPerl() ?? false;
const LABEL_UTF8 = 'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n';
const LABEL_1252 = 'Content-Type: text/plain; charset=windows-1252\r\nContent-Transfer-Encoding: 8bit\r\n';

/** Streams and what must be inside; latin1 strings, so that every octet is one character. */
const examples: readonly [name: string, entity: string][] = [
  ['text', 'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nHello\r\n\r\nBye\r\n'],
  ['no-final-newline', '\r\nline one\r\nline two'],
  ['empty-body', '\r\n'],
  ['header-only', 'X-Form: 7\r\n\r\n'],
  ['no-octets-at-all', '\r\n'],
  ['no-header', '\r\nonly a body\r\n'],
  ['one-bare-lf', '\r\n'],
  ['bare-cr-within-the-header', 'X-One: 1\r\nX-Two: 2\r\n\tfolded\r\n folded\r\n\r\nbody\r\n'],
  ['header-ends-with-a-bare-cr', 'X-One: 1\r\n\r\n'],
  ['header-only-cut', 'X-Form: 7\r\n\r\n'],
  [
    'bare-lf-throughout',
    'X-Form: 7\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n\r\none\r\n\r\ntwo\r\nthree\r\n',
  ],
  ['bare-cr-throughout', 'X-Form: 7\r\n\r\none\r\n\r\ntwo\r\nthree'],
  ['mixed-line-ends', '\r\na\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\nf\r\n\r\ng\r\n\r\nh\r\n\r\ni\r\n'],
  ['dots-at-line-starts', '\r\n.\r\n..\r\n.hidden\r\n...\r\nend.\r\n.\r\n'],
  ['unlabelled-windows-1252', `${LABEL_1252}\r\nGr\xf6\xdfe: 1,82 m\r\n\x80 12,50\r\n`],
  ['unlabelled-windows-1252-ends-like-a-cut-character', `${LABEL_1252}\r\ncaf\xe9`],
  [
    'unlabelled-with-transfer-encoding',
    'MIME-Version: 1.0\r\ncontent-transfer-encoding: 8BIT\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xb6\xc3\x9fe\r\n',
  ],
  [
    'personal-data-in-odd-fields',
    'X-Patient: Jane Roe\r\nComments: born 1970-01-01\r\nThread-Topic: Jane Roe\r\nKeywords: oncology\r\n' +
      'Disposition-Notification-To: forms@clinic.example\r\nx-empty:\r\nContent-Language: de\r\nX-Patient: twice\r\n' +
      'X-Mailer : with a blank before the colon\r\n\r\nx\r\n',
  ],
  ['dropped-and-outer-fields', 'X-Kept: 1\r\nListing: not a List- field\r\nARCHIVE: not an ARC- field\r\nReceived-SPF: pass\r\n\r\nx\r\n'],
  [
    'content-fields-twice',
    'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-Last: 1\r\n\r\nGr\xc3\xb6\xc3\x9fe\r\n',
  ],
  [
    'captured-php-mail',
    'X-PHP-Originating-Script: 0:form.php\r\nX-Mailer: PHP/8\r\n' +
      `${LABEL_UTF8}\r\nName: J\xc3\xbcrgen Gro\xc3\x9f\r\nTelefon: 0123\r\n\r\n.versteckt\r\n\r\n`,
  ],
];

for (const [name, entity] of examples) {
  test(`inside of ${name}`, { skip }, async () => {
    assert.equal((await expectedEntity(streamNamed(name), 'keep')).toString('latin1'), entity);
  });
}

test('a replaced Subject stays inside, at its place and with its folding', { skip }, async () => {
  const kept = 'Subject: =?utf-8?Q?Anfrage_von_J=C3=BCrgen?=\r\n =?utf-8?B?R3Jvw58=?=\r\n\r\nx\r\n';
  assert.equal((await expectedEntity(streamNamed('subject-rfc-2047'), 'replace')).toString(), kept);
  assert.equal((await expectedEntity(streamNamed('subject-rfc-2047'), 'keep')).toString(), '\r\nx\r\n');
});

const charsets: readonly [name: string, charset: string | undefined][] = [
  ['unlabelled-utf-8', 'utf-8'],
  ['unlabelled-surrogate-is-not-utf-8', 'windows-1252'],
  ['unlabelled-overlong-is-not-utf-8', 'windows-1252'],
  ['utf-8-cut-by-the-look-ahead', 'utf-8'],
  ['utf-8-cut-by-the-look-ahead-then-latin-1', 'utf-8'],
  ['not-a-cut-character-at-the-look-ahead', 'windows-1252'],
  ['eight-bit-as-last-octet-of-the-look-ahead', 'utf-8'],
  ['eight-bit-behind-the-look-ahead', undefined],
  ['eight-bit-behind-the-look-ahead-by-line-ends', undefined],
  ['text-without-any-mime-field', undefined],
];

for (const [name, charset] of charsets) {
  test(`${name} is labelled ${charset ?? 'not at all'}`, { skip }, async () => {
    const entity = (await expectedEntity(streamNamed(name), 'keep')).toString('latin1');
    assert.equal(/^Content-Type: text\/plain; charset=(\S+)\r$/m.exec(entity)?.[1], charset);
  });
}

test('the rules cover every recorded stream, and an entity has no bare CR or LF', { skip }, async () => {
  for (const stream of streams) {
    const entity = await expectedEntity(stream.octets(), 'keep');
    assert.doesNotMatch(entity.toString('latin1'), /\r(?!\n)|(?<!\r)\n/, stream.name);
  }
});

test('what the rules say nothing on is refused, not guessed', { skip }, async () => {
  await assert.rejects(expectedEntity(Buffer.from('From: a@x.example\r\nno field at all\r\n\r\nx'), 'keep'), /header line without a name/);
  assert.equal((await run('perl', [new URL('expected-entity.pl', import.meta.url).pathname, '--subject', 'maybe'])).code, 2);
});
