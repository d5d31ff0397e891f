/** The table of reply classes: each example is read as the class of its row, as a reply off the wire. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { classTable } from '../../src/delivery/class-table.ts';
import { replyClasses } from '../../src/delivery/classes.ts';
import { classify, classOf, conductOf } from '../../src/delivery/classify.ts';
import { ReplyReader, type UpstreamReply } from '../../src/delivery/reply.ts';

function read(line: string): UpstreamReply {
  const [reply] = new ReplyReader().push(Buffer.from(`${line}\r\n`, 'latin1'));
  assert.ok(reply !== undefined, line);
  return reply;
}

for (const row of classTable) {
  test(`${row.code} ${row.status ?? ''} ${row.words?.[0] ?? ''}: ${row.class}, in the words of real upstreams`, () => {
    assert.ok(row.examples.length > 0);
    for (const example of row.examples) assert.equal(classify(read(example)), row.class, example);
  });
}

test('every word of the table has an example that needs it, or is a spelling of one that has', () => {
  for (const { words = [], examples } of classTable) {
    for (const word of words) assert.equal(word, word.toLowerCase());
    if (words.length > 0) {
      for (const example of examples)
        assert.ok(
          words.some((word) => read(example).words.includes(word)),
          example,
        );
    }
  }
});

test('every class stands in the table and has a conduct', () => {
  for (const one of replyClasses)
    assert.ok(
      classTable.some((row) => row.class === one),
      one,
    );
  assert.deepEqual(Object.keys(conductOf), [...replyClasses]);
});

test('P5: what no row knows is retried where it begins with 4, and bounced where it begins with 5', () => {
  const text = fc.string({ maxLength: 60, unit: fc.constantFrom(...'ghjkqvwxyz '.split('')) });
  fc.assert(
    fc.property(fc.integer({ min: 400, max: 559 }), text, (code, words) => {
      const known = classify({ code, status: undefined, words });
      if (code >= 500 && conductOf[known].outcome !== 'bounced')
        assert.ok([503].includes(code) || Math.floor(code / 10) === 53, String(code));
      if (code < 500) assert.equal(conductOf[known].outcome, 'deferred');
    }),
  );
});

test('before MAIL the host speaks of itself: 5yz there bounces nothing', () => {
  for (const phase of ['connect', 'greeting', 'ehlo'] as const) {
    const reply = read('554 5.1.1 no such user');
    assert.equal(classOf({ kind: 'rejected', permanent: false, phase, reply }), 'host-trouble');
  }
  assert.equal(classOf({ kind: 'rejected', permanent: true, phase: 'rcpt', reply: read('554 5.1.1 no such user') }), 'refused');
  assert.equal(classOf({ kind: 'rejected', permanent: false, phase: 'data', reply: read('250 odd') }), 'host-trouble');
});

test('hostile text is classed in linear time', () => {
  const started = performance.now();
  for (let count = 0; count < 1000; count++) read(`450 ${'too man'.repeat(1000)}`);
  assert.ok(performance.now() - started < 20_000);
});

test('docs/delivery.md tells every class in order, with an example that is one', async () => {
  const page = await readFile(new URL('../../docs/delivery.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([a-z-]+)` \| `([^`]+)` \|/gm)];
  assert.deepEqual(
    rows.map(([, one]) => one),
    [...replyClasses],
  );
  for (const [, one, example = ''] of rows) assert.equal(classify(read(example)), one, example);
});
