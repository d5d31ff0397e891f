/**
 * Extensions that are not built as RFC 5280 says. What is in the wrong place, class or form must never count as absent: a restriction
 * that a reader passes over is one that it does not keep. A stranger judges the same certificates.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { bitString, explicit, implicit, nullValue, octetString, oid, sequence, tlv, trueValue } from '../../src/certificates/encode.ts';
import { extensionOids, ocspAccess, smtpUtf8Mailbox } from '../../src/certificates/oids.ts';
import { noOpenssl, temporaryFolder } from './openssl.ts';
import {
  ca,
  directory,
  ecKeys,
  email,
  extension,
  ip,
  issueDer,
  KEY_CERT_SIGN,
  keyUsage,
  name,
  number,
  policies,
  purposes,
  root,
  san,
  uri,
} from './pki.ts';
import { askOpenssl } from './verify.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const SEQUENCE = 0x30;
const CONTEXT_0 = 0x80;

const top = root('Root');
const sub = { subject: name(['CN', 'Sub']), keys: ecKeys() };
const anna = { subject: name(['CN', 'anna']), keys: ecKeys() };
const address = san(email('anna@x.example'));

/** A CA with this extension beside or, of the same type, instead of the usual ones. */
const caWith = (type: string, value: Buffer): Buffer => {
  const usual: readonly (readonly [string, Buffer])[] = [
    [extensionOids.basicConstraints, ca()],
    [extensionOids.keyUsage, keyUsage(KEY_CERT_SIGN)],
    // Without any, OpenSSL looks at no mapping.
    [extensionOids.certificatePolicies, policies('1.2.3')],
  ];
  const others = usual.flatMap(([one, extension]) => (one === type ? [] : [extension]));
  return issueDer({ ...sub, issuer: top.name, signer: top.keys, extensions: [...others, extension(type, value)] });
};
const leafWith = (...extensions: readonly Buffer[]): Buffer => issueDer({ ...anna, issuer: sub.subject, signer: sub.keys, extensions });

const subtree = (base: Buffer, ...bounds: readonly Buffer[]): Buffer => sequence(base, ...bounds);
const one = subtree(email('y.example'));
const two = subtree(email('x.example'));
const minimum = (value: number): Buffer => implicit(0, Buffer.of(value));
const policy = sequence(oid('1.2.3'));
const point = (...fields: readonly Buffer[]): Buffer => sequence(sequence(...fields));
const url = uri('http://a.example/x.crl');
const access = (...fields: readonly Buffer[]): Buffer => sequence(sequence(oid(ocspAccess), ...fields));

interface Case {
  readonly what: string;
  readonly value: Buffer;
  readonly reason: RegExp;
  /** Where it does not look at the extension, or takes a string in pieces, which is BER. */
  readonly opensslTakesIt?: boolean;
}

