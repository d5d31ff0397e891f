import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { charsetOf, Watch } from '../../src/message/passed.ts';

/** A message in lines of these lengths, cut into chunks of these sizes. */
function seen(lines: readonly number[], sizes: readonly number[], { ended = true, fill = 'x' } = {}) {
  const octets = Buffer.from(lines.map((length) => fill.repeat(length)).join('\r\n') + (ended ? '\r\n' : ''), 'latin1');
  const watch = new Watch();
  for (let at = 0, turn = 0; at < octets.length; turn++) {
    const size = sizes[turn % sizes.length] ?? octets.length;
    watch.write(octets.subarray(at, at + size));
    at += size;
  }
  return { ...watch.seen(), length: octets.length };
}

test('A2 lines are measured to the octet, wherever a chunk ends', () => {
  const lengths = fc.array(fc.oneof(fc.constantFrom(0, 1, 997, 998, 999, 1000), fc.nat(30)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(
      lengths,
      fc.array(fc.integer({ min: 1, max: 1200 }), { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      (lines, sizes, ended) => {
        const told = seen(lines, sizes, { ended });
        // A last line without its end is one of no octets where the text before it ends.
        assert.deepEqual(
          [told.octets, told.linesFit, told.eightBit, told.ended],
          [told.length, lines.every((length) => length <= 998), false, ended || lines.at(-1) === 0],
        );
      },
    ),
  );
});

test('octets above 0x7f are seen, and what charset a header is in', () => {
  assert.equal(seen([3, 3], [2], { fill: '\x80' }).eightBit, true);
  assert.equal(seen([3, 3], [2], { fill: '\x7f' }).eightBit, false);
  assert.deepEqual([Buffer.from('a'), Buffer.from('ä'), Buffer.from('ä', 'latin1')].map(charsetOf), ['ascii', 'utf-8', 'neither']);
});
