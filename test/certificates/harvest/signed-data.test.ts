/** Signatures of every kind that is taken, and those that are made to deceive: each refused with its reason. */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { derOfBer } from '../../../src/certificates/harvest/ber.ts';
import { judgeSignedData } from '../../../src/certificates/harvest/signed-data.ts';
import { explicit, implicit, integer, nullValue, octetString, oid, sequence, set, tlv } from '../../../src/certificates/encode.ts';
import { asSealpostError } from '../../../src/errors.ts';
import { nest } from '../craft.ts';
import { ecKeys, root, rsaKeys, subjectKeyId } from '../pki.ts';
import {
  attribute,
  capabilities,
  contentType,
  type Hash,
  messageDigest,
  person,
  signedBy,
  signedData,
  signerInfo,
  type SignerPlan,
} from './sign.ts';

const TEXT = Buffer.from('Content-Type: text/plain\r\n\r\nhello\r\n');
const house = root('House');
const anna = person(house, 'anna@clinic.example');
const rsa = person(house, 'otto@clinic.example', { keys: rsaKeys(2048) });
const signer: SignerPlan = { certificate: anna.certificate, key: anna.keys.privateKey };

function judging(bytes: Buffer, content: Buffer | undefined = TEXT): string {
  const verdict = judgeSignedData(bytes, content);
  return verdict.kind === 'right' ? 'right' : verdict.reason;
}

const withAttributes = (...attributes: readonly Buffer[]): Buffer =>
  signedData({ signers: [signerInfo(TEXT, { ...signer, attributes })], bag: [anna.certificate.der] });

describe('taken', () => {
  for (const hash of ['sha256', 'sha384', 'sha512'] satisfies Hash[]) {
    test(`ECDSA, RSA PKCS#1 v1.5 and PSS with ${hash}`, () => {
      assert.equal(judging(signedBy(anna, TEXT, { hash })), 'right');
      assert.equal(judging(signedBy(rsa, TEXT, { hash })), 'right');
      assert.equal(judging(signedBy(rsa, TEXT, { hash, pss: true })), 'right');
    });
  }
  test('Ed25519 (RFC 8419)', () => {
    const ed = person(house, 'ed@clinic.example', { keys: generateKeyPairSync('ed25519') });
    assert.equal(judging(signedBy(ed, TEXT, { hash: 'sha512' })), 'right');
    assert.match(judging(signedBy(ed, TEXT, { hash: 'sha256' })), /hashed in two ways/);
  });
  test('a text that stands within, and in pieces', () => {
    const data = { signers: [signerInfo(TEXT, signer)], bag: [anna.certificate.der], within: TEXT };
    assert.equal(judgingOf(judgeSignedData(signedData(data), undefined)), 'right');
    const pieces = tlv(0x24, ...[...TEXT].map((octet) => octetString(Buffer.of(octet))));
    const whole = octetString(TEXT);
    const ber = indefinite(signedData(data), whole, pieces);
    assert.equal(judgingOf(judgeSignedData(ber, undefined)), 'right');
  });
  test('attributes in an order that is not that of DER: what is signed is as it stands', () => {
    const order = [messageDigest(TEXT), capabilities('1.2.3'), contentType()];
    assert.equal(judging(withAttributes(...order)), 'right');
    assert.equal(judging(withAttributes(...order.toReversed())), 'right');
  });
  test('a signer named by key identifier', () => {
    const id = createHash('sha1').update('x').digest();
    const keys = ecKeys();
    const named = person(house, 'anna@clinic.example', { keys });
    assert.equal(judging(signedBy(named, TEXT, { sid: implicit(0, id) })), 'the certificate of the signer is not in it');
    const withId = house.leaf('anna@clinic.example', subjectKeyId(id));
    assert.match(judging(signedBy({ certificate: withId, keys }, TEXT, { sid: implicit(0, id) })), /not by the certificate that it names/);
  });
});

