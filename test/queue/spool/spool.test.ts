/** The spooled form: what comes out is what went in, and nothing that was touched comes out at all (P2, P10). */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type SpoolKeys, parseSpoolKeys } from '../../../src/queue/spool/key.ts';
import {
  CHUNK_OCTETS,
  HEADER_OCTETS,
  TAG_OCTETS,
  makeSpool,
  readSpoolFacts,
  type SpooledFor,
  type SpoolFacts,
} from '../../../src/queue/spool/spool.ts';

const newKeys = (...more: readonly Buffer[]): SpoolKeys =>
  parseSpoolKeys([randomBytes(32), ...more].map((octets) => octets.toString('base64')).join('\n'), 'spool.key');

const keys = newKeys();
const HEADER = 48;
const STORED = CHUNK_OCTETS + 16;

async function* inPieces(octets: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size);
}

const ROW: SpooledFor = { queueId: 'Q1', sender: 'forms@clinic.example', recipient: 'anna@clinic.example' };
const FACTS: SpoolFacts = { size: 25_000_000, eightBit: true, smtputf8: false };

interface Stored {
  readonly octets: Buffer;
  /** What the row of anna keeps. */
  readonly facts: string;
}

async function written(message: Buffer, { piece = 40_000, using = keys } = {}): Promise<Stored> {
  const stored: Buffer[] = [];
  const writer = makeSpool({ keys: using, randomBytes }).writer({ write: async (octets) => void stored.push(octets) });
  for await (const octets of inPieces(message, piece)) await writer.write(octets);
  await writer.end();
  const facts = writer.factsFor(ROW, FACTS);
  writer.forget();
  return { octets: Buffer.concat(stored), facts };
}

/** What came out before it ended, and the code it ended with. */
async function readBack(
  { octets: stored, facts }: Stored,
  { piece = 50_000, using = keys, row = ROW } = {},
): Promise<{ octets: Buffer; code: string }> {
  const out: Buffer[] = [];
  try {
    for await (const octets of makeSpool({ keys: using, randomBytes }).read(inPieces(stored, piece), row, facts)) out.push(octets);
    return { octets: Buffer.concat(out), code: 'whole' };
  } catch (error) {
    return { octets: Buffer.concat(out), code: error instanceof Error && 'code' in error ? String(error.code) : 'no code' };
  }
}

const sizes = fc.constantFrom(0, 1, 15, 16, 17, CHUNK_OCTETS - 1, CHUNK_OCTETS, CHUNK_OCTETS + 1, 2 * CHUNK_OCTETS, 3 * CHUNK_OCTETS + 77);

test('what was written is read, in whatever pieces; the size is known beforehand', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, fc.integer({ min: 100, max: 200_000 }), fc.integer({ min: 100, max: 200_000 }), async (size, into, from) => {
      const message = randomBytes(size);
      const stored = await written(message, { piece: into });
      assert.equal(stored.octets.length, HEADER_OCTETS + size + TAG_OCTETS * Math.max(1, Math.ceil(size / CHUNK_OCTETS)));
      const { octets, code } = await readBack(stored, { piece: from });
      assert.equal(code, 'whole');
      assert.ok(octets.equals(message));
    }),
    { numRuns: 60 },
  );
});

test('no bit can be changed: nothing of its chunk comes out, and all before it is as it was', async () => {
  const message = randomBytes(2 * CHUNK_OCTETS + 500);
  const { octets: stored, facts } = await written(message);
  await fc.assert(
    fc.asyncProperty(fc.nat(stored.length - 1), fc.nat(7), async (at, bit) => {
      const changed = Buffer.from(stored);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      const { octets, code } = await readBack({ octets: changed, facts });
      // A changed key id is that of a key that is not there; the checksum of the queue tells which of the two it is.
      assert.equal(code, at >= 8 && at < 16 ? 'file-unreadable' : 'queue-item-damaged');
      assert.equal(octets.length, at < HEADER ? 0 : Math.floor((at - HEADER) / STORED) * CHUNK_OCTETS);
      assert.ok(octets.equals(message.subarray(0, octets.length)));
    }),
    { numRuns: 150 },
  );
});

test('P10: a chunk that is cut off, left out, doubled, moved, added, or of another message is noticed', async () => {
  const message = randomBytes(3 * CHUNK_OCTETS + 9);
  const [{ octets: stored, facts }, { octets: other }] = [await written(message), await written(message)];
  const head = stored.subarray(0, HEADER);
  const chunk = (number: number, of = stored): Buffer => of.subarray(HEADER + number * STORED, HEADER + (number + 1) * STORED);
  const all = [chunk(0), chunk(1), chunk(2), chunk(3)];
  const forged: Record<string, readonly Buffer[]> = {
    'cut at a chunk': [head, ...all.slice(0, 3)],
    'cut at the first chunk': [head, chunk(0)],
    'cut in a chunk': [head, chunk(0), chunk(1).subarray(0, 999)],
    'cut in the tag of the last': [stored.subarray(0, -1)],
    'a header alone': [head],
    'half a header': [head.subarray(0, 20)],
    nothing: [],
    'left out': [head, chunk(0), chunk(2), chunk(3)],
    doubled: [head, chunk(0), chunk(0), chunk(1), chunk(2), chunk(3)],
    moved: [head, chunk(1), chunk(0), chunk(2), chunk(3)],
    'the last one doubled': [head, ...all, chunk(3)],
    'octets behind the end': [stored, Buffer.from('x')],
    'another message': [head, chunk(0), chunk(1, other), chunk(2), chunk(3)],
    'another header': [other.subarray(0, HEADER), ...all],
  };
  for (const [what, parts] of Object.entries(forged)) {
    const { octets, code } = await readBack({ octets: Buffer.concat(parts), facts });
    assert.equal(code, 'queue-item-damaged', what);
    assert.ok(octets.length < message.length && octets.equals(message.subarray(0, octets.length)), what);
  }
});

