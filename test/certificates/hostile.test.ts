/** Certificates that strangers wrote to harm: A19 to A22, and octets at random. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { publicEncrypt } from 'node:crypto';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { readCertificates, readCertificatesInTurns } from '../../src/certificates/bundle.ts';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { explicit, nullValue, octetString, oid, sequence, set, tlv, utf8String } from '../../src/certificates/encode.ts';
import { usability } from '../../src/certificates/usability.ts';
import { asSealpostError } from '../../src/errors.ts';
import { craft, nest, point, rfc822, rsaKey, utf8Name } from './craft.ts';
import { ec, make, noOpenssl, rsa, temporaryFolder } from './openssl.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
/** The reason why it is refused, or `taken`. */
function reading(der: Buffer): string {
  try {
    parseCertificate(der);
    return 'taken';
  } catch (error) {
    const { code, detail } = asSealpostError(error);
    assert.equal(code, 'certificate-malformed');
    return detail ?? '';
  }
}

/** The shortest of three, since the machine has other things to do; ms. */
const time3 = (act: () => void): number =>
  Math.min(
    ...[1, 2, 3].map(() => {
      const begun = performance.now();
      act();
      return performance.now() - begun;
    }),
  );
const verdict = (der: Buffer): string => {
  const answer = usability(parseCertificate(der), NOW);
  return answer.kind === 'usable' ? 'usable' : answer.reason;
};

describe('A19: ASN.1 bombs end in a typed error within 100 ms', () => {
  const bombs: readonly (readonly [string, () => Buffer, RegExp])[] = [
    ['depth 10⁶', () => nest(1_000_000), /octets, more than the 65536/],
    ['depth as far as 64 KiB go', () => nest(10_000), /nested too deeply/],
    ['10⁶ nodes', () => sequence(Buffer.alloc(2_000_000, nullValue)), /octets, more than the 65536/],
    ['nodes as far as 64 KiB go', () => sequence(Buffer.alloc(60_000, nullValue)), /too many parts/],
    ['a length of 2 GB', () => Buffer.from('30847fffffff0500', 'hex'), /beyond its end/],
    ['a length of 2⁶⁴', () => Buffer.from('3088ffffffffffffffff0500', 'hex'), /beyond its end/],
    ['an indefinite length', () => Buffer.from('30800000', 'hex'), /indefinite/],
    [
      'a huge object identifier',
      () => craft({ extensions: [sequence(tlv(6, Buffer.concat([Buffer.alloc(60_000, 0xff), Buffer.of(1)])), octetString(nullValue))] }),
      /identifier of 60001 octets/,
    ],
    [
      'a huge attribute type in the name',
      () => craft({ subject: sequence(set(sequence(tlv(6, Buffer.alloc(60_000, 1)), utf8String('x')))) }),
      /identifier of 60000 octets/,
    ],
    ['depth inside an extension', () => craft({ extensions: [sequence(oid('2.5.29.37'), octetString(nest(5_000)))] }), /nested too deeply/],
    [
      'nodes inside an extension',
      () => craft({ extensions: [sequence(oid('2.5.29.37'), octetString(sequence(Buffer.alloc(50_000, nullValue))))] }),
      /too many parts/,
    ],
    ['octets behind the end', () => Buffer.concat([craft({}), Buffer.alloc(10)]), /10 octets stand behind/],
    ['nothing', () => Buffer.alloc(0), /./],
  ];
  for (const [name, bomb, expected] of bombs) {
    test(name, () => {
      const der = bomb();
      assert.match(reading(der), expected);
      const took = time3(() => reading(der));
      assert.ok(took < 100, `${took} ms`);
    });
  }

  test('as PEM and PKCS#7 too, and the good certificate beside it is read', () => {
    const pem = (label: string, der: Buffer): string => `-----BEGIN ${label}-----\n${der.toString('base64')}\n-----END ${label}-----\n`;
    const text = pem('CERTIFICATE', nest(10_000)) + pem('PKCS7', nest(10_000)) + pem('CERTIFICATE', craft({}));
    const { certificates, faults } = readCertificates(Buffer.from(text));
    assert.ok(time3(() => readCertificates(Buffer.from(text))) < 100);
    assert.equal(certificates.length, 1);
    assert.equal(faults.length, 2);
    assert.match(faults[0] ?? '', /^line 1: .*nested too deeply/);
  });

  test('a file of nothing but BEGIN is gone through once', () => {
    const text = '-----BEGIN CERTIFICATE-----\n'.repeat(36_000);
    for (const file of [text, `${text}-----END CERTIFICATE-----\n`]) {
      const begun = process.cpuUsage();
      const { certificates, faults } = readCertificates(Buffer.from(file));
      const { user, system } = process.cpuUsage(begun);
      assert.ok(user + system < 3_000_000, `${user + system} us`);
      assert.equal(certificates.length, 0);
      assert.match(faults[0] ?? '', /^line 1: .*BEGIN CERTIFICATE without its END$/);
    }
  });

  test('any octets, and any certificate with some of them changed, give a certificate or a typed error', () => {
    const good = craft({});
    const changed = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }).map((changes) => {
      const copy = Buffer.from(good);
      for (const [at, octet] of changes) copy[at] = octet;
      return copy;
    });
    const random = fc.uint8Array({ maxLength: 300 }).map((octets) => Buffer.from(octets));
    fc.assert(
      fc.property(fc.oneof(random, changed, changed), (octets) => typeof reading(octets) === 'string'),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          random,
          changed,
          fc.string().map((text) => Buffer.from(`-----BEGIN ${text}`)),
        ),
        (octets) => {
          const { certificates, faults } = readCertificates(octets);
          return certificates.length + faults.length > 0;
        },
      ),
    );
  });
});

