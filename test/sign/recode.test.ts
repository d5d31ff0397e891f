/** What is made 7-bit says the same to a reader: mailparser, which shares no code with it, reads both. */
import assert from 'node:assert/strict';
import { isAscii } from 'node:buffer';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { simpleParser } from 'mailparser';
import { SevenBit } from '../../src/sign/recode.ts';

const lines = (...all: readonly string[]): string => all.map((line) => `${line}\r\n`).join('');

function recode(entity: string | Buffer, sizes: readonly number[] = [Infinity]): Buffer {
  const octets = typeof entity === 'string' ? Buffer.from(entity) : entity;
  const recoder = new SevenBit();
  const out: Buffer[] = [];
  for (let at = 0, turn = 0; at < octets.length; turn++) {
    const size = Math.min(octets.length - at, sizes[turn % sizes.length] ?? 1);
    out.push(...recoder.push(octets.subarray(at, at + size)));
    at += size;
  }
  out.push(...recoder.end());
  return Buffer.concat(out);
}

function assertSevenBit(entity: Buffer): void {
  assert.ok(isAscii(entity), 'octets above 0x7f are left');
  for (const line of entity.toString('latin1').split('\r\n')) assert.ok(line.length <= 998, `a line of ${line.length} octets`);
  assert.doesNotMatch(entity.toString('latin1'), /\r(?!\n)|(?<!\r)\n/);
}

const TEXT = 'Content-Type: text/plain; charset=utf-8\r\n';
const EIGHT = 'Content-Transfer-Encoding: 8bit\r\n';

function multipart(boundary: string, parts: readonly string[], head = ''): string {
  const body = parts.map((part) => `--${boundary}\r\n${part}\r\n`).join('');
  return `${head}Content-Type: multipart/mixed; boundary="${boundary}"\r\n\r\n${body}--${boundary}--\r\n`;
}

