import assert from 'node:assert/strict';
import { test } from 'node:test';
import { innerHeader } from '../../src/message/entity.ts';
import { LOOK_AHEAD, readMessage } from '../../src/message/header.ts';
import { chunked } from './sources.ts';

async function inner(text: Buffer | string): Promise<string> {
  const message = await readMessage(chunked(text));
  return innerHeader(message, { alsoInside: new Set() }).toString('latin1');
}

test('8-bit text without a Content-Type says its charset', async () => {
  assert.equal(await inner('Subject: x\n\nGrüße'), 'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n');
  const latin1 = Buffer.from('Subject: x\n\nGr\xfc\xdfe', 'latin1');
  assert.equal(await inner(latin1), 'Content-Type: text/plain; charset=windows-1252\r\nContent-Transfer-Encoding: 8bit\r\n\r\n');
});

test('ASCII without a Content-Type needs no label, labelled text keeps its own', async () => {
  assert.equal(await inner('Subject: x\n\nabc'), '\r\n');
  assert.equal(await inner('Content-Type: text/html\n\nGrüße'), 'Content-Type: text/html\r\n\r\n');
  assert.equal(
    await inner('Content-Transfer-Encoding: 8bit\n\nGrüße'),
    'Content-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n',
  );
});

test('a UTF-8 sequence that the look-ahead cuts is UTF-8 still; one that the message cuts is not', async () => {
  assert.match(await inner(`A: b\n\n${'x'.repeat(LOOK_AHEAD - 1)}ü and on`), /charset=utf-8/);
  assert.match(await inner(Buffer.concat([Buffer.from('A: b\n\nabc'), Buffer.from([0xc3])])), /charset=windows-1252/);
});

test('of several Content-Type fields the first valid one stands', async () => {
  assert.equal(
    await inner(
      'Content-Type: \nContent-Type: text/html\nContent-Type: text/plain\nContent-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\nx',
    ),
    'Content-Type: text/html\r\nContent-Transfer-Encoding: 7bit\r\n\r\n',
  );
});
