/** Lists of the in-house CA, held to openssl and to our own reader. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { namedIn, readCrlFacts, type RevokedCertificate, revokedOf, writeCrl } from '../../../src/certificates/authority/crl.ts';
import { type Authority, DAY_MS, type Issued, issueCertificate, makeAuthority } from '../../../src/certificates/authority/issue.ts';
import {
  type IssuedRecord,
  isRevocationReason,
  type RevocationReason,
  revocationReasons,
} from '../../../src/certificates/authority/ledger.ts';
import { parseCertificate } from '../../../src/certificates/certificate.ts';
import { certificatePem } from '../../../src/certificates/pem.ts';
import { issuerOf } from '../../../src/certificates/revocation/crl.ts';
import { readCrl } from '../../../src/certificates/revocation/crl-read.ts';
import { judgeByList } from '../../../src/certificates/revocation/crl-verdict.ts';
import { caExtensions, ec, mailboxOf, make, noOpenssl, run, temporaryFolder } from '../openssl.ts';

const now = Math.floor(Date.now() / 1000) * 1000;
const from = now - 300_000;
const to = now + 7 * DAY_MS;
const entry = (serial: string, reason: RevocationReason = 'unspecified', at = now - 1000): RevokedCertificate => ({ serial, at, reason });

describe('a list of the in-house CA', () => {
  let rsa: Authority;
  let curve: Authority;
  let anna: Issued;
  let ben: Issued;
  const folder = temporaryFolder();
  const file = (name: string): string => join(folder, name);

  before(async () => {
    rsa = await makeAuthority({ name: 'Clinic CA', now });
    const issue = (authority: Authority, address: string): Promise<Issued> =>
      issueCertificate({ authority, mailbox: mailboxOf(address), key: 'ec', days: 30, now });
    [anna, ben] = [await issue(rsa, 'anna@clinic.example'), await issue(rsa, 'ben@clinic.example')];
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    curve = { certificate: { ...rsa.certificate, publicKey }, key: privateKey };
    for (const [name, { certificate }] of Object.entries({ ca: rsa, anna, ben }))
      writeFileSync(file(`${name}.pem`), certificatePem(certificate));
  });

  test('openssl verifies it, and refuses the revoked certificate and no other', { skip: noOpenssl }, () => {
    const revoked = [entry(anna.certificate.serial, 'keyCompromise'), entry('0180', 'superseded'), entry('ff')];
    writeFileSync(file('list.der'), writeCrl({ issuer: rsa, number: 300, from, to, revoked }));
    const shown = run('openssl', ['crl', '-inform', 'DER', '-in', 'list.der', '-noout', '-text', '-CAfile', 'ca.pem'], folder);
    assert.match(shown, /Version 2/);
    assert.match(shown, /X509v3 CRL Number: *\n? *300\n/);
    assert.match(shown, /X509v3 CRL Reason Code: *\n *Key Compromise\n/);
    assert.match(shown, new RegExp(rsa.certificate.subjectKeyId?.match(/../g)?.join(':') ?? 'no key id', 'i'), 'the authority key id');
    assert.match(
      spawnSync('openssl', ['crl', '-inform', 'DER', '-in', 'list.der', '-noout', '-CAfile', 'ca.pem'], { cwd: folder }).stderr.toString(),
      /verify OK/,
    );
    // In the order of the numbers; 255 has no reason (RFC 5280 §5.3.1).
    assert.deepEqual(
      [...shown.matchAll(/Serial Number: ([0-9A-F]+)/g)].map((hit) => hit[1]),
      ['FF', '0180', anna.certificate.serial.toUpperCase()],
    );
    assert.equal(shown.match(/CRL Reason Code/g)?.length, 2);
    run('openssl', ['crl', '-inform', 'DER', '-in', 'list.der', '-out', 'list.pem'], folder);
    const verify = (name: string) =>
      spawnSync('openssl', ['verify', '-x509_strict', '-crl_check', '-CRLfile', 'list.pem', '-CAfile', 'ca.pem', name], {
        cwd: folder,
        encoding: 'utf8',
      });
    assert.match(verify('anna.pem').stderr, /certificate revoked/);
    assert.match(verify('ben.pem').stdout, /: OK/);
  });

  test('our own reader says the same, of an RSA and of an EC issuer', () => {
    for (const issuer of [rsa, curve]) {
      const der = writeCrl({ issuer, number: 1, from, to, revoked: [entry(anna.certificate.serial, 'affiliationChanged')] });
      const reading = readCrl(der, issuerOf(issuer.certificate));
      assert.equal(reading.kind, 'list', reading.kind === 'refused' ? reading.why : '');
      if (reading.kind !== 'list') continue;
      assert.partialDeepStrictEqual(judgeByList(reading.list, anna.certificate, 'it', now), {
        kind: 'revoked',
        reason: 'affiliationChanged',
        at: new Date(now - 1000),
      });
      assert.equal(judgeByList(reading.list, ben.certificate, 'it', now).kind, 'good');
      assert.equal(judgeByList(reading.list, ben.certificate, 'it', to + DAY_MS).kind, 'unknown', 'it has ended');
    }
  });

  test('a CA that openssl made, on P-256: openssl verifies its list', { skip: noOpenssl }, () => {
    const certificate = parseCertificate(make(folder, { name: 'curve', key: ec(), extensions: caExtensions }));
    const key = createPrivateKey(readFileSync(file('curve.key')));
    writeFileSync(file('other.der'), writeCrl({ issuer: { certificate, key }, number: 1, from, to, revoked: [] }));
    const told = spawnSync('openssl', ['crl', '-inform', 'DER', '-in', 'other.der', '-noout', '-CAfile', 'curve.pem'], { cwd: folder });
    assert.match(told.stderr.toString(), /verify OK/);
  });

  test('whatever is revoked is found, and nothing else', () => {
    const serials = fc.uniqueArray(
      fc.uint8Array({ minLength: 1, maxLength: 20 }).map((octets) => `7${Buffer.from(octets).toString('hex').slice(1)}`),
      {
        minLength: 0,
        maxLength: 40,
      },
    );
    const reasons = fc.constantFrom(...Object.keys(revocationReasons));
    fc.assert(
      fc.property(serials, reasons, fc.integer({ min: 1, max: 2 ** 32 - 1 }), (found, reason, number) => {
        const revoked = found.map((serial) => entry(serial, isRevocationReason(reason) ? reason : 'unspecified'));
        const der = writeCrl({ issuer: curve, number, from, to, revoked });
        assert.deepEqual(readCrlFacts(der), { number, thisUpdate: from, nextUpdate: to });
        assert.deepEqual(new Set(namedIn(der).map((one) => JSON.stringify(one))), new Set(revoked.map((one) => JSON.stringify(one))));
        const reading = readCrl(der, issuerOf(curve.certificate));
        assert.ok(reading.kind === 'list');
        assert.equal(reading.list.index.hashes.length, found.length);
      }),
      { numRuns: 25 },
    );
  });

  test('a CA that has revoked 150,000', () => {
    const revoked = Array.from({ length: 150_000 }, (_, index) => entry(`40${index.toString(16).padStart(8, '0')}`, 'superseded'));
    assert.equal(namedIn(writeCrl({ issuer: curve, number: 1, from, to, revoked })).length, revoked.length);
  });

  test('what has expired leaves the list once a list has named it past its end (RFC 5280 §3.3)', () => {
    const record: IssuedRecord = {
      serial: '7f',
      fingerprint: 'f'.repeat(64),
      address: 'anna@clinic.example',
      issuer: 'a'.repeat(64),
      name: null,
      key: 'EC P-256',
      notBefore: now - 10 * DAY_MS,
      notAfter: now,
      issuedAt: now - 10 * DAY_MS,
      issuedBy: 'otto',
      revoked: { at: now - DAY_MS, reason: 'superseded', by: 'otto' },
      renews: null,
    };
    const serials = (since: number | undefined, of: IssuedRecord = record): string[] =>
      revokedOf([of], 'a'.repeat(64), since).map(({ serial }) => serial);
    assert.deepEqual(serials(undefined), ['7f'], 'no list yet');
    assert.deepEqual(serials(now - DAY_MS), ['7f'], 'the last list is from before its end');
    assert.deepEqual(serials(now + 1), [], 'the last list named it after its end');
    assert.deepEqual(serials(undefined, { ...record, revoked: null }), []);
    assert.deepEqual(serials(undefined, { ...record, issuer: 'b'.repeat(64) }), [], 'of another CA');
  });
});