/** With every length that can be indefinite, and `piece` in place of `old`. */
function indefinite(bytes: Buffer, old?: Buffer, piece?: Buffer): Buffer {
  if (old?.equals(bytes) === true) return piece ?? bytes;
  if (((bytes[0] ?? 0) & 0x20) === 0) return bytes;
  const parts: Buffer[] = [Buffer.of(bytes[0] ?? 0, 0x80)];
  for (let at = headerOf(bytes, 0); at < bytes.length;) {
    const end = at + headerOf(bytes, at) + lengthOf(bytes, at);
    parts.push(indefinite(bytes.subarray(at, end), old, piece));
    at = end;
  }
  return Buffer.concat([...parts, Buffer.of(0, 0)]);
}

const headerOf = (der: Buffer, at: number): number => ((der[at + 1] ?? 0) < 0x80 ? 2 : 2 + ((der[at + 1] ?? 0) & 0x7f));
const lengthOf = (der: Buffer, at: number): number =>
  headerOf(der, at) === 2 ? (der[at + 1] ?? 0) : der.readUIntBE(at + 2, headerOf(der, at) - 2);

describe('refused', () => {
  const cases: readonly (readonly [string, () => string, RegExp])[] = [
    ['another text', () => judging(signedBy(anna, TEXT), Buffer.from('x')), /changed on its way/],
    ['no text at all', () => judgingOf(judgeSignedData(signedBy(anna, TEXT), undefined)), /^it holds no text$/],
    ['a text within and one beside', () => judging(signedData({ signers: [signerInfo(TEXT, signer)], within: TEXT })), /a text of its own/],
    ['nobody', () => judging(signedData({ signers: [], bag: [anna.certificate.der] })), /^nobody has signed it$/],
    [
      '1,000 signers',
      () => judging(signedData({ signers: Array.from({ length: 1000 }, () => signerInfo(TEXT, signer)) })),
      /too many parts|more than 8/,
    ],
    [
      '9 signers',
      () => judging(signedData({ signers: Array.from({ length: 9 }, () => signerInfo(TEXT, signer)) })),
      /more than 8 have signed/,
    ],
    [
      'a huge bag',
      () => judging(signedData({ signers: [signerInfo(TEXT, signer)], bag: Array.from({ length: 2000 }, () => anna.certificate.der) })),
      /too many parts|more than 50 certificates/,
    ],
    [
      '51 certificates',
      () => judging(signedData({ signers: [signerInfo(TEXT, signer)], bag: Array.from({ length: 51 }, () => anna.certificate.der) })),
      /more than 50 certificates/,
    ],
    ['no attributes', () => judging(signedBy(anna, TEXT, { attributes: null })), /without attributes/],
    ['no digest', () => judging(withAttributes(contentType())), /message digest is missing/],
    ['no content type', () => judging(withAttributes(messageDigest(TEXT))), /content type is missing/],
    ['another content type', () => judging(withAttributes(messageDigest(TEXT), contentType('1.2.3'))), /what it is signed as is no mail/],
    [
      'two digests',
      () => judging(withAttributes(contentType(), messageDigest(Buffer.from('x')), messageDigest(TEXT))),
      /stands there twice/,
    ],
    [
      'a digest of two values',
      () => judging(withAttributes(contentType(), attribute('1.2.840.113549.1.9.4', octetString(digest('x')), octetString(digest(TEXT))))),
      /has two values/,
    ],
    [
      'an attribute without value',
      () => judging(withAttributes(contentType(), messageDigest(TEXT), attribute('1.2.3'))),
      /of another form/,
    ],
    [
      '65 attributes',
      () => judging(withAttributes(...Array.from({ length: 65 }, (_, at) => attribute(`1.2.${at}`, nullValue)))),
      /more than 64 signed attributes/,
    ],
    ['SHA-1', () => judging(signedBy(rsa, TEXT, { hash: 'sha1' })), /^signed over SHA-1, which is not taken$/],
    [
      'SHA-1 under another name',
      () => judging(signedBy(anna, TEXT, { hash: 'sha1', digestAlgorithm: '2.16.840.1.101.3.4.2.1' })),
      /changed on its way/,
    ],
    ['two hashes', () => judging(signedBy(anna, TEXT, { signatureAlgorithm: sequence(oid('1.2.840.10045.4.3.3')) })), /hashed in two ways/],
    [
      'an algorithm that nobody knows',
      () => judging(signedBy(anna, TEXT, { signatureAlgorithm: sequence(oid('1.2.3')) })),
      /signed with 1\.2\.3/,
    ],
    [
      'the algorithm of another key',
      () => judging(signedBy(anna, TEXT, { signatureAlgorithm: sequence(oid('1.2.840.113549.1.1.1'), nullValue) })),
      /not by the certificate/,
    ],
    ["another's key", () => judging(signedBy({ ...anna, keys: ecKeys() }, TEXT)), /not by the certificate/],
    [
      'a weak key',
      () => judging(signedBy(person(house, 'w@clinic.example', { keys: rsaKeys(1024) }), TEXT)),
      /^signed by an RSA key of 1024 bits/,
    ],
    [
      'a certificate that is not in it',
      () => judging(signedData({ signers: [signerInfo(TEXT, signer)], bag: [rsa.certificate.der] })),
      /is not in it/,
    ],
    ['what is no mail', () => judging(signedData({ signers: [signerInfo(TEXT, signer)], type: '1.2.3' })), /what is signed is no mail/],
    ['no SignedData', () => judging(sequence(oid('1.2.840.113549.1.7.3'), explicit(0, sequence()))), /it is no SignedData/],
    ['garbage', () => judging(Buffer.from('hello')), /cannot be read/],
    ['nothing', () => judging(Buffer.alloc(0)), /cannot be read/],
    ['octets behind its end', () => judging(Buffer.concat([signedBy(anna, TEXT), Buffer.of(0)])), /stand behind its end/],
  ];
  for (const [what, judged, reason] of cases) test(what, () => assert.match(judged(), reason));
});

