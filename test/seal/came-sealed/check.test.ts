/** What came sealed is what it says, for whom it says, to its last octet; everything else is sealed again (A12, A19). */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { explicit, header, integer, nullValue, octetString, oid, sequence, set, tlv } from '../../../src/certificates/encode.ts';
import { makeSealedCheck, sealedStart, type SealedVerdict } from '../../../src/seal/came-sealed/check.ts';
import { noOpenssl, run } from '../../certificates/openssl.ts';
import { LABEL, type Made, makePeople, messageOf, PLAIN, wrapped } from './made.ts';

interface Judged {
  readonly verdict: SealedVerdict;
  /** For anna and for ben, by the start and by the whole. */
  readonly start: string;
  readonly end: string;
}

async function judge(made: Made, body: Buffer, { label = LABEL, piece = 7_000 } = {}): Promise<Judged> {
  const message = await messageOf(body, label);
  const found = sealedStart(message);
  const check = makeSealedCheck(message.fields);
  for (let at = 0; at < body.length; at += piece) check.write(body.subarray(at, at + piece));
  const verdict = check.end();
  const named = (one: { isSealedFor: (list: Made['people']['anna'][]) => boolean } | undefined): string =>
    one === undefined
      ? 'not sealed'
      : Object.entries(made.people)
          .filter(([, certificate]) => one.isSealedFor([certificate]))
          .map(([name]) => name)
          .join(' ') || 'nobody';
  return { verdict, start: named(found), end: verdict.kind === 'sealed' ? named(verdict) : verdict.reason };
}

/** A ContentInfo by hand, around parts that a test has made up. */
const envelopedData = '1.2.840.113549.1.7.3';
const info = (type: string, ...parts: readonly Buffer[]): Buffer => sequence(oid(type), explicit(0, sequence(...parts)));
const version = integer(Buffer.from([0]));
const cbc = sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(Buffer.alloc(16, 1)));
const content = (ciphertext: Buffer, algorithm = cbc): Buffer => sequence(oid('1.2.840.113549.1.7.1'), algorithm, tlv(0x80, ciphertext));

