import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { untilLoneDot } from '../../../src/commands/sendmail/dot.ts';
import { chunked, collect } from '../../message/sources.ts';

/** Said the slow way: the text in front of the first line that is a dot. */
function expected(text: string): string {
  let out = '';
  for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
    if (/^\.\r?\n?$/.test(line)) break;
    out += line;
  }
  return out;
}

test('a line with a dot alone ends the message, however the pipe cuts it; any other dot is text', async () => {
  const text = fc.array(fc.constantFrom('.', '..', 'a', '\n', '\r\n', '\r', '.\n', '\n.', '\n.\n', '.\r'), { maxLength: 20 });
  const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(text, sizes, async (pieces, sizes) => {
      const whole = pieces.join('');
      assert.equal((await collect(untilLoneDot(chunked(whole, sizes)))).toString(), expected(whole));
    }),
    { numRuns: 3000 },
  );
});

test('a message of dots costs linear time', { timeout: 20_000 }, async () => {
  const hostile = Buffer.alloc(9_000_000, '\n.x');
  assert.equal((await collect(untilLoneDot(chunked(hostile, [65_536])))).length, hostile.length);
});