describe('A20: hostile public keys are refused, by name', () => {
  const modulus = (bits: number): Buffer => Buffer.alloc(bits / 8, 0xff);
  const offCurve = Buffer.concat([Buffer.of(4), Buffer.alloc(64, 1)]);

  test('a point off its curve', () => assert.match(reading(craft({ key: point(offCurve) })), /public key/));
  test('the point at infinity', () => {
    const der = craft({ key: point(Buffer.of(0)) });
    const told = reading(der);
    assert.match(told === 'taken' ? verdict(der) : told, /public key|no point/);
  });
  test('RSA with exponent 1', () => assert.match(verdict(craft({ key: rsaKey(modulus(2048), Buffer.of(1)) })), /exponent 1,/));
  test('RSA with an even exponent', () =>
    assert.match(verdict(craft({ key: rsaKey(modulus(2048), Buffer.of(1, 0, 2)) })), /even exponent/));
  test('RSA with 512 bits', () => assert.match(verdict(craft({ key: rsaKey(modulus(512), Buffer.of(1, 0, 1)) })), /512 bits/));
  test('RSA with 8200 bits', () =>
    assert.match(verdict(craft({ key: rsaKey(modulus(8200), Buffer.of(1, 0, 1)) })), /8200 bits, 8192 are the most/));
  test('RSA with 16392 bits', () =>
    assert.match(verdict(craft({ key: rsaKey(modulus(16_392), Buffer.of(1, 0, 1)) })), /16392 bits, 8192 are the most/));
  test('P5: what is usable can be encrypted to, up to the largest modulus and exponent', () => {
    const widest = Buffer.alloc(8, 0xff);
    for (const bits of [2048, 3072, 4096, 8192]) {
      const der = craft({ key: rsaKey(modulus(bits), widest) });
      assert.equal(verdict(der), 'usable');
      assert.equal(publicEncrypt(parseCertificate(der).publicKey, Buffer.alloc(32)).length, bits / 8);
      const wider = Buffer.concat([Buffer.of(1), Buffer.alloc(24), Buffer.of(1)]);
      assert.match(verdict(craft({ key: rsaKey(modulus(bits), wider) })), /exponent that is too large/, `${bits} bits`);
    }
  });
  test('RSA with an exponent of 4096 bits', () => assert.match(verdict(craft({ key: rsaKey(modulus(4096), modulus(4096)) })), /too large/));
  test('explicit parameters', { skip: noOpenssl }, () => {
    const key = [...ec(), '-pkeyopt', 'ec_param_enc:explicit'];
    assert.match(verdict(make(temporaryFolder(), { name: 'anna', key })), /explicit parameters/);
  });
  test('and the good ones are taken', { skip: noOpenssl }, () =>
    assert.equal(verdict(make(temporaryFolder(), { name: 'anna', key: rsa(2048) })), 'usable'),
  );
});

