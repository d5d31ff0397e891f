/** What stands in the certificates of the in-house CA, field by field, as openssl and gpgsm read it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import {
  type Authority,
  issueCertificate,
  type IssueOptions,
  makeAuthority,
  makeIssuing,
} from '../../../src/certificates/authority/issue.ts';
import { certificatePem } from '../../../src/certificates/pem.ts';
import { mailboxOf, noOpenssl, run, temporaryFolder } from '../openssl.ts';

const now = Date.now();
const crlUrl = 'http://relay.clinic.example:8025/in-house.crl';
const noGpgsm = spawnSync('gpgsm', ['--version']).status === 0 ? false : 'gpgsm is not installed';

/** `name: value` of each extension, the value's lines as one, as `openssl x509 -text` prints them. */
function extensionsIn(text: string): Record<string, string> {
  const lines = text
    .slice(text.indexOf('X509v3 extensions:'), text.indexOf('Signature Algorithm', text.indexOf('X509v3 extensions:')))
    .split('\n');
  const found: Record<string, string> = {};
  let name = '';
  for (const line of lines.slice(1)) {
    const head = /^ {12}(\S.*?): *(critical)? *$/.exec(line);
    if (head !== null) {
      name = `${head[1] ?? ''}${head[2] === undefined ? '' : ', critical'}`;
      found[name] = '';
    } else if (line.trim() !== '') found[name] = `${found[name] ?? ''} ${line.trim()}`.trim();
  }
  return found;
}

