import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { canonicalLines } from '../../src/message/lines.ts';
import { chunked, collect } from './sources.ts';

const lineOctets = fc.array(fc.constantFrom('a', 'b', '\r', '\n', '\r\n', '.'), { maxLength: 60 }).map((list) => list.join(''));

test('every line end becomes CRLF and nothing else changes, however the packets cut it', async () => {
  await fc.assert(
    fc.asyncProperty(lineOctets, fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 5 }), async (text, sizes) => {
      const out = await collect(canonicalLines(chunked(text, sizes)));
      assert.equal(out.toString('latin1'), text.replace(/\r\n|\r|\n/g, '\r\n'));
    }),
  );
});

test('canonical text passes octet for octet', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ min: 14, max: 255 }), async (octets) => {
      assert.deepEqual(await collect(canonicalLines(chunked(Buffer.from(octets), [3, 5]))), Buffer.from(octets));
    }),
  );
});

test('NUL is refused', async () => {
  await assert.rejects(collect(canonicalLines(chunked('Subject: a\r\n\r\nb\0c', [4]))), { code: 'message-has-nul' });
});