describe('A21: ambiguous names', () => {
  const addresses = (...names: readonly Buffer[]): readonly string[] => parseCertificate(craft({ names })).addresses;
  for (const [name, address] of Object.entries({
    blank: 'anna@example.org evil@example.net',
    'a blank at the end': 'anna@example.org ',
    tab: 'anna\t@example.org',
    NUL: 'anna@example.org\0.evil.example',
    newline: 'anna@example.org\nbcc',
    DEL: 'anna\x7f@example.org',
  })) {
    test(`${name} in an address refuses the certificate, whatever else it names`, () => {
      assert.match(reading(craft({ names: [rfc822('ben@example.org'), rfc822(address)] })), /white space, NUL or a control character/);
    });
  }
  test('a blank or an invisible character in a SmtpUTF8Mailbox', () => {
    assert.match(reading(craft({ names: [utf8Name('änna @example.org')] })), /white space/);
    assert.match(reading(craft({ names: [utf8Name('än\u200bna@example.org')] })), /white space/);
    assert.match(reading(craft({ names: [utf8Name('änna@exam\u00a0ple.org')] })), /white space/);
  });
  test('octets outside ASCII in an rfc822Name', () =>
    assert.match(reading(craft({ names: [rfc822('ännchen@example.org')] })), /outside ASCII/));
  test('broken UTF-8', () => {
    const broken = explicit(0, oid('1.3.6.1.5.5.7.8.9'), explicit(0, tlv(12, Buffer.from('c3c3406578616d706c65', 'hex'))));
    assert.match(reading(craft({ names: [broken] })), /not UTF-8/);
  });
  test('two addresses both count, in the forms of the written rule', () => {
    assert.deepEqual(addresses(rfc822('Anna@Example.ORG'), rfc822('ben@XN--BCHER-KVA.example'), rfc822('anna@example.org')), [
      'anna@example.org',
      'ben@xn--bcher-kva.example',
    ]);
  });
  test('a UTF-8 local part counts octet for octet; an ASCII one has no place in a SmtpUTF8Mailbox', () => {
    assert.deepEqual(addresses(utf8Name('Änna@bücher.example'), utf8Name('anna@example.org')), ['Änna@xn--bcher-kva.example']);
  });
  test('what is no address names nobody', () =>
    assert.deepEqual(addresses(rfc822('localhost'), rfc822('@example.org'), rfc822('<a@b.example>')), []));
  test('an address in the CN alone names nobody, beside other names neither', () => {
    const subject = sequence(set(sequence(oid('2.5.4.3'), utf8String('anna@example.org'))));
    assert.deepEqual(parseCertificate(craft({ names: [], subject })).addresses, []);
    assert.deepEqual(parseCertificate(craft({ names: [rfc822('ben@example.org')], subject })).addresses, ['ben@example.org']);
  });
  test('a look-alike is another address: the A-label of what it really is', () => {
    const told = addresses(utf8Name('änna@b\u0430nk.example'), rfc822('anna@xn--bnk-6cd.example'));
    assert.deepEqual(told, ['änna@xn--bnk-6cd.example', 'anna@xn--bnk-6cd.example']);
  });
  test('two subjectAltNames refuse the certificate', () => {
    const second = sequence(oid('2.5.29.17'), octetString(sequence(rfc822('ben@example.org'))));
    assert.match(reading(craft({ extensions: [second] })), /2\.5\.29\.17 stands there twice/);
  });
});