describe('the profile of certificates', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  let root: Authority;
  let issuing: Authority;
  const textOf = (name: string, { certificate }: { certificate: Authority['certificate'] }): string => {
    writeFileSync(join(folder, `${name}.pem`), certificatePem(certificate));
    return run('openssl', ['x509', '-in', `${name}.pem`, '-noout', '-text', '-nameopt', 'RFC2253'], folder);
  };
  const issue = (wish: Partial<IssueOptions> = {}) =>
    issueCertificate({ authority: issuing, mailbox: mailboxOf('anna@clinic.example'), key: 'ec', days: 825, now, ...wish });
  const colons = (id: string | undefined): string => (id ?? '').toUpperCase().match(/../g)?.join(':') ?? '';

  before(async () => {
    root = await makeAuthority({ name: 'Clinic root', now });
    issuing = await makeIssuing({ root, name: 'Clinic CA', now });
  });

  test('the root', () => {
    const text = textOf('root', root);
    assert.match(
      text,
      /Version: 3 .*\n[^]*Signature Algorithm: sha256WithRSAEncryption\n[^]*Issuer: CN=Clinic root\n[^]*Subject: CN=Clinic root\n/,
    );
    assert.match(text, /Public-Key: \(3072 bit\)/);
    assert.deepEqual(extensionsIn(text), {
      'X509v3 Basic Constraints, critical': 'CA:TRUE, pathlen:1',
      'X509v3 Key Usage, critical': 'Certificate Sign, CRL Sign',
      'X509v3 Subject Key Identifier': colons(root.certificate.subjectKeyId),
    });
  });

  test('the issuing CA: for mail alone, nothing below it but people, and it ends with the root', () => {
    const text = textOf('issuing', issuing);
    assert.match(text, /Issuer: CN=Clinic root\n[^]*Subject: CN=Clinic CA\n[^]*Public-Key: \(3072 bit\)/);
    assert.deepEqual(extensionsIn(text), {
      'X509v3 Basic Constraints, critical': 'CA:TRUE, pathlen:0',
      'X509v3 Key Usage, critical': 'Certificate Sign, CRL Sign',
      'X509v3 Extended Key Usage': 'E-mail Protection',
      'X509v3 Certificate Policies': 'Policy: X509v3 Any Policy',
      'X509v3 Subject Key Identifier': colons(issuing.certificate.subjectKeyId),
      'X509v3 Authority Key Identifier': colons(root.certificate.subjectKeyId),
    });
    assert.equal(issuing.certificate.notAfter.getTime(), root.certificate.notAfter.getTime());
    assert.match(run('openssl', ['verify', '-x509_strict', '-CAfile', 'root.pem', 'issuing.pem'], folder), /: OK/);
  });

  for (const [key, usage, size] of [
    ['rsa', 'Digital Signature, Key Encipherment', '2048 bit'],
    ['rsa3072', 'Digital Signature, Key Encipherment', '3072 bit'],
    ['rsa4096', 'Digital Signature, Key Encipherment', '4096 bit'],
    ['ec', 'Digital Signature, Key Agreement', '256 bit'],
    ['p384', 'Digital Signature, Key Agreement', '384 bit'],
    ['p521', 'Digital Signature, Key Agreement', '521 bit'],
  ] as const) {
    test(`a person's, ${key}: mailbox-validated where the list is named`, async () => {
      const one = await issue({ key, crlUrl });
      const text = textOf(key, one);
      assert.match(text, /Issuer: CN=Clinic CA\n[^]*Subject: CN=anna@clinic.example\n/);
      assert.match(text, new RegExp(`Public-Key: \\(${size}\\)`));
      const { 'S/MIME Capabilities': _, ...extensions } = extensionsIn(text);
      assert.deepEqual(extensions, {
        'X509v3 Subject Alternative Name': 'email:anna@clinic.example',
        'X509v3 Key Usage, critical': usage,
        'X509v3 Extended Key Usage': 'E-mail Protection',
        'X509v3 Basic Constraints, critical': 'CA:FALSE',
        'X509v3 Subject Key Identifier': colons(one.certificate.subjectKeyId),
        'X509v3 Authority Key Identifier': colons(issuing.certificate.subjectKeyId),
        'X509v3 Certificate Policies': 'Policy: 2.23.140.1.5.1.2',
        'X509v3 CRL Distribution Points': `Full Name: URI:${crlUrl}`,
      });
      assert.deepEqual(one.certificate.capabilities, ['2.16.840.1.101.3.4.1.42', '2.16.840.1.101.3.4.1.2']);
      assert.ok(one.certificate.serial.length >= 31, 'at least 64 random bits');
      const chain = ['-CAfile', 'root.pem', '-untrusted', 'issuing.pem', '-policy_check', '-x509_strict', '-purpose', 'smimesign'];
      assert.match(run('openssl', ['verify', ...chain, `${key}.pem`], folder), /: OK/);
    });
  }

  test('the policy of the requirements is claimed by no certificate of another form', async () => {
    const policies = async (wish: Partial<IssueOptions>): Promise<string | undefined> =>
      extensionsIn(textOf('other', await issue(wish)))['X509v3 Certificate Policies'];
    assert.equal(await policies({ crlUrl }), 'Policy: 2.23.140.1.5.1.2');
    assert.equal(await policies({}), undefined, 'without a list');
    assert.equal(await policies({ crlUrl, name: 'Anna Bär' }), undefined, 'with a name that nobody has checked');
    assert.equal(await policies({ crlUrl, days: 826 }), undefined, 'for too long');
    assert.equal(await policies({ crlUrl, mailbox: mailboxOf(`${'ö'.repeat(20)}@${'clinic.'.repeat(8)}example`) }), undefined, 'cut');
  });

  test('the subject: a name as it is, an address that no common name holds as a mail address', async () => {
    const subject = async (wish: Partial<IssueOptions>): Promise<string | undefined> =>
      /Subject: (.*)\n/.exec(textOf('subject', await issue(wish)))?.[1];
    assert.equal(await subject({ name: 'Anna Berg' }), 'CN=Anna Berg');
    const long = `anna@${'clinic.'.repeat(9)}example`;
    assert.equal(await subject({ mailbox: mailboxOf(long) }), `emailAddress=${long}`);
    assert.equal((await issue({ mailbox: mailboxOf(long), crlUrl })).certificate.addresses[0], long);
  });

  test('gpgsm imports the chain and finds it good', { skip: noGpgsm }, async () => {
    textOf('root', root);
    textOf('issuing', issuing);
    textOf('anna', await issue({ key: 'rsa' }));
    const home = mkdtempSync(join(tmpdir(), 'spg-')); // gpg-agent's socket wants a short path
    try {
      chmodSync(home, 0o700);
      writeFileSync(join(home, 'gpgsm.conf'), 'disable-crl-checks\nno-common-certs-import\n');
      const fingerprint =
        run('openssl', ['x509', '-in', 'root.pem', '-noout', '-fingerprint', '-sha1'], folder).split('=')[1]?.trim() ?? '';
      writeFileSync(join(home, 'trustlist.txt'), `${fingerprint} S relax\n`);
      for (const name of ['root', 'issuing', 'anna']) run('gpgsm', ['--homedir', home, '--batch', '--import', `${name}.pem`], folder);
      const told = run('gpgsm', ['--homedir', home, '--batch', '--with-validation', '--list-chain', 'anna@clinic.example'], folder);
      assert.match(told, /\[certificate is good\]/);
      assert.match(told, /Certified by\n/);
    } finally {
      spawnSync('gpgconf', ['--homedir', home, '--kill', 'all']);
      rmSync(home, { recursive: true, force: true });
    }
  });
});