const misplaced = /holds what does not belong there/;
const wrongForm = /is of the wrong form/;
const wrongType = /is of the wrong type/;
const malformed: Readonly<Record<string, readonly Case[]>> = {
  nameConstraints: [
    { what: 'two lists of excluded names', value: sequence(explicit(1, one), explicit(1, two)), reason: misplaced },
    { what: 'excluded before permitted', value: sequence(explicit(1, two), explicit(0, one)), reason: misplaced },
    { what: 'a primitive list', value: sequence(implicit(0, one)), reason: misplaced },
    { what: 'a list under a universal tag', value: sequence(tlv(SEQUENCE, one)), reason: misplaced },
    { what: 'a third list', value: sequence(explicit(0, two), explicit(2, two)), reason: misplaced },
    { what: 'an empty list', value: sequence(explicit(0)), reason: /list of name constraints is empty/, opensslTakesIt: true },
    { what: 'a name under a universal tag', value: sequence(explicit(1, subtree(tlv(0x16, Buffer.from('x.example'))))), reason: /no form/ },
    { what: 'a name of a ninth form', value: sequence(explicit(1, subtree(implicit(9, Buffer.from('x'))))), reason: /no form/ },
    {
      what: 'a constructed address',
      value: sequence(explicit(1, subtree(explicit(1, nullValue)))),
      reason: /in the wrong form/,
      opensslTakesIt: true,
    },
    { what: 'a directory name of two', value: sequence(explicit(1, subtree(explicit(4, sequence(), sequence())))), reason: /2 parts/ },
    { what: 'minimum twice', value: sequence(explicit(1, subtree(email('x.example'), minimum(0), minimum(0)))), reason: misplaced },
    { what: 'a bound under a universal tag', value: sequence(explicit(1, subtree(email('x.example'), number(0)))), reason: misplaced },
  ],
  basicConstraints: [
    { what: 'cA under a context tag', value: sequence(tlv(CONTEXT_0 | 1, Buffer.of(0xff))), reason: wrongType },
    { what: 'pathLenConstraint under a context tag', value: sequence(trueValue, implicit(2, Buffer.of(0))), reason: wrongType },
    { what: 'pathLenConstraint twice', value: sequence(trueValue, number(0), number(9)), reason: misplaced },
    { what: 'pathLenConstraint before cA', value: sequence(number(0), trueValue), reason: misplaced },
    {
      what: 'a pathLenConstraint with leading zeros',
      value: sequence(trueValue, tlv(2, Buffer.of(0, 0, 1))),
      reason: /small number/,
    },
    { what: 'a cA of two octets', value: sequence(tlv(1, Buffer.of(0, 0xff))), reason: /neither true nor false/ },
    { what: 'a list under the tag of a SET', value: tlv(0x31, trueValue), reason: wrongType },
  ],
  policyConstraints: [
    { what: 'a third count', value: sequence(implicit(2, Buffer.of(0))), reason: misplaced },
    { what: 'a constructed count', value: sequence(explicit(0, number(0))), reason: misplaced },
    { what: 'a count twice', value: sequence(implicit(0, Buffer.of(9)), implicit(0, Buffer.of(0))), reason: misplaced },
    { what: 'a count under a universal tag', value: sequence(number(0)), reason: misplaced },
    { what: 'no count', value: sequence(), reason: /is empty/ },
  ],
  certificatePolicies: [
    { what: 'a policy twice', value: sequence(policy, policy), reason: /stands there twice/ },
    { what: 'a policy without its SEQUENCE', value: sequence(oid('1.2.3')), reason: wrongType },
    { what: 'a policy in a SET', value: sequence(tlv(0x31, oid('1.2.3'))), reason: wrongType },
    { what: 'a policy of three parts', value: sequence(sequence(oid('1.2.3'), sequence(), sequence())), reason: /more than two parts/ },
  ],
  policyMappings: [
    { what: 'no mapping', value: sequence(), reason: /is empty/ },
    { what: 'a mapping to two', value: sequence(sequence(oid('1.2.3'), oid('1.2.4'), oid('1.2.5'))), reason: /more than two parts/ },
    { what: 'a mapping of one', value: sequence(sequence(oid('1.2.3'))), reason: /is missing/ },
    { what: 'a list under the tag of a SET', value: tlv(0x31, sequence(oid('1.2.3'), oid('1.2.4'))), reason: wrongType },
  ],
  inhibitAnyPolicy: [
    { what: 'a count under a context tag', value: implicit(0, Buffer.of(0)), reason: wrongType },
    { what: 'a count below zero', value: tlv(2, Buffer.of(0xff)), reason: /small number/ },
  ],
  keyUsage: [
    { what: 'a constructed BIT STRING', value: tlv(0x23, bitString(Buffer.of(4), 2)), reason: wrongForm, opensslTakesIt: true },
    { what: 'bits without their count', value: tlv(3, Buffer.alloc(0)), reason: /not a string of bits/ },
    { what: 'eight unused bits', value: bitString(Buffer.of(4), 8), reason: /not a string of bits/ },
  ],
  extKeyUsage: [
    { what: 'a purpose under a context tag', value: sequence(implicit(6, oid('1.3.6.1.5.5.7.3.4').subarray(2))), reason: wrongType },
    { what: 'a list under the tag of a SET', value: tlv(0x31, oid('1.3.6.1.5.5.7.3.4')), reason: wrongType },
  ],
  subjectAltName: [
    { what: 'an address under a universal tag', value: sequence(tlv(0x16, Buffer.from('a@x.example'))), reason: /no form/ },
    { what: 'a constructed address', value: sequence(explicit(1, nullValue)), reason: /in the wrong form/, opensslTakesIt: true },
    { what: 'a primitive otherName', value: sequence(implicit(0, Buffer.of(6, 1, 42))), reason: /in the wrong form/ },
    {
      what: 'an otherName of two values',
      value: sequence(explicit(0, oid('1.2.3'), explicit(0, nullValue), nullValue)),
      reason: /2 parts/,
    },
    { what: 'an otherName without a value', value: sequence(explicit(0, oid(smtpUtf8Mailbox))), reason: /0 parts/ },
    { what: 'a directory name that is none', value: sequence(explicit(4, nullValue)), reason: wrongType },
  ],
  authorityKeyIdentifier: [
    {
      what: 'a constructed keyIdentifier',
      value: sequence(explicit(0, octetString(Buffer.of(1)))),
      reason: misplaced,
      opensslTakesIt: true,
    },
    { what: 'two of them', value: sequence(implicit(0, Buffer.of(1)), implicit(0, Buffer.of(2))), reason: misplaced },
    { what: 'one under a universal tag', value: sequence(octetString(Buffer.of(1))), reason: misplaced },
  ],
  subjectKeyIdentifier: [{ what: 'a SEQUENCE', value: sequence(octetString(Buffer.of(1))), reason: wrongType }],
  cRLDistributionPoints: [
    {
      what: 'constructed reasons',
      value: point(explicit(0, explicit(0, url)), explicit(1, bitString(Buffer.of(2), 1))),
      reason: misplaced,
      opensslTakesIt: true,
    },
    {
      what: 'an issuer under a universal tag',
      value: point(explicit(0, explicit(0, url)), sequence(directory(top.name))),
      reason: misplaced,
    },
    { what: 'two names', value: point(explicit(0, explicit(0, url)), explicit(0, explicit(0, url))), reason: misplaced },
    { what: 'a name in both forms', value: point(explicit(0, explicit(0, url), explicit(1, nullValue))), reason: /no one name/ },
    { what: 'a name in no form', value: point(explicit(0)), reason: /no one name/ },
    {
      what: 'a URL under a universal tag',
      value: point(explicit(0, explicit(0, tlv(0x16, Buffer.from('http://a.example/'))))),
      reason: /no form/,
    },
  ],
  authorityInfoAccess: [
    { what: 'two places', value: access(url, url), reason: /more than two parts/, opensslTakesIt: true },
    { what: 'no place', value: access(), reason: /is missing/, opensslTakesIt: true },
    {
      what: 'a place under a universal tag',
      value: access(tlv(0x16, Buffer.from('http://a.example/'))),
      reason: /no form/,
      opensslTakesIt: true,
    },
  ],
  ocspNoCheck: [{ what: 'anything but NULL', value: trueValue, reason: wrongType, opensslTakesIt: true }],
  smimeCapabilities: [{ what: 'an OID without its SEQUENCE', value: sequence(oid('1.2.3')), reason: wrongType, opensslTakesIt: true }],
};