describe('made 7-bit', () => {
  test('8-bit text becomes quoted-printable, and says so once', () => {
    const out = recode(`${TEXT}${EIGHT}\r\nGrüße = \r\n-- \r\nAnna\r\n`).toString();
    assert.equal(out, `${TEXT}Content-Transfer-Encoding: quoted-printable\r\n\r\n${lines('Gr=C3=BC=C3=9Fe =3D=20', '--=20', 'Anna')}`);
  });

  test('what is 7-bit already stays as it is, to the octet', () => {
    const part = `${TEXT}\r\nplain\r\n. \r\n`;
    for (const entity of [
      part,
      multipart('b', [part, `Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n${lines('QUJD', 'REVG')}`]),
      multipart('outer', [multipart('inner', [part, part]), part]),
      `${TEXT}Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC\r\n`,
    ])
      assert.equal(recode(entity).toString(), entity);
  });

  test('nobody else’s signature is touched, wherever it stands', () => {
    const theirs = `Content-Type: multipart/signed; boundary=s; protocol="application/pkcs7-signature"; micalg=sha-256\r\n${EIGHT}\r\n--s\r\n${TEXT}${EIGHT}\r\nGrüße\r\n--s\r\nContent-Type: application/pkcs7-signature\r\n\r\nAAAA\r\n--s--\r\n`;
    assert.equal(recode(theirs).toString(), theirs);
    const inside = recode(multipart('b', [theirs, `${TEXT}${EIGHT}\r\nAnd more: ü\r\n`])).toString();
    assert.ok(inside.includes(theirs));
    assert.ok(inside.includes('And more: =C3=BC'));
    const sealed = `Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: binary\r\n\r\n\u00ff\u00fe`;
    assert.equal(recode(sealed).toString(), sealed);
  });

  test('8-bit parts of a multipart are encoded, each as its kind wants, and the multipart says 7bit', () => {
    const text = `${TEXT}${EIGHT}\r\nGrüße`;
    const raw = `Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\nöffentlich`;
    const out = recode(multipart('b', [text, raw], EIGHT)).toString();
    assertSevenBit(Buffer.from(out));
    assert.match(out, /^Content-Transfer-Encoding: 7bit\r\nContent-Type: multipart/);
    assert.ok(out.includes('Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n--b\r\n'));
    assert.ok(out.includes(`Content-Transfer-Encoding: base64\r\n\r\n${Buffer.from('öffentlich').toString('base64')}\r\n`));
  });

  test('comments, a boundary in pieces and an encoding in quotes are read as other programs read them', () => {
    for (const type of [
      'multipart/mixed (x; "y); boundary=(z \\) (deeper))b (end)',
      '(x) multipart (y) / mixed; boundary*0="b"; charset=us-ascii',
      'multipart/mixed; boundary*1=b; boundary*0=""',
    ]) {
      const entity = `Content-Type: ${type}\r\n${EIGHT}\r\n--b\r\n${TEXT}Content-Transfer-Encoding: (old) "8bit"\r\n\r\nGrüße\r\n--b--\r\n`;
      const out = recode(entity);
      assertSevenBit(out);
      assert.ok(out.includes(`--b\r\n${TEXT}Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n--b--\r\n`), type);
    }
    const encoded = `Content-Type: application/pdf\r\nContent-Transfer-Encoding: (c) base64\r\n\r\n${'QUJD\r\n'.repeat(20_000)}`;
    assert.equal(recode(encoded).toString(), encoded, 'encoded once');
  });

  test('where a header says two things of a part, none of it is changed, and nothing is lost', () => {
    const body = `--a\r\n${TEXT}\r\nGrüße\r\n--a--\r\n--b\r\n${TEXT}\r\nGrüße\r\n--b--\r\n`;
    for (const header of [
      'Content-Type: multipart/mixed; boundary=a\r\nContent-Type: multipart/mixed; boundary=b\r\n',
      'Content-Type: multipart/mixed; boundary=a; boundary*0=b\r\n',
      'Content-Type: multipart/mixed; boundary*0=a; boundary*1*=b\r\n',
      `${TEXT}${EIGHT}Content-Transfer-Encoding: base64\r\n`,
    ])
      assert.equal(recode(`${header}\r\n${body}`).toString(), `${header}\r\n${body}`);
    assert.match(recode(`${TEXT}${TEXT}${EIGHT}${EIGHT}\r\nGrüße`).toString(), /Gr=C3=BC/, 'twice the same is one thing');
  });

  test('a message within is walked into, and a part of a digest is one', () => {
    const message = 'Subject: old\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße';
    const out = recode(multipart('b', [`Content-Type: message/rfc822\r\n${EIGHT}\r\n${message}`])).toString();
    assert.ok(out.includes('Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: old\r\n'), out);
    assert.ok(out.includes('Gr=C3=BC=C3=9Fe'));
    const digest = multipart('b', [`\r\n${message}`]).replace('mixed', 'digest');
    assert.ok(recode(digest).toString().includes('Gr=C3=BC=C3=9Fe'));
  });

  test('text without a label gets one', () => {
    assert.match(recode('\r\nGrüße').toString(), /^Content-Type: text\/plain; charset=utf-8\r\n/);
    assert.match(recode(Buffer.from('\r\nGr\xfc\xdfe', 'latin1')).toString(), /charset=windows-1252\r\n.*\r\n\r\nGr=FC=DFe/);
  });

  test('raw names of files become encoded words', async () => {
    const attachment = `Content-Type: application/pdf; name="Über mich.pdf"\r\nContent-Disposition: attachment; filename="Über mich.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n`;
    const out = recode(multipart('b', [attachment]));
    assertSevenBit(out);
    const read = await simpleParser(Buffer.concat([Buffer.from('MIME-Version: 1.0\r\n'), out]));
    assert.equal(read.attachments[0]?.filename, 'Über mich.pdf');
  });

  test('over-long lines, of text, base64 and quoted-printable, and what stands around the parts', async () => {
    const long = 'x'.repeat(5000);
    const digits = Buffer.from(long).toString('base64');
    const entity = multipart('b', [
      `${TEXT}\r\n${long}`,
      `Content-Type: application/octet-stream; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\n${digits}`,
      `${TEXT}Content-Transfer-Encoding: quoted-printable\r\n\r\n${'=C3=BC'.repeat(1000)}`,
    ]).replace('\r\n\r\n', `\r\n\r\nPreamble ü ${long}\r\n`);
    const out = recode(entity, [700]);
    assertSevenBit(out);
    const read = await simpleParser(Buffer.concat([Buffer.from('MIME-Version: 1.0\r\n'), out]));
    assert.equal(read.attachments[0]?.content.toString(), long);
    assert.equal(read.text?.replace(/\n/g, ''), `${long}${'ü'.repeat(1000)}`);
  });

  test('a part that is too long to hold is encoded whatever comes', () => {
    const start = 'all plain\r\n'.repeat(10_000);
    const out = recode(`${TEXT}\r\n${start}ü`, [5000]);
    assertSevenBit(out);
    assert.ok(out.toString().endsWith('=C3=BC'));
  });

  test('A31 10,000 multiparts within each other, and a million delimiters of none, cost no more than their size', () => {
    let nested = '';
    for (let depth = 0; depth < 10_000; depth++) nested += `Content-Type: multipart/mixed; boundary=b${depth}\r\n\r\n--b${depth}\r\n`;
    assert.equal(recode(nested, [4096]).toString(), nested);
    const begun = performance.now();
    const parts = multipart('b', ['--x\r\n'.repeat(1_000_000), '--b\r\n'.repeat(100_000)]);
    assert.ok(recode(parts, [65_536]).length > 0);
    assert.ok(performance.now() - begun < 10_000);
  });
});