const digest = (text: string | Buffer): Buffer => createHash('sha256').update(text).digest();
const judgingOf = (verdict: ReturnType<typeof judgeSignedData>): string => (verdict.kind === 'right' ? 'right' : verdict.reason);

test('signed attributes cannot be passed off as a text (RFC 5652 §5.3)', () => {
  // What the signer signed was this SET; whoever finds it signed may offer it as a mail of its own without attributes.
  const attributes = [contentType(), messageDigest(TEXT)];
  const content = set(...attributes);
  const original = signerInfo(TEXT, { ...signer, attributes });
  const signature = original.subarray(-derTail(original));
  const forged = sequence(
    integer(Buffer.of(1)),
    sequence(anna.certificate.issuerDer, anna.certificate.serialDer),
    sequence(oid('2.16.840.1.101.3.4.2.1')),
    sequence(oid('1.2.840.10045.4.3.2')),
    signature,
  );
  assert.match(judging(signedData({ signers: [forged], bag: [anna.certificate.der] }), content), /without attributes/);
});

/** Octets of the last TLV, an OCTET STRING of less than 128. */
function derTail(info: Buffer): number {
  for (let length = 60; length < 90; length++)
    if (info[info.length - length - 2] === 4 && info[info.length - length - 1] === length) return length + 2;
  throw new Error('no signature at its end');
}

describe('A19: bombs end in a reason within 100 ms', () => {
  const bombs: readonly (readonly [string, () => Buffer])[] = [
    ['depth 10⁶', () => nest(1_000_000)],
    ['indefinite lengths without end', () => Buffer.alloc(1_000_000, Buffer.of(0x30, 0x80))],
    ['10⁶ nodes', () => sequence(Buffer.alloc(2_000_000, nullValue))],
    [
      'a string in 10⁶ pieces',
      () => sequence(oid('1.2.840.113549.1.7.2'), explicit(0, tlv(0x24, Buffer.alloc(3_000_000, Buffer.of(4, 1, 0))))),
    ],
    ['a length of 2 GB', () => Buffer.from('30847fffffff0500', 'hex')],
    [
      'a huge object identifier',
      () => sequence(tlv(6, Buffer.concat([Buffer.alloc(9_000_000, 0xff), Buffer.of(1)])), explicit(0, sequence())),
    ],
    [
      '50 certificates of garbage',
      () => signedData({ signers: [signerInfo(TEXT, signer)], bag: Array.from({ length: 50 }, () => sequence(nest(20))) }),
    ],
  ];
  for (const [what, make] of bombs)
    test(what, () => {
      const bytes = make();
      const times = [1, 2, 3].map(() => {
        const begun = performance.now();
        assert.equal(judgeSignedData(bytes, TEXT).kind, 'wrong');
        return performance.now() - begun;
      });
      assert.ok(Math.min(...times) < 100, `${Math.min(...times)} ms`);
    });
});

