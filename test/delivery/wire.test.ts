import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { wireForm, wireSize } from '../../src/delivery/wire.ts';
import { SealpostError } from '../../src/errors.ts';

const header = Buffer.from('Subject: s\r\n\r\n');
const none = Buffer.alloc(0);

async function* chunks(list: readonly Buffer[]): AsyncIterable<Buffer> {
  yield* list;
}

async function collect(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

/** What the wire form must be, made the slow way. */
function expected(inner: Buffer): string {
  const lines = inner.toString('base64').match(/.{1,76}/g) ?? [];
  return header.toString() + lines.map((line) => `${line}\r\n`).join('');
}

test('the wire form is the base64 of prefix, ciphertext and suffix in 76 columns, however the ciphertext was cut', async () => {
  const octets = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
  await fc.assert(
    fc.asyncProperty(octets, fc.array(octets, { maxLength: 12 }), octets, async (prefix, body, suffix) => {
      const wire = await collect(wireForm({ header, prefix, suffix }, chunks(body)));
      const inner = Buffer.concat([prefix, ...body, suffix]);
      assert.equal(wire.toString('latin1'), expected(inner));
      assert.equal(wire.length, wireSize(header.length, inner.length));
    }),
    { numRuns: 300 },
  );
});

test('blocks larger than one step come out whole and as long as announced', async () => {
  for (const length of [57 * 840, 57 * 840 + 1, 200_003]) {
    const body = Buffer.from(Array.from({ length }, (_, at) => (at * 31) & 0xff));
    const wire = await collect(wireForm({ header, prefix: Buffer.from('p'), suffix: none }, chunks([body])));
    assert.equal(wire.toString('latin1'), expected(Buffer.concat([Buffer.from('p'), body])));
    assert.equal(wire.length, wireSize(header.length, length + 1));
  }
});

test('a source that fails makes the wire form fail, with its own error and never an early end', async () => {
  const damaged = new SealpostError('queue-item-damaged');
  async function* broken(): AsyncIterable<Buffer> {
    yield Buffer.alloc(100_000);
    throw damaged;
  }
  await assert.rejects(collect(wireForm({ header, prefix: none, suffix: none }, broken())), damaged);
});

test('A2: an outer header that could end the message or break its lines is refused before the first octet', async () => {
  const hostile = [
    'Subject: a\n.\nMAIL FROM:<e@evil.test>\r\n\r\n',
    'Subject: a\r.\r\r\n\r\n',
    'Subject: a\r\n.\n\r\n\r\n',
    'Subject: a\0\r\n\r\n',
    'Subject: a\r\n',
    'Subject: a',
    `Subject: ${'a'.repeat(1000)}\r\n\r\n`,
    '',
  ];
  for (const text of hostile) {
    const form = wireForm({ header: Buffer.from(text), prefix: none, suffix: none }, chunks([]));
    const first = form[Symbol.asyncIterator]().next();
    await assert.rejects(first, { code: 'header-malformed' }, JSON.stringify(text));
  }
});
