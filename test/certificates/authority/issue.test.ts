import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseCertificate } from '../../../src/certificates/certificate.ts';
import { DAY_MS, issueCertificate, keyChoices, makeAuthority, makeIssuing } from '../../../src/certificates/authority/issue.ts';
import { certificatePem } from '../../../src/certificates/pem.ts';
import type { Authority, Issued, KeyChoice } from '../../../src/certificates/authority/issue.ts';
import { isKeyOf, openPkcs12, readKeyPem } from '../../../src/certificates/pkcs12/keys.ts';
import { buildPath, makeCertificateSet } from '../../../src/certificates/path.ts';
import { generatePassphrase, writePkcs12 } from '../../../src/certificates/pkcs12/write.ts';
import { usability } from '../../../src/certificates/usability.ts';
import { SealpostError } from '../../../src/errors.ts';
import { mailboxOf, noOpenssl, run, temporaryFolder } from '../openssl.ts';

const now = Date.now();
const missing = (program: string): string | false => (spawnSync('which', [program]).status === 0 ? false : `${program} is not installed`);

describe('the in-house CA', () => {
  const folder = temporaryFolder();
  const passphrase = generatePassphrase();
  let root: Authority;
  let authority: Authority;
  const issued = new Map<KeyChoice, Issued & { readonly p12: Buffer }>();
  const of = (key: KeyChoice): Issued & { readonly p12: Buffer } => issued.get(key) ?? assert.fail(key);

  before(async () => {
    root = await makeAuthority({ name: 'Clinic root', now });
    authority = await makeIssuing({ root, name: 'Clinic CA', now });
    writeFileSync(join(folder, 'root.pem'), certificatePem(root.certificate));
    writeFileSync(join(folder, 'issuing.pem'), certificatePem(authority.certificate));
    for (const key of keyChoices) {
      const one = await issueCertificate({ authority, mailbox: mailboxOf('Anna@example.org'), key, days: 825, now });
      const { certificate } = one;
      const p12 = writePkcs12({
        ...one,
        authorities: [authority.certificate, root.certificate],
        passphrase,
        friendlyName: certificate.addresses[0] ?? '',
      });
      issued.set(key, { ...one, p12 });
      writeFileSync(join(folder, `${key}.pem`), certificatePem(certificate));
      writeFileSync(join(folder, `${key}.p12`), p12);
    }
  });

  for (const key of keyChoices) {
    test(`${key}: usable, trusted, and for the address asked for`, () => {
      const { certificate } = of(key);
      assert.deepEqual(usability(certificate, now), { kind: 'usable' });
      const verdict = buildPath(certificate, makeCertificateSet([root.certificate]), makeCertificateSet([authority.certificate]), now);
      assert.equal(verdict.kind, 'trusted');
      assert.deepEqual(certificate.addresses, ['anna@example.org']);
      // Both ends count: 825 days to the second.
      assert.equal(certificate.notAfter.getTime() - certificate.notBefore.getTime(), 825 * DAY_MS - 1000);
    });

    test(`${key}: openssl finds it fit for encrypting mail`, { skip: noOpenssl }, () => {
      // openssl wants keyEncipherment for encryption, which RFC 5480 §3 denies an EC key.
      const purpose = key.startsWith('rsa') ? 'smimeencrypt' : 'smimesign';
      const told = run(
        'openssl',
        ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'root.pem', '-untrusted', 'issuing.pem', `${key}.pem`],
        folder,
      );
      assert.match(told, /: OK/);
      const text = run('openssl', ['x509', '-in', `${key}.pem`, '-noout', '-ext', 'keyUsage,extendedKeyUsage,subjectAltName'], folder);
      assert.match(text, /email:Anna@example.org/);
      assert.match(text, key.startsWith('rsa') ? /Digital Signature, Key Encipherment\n/ : /Digital Signature, Key Agreement\n/);
    });

    test(`${key}: openssl imports the PKCS#12 without -legacy, and it holds key, certificate and both CAs`, { skip: noOpenssl }, () => {
      const text = run('openssl', ['pkcs12', '-in', `${key}.p12`, '-passin', `pass:${passphrase}`, '-nodes'], folder);
      assert.equal(text.match(/BEGIN CERTIFICATE/g)?.length, 3);
      assert.match(text, /friendlyName: anna@example.org/);
      assert.equal(isKeyOf(readKeyPem(Buffer.from(text.slice(text.indexOf('-----BEGIN PRIVATE')))), of(key).certificate), true);
    });

    test(`${key}: NSS imports the PKCS#12`, { skip: missing('pk12util') || missing('certutil') }, () => {
      const db = join(folder, `nss-${key}`);
      mkdirSync(db);
      run('certutil', ['-N', '-d', `sql:${db}`, '--empty-password'], folder);
      run('pk12util', ['-i', `${key}.p12`, '-d', `sql:${db}`, '-W', passphrase, '-K', ''], folder);
      assert.match(run('certutil', ['-K', '-d', `sql:${db}`], folder), /anna@example.org/);
      assert.equal(run('certutil', ['-L', '-d', `sql:${db}`], folder).match(/^.+ [uTCPp]*,[uTCPp]*,[uTCPp]*\s*$/gm)?.length, 3);
    });

    test(`${key}: we open our own PKCS#12`, () => {
      const [pair, ...more] = openPkcs12(of(key).p12, passphrase);
      assert.equal(more.length, 0);
      assert.equal(pair?.certificate.fingerprint, of(key).certificate.fingerprint);
      assert.deepEqual(
        pair.others.map(({ fingerprint }) => fingerprint),
        [authority.certificate.fingerprint, root.certificate.fingerprint],
      );
      assert.equal(isKeyOf(pair.key, pair.certificate), true);
    });
  }

  test('rsa: gpgsm imports the PKCS#12', { skip: missing('gpgsm') }, () => {
    const home = mkdtempSync(join(tmpdir(), 'spg-')); // gpg-agent's socket wants a short path
    try {
      chmodSync(home, 0o700);
      writeFileSync(join(home, 'gpgsm.conf'), 'disable-crl-checks\n');
      writeFileSync(join(home, 'gpg-agent.conf'), 'allow-loopback-pinentry\n');
      const args = ['--homedir', home, '--batch', '--pinentry-mode', 'loopback', '--passphrase-fd', '0'];
      spawnSync('gpgsm', [...args, '--import', join(folder, 'rsa.p12')], { input: `${passphrase}\n`, encoding: 'utf8' });
      const keys = run('gpgsm', ['--homedir', home, '--batch', '--with-colons', '--list-secret-keys'], folder);
      assert.match(keys, new RegExp(`^fpr:.*${new X509Certificate(of('rsa').certificate.der).fingerprint.replaceAll(':', '')}`, 'm'));
    } finally {
      spawnSync('gpgconf', ['--homedir', home, '--kill', 'all']);
      rmSync(home, { recursive: true, force: true });
    }
  });

  test('a UTF-8 local part goes into a SmtpUTF8Mailbox and is found again octet for octet', async () => {
    const { certificate } = await issueCertificate({ authority, mailbox: mailboxOf('ÄnnchenÖ@bücher.example'), key: 'ec', days: 30, now });
    assert.deepEqual(certificate.addresses, ['ÄnnchenÖ@xn--bcher-kva.example']);
  });

  test('a certificate does not outlive its CA, and an expired CA issues none', async () => {
    const late = authority.certificate.notAfter.getTime() - DAY_MS;
    const { certificate } = await issueCertificate({ authority, mailbox: mailboxOf('a@b.example'), key: 'ec', days: 825, now: late });
    assert.equal(certificate.notAfter.getTime(), authority.certificate.notAfter.getTime());
    await assert.rejects(issueCertificate({ authority, mailbox: mailboxOf('a@b.example'), key: 'ec', days: 1, now: late + 2 * DAY_MS }), {
      code: 'certificate-unusable',
    });
  });

  test('serials do not repeat and are never negative', async () => {
    const serials = new Set<string>();
    for (let i = 0; i < 20; i++) {
      const { certificate } = await issueCertificate({ authority, mailbox: mailboxOf('a@b.example'), key: 'ec', days: 1, now });
      assert.equal((certificate.serialDer[2] ?? 0xff) < 0x80, true);
      serials.add(certificate.serial);
    }
    assert.equal(serials.size, 20);
  });
});

