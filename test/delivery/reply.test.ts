import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { printable, ReplyReader, replyText, type UpstreamReply } from '../../src/delivery/reply.ts';
import { SealpostError } from '../../src/errors.ts';

function read(text: string, size = text.length): UpstreamReply[] {
  const reader = new ReplyReader();
  const octets = Buffer.from(text, 'latin1');
  const replies: UpstreamReply[] = [];
  for (let at = 0; at < octets.length; at += size) replies.push(...reader.push(octets.subarray(at, at + size)));
  return replies;
}

test('replies are read the same whole and octet by octet', () => {
  const text = '250-first\r\n250-2.0.0 second\r\n250 third\r\n450 4.2.1 busy\r\n354\r\n550 5.1.1 no\n';
  assert.deepEqual(read(text, 1), read(text));
  assert.deepEqual(read(text).map(replyText), ['250 first 2.0.0 second third', '450 4.2.1 busy', '354', '550 5.1.1 no']);
});

test('an enhanced status counts only where its class fits the code', () => {
  assert.equal(read('250 5.1.1 odd\r\n')[0]?.status, undefined);
  assert.deepEqual(read('550-5.7.1 one\r\n550 5.7.1 two\r\n').map(replyText), ['550 5.7.1 one two']);
});

test('A33: control characters, escapes and right-to-left marks of a reply reach no log, and its text is cut', () => {
  const [reply] = read(`550 a\x1b[31mb\tc\xe2\x80\xaed ${'x'.repeat(500)}\r\n`);
  assert.match(reply?.text ?? '', /^a\?\[31mb\?c\?\?\?d x+\.\.\.$/);
  assert.equal(reply?.text.length, 200);
  assert.equal(printable('ok'), 'ok');
});

test('a line that is no reply, differing codes, and what has no end are protocol errors', () => {
  for (const text of ['hello\r\n', '2500 x\r\n', '199 x\r\n', '250-a\r\n251 b\r\n', '\r\n', 'x'.repeat(9000), '250-a\r\n'.repeat(20_000)]) {
    assert.throws(() => read(text), { code: 'upstream-protocol' }, text.slice(0, 20));
  }
});

test('a code with an odd second digit is judged by its first', () => {
  assert.deepEqual(read('571 5.7.1 Delivery not authorized\r\n').map(replyText), ['571 5.7.1 Delivery not authorized']);
  assert.deepEqual(
    read('470-a\r\n470 b\r\n299 c\r\n').map(({ code }) => code),
    [470, 299],
  );
});

test('any octets give replies or a protocol error, bounded and without a hang', () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom('250-', '250 ok\r\n', '\r', '\n', '5', '554-5.', ' ').map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const reader = new ReplyReader();
      try {
        for (const octets of pieces) {
          for (const reply of reader.push(octets)) {
            assert.ok(reply.code >= 200 && reply.code < 600);
            assert.match(reply.text, /^[\x20-\x7e]{0,200}$/);
          }
        }
      } catch (error) {
        assert.ok(error instanceof SealpostError && error.code === 'upstream-protocol', String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