describe('the files people keep certificates in', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const openssl = (...args: readonly string[]): Buffer => execFileSync('openssl', args, { cwd: folder });
  const fingerprints = (bytes: Buffer): string[] => {
    const { certificates, faults } = readCertificates(bytes);
    assert.deepEqual(faults, []);
    return certificates.map(({ fingerprint }) => fingerprint).sort();
  };
  const [anna, ben] = [make(folder, { name: 'anna' }), make(folder, { name: 'ben' })];
  const both = fingerprints(Buffer.concat([openssl('x509', '-in', 'anna.pem'), openssl('x509', '-in', 'ben.pem')]));

  test('PEM with many and text between them', () => {
    assert.deepEqual(both, [parseCertificate(anna).fingerprint, parseCertificate(ben).fingerprint].sort());
    assert.deepEqual(
      fingerprints(Buffer.concat([openssl('x509', '-text', '-in', 'anna.pem'), openssl('x509', '-text', '-in', 'ben.pem')])),
      both,
    );
  });
  test('PEM with CRLF', () =>
    assert.equal(fingerprints(Buffer.from(openssl('x509', '-in', 'anna.pem').toString().replace(/\n/g, '\r\n'))).length, 1));
  test('PEM from a Windows editor, which puts a byte order mark in front', () =>
    assert.equal(fingerprints(Buffer.concat([Buffer.from('efbbbf', 'hex'), openssl('x509', '-in', 'anna.pem')])).length, 1));
  test('DER', () => assert.deepEqual(fingerprints(anna), [parseCertificate(anna).fingerprint]));
  test('PKCS#7, PEM and DER', () => {
    const args = ['crl2pkcs7', '-nocrl', '-certfile', 'anna.pem', '-certfile', 'ben.pem'];
    assert.deepEqual(fingerprints(openssl(...args)), both);
    assert.deepEqual(fingerprints(openssl(...args, '-outform', 'DER')), both);
  });
  test('a private key is named as what it is', () => {
    assert.match(readCertificates(openssl('pkey', '-in', 'anna.key')).faults[0] ?? '', /private key, which has no place/);
    assert.match(
      readCertificates(openssl('pkey', '-in', 'anna.key', '-outform', 'DER')).faults[0] ?? '',
      /private key, which has no place/,
    );
  });
  test('an empty file and one with nothing in it say so', () => {
    assert.deepEqual(readCertificates(Buffer.alloc(0)).faults, ['the file is empty']);
    assert.deepEqual(readCertificates(Buffer.from('hello')).faults, ['no certificate in it']);
  });
  test('a full file of certificates or garbage leaves turns to others, and not more than a hundred faults', async () => {
    const pem = (der: Buffer): string => `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`;
    for (const block of [pem(anna), pem(Buffer.of(0x30, 0))]) {
      const bytes = Buffer.from(block.repeat(Math.floor((1024 * 1024) / block.length)));
      let turns = 0;
      let ended = false;
      const turn = (): void => {
        turns++;
        if (!ended) setImmediate(turn);
      };
      setImmediate(turn);
      const begun = performance.now();
      const bundle = await readCertificatesInTurns(bytes);
      ended = true;
      // Of 8 ms each, where one certificate takes less than that; the machine may be loaded.
      assert.ok(turns > (performance.now() - begun) / 50, `${turns} turns in ${performance.now() - begun} ms`);
      assert.ok(bundle.faults.length <= 101);
      assert.deepEqual(bundle.faults, readCertificates(bytes).faults);
      assert.equal(bundle.certificates.length, readCertificates(bytes).certificates.length);
    }
  });
});
