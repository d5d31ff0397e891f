import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { fieldText, LOOK_AHEAD, MAX_HEADER, readMessage } from '../../src/message/header.ts';
import { chunked, collect } from './sources.ts';

const read = (text: Buffer | string, sizes?: number[]) => readMessage(chunked(text, sizes));

test('fields keep their octets, folding and order; the body starts behind the empty line', async () => {
  const message = await read('Subject: a\r\n b\r\nX-One:1\r\nSUBJECT : c\r\n\r\nbody\r\n');
  assert.deepEqual(
    message.fields.map(({ key, octets }) => [key, octets.toString()]),
    [
      ['subject', 'Subject: a\r\n b\r\n'],
      ['x-one', 'X-One:1\r\n'],
      ['subject', 'SUBJECT : c\r\n'],
    ],
  );
  assert.equal((await collect(message.body)).toString(), 'body\r\n');
});

test('a script that forgot the empty line: its first line that is no field starts the body', async () => {
  const message = await read('Subject: a\nDear doctor,\nit hurts\n');
  assert.deepEqual(
    message.fields.map(({ name }) => name),
    ['Subject'],
  );
  assert.equal((await collect(message.body)).toString(), 'Dear doctor,\r\nit hurts\r\n');
});

test('header only, empty message, mailbox line, continuation first', async () => {
  assert.equal((await read('Subject: a')).fields[0]?.octets.toString(), 'Subject: a\r\n');
  assert.equal((await read('')).fields.length, 0);
  assert.deepEqual(
    (await read('From a@b Mon Jan  1\nSubject: x\n\ny')).fields.map(({ name }) => name),
    ['Subject'],
  );
  assert.equal((await collect((await read(' not a field\r\n')).body)).toString(), ' not a field\r\n');
});

test('any octets in any packets: fields and body put together give the message with CRLF line ends', async () => {
  const piece = fc.constantFrom('Subject: x', 'A:', ':', ' ', '\t', '\r\n', '\n', '\r', 'é', 'text', 'From ', '\r\n\r\n');
  await fc.assert(
    fc.asyncProperty(
      fc.array(piece, { maxLength: 40 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 4 }),
      async (pieces, sizes) => {
        const text = pieces.join('');
        const message = await read(text, sizes);
        const canonical = text.replace(/\r\n|\r|\n/g, '\r\n');
        const fields = Buffer.concat(message.fields.map(({ octets }) => octets)).toString();
        const body = (await collect(message.body)).toString();
        const mailbox = /^>?From .*\r\n(?:[ \t].*\r\n)*/.exec(canonical)?.[0] ?? '';
        const whole = [fields + body, `${fields}\r\n${body}`, mailbox + fields + body, `${mailbox}${fields}\r\n${body}`];
        assert.ok(
          whole.some(
            (one) => one === canonical || one === `${canonical}\r\n` || `From ${one}` === canonical || canonical.startsWith('From '),
          ),
          JSON.stringify({ canonical, fields, body }),
        );
      },
    ),
  );
});

test('the look-ahead is capped, and the body still whole behind it', async () => {
  const body = Buffer.alloc(3 * LOOK_AHEAD, 'x');
  const message = await read(Buffer.concat([Buffer.from('A: b\r\n\r\n'), body]), [10_000]);
  assert.equal(message.lookAhead.length, LOOK_AHEAD);
  assert.equal(message.whole, false);
  assert.deepEqual(await collect(message.body), body);
});

test('A30 headers without end are refused at their limit, without reading on', async () => {
  let handedOut = 0;
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) {
      handedOut += 10_000;
      yield Buffer.from(`X-Line: ${'a'.repeat(9_990)}\r\n`);
    }
  }
  await assert.rejects(readMessage(endless()), { code: 'header-too-big' });
  assert.ok(handedOut < MAX_HEADER + 30_000);
});

test('A32 a header sent octet by octet costs no more than its size', { timeout: 20_000 }, async () => {
  const message = await read(`${`X: ${'y'.repeat(100)}\r\n`.repeat(1_900)}\r\nbody`, [1]);
  assert.equal(message.fields.length, 1_900);
});

test('a value is unfolded, and read as UTF-8 or else windows-1252', async () => {
  const utf8 = await read('Subject: grün\r\n  und\tblau\r\n\r\n');
  assert.equal(utf8.fields.map(fieldText)[0], 'grün  und\tblau');
  const latin1 = await read(Buffer.from('Subject: gr\xfcn \x80\r\n\r\n', 'latin1'));
  assert.equal(latin1.fields.map(fieldText)[0], 'grün €');
});

test('A32 more fields than any program writes are refused', async () => {
  assert.equal((await read('a:\r\n'.repeat(2_000))).fields.length, 2_000);
  await assert.rejects(read('a:\r\n'.repeat(2_001)), { code: 'header-too-big' });
});

test('a From field with a blank in front of its colon is no mailbox line', async () => {
  assert.deepEqual(
    (await read('From : a <b@c.example>\r\nTo: d\r\n\r\n')).fields.map(({ name }) => name),
    ['From', 'To'],
  );
});

test('A16 a Bcc field behind a line that is none is refused, since as body text every reader would see it', async () => {
  await assert.rejects(read('Subject: x\nthis is bad\nBcc: hidden@clinic.example\n\nbody'), { code: 'header-malformed' });
  assert.equal(
    (await collect((await read('Subject: x\nhello\n\nBcc: in the text\n')).body)).toString(),
    'hello\r\n\r\nBcc: in the text\r\n',
  );
});

for (const [what, text] of [
  ['its colon on the next line', 'Subject: x\nBcc\n : hidden@clinic.example\n\nbody'],
  ['a blank in front, as the first line', ' Bcc: hidden@clinic.example\nSubject: x\n\nbody'],
  ['a blank in front, behind a line that is none', 'Subject: x\nthis is bad\n Bcc: hidden@clinic.example\n\nbody'],
  ['both', 'Subject: x\nthis is bad\n Bcc\n \n\t: hidden@clinic.example\n\nbody'],
  ['a no-break space in front', 'Subject: x\n\u00a0Bcc: hidden@clinic.example\n\nbody'],
  ['a byte order mark in front', '\ufeffBcc: hidden@clinic.example\nSubject: x\n\nbody'],
  ['a no-break space behind', 'Subject: x\nBcc\u00a0: hidden@clinic.example\n\nbody'],
  ['a longer name', 'Subject: x\nthis is bad\nX-Original-Bcc: hidden@clinic.example\n\nbody'],
] as const) {
  test(`A16 a Bcc that is no field is refused: ${what}`, async () => {
    await assert.rejects(read(text), { code: 'header-malformed' });
  });
}

test('A32 a start of a body that may hide a Bcc is looked at in linear time', async () => {
  for (const piece of [' \r\n', '-', 'bcc ', 'x-\r\n ', 'bcc\r\n', 'bcc\r\n \r\n ']) {
    const started = performance.now();
    await read(`Subject: x\r\nno field\r\n${piece.repeat(LOOK_AHEAD / piece.length)}`);
    assert.ok(performance.now() - started < 2000);
  }
});
