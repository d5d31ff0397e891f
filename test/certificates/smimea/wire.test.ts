/** Octets of DNS from strangers: read whole or refused with a typed error, in bounded time. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decode, encode } from 'dns-packet';
import * as fc from 'fast-check';
import { isAnswerTo, isTruncated, readResponse, recordTypes, writeQuery } from '../../../src/certificates/smimea/wire.ts';
import { SealpostError } from '../../../src/errors.ts';
import { AD, cname, SMIMEA, smimeaAnswer } from './fake.ts';

const NAME = 'abc._smimecert.clinic.example';
const query = writeQuery({ id: 0x1234, name: NAME, type: recordTypes.smimea });
const question = query.subarray(12, -11);

/** A response whose octets behind the question are `rest`. */
function response(rest: Buffer, counts: readonly [number, number, number], bits = 0x81a0): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(0x1234, 0);
  header.writeUInt16BE(bits, 2);
  header.writeUInt16BE(1, 4);
  for (const [index, count] of counts.entries()) header.writeUInt16BE(count, 6 + 2 * index);
  return Buffer.concat([header, question, rest]);
}

/** Reads, or throws nothing but the typed error. */
function readable(octets: Buffer): boolean {
  try {
    readResponse(query, octets);
    return true;
  } catch (error) {
    assert.ok(error instanceof SealpostError && error.code === 'lookup-unavailable', String(error));
    return false;
  }
}