/** A part as scripts write it, and what a reader sees of it. */
const leaf = fc.record({
  text: fc.string({ unit: fc.constantFrom('a', 'ü', '€', '=', ' ', '\t', '-', '--b', '.', '\r\n', 'x'.repeat(80)), maxLength: 30 }),
  label: fc.constantFrom('', EIGHT, 'Content-Transfer-Encoding: binary\r\n', 'Content-Transfer-Encoding: 7BIT\r\n'),
});

describe('a reader sees the same', () => {
  test('of whatever parts, in whatever pieces they come', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.array(leaf, { minLength: 1, maxLength: 4 }), sizes, async (leaves, each) => {
        const parts = leaves.map(({ text, label }, index) => {
          // Named, so that the parser keeps each for itself, octet for octet.
          return `Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: attachment; filename=${index}\r\n${label}\r\n.${text}`;
        });
        const boundary = 'b0undary';
        const entity = multipart(boundary, parts);
        const out = recode(entity, each);
        assertSevenBit(out);
        assert.ok(out.equals(recode(entity)), 'the pieces it came in are seen');
        const read = await simpleParser(Buffer.concat([Buffer.from('MIME-Version: 1.0\r\n'), out]));
        assert.deepEqual(
          read.attachments.map(({ content }) => content.toString()),
          leaves.map(({ text }) => `.${text}`),
        );
      }),
      { numRuns: 200 },
    );
  });

  test('hostile octets end in an answer, and the pieces they came in make no difference', () => {
    const octets = ['\r\n', '--b', '--', 'b', 'ü', ':', ';', '"', '=', ' ', 'x'.repeat(600), '\r\n--b\r\n', '\r\n--b--\r\n'];
    const fields = ['multipart/mixed; boundary=b', 'message/rfc822', 'text/plain'].map((type) => `Content-Type: ${type}\r\n`);
    const piece = fc.constantFrom(
      ...octets,
      ...fields,
      'Content-Transfer-Encoding: base64\r\n',
      'Content-Transfer-Encoding: quoted-printable\r\n',
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 60 }),
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 3 }),
        (pieces, each) => {
          const entity = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${pieces.join('')}`;
          assert.ok(recode(entity, each).equals(recode(entity)));
        },
      ),
      { numRuns: 500 },
    );
  });
});