describe('what one mail may cost', () => {
  test('certificates of one name: three are tried, more are refused', () => {
    const id = Buffer.from('0102', 'hex');
    const namesakes = Array.from({ length: 4 }, (_, index) => house.leaf(`p${index}@clinic.example`, subjectKeyId(id)));
    const info = signerInfo(TEXT, { ...signer, sid: implicit(0, id) });
    const of = (count: number): string => judging(signedData({ signers: [info], bag: namesakes.slice(0, count).map(({ der }) => der) }));
    assert.equal(of(3), 'its signature is not by the certificate that it names');
    assert.equal(of(4), 'more than 3 certificates in it are named as its signer');
  });
  test('signed attributes', () => {
    const large = (octets: number): Buffer => attribute('1.2.3.4', octetString(Buffer.alloc(octets)));
    assert.equal(judging(signedBy(anna, TEXT, { more: [large(60_000)] })), 'right');
    assert.equal(judging(signedBy(anna, TEXT, { more: [large(65_536)] })), 'its signed attributes have more than 65536 octets');
  });
  test('RSA keys', () => {
    const modulus = Buffer.alloc(1125, 0xff).toString('base64url');
    const publicKey = createPublicKey({ format: 'jwk', key: { kty: 'RSA', n: modulus, e: 'AQAB' } });
    const huge = person(house, 'anna@clinic.example', { keys: { publicKey, privateKey: rsa.keys.privateKey } });
    assert.equal(judging(signedBy(huge, TEXT)), 'signed by an RSA key of 9000 bits, 8192 are the most');
  });
});

describe('octets at random', () => {
  const good = signedBy(anna, TEXT, { more: [capabilities('1.2.3', '1.2.4')] });
  test('any octets end in a verdict', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => judgeSignedData(Buffer.from(octets), TEXT).kind === 'wrong'));
  });
  test('a changed octet never makes another signer or another text right', () => {
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = Buffer.from(good);
        changed[at] = (changed[at] ?? 0) ^ by;
        const verdict = judgeSignedData(changed, TEXT);
        // Some octets are signed by nobody, such as a version: whoever is believed then is the one who signed.
        return (
          verdict.kind === 'wrong' || verdict.signers.every(({ certificate }) => certificate.publicKey.equals(anna.certificate.publicKey))
        );
      }),
      { numRuns: 2000 },
    );
  });
  test('DER comes out of the BER reader octet for octet, whatever it is', () => {
    const value: fc.Arbitrary<Buffer> = fc.letrec<{ tlv: Buffer }>((tie) => ({
      tlv: fc.oneof(
        { maxDepth: 5 },
        fc.uint8Array({ maxLength: 300 }).map((octets) => octetString(Buffer.from(octets))),
        fc.array(tie('tlv'), { maxLength: 5 }).map((parts) => sequence(...parts)),
        fc.array(tie('tlv'), { maxLength: 3 }).map((parts) => explicit(1, ...parts)),
      ),
    })).tlv;
    const limits = { bytes: 1_000_000, nodes: 10_000, depth: 32 };
    fc.assert(
      fc.property(value, (der) => {
        assert.deepEqual(derOfBer(der, limits), der);
        // The same in indefinite lengths comes back as it was.
        assert.deepEqual(derOfBer(indefinite(der), limits), der);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (octets) => {
        try {
          derOfBer(Buffer.from(octets), limits);
        } catch (error) {
          assert.equal(asSealpostError(error).code, 'certificate-malformed');
        }
      }),
    );
  });
});