const oids: ReadonlyMap<string, string> = new Map(Object.entries(extensionOids));
const oidOf = (kind: string): string => oids.get(kind) ?? assert.fail(kind);
const cases = Object.entries(malformed).flatMap(([kind, list]) => list.map((one) => ({ kind, ...one })));
const kept = (der: Buffer): Certificate => parseCertificate(der);

describe('A19: extensions of another build', () => {
  for (const { kind, what, value, reason } of cases)
    test(`${kind}: ${what}`, () =>
      assert.throws(
        () => kept(caWith(oidOf(kind), value)),
        (error) =>
          error instanceof Error &&
          'code' in error &&
          error.code === 'certificate-malformed' &&
          'detail' in error &&
          reason.test(String(error.detail)),
      ));
  test('an extension of four parts, and a criticality of two octets', () => {
    const four = sequence(oid('1.2.3.4'), trueValue, nullValue, octetString(nullValue));
    assert.throws(() => kept(leafWith(address, four)));
    assert.throws(() => kept(leafWith(address, sequence(oid('1.2.3.4'), tlv(1, Buffer.of(0, 0)), octetString(nullValue)))));
  });
  test('OpenSSL builds no path over any of them, but for what it does not look at and for BER', { skip: noOpenssl }, async () => {
    const taken: string[] = [];
    for (const { kind, what, value } of cases) {
      const question = { anchors: [top.certificate.der], intermediates: [caWith(oidOf(kind), value)], leaves: [leafWith(address)] };
      const [opinion] = await askOpenssl(temporaryFolder(), { ...question, crls: undefined, now: NOW });
      if (opinion?.kind === 'accepts') taken.push(`${kind}: ${what}`);
    }
    assert.deepEqual(
      taken,
      cases.filter((one) => one.opensslTakesIt).map(({ kind, what }) => `${kind}: ${what}`),
    );
  });
});