test('a new key in front encrypts; the old one goes on reading, and what lacks its key waits for it', async () => {
  const old = randomBytes(32);
  const [before, both, after] = [parseSpoolKeys(old.toString('base64'), 'spool.key'), newKeys(old), newKeys()];
  const message = Buffer.from('Subject: s\r\n\r\nbody\r\n');
  const stored = await written(message, { using: before });
  assert.deepEqual(await readBack(stored, { using: both }), { octets: message, code: 'whole' });
  // Not damaged: the key may be restored (P5).
  assert.deepEqual(await readBack(stored, { using: after }), { octets: Buffer.alloc(0), code: 'file-unreadable' });
  assert.equal((await readBack(await written(message, { using: both }), { using: before })).code, 'file-unreadable');
});

test('P2: two messages of the same octets share nothing, and nothing of them can be read', async () => {
  const message = Buffer.alloc(CHUNK_OCTETS * 2, 'Hello patient ');
  const [{ octets: one }, { octets: two }] = [await written(message), await written(message)];
  assert.ok(!one.includes('patient') && !one.includes('Hello'));
  const blocks = (stored: Buffer): Set<string> =>
    new Set(Array.from({ length: 2000 }, (_, index) => stored.toString('hex', HEADER + index * 16, HEADER + index * 16 + 16)));
  assert.equal(blocks(one).size, 2000);
  const others = blocks(two);
  assert.deepEqual(
    [...blocks(one)].filter((block) => others.has(block)),
    [],
  );
});

test('P2: whoever wrote a message forgets the chunk that it gathered (A37)', async (t) => {
  const allocate = t.mock.method(Buffer, 'allocUnsafe');
  const writer = makeSpool({ keys, randomBytes }).writer({ write: async () => undefined });
  await writer.write(Buffer.from('canary'));
  await writer.end();
  const gathered = allocate.mock.calls.map(({ result }) => result).find((octets) => octets?.length === CHUNK_OCTETS);
  assert.ok(gathered !== undefined && gathered.includes('canary'));
  writer.forget();
  assert.ok(!gathered.includes('canary'));
});

test('P6: writing and reading take one chunk at a time, however much comes at once', async () => {
  const lengths: number[] = [];
  const writer = makeSpool({ keys, randomBytes }).writer({ write: async (octets) => void lengths.push(octets.length) });
  const message = randomBytes(10 * CHUNK_OCTETS);
  await writer.write(message);
  await writer.end();
  assert.equal(lengths.length, 10);
  assert.ok(Math.max(...lengths) <= STORED + HEADER);
  const { octets: stored, facts } = await written(message);
  let read = 0;
  for await (const octets of makeSpool({ keys, randomBytes }).read(inPieces(stored, stored.length), ROW, facts)) {
    assert.ok(octets.length <= CHUNK_OCTETS);
    read += octets.length;
  }
  assert.equal(read, message.length);
});

test('P10: a row is bound to its message, its queue id, sender, recipient and facts: whoever has no key can change none of them', async () => {
  const message = Buffer.from('Subject: s\r\n\r\nbody\r\n');
  const [one, two] = [await written(message), await written(message)];
  const read = JSON.parse(one.facts);
  assert.deepEqual(readSpoolFacts(one.facts), FACTS);
  assert.equal((await readBack(one)).code, 'whole');
  const changed: Readonly<Record<string, readonly [Stored, SpooledFor]>> = {
    'another recipient': [one, { ...ROW, recipient: 'thief@elsewhere.example' }],
    'another sender': [one, { ...ROW, sender: '' }],
    'another queue id': [one, { ...ROW, queueId: 'Q2' }],
    'parts that are moved': [one, { ...ROW, queueId: 'Q', sender: `1${ROW.sender}` }],
    'the body of another message': [{ ...two, facts: one.facts }, ROW],
    'another fact': [{ ...one, facts: JSON.stringify({ ...read, eightBit: false }) }, ROW],
    'another size': [{ ...one, facts: JSON.stringify({ ...read, size: 7 }) }, ROW],
    'no code': [{ ...one, facts: JSON.stringify({ ...read, bound: '' }) }, ROW],
  };
  for (const [what, [stored, row]] of Object.entries(changed))
    assert.deepEqual(await readBack(stored, { row }), { octets: Buffer.alloc(0), code: 'queue-item-damaged' }, what);
});

test('facts that nobody wrote are damage', () => {
  const texts = ['', 'null', '{}', '[]', '{"size":-1,"eightBit":true,"smtputf8":true}', '{"size":1,"eightBit":1,"smtputf8":true}'];
  for (const text of [...texts, '{"size":1,"eightBit":true,"smtputf8":true}'])
    assert.throws(() => readSpoolFacts(text), { code: 'queue-item-damaged' }, text);
});
