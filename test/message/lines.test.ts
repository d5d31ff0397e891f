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

test('long chunks at any place in memory are mended as short ones are', async () => {
  // Mostly text, so that runs of it are passed over, with all that may stand beside a run.
  const octet = fc.oneof(
    { weight: 12, arbitrary: fc.integer({ min: 14, max: 255 }) },
    { weight: 4, arbitrary: fc.constantFrom(10, 13, 9, 1) },
  );
  const octets = fc.array(octet, { minLength: 1, maxLength: 120, size: 'max' });
  await fc.assert(
    fc.asyncProperty(octets, fc.nat({ max: 7 }), fc.nat({ max: 120 }), async (list, offset, cut) => {
      const place = Buffer.alloc(offset + list.length, 'x')
        .fill(Buffer.from(list), offset)
        .subarray(offset);
      const halves = [place.subarray(0, cut), place.subarray(cut)];
      const wanted = place.toString('latin1').replace(/\r\n|\r|\n/g, '\r\n');
      assert.equal((await collect(canonicalLines(inOrder(halves)))).toString('latin1'), wanted);
    }),
    { numRuns: 1000 },
  );
});

async function* inOrder(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks;
}

test('NUL is found wherever it stands', async () => {
  for (let offset = 0; offset < 4; offset++) {
    for (let at = 0; at < 24; at++) {
      const chunk = Buffer.alloc(offset + 24, 'x').subarray(offset);
      chunk[at] = 0;
      await assert.rejects(collect(canonicalLines(inOrder([chunk]))), { code: 'message-has-nul' }, `at ${at} from ${offset}`);
    }
  }
});

test('NUL is refused', async () => {
  await assert.rejects(collect(canonicalLines(chunked('Subject: a\r\n\r\nb\0c', [4]))), { code: 'message-has-nul' });
});