describe('what CAs write, and have written', () => {
  test('TRUE as another octet than FF, FALSE written out, an empty basicConstraints', () => {
    assert.equal(kept(caWith(extensionOids.basicConstraints, sequence(tlv(1, Buffer.of(1))))).ca, true);
    assert.equal(kept(caWith(extensionOids.basicConstraints, sequence(tlv(1, Buffer.of(0))))).ca, false);
    assert.equal(kept(caWith(extensionOids.basicConstraints, sequence())).ca, false);
    const optional = sequence(oid('1.2.3.4'), tlv(1, Buffer.of(0)), octetString(nullValue));
    assert.deepEqual(kept(leafWith(address, optional)).unknownCritical, []);
  });
  test('a pathLenConstraint of 2147483647', () =>
    assert.equal(
      kept(caWith(extensionOids.basicConstraints, sequence(trueValue, tlv(2, Buffer.of(0x7f, 255, 255, 255))))).pathLength,
      2 ** 31 - 1,
    ));
  test('bits that are said to be unused allow nothing', () =>
    assert.deepEqual(kept(caWith(extensionOids.keyUsage, bitString(Buffer.of(0xff), 7))).keyUsage, ['digitalSignature']));
  test('policies with qualifiers, a list of none, and a minimum of 0', () => {
    const qualified = sequence(oid('1.2.3'), sequence(sequence(oid('1.3.6.1.5.5.7.2.1'), tlv(0x16, Buffer.from('https://a.example/')))));
    assert.deepEqual(kept(caWith(extensionOids.certificatePolicies, sequence(qualified))).policies.valid, ['1.2.3']);
    assert.deepEqual(kept(caWith(extensionOids.certificatePolicies, sequence())).policies.valid, []);
    const written = sequence(explicit(1, subtree(email('x.example'), minimum(0))));
    assert.equal(kept(caWith(extensionOids.nameConstraints, written)).nameConstraints?.excluded[0]?.base?.kind, 'domain');
  });
  test('an authorityKeyIdentifier with all three', () => {
    const all = sequence(implicit(0, Buffer.of(1)), explicit(1, directory(top.name)), implicit(2, Buffer.of(9)));
    assert.equal(kept(caWith(extensionOids.authorityKeyIdentifier, all)).authorityKeyId, '01');
  });
  test('points with reasons, of another issuer, by a name below the issuer; empty lists of them', () => {
    const full = explicit(0, explicit(0, directory(top.name), url));
    const points = (value: Buffer) => kept(caWith(extensionOids.cRLDistributionPoints, value)).crlPoints;
    const urls = ['http://a.example/x.crl'];
    assert.deepEqual(points(point(full, implicit(1, Buffer.of(1, 2)))), [{ urls, partial: true, indirect: false }]);
    assert.deepEqual(points(point(full, explicit(2, directory(top.name)))), [{ urls, partial: false, indirect: true }]);
    const below = point(explicit(0, explicit(1, sequence(oid('2.5.4.3'), tlv(12, Buffer.from('x'))))));
    assert.deepEqual(points(below), [{ urls: [], partial: false, indirect: false }]);
    assert.deepEqual(points(sequence()), []);
  });
  test('every form of GeneralName', () => {
    const forms = [
      explicit(0, oid('1.3.6.1.4.1.311.20.2.3'), explicit(0, tlv(12, Buffer.from('anna@ad.example')))),
      email('anna@x.example'),
      implicit(2, Buffer.from('x.example')),
      explicit(3, sequence()),
      directory(top.name),
      explicit(5, explicit(1, tlv(12, Buffer.from('x')))),
      uri('https://x.example/'),
      ip(192, 0, 2, 1),
      implicit(8, Buffer.of(42, 3)),
    ];
    assert.deepEqual(kept(leafWith(san(...forms), purposes('1.3.6.1.5.5.7.3.4'))).addresses, ['anna@x.example']);
  });
});