describe('opening the key files of others', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  before(() => {
    for (const [name, key] of [
      ['rsa', ['-newkey', 'rsa:2048']],
      ['ec', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384']],
    ] as const) {
      const subject = ['-subj', '/CN=anna', '-addext', 'subjectAltName=email:anna@example.org'];
      run('openssl', ['req', '-x509', '-nodes', ...key, ...subject, '-keyout', `${name}.key`, '-out', `${name}.pem`], folder);
      const out = ['pkcs12', '-export', '-inkey', `${name}.key`, '-in', `${name}.pem`, '-passout', 'pass:correct horse'];
      run('openssl', [...out, '-out', `${name}-modern.p12`], folder);
      run('openssl', [...out, '-legacy', '-out', `${name}-legacy.p12`], folder);
      run(
        'openssl',
        [...out, '-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'SHA1', '-out', `${name}-3des.p12`],
        folder,
      );
    }
  });
  const open = (file: string, passphrase = 'correct horse'): ReturnType<typeof openPkcs12> =>
    openPkcs12(readFileSync(join(folder, file)), passphrase);
  const fingerprintOf = (name: string): string =>
    parseCertificate(new X509Certificate(readFileSync(join(folder, `${name}.pem`))).raw).fingerprint;

  for (const kind of ['rsa', 'ec']) {
    for (const form of ['modern', 'legacy', '3des']) {
      test(`openssl ${form}, ${kind}`, () => {
        const [pair] = open(`${kind}-${form}.p12`);
        assert.equal(pair?.certificate.fingerprint, fingerprintOf(kind));
      });
    }
    test(`pk12util, ${kind}`, { skip: missing('pk12util') || missing('certutil') }, () => {
      const db = join(folder, `nss-${kind}`);
      mkdirSync(db);
      run('certutil', ['-N', '-d', `sql:${db}`, '--empty-password'], folder);
      run('pk12util', ['-i', `${kind}-modern.p12`, '-d', `sql:${db}`, '-W', 'correct horse', '-K', ''], folder);
      const nickname = /^(\S.*?) +u,u,u/m.exec(run('certutil', ['-L', '-d', `sql:${db}`], folder))?.[1] ?? assert.fail('not imported');
      run('pk12util', ['-o', `${kind}-nss.p12`, '-n', nickname, '-d', `sql:${db}`, '-W', 'correct horse', '-K', ''], folder);
      assert.equal(open(`${kind}-nss.p12`)[0]?.certificate.fingerprint, fingerprintOf(kind));
    });
    test(`a wrong password is called one, ${kind}`, () => {
      assert.throws(
        () => open(`${kind}-modern.p12`, 'wrong'),
        (error) => error instanceof SealpostError && error.code === 'key-malformed' && /password is wrong/.test(error.message),
      );
    });
    test(`PEM, ${kind}`, () => {
      const key = readKeyPem(readFileSync(join(folder, `${kind}.key`)));
      run('openssl', ['pkey', '-in', `${kind}.key`, '-aes256', '-passout', 'pass:secret', '-out', `${kind}-sealed.key`], folder);
      const sealed = readFileSync(join(folder, `${kind}-sealed.key`));
      assert.equal(readKeyPem(sealed, 'secret').equals(key), true);
      assert.throws(() => readKeyPem(sealed), /no password was given/);
      assert.throws(() => readKeyPem(sealed, 'wrong'), /password is wrong/);
    });
  }

  test('a password outside ASCII, as openssl reads it, under old and new ciphers', () => {
    const out = ['pkcs12', '-export', '-inkey', 'ec.key', '-in', 'ec.pem', '-passout', 'pass:Größe 8 €'];
    run('openssl', [...out, '-out', 'umlaut-modern.p12'], folder);
    run('openssl', [...out, '-legacy', '-out', 'umlaut-legacy.p12'], folder);
    for (const form of ['modern', 'legacy'])
      assert.equal(open(`umlaut-${form}.p12`, 'Größe 8 €')[0]?.certificate.fingerprint, fingerprintOf('ec'));
  });

  test('a PKCS#12 may ask for so much work in all, however it spreads it', () => {
    const out = ['pkcs12', '-export', '-inkey', 'ec.key', '-in', 'ec.pem', '-passout', 'pass:correct horse'];
    // Two bags: what each asks for is no more than others ask for in all.
    for (const [pbe, iterations] of [
      ['AES-256-CBC', '1600000'],
      ['PBE-SHA1-3DES', '3100000'],
    ] as const) {
      run('openssl', [...out, '-keypbe', pbe, '-certpbe', pbe, '-iter', iterations, '-nomaciter', '-out', 'slow.p12'], folder);
      assert.throws(() => open('slow.p12'), /of a kind that is not read/);
    }
  });

  test('a PKCS#12 with changed octets opens or ends in a typed error', () => {
    for (const file of ['rsa-3des.p12', 'ec-modern.p12']) {
      const good = readFileSync(join(folder, file));
      fc.assert(
        fc.property(fc.nat(good.length - 1), fc.nat(255), (at, octet) => {
          const copy = Buffer.from(good);
          copy[at] = octet;
          try {
            return openPkcs12(copy, 'correct horse').length > 0;
          } catch (error) {
            return error instanceof SealpostError && ['key-malformed', 'certificate-malformed'].includes(error.code);
          }
        }),
        { numRuns: 200 },
      );
    }
  });

  test('what is no key file is told so', () => {
    assert.throws(() => openPkcs12(Buffer.from('hello'), 'x'), { code: 'key-malformed' });
    assert.throws(() => openPkcs12(readFileSync(join(folder, 'rsa.pem')), 'x'), { code: 'key-malformed' });
    assert.throws(() => readKeyPem(Buffer.from('hello')), { code: 'key-malformed' });
    assert.throws(() => readKeyPem(readFileSync(join(folder, 'rsa.pem'))), { code: 'key-malformed' });
  });
});
