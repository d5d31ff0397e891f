/** The same ASN.1 through every door by which a stranger's comes in: as a certificate, a list, an answer about revocation, in a directory. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readCertificates, readCertificatesInTurns } from '../../src/certificates/bundle.ts';
import { nullValue, octetString, oid, sequence, tlv } from '../../src/certificates/encode.ts';
import { AnswerRefused } from '../../src/certificates/ldap/fault.ts';
import { makeReading, readValue } from '../../src/certificates/ldap/value.ts';
import { readCrl } from '../../src/certificates/revocation/crl-read.ts';
import { certIdOf } from '../../src/certificates/revocation/ocsp-request.ts';
import { judgeOcspResponse } from '../../src/certificates/revocation/ocsp-response.ts';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { craft, nest } from '../certificates/craft.ts';
import { makeCa } from '../certificates/revocation/lists.ts';

/** Ten times what a bomb may cost. */
const CEILING_MS = 1_000;
const ca = makeCa('CA');
const anna = ca.issue({});
const issuer = parseCertificate(craft({}));

/** Each answers what it makes of the octets; a typed refusal is one. */
const doors: Readonly<Record<string, (octets: Buffer) => unknown>> = {
  'a certificate': (octets) => {
    const { certificates, faults } = readCertificates(octets);
    assert.deepEqual(certificates, []);
    assert.ok(faults.length > 0);
  },
  'certificates that are read in turns': async (octets) => {
    const { certificates, faults } = await readCertificatesInTurns(octets);
    assert.deepEqual(certificates, []);
    assert.ok(faults.length > 0);
  },
  'a list': (octets) => assert.equal(readCrl(octets, ca.issuer).kind, 'refused'),
  'an answer about revocation': (octets) =>
    assert.equal(judgeOcspResponse(octets, { id: certIdOf(anna, issuer), issuer, now: Date.now() }).kind, 'unknown'),
  'a value of a directory': async (octets) => {
    const read = await readValue(octets, makeReading(new AbortController().signal)).catch((fault: unknown) => {
      assert.ok(fault instanceof AnswerRefused);
    });
    assert.ok(read === undefined || (read.certificates.length === 0 && read.fault !== undefined));
  },
};

const bombs: Readonly<Record<string, () => Buffer>> = {
  'depth 10⁶': () => nest(1_000_000),
  'depth 10,000': () => nest(10_000),
  '10⁶ nodes': () => sequence(Buffer.alloc(2_000_000, nullValue)),
  'a length of 2 GB': () => Buffer.concat([Buffer.from('30847fffffff', 'hex'), Buffer.alloc(1_000)]),
  'a length of 2 GB inside': () => Buffer.from('300c30847fffffff0500020101', 'hex'),
  'a length of 2⁶⁴': () => Buffer.from('3088ffffffffffffffff0500', 'hex'),
  'a huge OID': () => sequence(tlv(6, Buffer.alloc(1_000_000, 0x81)), octetString(nullValue)),
  'a huge OID in an extension': () => craft({ extensions: [sequence(tlv(6, Buffer.alloc(60_000, 0x81)), octetString(nullValue))] }),
  'depth in an extension': () => craft({ extensions: [sequence(oid('2.5.29.37'), octetString(nest(5_000)))] }),
};

describe('A19: the same bomb at every door is a refusal that says why, in time', () => {
  for (const [what, make] of Object.entries(bombs)) {
    let made: Buffer | undefined;
    for (const [door, open] of Object.entries(doors)) {
      test(`${what}, as ${door}`, async () => {
        const octets = (made ??= make());
        const begun = performance.now();
        await open(octets);
        const took = performance.now() - begun;
        assert.ok(took < CEILING_MS, `${Math.round(took)} ms`);
      });
    }
  }
});
