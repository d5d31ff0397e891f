/**
 * What form scripts write into DATA, after dot-unstuffing and with the line ends they really use. Captured streams are files
 * in streams/ (capture.ts made them); what is large or where one octet matters is made here, the same at every run.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

export interface Stream {
  readonly name: string;
  readonly octets: () => Buffer;
}

/** What the relay looks at of a body before it seals. The edges around it have streams of their own. */
const LOOK_AHEAD = 64 * 1024;
const ATTACHMENT_OCTETS = 20 * 1024 * 1024;

const FROM = 'From: Intake form <forms@clinic.example>';
const TO = 'To: anna@clinic.example';
const SUBJECT = 'Subject: New intake form';
const DATE = 'Date: Mon, 23 Nov 2026 08:00:00 +0000';
const ID = 'Message-ID: <20261123080000.1@forms.clinic.example>';
const MIME = 'MIME-Version: 1.0';
const USUAL = [FROM, TO, SUBJECT, DATE, ID];

type Part = string | Buffer;

/** Header lines and body joined by `eol`; strings are UTF-8, Buffers go in as they are. */
function message(header: readonly string[], body: Part, eol = '\r\n'): Buffer {
  return Buffer.concat([Buffer.from([...header, '', ''].join(eol)), Buffer.from(body)]);
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const lines = (...text: string[]): string => text.map((line) => `${line}\r\n`).join('');

/** Octets that look random and are the same at every run. */
function noise(length: number, seed: string): Buffer {
  return createHash('shake256', { outputLength: length }).update(seed).digest();
}

function base64(octets: Buffer): string {
  return octets.toString('base64').replace(/.{1,76}/g, '$&\r\n');
}

function multipart(parts: readonly string[], boundary: string): string {
  return [
    'This is a multi-part message in MIME format.\r\n',
    ...parts.map((part) => `--${boundary}\r\n${part}\r\n`),
    `--${boundary}--\r\n`,
  ].join('');
}

function attachment(type: string, name: string, octets: Buffer): string {
  return (
    lines(
      `Content-Type: ${type}; name="${name}"`,
      'Content-Transfer-Encoding: base64',
      `Content-Disposition: attachment; filename="${name}"`,
      '',
    ) + base64(octets)
  );
}

/** Enough of a PDF and of a PNG for `file` to know them; what follows is filler. */
const PDF = Buffer.concat([Buffer.from('%PDF-1.4\n%\xe2\xe3\xcf\xd3\n', 'latin1'), noise(300_000, 'pdf'), Buffer.from('\n%%EOF\n')]);
const PNG = Buffer.concat([Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex'), noise(120_000, 'png')]);

function formMail(): Buffer {
  const alternative = multipart(
    [
      lines('Content-Type: text/plain; charset=utf-8', 'Content-Transfer-Encoding: 8bit', '', 'Name: Jürgen Groß', 'Größe: 1,82 m'),
      lines('Content-Type: text/html; charset=utf-8', 'Content-Transfer-Encoding: 8bit', '', '<p>Name: <b>Jürgen Groß</b></p>'),
    ],
    'inner-0042',
  );
  const body = multipart(
    [
      `Content-Type: multipart/alternative; boundary="inner-0042"\r\n\r\n${alternative}`,
      attachment('application/pdf', 'referral.pdf', PDF),
      attachment('image/png', 'scan.png', PNG),
      ...Array.from({ length: 200 }, (_, n) => lines('Content-Type: text/plain', '', `part ${n} of a long form`)),
    ],
    'outer-0042',
  );
  return message([...USUAL, MIME, 'Content-Type: multipart/mixed;', '\tboundary="outer-0042"'], body);
}

const plain: readonly Stream[] = [
  { name: 'text', octets: () => message([...USUAL, MIME, 'Content-Type: text/plain; charset=us-ascii'], lines('Hello', '', 'Bye')) },
  { name: 'text-without-any-mime-field', octets: () => message(USUAL, lines('Hello', 'Bye')) },
  {
    name: 'html',
    octets: () =>
      message(
        [...USUAL, MIME, 'Content-Type: text/html; charset=utf-8', 'Content-Transfer-Encoding: quoted-printable'],
        lines('<html><body style=3D"color:#333"><p>Gr=C3=BC=C3=9Fe</p>=20', '</body></html>'),
      ),
  },
  {
    name: 'format-flowed',
    octets: () =>
      message([...USUAL, MIME, 'Content-Type: text/plain; charset=utf-8; format=flowed'], lines('one long ', 'paragraph', '-- ', '> x ')),
  },
  { name: 'no-final-newline', octets: () => message(USUAL, 'line one\r\nline two') },
  { name: 'empty-body', octets: () => message(USUAL, '') },
  { name: 'header-only', octets: () => Buffer.from(lines(...USUAL, 'X-Form: 7')) },
  { name: 'header-only-cut', octets: () => Buffer.from([...USUAL, 'X-Form: 7'].join('\r\n')) },
  { name: 'no-octets-at-all', octets: () => Buffer.alloc(0) },
  { name: 'no-header', octets: () => Buffer.from('\r\nonly a body\r\n') },
  { name: 'one-bare-lf', octets: () => Buffer.from('\n') },
  { name: 'blank-lines-at-both-ends', octets: () => message(USUAL, '\r\n\r\n \r\ntext\r\n\r\n\r\n') },
  { name: 'dots-at-line-starts', octets: () => message(USUAL, lines('.', '..', '.hidden', '...', 'end.', '.')) },
  { name: 'multipart-with-pdf-and-png', octets: formMail },
  {
    name: 'attachment-20-mib',
    octets: () =>
      message(
        [...USUAL, MIME, 'Content-Type: multipart/mixed; boundary=b20'],
        multipart(
          [
            lines('Content-Type: text/plain', '', 'the scan'),
            attachment('application/octet-stream', 'scan.bin', noise(ATTACHMENT_OCTETS, 'scan')),
          ],
          'b20',
        ),
      ),
  },
];

const lineEnds: readonly Stream[] = [
  {
    name: 'bare-lf-throughout',
    octets: () => message([...USUAL, 'X-Form: 7', MIME, 'Content-Type: text/plain;\n charset=utf-8'], 'one\n\ntwo\nthree\n', '\n'),
  },
  { name: 'bare-cr-throughout', octets: () => message([...USUAL, 'X-Form: 7'], 'one\r\rtwo\rthree', '\r') },
  { name: 'crlf-header-lf-body', octets: () => message([...USUAL, 'X-Form: 7'], 'one\ntwo\n') },
  { name: 'mixed-line-ends', octets: () => message(USUAL, 'a\rb\nc\r\nd\r\r\ne\n\rf\r\n\r\ng\n\nh\r\ri\r\n') },
  { name: 'bare-cr-within-the-header', octets: () => Buffer.from(`${FROM}\rX-One: 1\r\nX-Two: 2\n\tfolded\r folded\r\n${TO}\n\rbody\r`) },
  { name: 'header-ends-with-a-bare-cr', octets: () => Buffer.from(`${FROM}\r\n${TO}\r\nX-One: 1\r`) },
  { name: 'ends-with-a-bare-cr', octets: () => message(USUAL, 'last\r') },
  { name: 'ends-with-a-bare-lf', octets: () => message(USUAL, 'last\n') },
  { name: 'line-of-998-octets', octets: () => message(USUAL, `${'x'.repeat(998)}\r\nshort\r\n`) },
  { name: 'line-of-100000-octets', octets: () => message(USUAL, `${'0123456789'.repeat(10_000)}\r\nshort\r\n`) },
  { name: 'a-crlf-across-every-64-kib', octets: () => message(USUAL, `${'y'.repeat(LOOK_AHEAD - 1)}\r\n`.repeat(5)) },
  // Whatever size a network read has, some CR here ends one read and its LF begins the next.
  { name: 'only-line-ends', octets: () => message(USUAL, '\r\n'.repeat(150_000) + '\n\r'.repeat(70_000)) },
];

const eightBit: readonly Stream[] = [
  { name: 'unlabelled-utf-8', octets: () => message(USUAL, lines('Größe: 1,82 m', 'Name: 山田 太郎 😀')) },
  { name: 'unlabelled-windows-1252', octets: () => message(USUAL, latin1('Gr\xf6\xdfe: 1,82 m\r\n\x80 12,50\r\n')) },
  { name: 'unlabelled-windows-1252-ends-like-a-cut-character', octets: () => message(USUAL, latin1('caf\xe9')) },
  { name: 'unlabelled-surrogate-is-not-utf-8', octets: () => message(USUAL, latin1('\xed\xa0\x80\r\n')) },
  { name: 'unlabelled-overlong-is-not-utf-8', octets: () => message(USUAL, latin1('\xc0\xaf\r\n')) },
  { name: 'unlabelled-with-transfer-encoding', octets: () => message([...USUAL, MIME, 'content-transfer-encoding: 8BIT'], 'Größe\r\n') },
  { name: 'utf-8-cut-by-the-look-ahead', octets: () => message(USUAL, `${'x'.repeat(LOOK_AHEAD - 2)}😀\r\n`) },
  {
    name: 'utf-8-cut-by-the-look-ahead-then-latin-1',
    octets: () => message(USUAL, Buffer.concat([Buffer.alloc(LOOK_AHEAD - 1, 'x'), latin1('\xe9 \xe8\r\n')])),
  },
  {
    name: 'not-a-cut-character-at-the-look-ahead',
    octets: () => message(USUAL, Buffer.concat([Buffer.alloc(LOOK_AHEAD - 1, 'x'), latin1('\xa9\r\n')])),
  },
  {
    name: 'eight-bit-as-last-octet-of-the-look-ahead',
    octets: () => message(USUAL, Buffer.concat([Buffer.alloc(LOOK_AHEAD - 2, 'x'), latin1('\xc3\xa9\r\n')])),
  },
  { name: 'eight-bit-behind-the-look-ahead', octets: () => message(USUAL, `${'x'.repeat(LOOK_AHEAD)}é\r\n`) },
  // 33,000 lines: the é stands before 64 KiB as sent and behind them once every LF is a CRLF.
  { name: 'eight-bit-behind-the-look-ahead-by-line-ends', octets: () => message(USUAL, `${'\n'.repeat(33_000)}é\n`) },
  { name: 'eight-bit-in-a-kept-field', octets: () => message([...USUAL, 'X-Name: Jürgen'], lines('x')) },
  {
    name: 'labelled-eight-bit',
    octets: () => message([...USUAL, MIME, 'Content-Type: text/plain; charset=iso-8859-15'], latin1('\xa4\r\n')),
  },
];

const fields: readonly Stream[] = [
  { name: 'subject-raw-utf-8', octets: () => message([FROM, TO, 'Subject: Anfrage von Jürgen Groß', DATE, ID], lines('x')) },
  {
    name: 'subject-rfc-2047',
    octets: () => message([FROM, TO, 'Subject: =?utf-8?Q?Anfrage_von_J=C3=BCrgen?=', ' =?utf-8?B?R3Jvw58=?=', DATE, ID], lines('x')),
  },
  {
    name: 'folded-headers',
    octets: () =>
      message(
        [
          'From: Intake form',
          '\t<forms@clinic.example>',
          'To: anna@clinic.example,',
          '  ben@clinic.example',
          'Subject: a subject',
          ' on three',
          '\tlines',
          'X-Long: first',
          '\t  second',
          ' \t',
          ' fourth behind a blank one',
          MIME,
          'Content-Type: text/plain;',
          '\tcharset="utf-8";',
          '   format=flowed',
          'Content-Transfer-Encoding:',
          ' 7bit',
        ],
        lines('x'),
      ),
  },
  {
    name: 'personal-data-in-odd-fields',
    octets: () =>
      message(
        [
          'X-Patient: Jane Roe',
          FROM,
          'Comments: born 1970-01-01',
          TO,
          'Thread-Topic: Jane Roe',
          'Keywords: oncology',
          'Disposition-Notification-To: forms@clinic.example',
          'x-empty:',
          'Content-Language: de',
          'X-Patient: twice',
          SUBJECT,
          'X-Mailer : with a blank before the colon',
          DATE,
        ],
        lines('x'),
      ),
  },
  {
    name: 'dropped-and-outer-fields',
    octets: () =>
      message(
        [
          'Return-Path: <forms@clinic.example>',
          'Received: from form (localhost [127.0.0.1])',
          '\tby web.clinic.example; Mon, 23 Nov 2026 08:00:00 +0000',
          'ARC-Seal: i=1; a=rsa-sha256; cv=none',
          'Arc-Message-Signature: i=1',
          'DKIM-Signature: v=1; a=rsa-sha256;',
          ' b=AAAA',
          'DELIVERED-TO: ben@clinic.example',
          'X-Original-To: ben@clinic.example',
          'Envelope-To: ben@clinic.example',
          'X-Envelope-To: ben@clinic.example',
          'Apparently-To: ben@clinic.example',
          'bCC: Ben <ben@clinic.example>,',
          ' carla@clinic.example',
          'Resent-Bcc: dora@clinic.example',
          'X-Kept: 1',
          FROM,
          'Sender: web@clinic.example',
          'Reply-To: visitor@example.net',
          TO,
          'Cc: ben@clinic.example',
          SUBJECT,
          DATE,
          ID,
          'In-Reply-To: <a@example.net>',
          'References: <a@example.net>',
          ' <b@example.net>',
          'Auto-Submitted: auto-generated',
          'Precedence: bulk',
          'Importance: high',
          'List-Id: forms <forms.clinic.example>',
          'LIST-UNSUBSCRIBE: <mailto:u@clinic.example>',
          'Listing: not a List- field',
          'ARCHIVE: not an ARC- field',
          'Received-SPF: pass',
        ],
        lines('x'),
      ),
  },
  {
    name: 'content-fields-twice',
    octets: () =>
      message(
        [
          ...USUAL,
          MIME,
          'Content-Type: text/plain; charset=utf-8',
          'Content-Transfer-Encoding: 8bit',
          'content-type: text/html',
          ' ; charset=us-ascii',
          'CONTENT-TRANSFER-ENCODING: base64',
          'X-Last: 1',
        ],
        lines('Größe'),
      ),
  },
  {
    name: 'every-content-field',
    octets: () =>
      message(
        [
          'Content-Language: en',
          'Content-Type: text/plain',
          ...USUAL,
          'Content-Disposition: inline',
          'Content-ID: <1@x>',
          'Content-Description: form',
          'Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==',
        ],
        lines('x'),
      ),
  },
];

const folder = new URL('streams/', import.meta.url);

const captured: readonly Stream[] = readdirSync(folder)
  .filter((file) => file.endsWith('.eml'))
  .sort()
  .map((file) => ({ name: `captured-${file.slice(0, -'.eml'.length)}`, octets: () => readFileSync(new URL(file, folder)) }));

export const streams: readonly Stream[] = [...plain, ...lineEnds, ...eightBit, ...fields, ...captured];

/** The stream of that name; a misspelt name throws. */
export function streamNamed(name: string): Buffer {
  const stream = streams.find((candidate) => candidate.name === name);
  if (stream === undefined) throw new Error(`no stream is called ${name}`);
  return stream.octets();
}