describe('mail that came sealed', { skip: noOpenssl }, () => {
  let made: Made;
  let sealed: Buffer;
  before(() => {
    made = makePeople();
    sealed = made.cms(['-encrypt', '-aes256', 'anna.pem']);
  });
  after(() => made.remove());
  const forAnna = (): Buffer => {
    const { issuerDer, serialDer } = made.people.anna;
    return sequence(
      version,
      sequence(issuerDer, serialDer),
      sequence(oid('1.2.840.113549.1.1.1'), nullValue),
      octetString(randomBytes(256)),
    );
  };

  test('A12: what openssl sealed, in every form it has, is sealed for those it names', async () => {
    const cms: Readonly<Record<string, readonly [readonly string[], string]>> = {
      'issuer and serial': [['-encrypt', '-aes256', 'anna.pem'], 'anna'],
      'key identifier': [['-encrypt', '-aes128', '-keyid', 'anna.pem'], 'anna'],
      'two people': [['-encrypt', '-aes256', 'anna.pem', 'ben.pem'], 'anna ben'],
      'key agreement': [['-encrypt', '-aes256', 'otto.pem'], 'otto'],
      'key agreement by key identifier': [['-encrypt', '-aes256', '-keyid', 'otto.pem'], 'otto'],
      'both kinds': [['-encrypt', '-aes256', 'otto.pem', 'ben.pem'], 'ben otto'],
      'RSA-OAEP': [['-encrypt', '-aes256', '-recip', 'anna.pem', '-keyopt', 'rsa_padding_mode:oaep'], 'anna'],
      'triple DES': [['-encrypt', '-des3', 'ben.pem'], 'ben'],
      'AES-GCM': [['-encrypt', '-aes-256-gcm', 'anna.pem'], 'anna'],
      'indefinite lengths': [['-encrypt', '-stream', '-aes256', 'anna.pem'], 'anna'],
      'AES-GCM, indefinite lengths': [['-encrypt', '-stream', '-aes-256-gcm', 'anna.pem'], 'anna'],
    };
    for (const [what, [args, whom]] of Object.entries(cms)) {
      for (const plain of [PLAIN, PLAIN.repeat(3000)]) {
        const body = wrapped(made.cms(args, plain));
        const { start, end } = await judge(made, body);
        assert.deepEqual([start, end], [whom, whom], `${what}, ${body.length} octets`);
      }
    }
  });

  test('base64 of any width, blank lines behind it, and any chunks', async () => {
    for (const width of [1, 4, 57, 76, 998, 100_000]) {
      const body = Buffer.concat([wrapped(sealed, width), Buffer.from('\r\n\r\n')]);
      assert.equal((await judge(made, body, { piece: width === 1 ? 1 : 777 })).end, 'anna', String(width));
    }
    assert.equal((await judge(made, Buffer.from(sealed.toString('base64')))).end, 'anna', 'no line end');
  });

  test('A12: what only says that it is sealed is not, and the reason is told', async () => {
    run('openssl', ['crl2pkcs7', '-nocrl', '-certfile', 'anna.pem', '-outform', 'DER', '-out', 'certs'], made.folder);
    const certsOnly = made.cms(['-sign', '-signer', 'anna.pem', '-inkey', 'anna.key', '-nodetach', '-nocerts']);
    const multipart = `--b\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n${wrapped(sealed).toString()}--b--\r\n`;
    const clear = Buffer.from('And here is the diagnosis.\r\n');
    const mixed = LABEL.replace('application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m', 'multipart/mixed; boundary=b');
    const long = made.cms(['-encrypt', '-aes256', 'anna.pem'], PLAIN.repeat(3000));
    const table: readonly (readonly [what: string, body: Buffer, reason: RegExp, label?: string])[] = [
      ['a plain body', Buffer.from('The diagnosis is written here.\r\n'), /not base64/],
      ['a plain body that could be base64', Buffer.from('Thediagnosisiswrittenhere====\r\n'), /not base64/],
      ['words that are base64', Buffer.from('TheDiagnosisIsWrittenHereInOnePiece1\r\n'), /another kind|tag|length/],
      ['text in base64', wrapped(Buffer.from(PLAIN)), /kind|tag|length/],
      ['nothing', Buffer.alloc(0), /too early/],
      ['signed data', wrapped(certsOnly), /signed data/],
      ['data', wrapped(made.cms(['-data_create'])), /not encrypted/],
      ['a digest', wrapped(made.cms(['-digest_create'])), /digest/],
      [
        'encrypted data',
        wrapped(made.cms(['-EncryptedData_encrypt', '-aes256', '-secretkey', '00'.repeat(32)])),
        /key that nobody is given/,
      ],
      ['compressed data', wrapped(info('1.2.840.113549.1.9.16.1.9', version)), /compressed/],
      [
        'sealed, and for whoever has a password',
        wrapped(made.cms(['-encrypt', '-aes256', '-pwri_password', 'x', 'anna.pem'])),
        /without a certificate/,
      ],
      ['sealed, in a multipart', Buffer.from(multipart), /Content-Type/, mixed],
      ['sealed, called octet-stream', wrapped(sealed), /Content-Type/, LABEL.replace('pkcs7-mime', 'octet-stream')],
      ['sealed, called signed', wrapped(sealed), /smime-type/, LABEL.replace('enveloped-data', 'signed-data')],
      ['sealed, with two types', wrapped(sealed), /Content-Type/, `Content-Type: text/plain\r\n${LABEL}`],
      ['sealed, not called base64', wrapped(sealed), /base64/, LABEL.replace('base64', 'quoted-printable')],
      ['clear text behind it', Buffer.concat([wrapped(sealed), Buffer.from('\r\n'), clear]), /not base64/],
      ['clear text in front of it', Buffer.concat([clear, wrapped(sealed)]), /not base64/],
      ['clear text within', Buffer.concat([wrapped(sealed).subarray(0, 66), clear, wrapped(sealed).subarray(66)]), /not base64/],
      ['clear text behind it, in base64', wrapped(Buffer.concat([sealed, clear])), /behind its end/],
      [
        'clear text behind a padding',
        Buffer.concat([wrapped(Buffer.concat([sealed, Buffer.alloc(3 - (sealed.length % 3) + 1)])), Buffer.from('QUJD\r\n')]),
        /./,
      ],
      ['cut off', wrapped(sealed.subarray(0, -1)), /too early/],
      ['a long one, cut off', wrapped(long.subarray(0, -100_000)), /too early/],
      ['octets behind a long one', wrapped(Buffer.concat([long, clear])), /behind its end/],
      ['certificates only', wrapped(run64(made, 'certs')), /signed data/],
    ];
    for (const [what, body, reason, label = LABEL] of table) {
      const { verdict } = await judge(made, body, { label });
      assert.ok(verdict.kind === 'not-sealed', what);
      assert.match(verdict.reason, reason, what);
    }
    const [one, two] = [wrapped(sealed.subarray(0, 100)), wrapped(sealed.subarray(100))];
    for (const piece of [one.length, 100_000])
      assert.match((await judge(made, Buffer.concat([one, two]), { piece })).end, /not base64/, 'two pieces of base64, each with its end');
    assert.equal((await judge(made, wrapped(made.cms(['-encrypt', '-aes256', 'ben.pem'])))).end, 'ben', 'for somebody else');
  });

  test('A12: a structure that is right around what is not encrypted is none', async () => {
    const readers = set(forAnna());
    const noise = randomBytes(4800);
    const good = info(envelopedData, version, readers, content(noise));
    assert.equal((await judge(made, wrapped(good))).end, 'anna');
    const gcm = sequence(oid('2.16.840.1.101.3.4.1.46'), sequence(octetString(Buffer.alloc(12))));
    const attribute = sequence(oid('1.2.3.4'), set(octetString(Buffer.from('The diagnosis'))));
    const auth = '1.2.840.113549.1.9.16.1.23';
    const table: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
      'clear text for a ciphertext': [
        info(envelopedData, version, readers, content(Buffer.from('The diagnosis is here. '.repeat(160)))),
        /can be read/,
      ],
      'UTF-16 for a ciphertext': [
        info(envelopedData, version, readers, content(Buffer.from('The diagnosis is here. '.repeat(80), 'utf16le'))),
        /can be read/,
      ],
      'no ciphertext': [info(envelopedData, version, readers, sequence(oid('1.2.840.113549.1.7.1'), cbc)), /no ciphertext/],
      'an empty ciphertext': [info(envelopedData, version, readers, content(Buffer.alloc(0))), /no ciphertext/],
      'a ciphertext of no blocks': [info(envelopedData, version, readers, content(noise.subarray(1))), /no cipher/],
      'attributes in clear': [info(envelopedData, version, readers, content(noise), explicit(1, attribute)), /attributes in clear/],
      'authenticated attributes in clear': [
        info(auth, version, readers, content(noise, gcm), explicit(1, attribute), octetString(randomBytes(16))),
        /attributes in clear/,
      ],
      'attributes behind the code': [
        info(auth, version, readers, content(noise, gcm), octetString(randomBytes(16)), explicit(2, attribute)),
        /attributes in clear/,
      ],
      'text for a code': [
        info(auth, version, readers, content(noise, gcm), octetString(Buffer.from('The diagnosis is here'))),
        /impossible length/,
      ],
      'no code': [info(auth, version, readers, content(noise, gcm)), /missing/],
      'GCM without a code': [info(envelopedData, version, readers, content(noise, gcm)), /does not belong/],
      'a certificate of the sender': [
        info(envelopedData, version, explicit(0, explicit(0, attribute)), readers, content(noise)),
        /in clear/,
      ],
      'no reader': [info(envelopedData, version, set(), content(noise)), /no reader/],
      RC2: [info(envelopedData, version, readers, content(noise, sequence(oid('1.2.840.113549.3.2'), nullValue))), /too weak/],
      'something behind the content': [
        sequence(oid(envelopedData), explicit(0, sequence(version, readers, content(noise))), octetString(noise)),
        /does not know/,
      ],
      'another length than there is': [Buffer.concat([header(0x30, good.length - 4 + 1), good.subarray(4)]), /length|missing/],
    };
    for (const [what, [octets, reason]] of Object.entries(table)) {
      const { verdict } = await judge(made, wrapped(octets));
      assert.ok(verdict.kind === 'not-sealed', what);
      assert.match(verdict.reason, reason, what);
    }
  });

  test('A12: no part of a right structure has room for text', async () => {
    const TEXT = 'The diagnosis of this patient is written here, line after line. ';
    const text = (octets: number): Buffer => Buffer.alloc(octets, TEXT);
    const anna = made.people.anna;
    const noise: Buffer = randomBytes(160);
    const name = sequence(anna.issuerDer, anna.serialDer);
    const rsaKey = sequence(oid('1.2.840.113549.1.1.1'), nullValue);
    const ktri = (rid: Buffer, algorithm: Buffer, key: Buffer, ...more: Buffer[]): Buffer =>
      sequence(version, rid, algorithm, key, ...more);
    const key = octetString(randomBytes(256));
    const oaep = (label: Buffer): Buffer =>
      sequence(oid('1.2.840.113549.1.1.7'), sequence(explicit(2, sequence(oid('1.2.840.113549.1.1.9'), octetString(label)))));
    const wrap = sequence(oid('1.3.132.1.11.1'), sequence(oid('2.16.840.1.101.3.4.1.45')));
    const kari = ({
      point = randomBytes(66),
      ukm = randomBytes(32),
      algorithm = wrap,
      wrappedKey = randomBytes(40),
      rid = name,
    }: Partial<Record<'point' | 'ukm' | 'algorithm' | 'wrappedKey' | 'rid', Buffer>> = {}): Buffer =>
      explicit(
        1,
        integer(Buffer.from([3])),
        explicit(0, explicit(1, sequence(oid('1.2.840.10045.2.1')), tlv(0x03, point))),
        explicit(1, octetString(ukm)),
        algorithm,
        sequence(sequence(rid, octetString(wrappedKey))),
      );
    const readers = (...more: readonly Buffer[]): Buffer => info(envelopedData, version, set(forAnna(), ...more), content(noise));
    const encrypted = (...parts: readonly Buffer[]): Buffer => info(envelopedData, version, set(forAnna()), sequence(...parts));
    const named = (issuer: Buffer, serial: Buffer = Buffer.from([1])): Buffer => sequence(sequence(issuer), integer(serial));
    const enciphered = (octets: Buffer): Buffer => info(envelopedData, version, set(forAnna()), content(octets));
    const [data, ciphertext] = [oid('1.2.840.113549.1.7.1'), tlv(0x80, noise)];
    const gcm = (nonce: Buffer, ...more: Buffer[]): Buffer =>
      info(
        '1.2.840.113549.1.9.16.1.23',
        version,
        set(forAnna()),
        content(noise, sequence(oid('2.16.840.1.101.3.4.1.46'), sequence(octetString(nonce), ...more))),
        octetString(randomBytes(16)),
      );

    const whole: Readonly<Record<string, Buffer>> = {
      'key agreement': readers(kari()),
      'OAEP with its empty label': readers(ktri(name, oaep(Buffer.alloc(0)), key)),
      GCM: gcm(Buffer.alloc(12), integer(Buffer.from([16]))),
      'a large ciphertext': enciphered(randomBytes(4_000_000)),
      'a short ciphertext': enciphered(randomBytes(48)),
    };
    for (const [what, octets] of Object.entries(whole)) assert.equal((await judge(made, wrapped(octets))).end, 'anna', what);

    const table: Readonly<Record<string, Buffer>> = {
      'text for a key': readers(ktri(name, rsaKey, octetString(text(20_000)))),
      'text for a key of the right length': readers(ktri(name, rsaKey, octetString(text(256)))),
      'no algorithm and no key': readers(sequence(version, name, tlv(0x0c, text(20_000)))),
      'text behind the key': readers(ktri(name, rsaKey, key, tlv(0x0c, text(100)))),
      'text for parameters of a key': readers(ktri(name, sequence(oid('1.2.840.113549.1.1.1'), octetString(text(40))), key)),
      'text for a label': readers(ktri(name, oaep(text(40)), key)),
      'an algorithm of no known kind': readers(ktri(name, sequence(oid('1.2.3.4'), nullValue), key)),
      'an OID of text': readers(ktri(name, sequence(tlv(0x06, text(60)), nullValue), key)),
      'text for a version': readers(sequence(tlv(0x02, text(100)), name, rsaKey, key)),
      'another reader whose CA is text': readers(ktri(named(tlv(0x0c, text(20_000))), rsaKey, key)),
      'other readers of a hundred CAs of text': readers(
        ...Array.from({ length: 100 }, (_, index) => ktri(named(tlv(0x0c, text(400), Buffer.from([index]))), rsaKey, key)),
      ),
      'a serial number that is text': readers(ktri(named(nullValue, text(32)), rsaKey, key)),
      'a key identifier that is text': readers(ktri(tlv(0x80, text(60)), rsaKey, key)),
      'text for a wrapped key': readers(kari({ wrappedKey: text(40) })),
      'text for a point': readers(kari({ point: text(130) })),
      'text for keying material': readers(kari({ ukm: text(64) })),
      'much keying material': readers(kari({ ukm: randomBytes(5000) })),
      'text for parameters of an agreement': readers(kari({ algorithm: sequence(oid('1.3.132.1.11.1'), octetString(text(40))) })),
      'text for a date of an agreed key': readers(kari({ rid: explicit(0, octetString(randomBytes(20)), tlv(0x18, text(60))) })),
      'text for a nonce': encrypted(data, sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(text(900))), ciphertext),
      'text behind a nonce': encrypted(
        data,
        sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(text(16)), tlv(0x0c, text(60))),
        ciphertext,
      ),
      'text for a nonce of GCM': gcm(text(60)),
      'text behind a nonce of GCM': gcm(Buffer.alloc(12), tlv(0x0c, text(40))),
      'text for the type of the content': encrypted(tlv(0x06, text(60)), cbc, ciphertext),
      'text for the version': info(envelopedData, tlv(0x02, text(100)), set(forAnna()), content(noise)),
      'a short text for a ciphertext': enciphered(text(48)),
      'noise, then text': enciphered(Buffer.concat([randomBytes(4096), text(8000)])),
      'much noise, little text': enciphered(Buffer.concat([randomBytes(400_000), text(320)])),
      'text and noise by turns': enciphered(Buffer.concat(Array.from({ length: 500 }, () => [randomBytes(12), text(4)]).flat())),
      'a text of no Latin letters': enciphered(Buffer.alloc(6144, '诊断结果就写在这里一行又一行没有人加密过它')),
    };
    for (const [what, octets] of Object.entries(table)) {
      const { verdict, start } = await judge(made, wrapped(octets));
      assert.equal(verdict.kind, 'not-sealed', what);
      if (octets.length < 40_000) assert.equal(start, 'not sealed', what);
    }
  });

  test('a reader behind the look-ahead is not seen at DATA, and is in the end: such mail is sealed again, never passed to the wrong one', async () => {
    const others = Array.from({ length: 400 }, (_, index) => {
      const name = sequence(made.people.ben.issuerDer, integer(Buffer.from([1, index >> 8, index & 0xff])));
      return sequence(version, name, sequence(oid('1.2.840.113549.1.1.1'), nullValue), octetString(randomBytes(256)));
    });
    const many = wrapped(info(envelopedData, version, set(...others, forAnna()), content(randomBytes(160))));
    const { start, end } = await judge(made, many);
    assert.deepEqual([start, end], ['nobody', 'anna']);
  });

  test('A19: readers, depth and lengths without end: a verdict at once, and nothing kept', async () => {
    const one = forAnna();
    const readers = Buffer.concat(Array.from({ length: 20_000 }, () => one));
    const open = (octets: number[], count: number): Buffer => Buffer.alloc(octets.length * count, Buffer.from(octets));
    const start = Buffer.concat([Buffer.from([0x30, 0x80]), oid(envelopedData), Buffer.from([0xa0, 0x80, 0x30, 0x80]), version]);
    const behind = Buffer.concat([start, set(one), Buffer.from([0x30, 0x80]), oid('1.2.840.113549.1.7.1'), cbc, Buffer.from([0xa0, 0x80])]);
    const table: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
      '20,000 readers': [Buffer.concat([start, header(0x31, readers.length), readers]), /too many readers/],
      'readers of one octet': [Buffer.concat([start, Buffer.from([0x31, 0x80]), open([0x30, 0x00], 1_000_000)]), /./],
      'a reader of a reader of a reader': [Buffer.concat([start, Buffer.from([0x31, 0x80]), open([0x30, 0x80], 1_000_000)]), /deep/],
      'parts of parts': [open([0x30, 0x80], 1_000_000), /kind/],
      'a reader of 2 GB': [
        Buffer.concat([start, Buffer.from([0x31, 0x80, 0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]), randomBytes(100_000)]),
        /too large/,
      ],
      'a length of 126 octets': [Buffer.concat([Buffer.from([0x30, 0xfe]), randomBytes(200)]), /beyond all bounds/],
      'a type of 64 KiB': [Buffer.concat([Buffer.from([0x30, 0x80]), header(0x06, 65_536), Buffer.alloc(65_536, 0x81)]), /too large/],
      'a ciphertext of 2⁴⁰ octets': [
        Buffer.concat([behind.subarray(0, -2), Buffer.from([0x80, 0x86, 1, 0, 0, 0, 0, 0]), randomBytes(1_000_000)]),
        /too early/,
      ],
      'a ciphertext in pieces of nothing': [Buffer.concat([behind, open([0x04, 0x00], 1_000_000)]), /too many pieces/],
    };
    for (const [what, [octets, reason]] of Object.entries(table)) {
      const body = wrapped(octets, 76);
      const began = performance.now();
      const { verdict } = await judge(made, body, { piece: 65_536 });
      assert.ok(verdict.kind === 'not-sealed', what);
      assert.match(verdict.reason, reason, what);
      // Some 30 ms on an idle core.
      assert.ok(performance.now() - began < 3000, `${what}: ${performance.now() - began} ms`);
    }
  });

  test('whatever the octets and however they are cut: one verdict, and never an error of another kind', async () => {
    const label = await messageOf(Buffer.alloc(0));
    const verdictOf = (octets: Buffer, piece: number): SealedVerdict => {
      const check = makeSealedCheck(label.fields);
      const body = wrapped(octets);
      for (let at = 0; at < body.length; at += piece) check.write(body.subarray(at, at + piece));
      return check.end();
    };
    const short = made.cms(['-encrypt', '-stream', '-aes256', 'anna.pem'], 'x');
    await fc.assert(
      fc.asyncProperty(
        fc.nat(short.length - 1),
        fc.uint8Array({ maxLength: 6 }),
        fc.nat(4),
        fc.integer({ min: 1, max: 500 }),
        async (at, octets, gone, piece) => {
          const mutant = Buffer.concat([short.subarray(0, at), octets, short.subarray(at + gone)]);
          const [one, other] = [verdictOf(mutant, piece), verdictOf(mutant, 100_000)];
          assert.equal(one.kind === 'sealed' ? 'sealed' : one.reason, other.kind === 'sealed' ? 'sealed' : other.reason);
          // What is taken for whole has no octet more or less than its own lengths say, so one octet cannot be gone or come unnoticed.
          if (one.kind === 'sealed' && gone === octets.length) assert.equal(mutant.length, short.length);
        },
      ),
      { numRuns: 1500 },
    );
  });
});

const run64 = ({ folder }: Made, name: string): Buffer => Buffer.from(run('openssl', ['base64', '-A', '-in', name], folder), 'base64');