describe('DNS on the wire', () => {
  test("somebody else's library reads the question as it is meant", () => {
    const read = decode(query);
    assert.deepEqual([read.id, read.type, read.flag_rd, read.flag_ad, read.flag_cd], [0x1234, 'query', true, true, false]);
    assert.deepEqual(read.questions, [{ name: NAME, type: 'UNKNOWN_53', class: 'IN' }]);
    const opt = read.additionals?.[0];
    assert.ok(opt?.type === 'OPT' && opt.udpPayloadSize === 1232 && opt.flag_do);
  });

  test("somebody else's answer is read: records, aliases, AD, how long an absence holds", () => {
    const data = Buffer.from('030000ff', 'hex');
    const packet = encode({
      type: 'response',
      id: 0x1234,
      flags: AD,
      questions: [{ name: NAME, type: SMIMEA }],
      answers: [cname(NAME, 'x.other.example'), smimeaAnswer('X.other.EXAMPLE', data, 77)],
      authorities: [
        {
          name: 'example',
          type: 'SOA',
          ttl: 50,
          data: { mname: 'ns.example', rname: 'h.example', serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 40 },
        },
      ],
    });
    assert.equal(isAnswerTo(query, packet), true);
    const read = readResponse(query, packet);
    assert.deepEqual(
      read.answers.map(({ owner, type, ttl, target }) => ({ owner, type, ttl, target })),
      [
        { owner: NAME, type: 5, ttl: 300, target: 'x.other.example' },
        { owner: 'x.other.example', type: 53, ttl: 77, target: undefined },
      ],
    );
    assert.ok(read.answers[1]?.data.equals(data));
    assert.deepEqual([read.code, read.authenticated, read.absentFor], [0, true, 40]);
  });

  test('only the very question is answered: ID, direction, name and type', () => {
    const good = response(Buffer.alloc(0), [0, 0, 0]);
    assert.equal(isAnswerTo(query, good), true);
    for (const at of [0, 1, 2, 5, 13, 12 + question.length - 3]) {
      const other = Buffer.from(good);
      other.writeUInt8((other[at] ?? 0) ^ (at === 2 ? 0x80 : 1), at);
      assert.equal(isAnswerTo(query, other), false, `octet ${at}`);
    }
    assert.equal(isAnswerTo(query, good.subarray(0, -1)), false);
    assert.equal(isTruncated(response(Buffer.alloc(0), [0, 0, 0], 0x83a0)), true);
  });

  test('the upper bits of EDNS count: BADVERS is not NOERROR', () => {
    const opt = Buffer.from('0000290400010000000000', 'hex');
    assert.equal(readResponse(query, response(opt, [0, 0, 1])).code, 16);
  });

  test('an extended error is read behind other options, and one that does not fit its length is passed over', () => {
    const read = (options: string): number | undefined => {
      const length = (options.length / 2).toString(16).padStart(4, '0');
      return readResponse(query, response(Buffer.from(`000029040000000000${length}${options}`, 'hex'), [0, 0, 1])).extendedError;
    };
    assert.equal(read('000f00020006'), 6);
    assert.equal(read('000a0001ff000f000400167878'), 22);
    for (const options of ['', '000f', '000f00ff0006', '000f000106', '000affff']) assert.equal(read(options), undefined, options);
  });

  test('a dot within a label makes no other name', () => {
    const label = Buffer.from('\x03a.b\x00', 'latin1');
    const record = Buffer.concat([label, Buffer.from('00350001000000050000', 'hex')]);
    assert.deepEqual(
      readResponse(query, response(record, [1, 0, 0])).answers.map(({ owner }) => owner),
      ['a\\046b'],
    );
  });

  test('A19: a record that is cut off, pointers in a circle, names without end and too many records are refused', () => {
    const cut = Buffer.from('0000350001000000050009ff', 'hex');
    const at = 12 + question.length;
    const self = Buffer.alloc(12);
    self.writeUInt16BE(0xc000 | at, 0);
    const forward = Buffer.alloc(14);
    forward.writeUInt16BE(0xc000 | (at + 2), 0);
    const long = Buffer.concat([
      ...Array.from({ length: 5 }, () => Buffer.concat([Buffer.of(63), Buffer.alloc(63, 97)])),
      Buffer.alloc(11),
    ]);
    const alias = Buffer.from('00000500010000000500020000', 'hex');
    for (const rest of [cut, self, forward, long, alias, Buffer.of(0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)])
      assert.equal(readable(response(rest, [1, 0, 0])), false, rest.toString('hex'));
    assert.equal(readable(response(Buffer.alloc(65_000), [3_000, 2_000, 0])), false);
    assert.equal(readable(response(Buffer.alloc(0), [65_535, 65_535, 65_535])), false);
  });

  test('A19: 64 KiB of pointers to pointers cost nothing', () => {
    const octets = response(Buffer.alloc(65_000), [256, 0, 0]);
    let at = 12 + question.length;
    octets.writeUInt16BE(16_000, at + 9); // the data of the first record, which holds the chain
    const from = at + 11;
    for (let link = from + 2; link < from + 15_998; link += 2) octets.writeUInt16BE(0xc000 | (link - 2), link);
    at = from + 16_000;
    for (let count = 1; count < 256; count++, at += 12) octets.writeUInt16BE(0xc000 | (from + 15_996), at);
    const started = performance.now();
    assert.equal(readable(octets), false);
    assert.ok(performance.now() - started < 1_000);
  });

  test('whatever the octets: read, or the typed error', () => {
    const counts = fc.tuple(fc.nat(5), fc.nat(3), fc.nat(3));
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.nat(120).map((to) => new Uint8Array([0xc0, to])),
      fc
        .constantFrom('00', '0035000100000005', '0005000100000005', '0004030000ff', '0000')
        .map((hex) => new Uint8Array(Buffer.from(hex, 'hex'))),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), counts, fc.nat(0xffff), (pieces, count, bits) => {
        readable(response(Buffer.concat(pieces), count, bits | 0x8000));
      }),
      { numRuns: 2_000 },
    );
  });

  test('every cut and every flipped octet of a good answer', () => {
    const good = encode({
      type: 'response',
      id: 0x1234,
      flags: AD,
      questions: [{ name: NAME, type: SMIMEA }],
      answers: [cname(NAME, 'x.other.example'), smimeaAnswer('x.other.example', Buffer.alloc(30))],
    });
    const start = 12 + question.length;
    for (let at = start; at < good.length; at++) {
      assert.equal(readable(good.subarray(0, at)), false, `cut at ${at}`);
      for (const bit of [1, 0x40, 0x80, 0xff]) {
        const other = Buffer.from(good);
        other.writeUInt8((other[at] ?? 0) ^ bit, at);
        readable(other);
      }
    }
  });
});
