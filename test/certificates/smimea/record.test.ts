import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { readSmimea } from '../../../src/certificates/smimea/record.ts';
import { make, noOpenssl, temporaryFolder } from '../openssl.ts';

describe('what stands in one SMIMEA record', { skip: noOpenssl }, () => {
  const der = make(temporaryFolder(), { name: 'anna' });
  const record = (usage: number, selector: number, matching: number, data = der): Buffer =>
    Buffer.concat([Buffer.of(usage, selector, matching), data]);
  const said = (data: Buffer): string => {
    const read = readSmimea(data);
    return read.kind === 'certificate' ? `${read.certificate.subject}${read.vouched ? ', vouched for' : ''}` : read.reason;
  };

  test('usage 3 vouches for the certificate in it, usage 1 does not', () => {
    assert.equal(said(record(3, 0, 0)), 'CN=anna, vouched for');
    assert.equal(said(record(1, 0, 0)), 'CN=anna');
  });

  test('CAs, hashes, bare keys and what is not known are passed over, with the reason', () => {
    assert.equal(said(record(0, 0, 0)), "it names a CA and no reader's certificate (usage 0)");
    assert.equal(said(record(2, 0, 0)), "it names a CA and no reader's certificate (usage 2)");
    assert.equal(said(record(255, 0, 0)), 'its usage 255 is not known');
    assert.equal(said(record(3, 0, 1, Buffer.alloc(32))), 'it holds a hash and no certificate (matching type 1)');
    assert.equal(said(record(3, 1, 0)), 'it holds a public key and no certificate (selector 1)');
  });

  test('A19: cut off, empty, too big, garbage', () => {
    for (const data of [Buffer.alloc(0), Buffer.of(3), Buffer.of(3, 0)]) assert.equal(said(data), 'it is cut off');
    for (const data of [Buffer.alloc(0), der.subarray(0, -1), Buffer.concat([der, der]), Buffer.alloc(65_532, 0x30)])
      assert.match(said(record(3, 0, 0, data)), /^a certificate cannot be read: /);
  });

  test('whatever the octets, a verdict', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => typeof said(Buffer.from(octets)) === 'string'));
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.nat(255), (at, octet) => {
        const other = Buffer.from(der);
        other.writeUInt8(octet, at);
        return typeof said(record(3, 0, 0, other)) === 'string';
      }),
    );
  });
});
