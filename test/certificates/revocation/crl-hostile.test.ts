/** Lists that somebody wrote or changed to harm (A19, A23), and octets at random. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { bitString, header, integer, sequence, time, tlv } from '../../../src/certificates/encode.ts';
import { findEntries, indexBytes, indexEntries } from '../../../src/certificates/revocation/crl-index.ts';
import { type CrlReading, readCrl } from '../../../src/certificates/revocation/crl-read.ts';
import { CrlRefused, readCrlBeginning } from '../../../src/certificates/revocation/crl-scan.ts';
import { asSealpostError } from '../../../src/errors.ts';
import { contentOf, crlNumber, entry, HOUR, makeCa, NOW, reason, scope } from './lists.ts';

const ca = makeCa('CA');
const anna = ca.issue({});
const entries = [entry(Buffer.from([9])), entry(contentOf(anna), reason(1)), entry(Buffer.from([0x7f, 1]), reason(4))];
const list = ca.list({ entries, extensions: [crlNumber(3), scope({ users: true })] });
const read = (octets: Buffer): CrlReading => readCrl(octets, ca.issuer);

test('A23: nothing that is not the very list of the issuer is taken: cut, changed, put together anew', () => {
  assert.equal(read(list).kind, 'list');
  for (let length = 0; length < list.length; length++) assert.equal(read(list.subarray(0, length)).kind, 'refused', `${length} octets`);
  for (let at = 0; at < list.length; at++) {
    for (const bit of [0x01, 0x20, 0x80]) {
      const changed = Buffer.from(list);
      changed[at] = (changed[at] ?? 0) ^ bit;
      assert.equal(read(changed).kind, 'refused', `octet ${at}`);
    }
  }
  const piece = fc.record({ from: fc.nat(list.length), to: fc.nat(list.length), by: fc.uint8Array({ maxLength: 40 }) });
  fc.assert(
    fc.property(piece, ({ from, to, by }) => {
      const changed = Buffer.concat([list.subarray(0, from), by, list.subarray(to)]);
      fc.pre(!changed.equals(list));
      assert.equal(read(changed).kind, 'refused');
    }),
    { numRuns: 500 },
  );
});

test('octets at random end in a reason, as DER and as PEM', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => {
      assert.equal(read(Buffer.from(octets)).kind, 'refused');
      const pem = `-----BEGIN X509 CRL-----\n${Buffer.from(octets).toString('base64')}\n-----END X509 CRL-----\n`;
      assert.equal(read(Buffer.from(pem)).kind, 'refused');
      assert.equal(read(Buffer.from(pem.slice(0, pem.length / 2))).kind, 'refused');
    }),
  );
});

test('entries at random end in an index that finds what is there, or in a reason', () => {
  const serial = fc.uint8Array({ minLength: 1, maxLength: 24 }).map((octets) => Buffer.from(octets));
  fc.assert(
    fc.property(fc.array(serial, { maxLength: 60 }), serial, (serials, absent) => {
      const octets = Buffer.concat(serials.map((serial) => entry(serial, reason(1))));
      const index = indexEntries(octets, { from: 0, to: octets.length });
      assert.ok(indexBytes(index) <= octets.length);
      for (const serial of serials) assert.ok(findEntries(index, serial).length > 0);
      const number = (octets: Buffer): bigint => BigInt.asIntN(octets.length * 8, BigInt(`0x${octets.toString('hex')}`));
      const isThere = serials.some((serial) => number(serial) === number(absent));
      assert.equal(findEntries(index, absent).length > 0, isThere);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
      const bytes = Buffer.from(octets);
      try {
        indexEntries(bytes, { from: 0, to: bytes.length });
      } catch (error) {
        assert.ok(error instanceof CrlRefused || asSealpostError(error).code === 'certificate-malformed', String(error));
      }
    }),
  );
});

test('the issuer and the date are told from the beginning of a list, and from nothing else', () => {
  for (let length = 0; length <= list.length; length++) {
    const beginning = list.subarray(0, length);
    try {
      assert.deepEqual(readCrlBeginning(beginning, length), { issuer: ca.name, thisUpdate: NOW - HOUR });
    } catch (error) {
      assert.ok(length < 80 && !(error instanceof RangeError), `${length} octets: ${String(error)}`);
    }
  }
});

describe('A19: bombs as lists end in a reason within 100 ms', () => {
  const algorithm = sequence(Buffer.from('06082a8648ce3d040302', 'hex'));
  const around = (...fields: readonly Buffer[]): Buffer =>
    sequence(sequence(integer(Buffer.from([1])), ...fields), algorithm, bitString(Buffer.alloc(70)));
  const head = [algorithm, ca.name, time(new Date(NOW)), time(new Date(NOW + 1000))];
  const deep = (octet: number): Buffer => {
    let nested: Buffer = Buffer.alloc(0);
    for (let depth = 0; depth < 10_000; depth++) nested = tlv(octet, nested);
    return nested;
  };
  const bombs: readonly (readonly [string, Buffer])[] = [
    ['2 GB declared', Buffer.concat([Buffer.from('30847fffffff', 'hex'), Buffer.alloc(1000)])],
    ['4 GB declared inside', Buffer.from('300a3084ffffffff0201010a', 'hex')],
    ['depth 10,000 as the issuer', around(algorithm, deep(0x30), ...head.slice(2))],
    ['depth 10,000 as extensions', around(...head, tlv(0xa0, deep(0x30)))],
    ['depth 10,000 as the algorithm', around(deep(0x30), ...head.slice(1))],
    ['10⁶ empty parts as the list', Buffer.concat([header(0x30, 2_000_000), Buffer.from('0500'.repeat(1_000_000), 'hex')])],
    ['10⁶ empty parts as extensions', around(...head, tlv(0xa0, sequence(Buffer.from('3000'.repeat(1_000_000), 'hex'))))],
    ['a huge OID as the algorithm', around(sequence(tlv(0x06, Buffer.alloc(60_000, 0x81))), ...head.slice(1))],
    ['dates out of all order', around(algorithm, ca.name, tlv(0x17, Buffer.from('999999999999Z')))],
  ];
  for (const [what, bomb] of bombs) {
    test(what, () => {
      // The shortest of three, since the machine has other things to do.
      const times = [1, 2, 3].map(() => {
        const begun = performance.now();
        assert.equal(read(bomb).kind, 'refused');
        return performance.now() - begun;
      });
      assert.ok(Math.min(...times) < 100, `${Math.min(...times)} ms`);
    });
  }

  test('entries for one serial without end, or of one hash, are refused: each look-up would be a walk', () => {
    const alike = (count: number): (() => unknown) => {
      const octets = Buffer.concat(Array.from({ length: count }, () => entry(Buffer.from([5]))));
      return () => findEntries(indexEntries(octets, { from: 0, to: octets.length }), Buffer.from([5]));
    };
    assert.throws(alike(100_000), /certificate/);
    assert.doesNotThrow(alike(64));
  });
});
