/** Lists that openssl(1) makes, of certificates it made: what CAs in use publish. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type Certificate, parseCertificate } from '../../../src/certificates/certificate.ts';
import { readCrl } from '../../../src/certificates/revocation/crl-read.ts';
import { judgeByList } from '../../../src/certificates/revocation/crl-verdict.ts';
import { caExtensions, ec, make, noOpenssl, rsa, run, temporaryFolder } from '../openssl.ts';

const CONF = `[ca]
default_ca = d
[d]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 7
unique_subject = no
[x]
authorityKeyIdentifier = keyid
[scoped]
issuingDistributionPoint = critical,@idp
[idp]
fullname = URI:http://crl.example/ca.crl
onlyuser = TRUE
[delta]
2.5.29.27 = critical,DER:020101
`;

interface Made {
  readonly folder: string;
  readonly ca: Certificate;
  readonly anna: Certificate;
  readonly ben: Certificate;
}

/** A CA with anna, who is good, and ben, who is revoked. */
function makeSite(key: readonly string[]): Made {
  const folder = temporaryFolder();
  const points = ['crlDistributionPoints=URI:http://crl.example/ca.crl'];
  const ca = parseCertificate(make(folder, { name: 'ca', key, extensions: caExtensions }));
  const [anna, ben] = ['anna', 'ben'].map((name) => parseCertificate(make(folder, { name, issuer: 'ca', extensions: points })));
  assert.ok(anna && ben);
  writeFileSync(join(folder, 'crl.cnf'), CONF);
  writeFileSync(join(folder, 'index.txt'), '');
  writeFileSync(join(folder, 'crlnumber'), '01\n');
  run(
    'openssl',
    ['ca', '-config', 'crl.cnf', '-keyfile', 'ca.key', '-cert', 'ca.pem', '-revoke', 'ben.pem', '-crl_reason', 'keyCompromise'],
    folder,
  );
  return { folder, ca, anna, ben };
}

function listOf({ folder }: Made, ...options: readonly string[]): Buffer {
  run('openssl', ['ca', '-config', 'crl.cnf', '-gencrl', '-keyfile', 'ca.key', '-cert', 'ca.pem', '-out', 'ca.crl', ...options], folder);
  return readFileSync(join(folder, 'ca.crl'));
}

function says({ ca }: Made, list: Buffer, certificate: Certificate): string {
  const spki = ca.publicKey.export({ type: 'spki', format: 'der' });
  const reading = readCrl(list, { name: ca.subjectDer, spki, id: ca.fingerprint });
  if (reading.kind === 'refused') return `refused ${reading.why}`;
  const status = judgeByList(reading.list, certificate, 'CRL x', Date.now());
  return status.kind === 'revoked' ? `revoked ${status.reason}` : status.kind;
}

describe('openssl ca -gencrl', { skip: noOpenssl }, () => {
  const keys: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ['RSA', rsa(2048), []],
    ['RSA and SHA-512', rsa(2048), ['-md', 'sha512']],
    ['RSASSA-PSS', rsa(2048), ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:32']],
    ['P-256', ec(), []],
    ['P-521', ec('P-521'), ['-md', 'sha512']],
    ['Ed25519', ['-algorithm', 'ED25519'], ['-md', 'default']],
    ['Ed448', ['-algorithm', 'ED448'], ['-md', 'default']],
  ];
  for (const [what, key, options] of keys) {
    test(`signed with ${what}`, () => {
      const site = makeSite(key);
      const list = listOf(site, ...options);
      assert.equal(says(site, list, site.anna), 'good');
      assert.equal(says(site, list, site.ben), 'revoked keyCompromise');
      run('openssl', ['crl', '-in', 'ca.crl', '-outform', 'DER', '-out', 'ca.der'], site.folder);
      const der = readFileSync(join(site.folder, 'ca.der'));
      assert.equal(says(site, der, site.ben), 'revoked keyCompromise');
      der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
      assert.match(says(site, der, site.anna), /^refused its signature is not by the issuer/);
    });
  }

  test('with extensions, of version 1, for a distribution point, stale, delta, with SHA-1', () => {
    const site = makeSite(ec());
    const both = (...options: string[]): string => {
      const list = listOf(site, ...options);
      return [site.anna, site.ben].map((certificate) => says(site, list, certificate)).join(', ');
    };
    assert.equal(both('-crlexts', 'x'), 'good, revoked keyCompromise');
    assert.equal(both('-crlexts', 'scoped'), 'good, revoked keyCompromise');
    writeFileSync(join(site.folder, 'crl.cnf'), CONF.replace('crlnumber = crlnumber\n', ''));
    assert.match(run('openssl', ['crl', '-in', 'ca.crl', '-noout', '-text'], site.folder), /Only User Certificates/);
    assert.equal(both(), 'good, revoked keyCompromise');
    writeFileSync(join(site.folder, 'crl.cnf'), CONF);
    assert.equal(both('-crl_lastupdate', '20200101000000Z', '-crl_nextupdate', '20200108000000Z'), 'unknown, revoked keyCompromise');
    assert.match(both('-crlexts', 'delta'), /^refused it is a delta list, which is not taken, refused/);
    assert.match(both('-md', 'sha1'), /^refused it is signed with 1\.2\.840\.10045\.4\.1/);
  });

  test('of another CA of the same name', () => {
    const [site, other] = [makeSite(ec()), makeSite(ec())];
    assert.match(says(site, listOf(other), site.anna), /^refused its signature is not by the issuer of the certificate/);
  });
});
