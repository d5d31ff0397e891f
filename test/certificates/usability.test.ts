import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { usability } from '../../src/certificates/usability.ts';
import { ec, make, noOpenssl, rsa, run, temporaryFolder } from './openssl.ts';
import type { Wish } from './openssl.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const SAN = 'subjectAltName=email:anna@example.org';

describe('usability: every rejection has its reason', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const verdict = (wish: Omit<Wish, 'name'>): string => {
    const answer = usability(parseCertificate(make(folder, { name: 'anna', ...wish })), NOW);
    return answer.kind === 'usable' ? 'usable' : answer.reason;
  };

  const cases: readonly (readonly [string, Omit<Wish, 'name'>, RegExp])[] = [
    ['an EC key without any usage', { extensions: [SAN] }, /^usable$/],
    ['P-384', { key: ec('P-384'), extensions: [SAN] }, /^usable$/],
    ['P-521', { key: ec('P-521'), extensions: [SAN] }, /^usable$/],
    [
      'RSA-2048 for mail',
      { key: rsa(2048), extensions: [SAN, 'keyUsage=keyEncipherment', 'extendedKeyUsage=emailProtection'] },
      /^usable$/,
    ],
    ['any purpose', { extensions: [SAN, 'extendedKeyUsage=anyExtendedKeyUsage'] }, /^usable$/],
    ['expired', { extensions: [SAN], to: '20260101000000Z' }, /^it expired on 2026-01-01$/],
    ['not yet valid', { extensions: [SAN], from: '20270101000000Z' }, /^it is not valid before 2027-01-01$/],
    [
      'signing only, RSA',
      { key: rsa(2048), extensions: [SAN, 'keyUsage=digitalSignature,nonRepudiation'] },
      /signing only.*keyEncipherment/,
    ],
    ['signing only, EC', { extensions: [SAN, 'keyUsage=digitalSignature'] }, /signing only.*keyAgreement/],
    ['EC that only deciphers', { extensions: [SAN, 'keyUsage=keyAgreement,decipherOnly'] }, /decipherOnly/],
    ['a server certificate', { extensions: [SAN, 'extendedKeyUsage=serverAuth,clientAuth'] }, /not for mail/],
    ['RSA-1024', { key: rsa(1024), extensions: [SAN] }, /RSA key of 1024 bits, 2048 are the least/],
    ['RSA with exponent 3', { key: rsa(2048, 3), extensions: [SAN] }, /exponent 3, 65537 is the least/],
    ['another curve', { key: ec('secp256k1'), extensions: [SAN] }, /another curve than/],
    ['Ed25519', { key: ['-algorithm', 'ED25519'], extensions: [SAN], digest: 'default' }, /key of type ed25519, which mail cannot/],
    ['no address', { extensions: ['subjectAltName=DNS:example.org'] }, /names no mail address/],
    [
      'an address in the CN only (A21)',
      { subject: '/CN=anna@example.org', extensions: ['basicConstraints=CA:FALSE'] },
      /names no mail address/,
    ],
  ];
  for (const [name, wish, expected] of cases) test(name, () => assert.match(verdict(wish), expected));

  test('explicit curve parameters, though they spell P-256 (A20)', () => {
    const key = [...ec(), '-pkeyopt', 'ec_param_enc:explicit'];
    assert.match(verdict({ key, extensions: [SAN] }), /explicit parameters/);
  });
});

describe('parsing keeps the octets of issuer and serial', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const check = (wish: Omit<Wish, 'name'>): ReturnType<typeof parseCertificate> => {
    make(folder, { name: 'root', ...wish, extensions: ['basicConstraints=critical,CA:TRUE'] });
    const der = make(folder, {
      name: 'leaf',
      issuer: 'root',
      extensions: [SAN],
      ...(wish.serial === undefined ? {} : { serial: wish.serial }),
    });
    const certificate = parseCertificate(der);
    // The same octets as another reader finds them: its offsets, not ours.
    const lines = run('openssl', ['asn1parse', '-in', 'leaf.pem'], folder).split('\n');
    const slice = (line: string): Buffer => {
      const [, at, head, length] = /^ *(\d+):d=\d+ +hl=(\d+) +l= *(\d+)/.exec(line) ?? [];
      return der.subarray(Number(at), Number(at) + Number(head) + Number(length));
    };
    const depth2 = lines.filter((line) => line.includes(':d=2 '));
    assert.deepEqual(certificate.serialDer, slice(depth2[1] ?? ''));
    assert.deepEqual(certificate.issuerDer, slice(depth2[3] ?? ''));
    assert.equal(certificate.fingerprint, new X509Certificate(der).fingerprint256.replaceAll(':', '').toLowerCase());
    return certificate;
  };

  test('a BMPString issuer', () => {
    const certificate = check({ subject: '/CN=Zoë CA/O=Łódź', mask: 'MASK:0x800' });
    assert.equal(certificate.issuer, 'O=Łódź,CN=Zoë CA');
    assert.equal(certificate.issuerDer.includes(Buffer.from('005a006f00eb', 'hex')), true);
  });
  test('a T61String issuer', () => assert.equal(check({ subject: '/CN=Zoë', mask: 'MASK:0x4' }).issuer, 'CN=Zoë'));
  test('a multi-valued RDN', () =>
    assert.match(check({ subject: '/CN=Root+OU=Mail/O=Clinic' }).issuer, /^O=Clinic,(CN=Root\+OU=Mail|OU=Mail\+CN=Root)$/));
  test('a serial with the high bit', () => {
    const certificate = check({ serial: 'F0E0D0C0B0A09080F0' });
    assert.equal(certificate.serial, 'f0e0d0c0b0a09080f0');
    assert.equal(certificate.serialDer.toString('hex'), '020a00f0e0d0c0b0a09080f0');
  });
  test('control and direction characters of a name are shown escaped', () => {
    assert.equal(check({ subject: '/CN=a\u202eb\u001b[2J' }).issuer, 'CN=a\\e2\\80\\aeb\\1b[2J');
  });
});
