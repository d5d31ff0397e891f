/** Identities as CAs hand them out: what is taken, what is refused and why, and what a renewal does to a running relay. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { chmod, copyFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { readConfig } from '../../src/config.ts';
import { describeIdentity, openIdentities, signFaults, surveyIdentities } from '../../src/site/identities.ts';
import { parsePattern } from '../../src/message/pattern.ts';
import { ALWAYS, type Condition } from '../../src/policy/condition.ts';
import type { Rule } from '../../src/policy/decide.ts';
import { siteFaults } from '../../src/site/faults.ts';
import { readIdentity } from '../../src/sign/identity.ts';
import { rsaKeys, serverAuth } from '../certificates/pki.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import {
  certificateFor,
  DIGITAL_SIGNATURE,
  identityFor,
  KEY_AGREEMENT,
  KEY_ENCIPHERMENT,
  NON_REPUDIATION,
  pemOf,
  rootDer,
  subDer,
  type Wish,
} from './people.ts';

const NOW = Date.parse('2026-11-23T10:15:00Z');
const PASSPHRASE = 'three blind mice';
const keyPem = (key: KeyObject): Buffer => Buffer.from(key.export({ type: 'pkcs8', format: 'pem' }));

function readPem(wish: Wish) {
  const { der, keys } = certificateFor(wish);
  return readIdentity('clinic', { kind: 'pem', cert: pemOf(der), key: keyPem(keys.privateKey) });
}

describe('an identity', () => {
  test('for signatures is taken', () => {
    for (const usage of [[DIGITAL_SIGNATURE], [NON_REPUDIATION], [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT]])
      assert.equal(readPem({ usage }).kind, 'identity');
    assert.equal(readPem({ purposes: ['2.5.29.37.0'] }).kind, 'identity');
  });

  const refused: readonly (readonly [string, Wish, RegExp])[] = [
    ['meant for encryption', { usage: [KEY_AGREEMENT] }, /meant for encryption: its key usage is keyAgreement/],
    ['of a server', { purposes: [serverAuth] }, /not for mail/],
    ['without an address', { addresses: [] }, /names no mail address/],
    [
      'with an Ed25519 key',
      { keys: generateKeyPairSync('ed25519'), usage: [DIGITAL_SIGNATURE] },
      /type ed25519, which mail is not signed with/,
    ],
    [
      'with a key for RSA-PSS',
      { keys: generateKeyPairSync('rsa-pss', { modulusLength: 2048 }), usage: [DIGITAL_SIGNATURE] },
      /type rsa-pss, which mail is not signed with/,
    ],
    ['with a weak key', { keys: rsaKeys(1024), usage: [DIGITAL_SIGNATURE] }, /RSA key of 1024 bits/],
  ];
  for (const [what, wish, said] of refused)
    test(`${what} is refused`, () => {
      const verdict = readPem(wish);
      assert.ok(verdict.kind === 'fault');
      assert.match(verdict.wrong, said);
      assert.match(verdict.mend, /digitalSignature/);
    });

  test('whose key is another’s is refused', () => {
    const verdict = readIdentity('clinic', {
      kind: 'pem',
      cert: pemOf(certificateFor().der),
      key: keyPem(certificateFor().keys.privateKey),
    });
    assert.ok(verdict.kind === 'fault' && verdict.wrong.includes('belongs to none of the certificates'));
  });

  test('brings its chain, in whatever order it stands, and leaves the root at home', () => {
    const { der, keys } = certificateFor();
    const key = keyPem(keys.privateKey);
    const above = [rootDer, subDer];
    for (const material of [
      { kind: 'pem', cert: pemOf(der, ...above), key } as const,
      { kind: 'pem', cert: pemOf(...above, der), key } as const,
      { kind: 'pem', cert: pemOf(der), key, chain: pemOf(...above) } as const,
    ]) {
      const verdict = readIdentity('clinic', material);
      assert.ok(verdict.kind === 'identity');
      assert.deepEqual(
        verdict.identity.chain.map(({ subject }) => subject),
        ['CN=Issuing CA'],
      );
    }
  });
});

const missing = missingPrograms({ openssl: 'openssl' }) ?? false;

describe('identities of the configuration', { skip: missing }, () => {
  let dir: string;
  const path = (file: string): string => join(dir, file);
  const log = pino({ level: 'silent' });
  const env = { CLINIC_PASSPHRASE: PASSPHRASE, WRONG: 'nonsense' };

  async function writePair(name: string, wish: Wish = {}): Promise<{ readonly key: string; readonly cert: string }> {
    const { der, keys } = certificateFor(wish);
    await writeFile(path(`${name}.key`), keyPem(keys.privateKey), { mode: 0o600 });
    await writeFile(path(`${name}.pem`), pemOf(der, subDer, rootDer), { mode: 0o600 });
    return { key: path(`${name}.key`), cert: path(`${name}.pem`) };
  }
  async function configOf(identities: string) {
    const file = path('sealpost.yaml');
    const rest = 'hostname: relay.clinic.example\noperator: postmaster@clinic.example\nlisten: [{ host: 127.0.0.1, port: 2525 }]\n';
    await writeFile(file, `${rest}upstream: [{ host: 127.0.0.1, port: 25 }]\nidentities: ${identities}\n`);
    return readConfig({ file, env: {}, cwd: dir });
  }
  async function validConfig(identities: string) {
    const read = await configOf(identities);
    assert.ok(read.kind === 'valid', JSON.stringify(read));
    return read.value;
  }

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'identities-'));
    const { key, cert } = await writePair('rsa', { keys: rsaKeys(2048), usage: [DIGITAL_SIGNATURE] });
    const ec = await writePair('ec');
    await copyFile(ec.key, path('open.key'));
    await chmod(path('open.key'), 0o644);
    const exportTo = (file: string, pair: { key: string; cert: string }, ...options: readonly string[]) =>
      succeed('openssl', [
        'pkcs12',
        '-export',
        '-inkey',
        pair.key,
        '-in',
        pair.cert,
        '-out',
        path(file),
        ...options,
        '-passout',
        `pass:${PASSPHRASE}`,
      ]);
    const old = ['-legacy', '-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-RC2-40', '-macalg', 'sha1'];
    await Promise.all([
      exportTo('rsa.p12', { key, cert }),
      exportTo('rsa-old.p12', { key, cert }, ...old),
      exportTo('ec.p12', ec),
      exportTo('ec-old.p12', ec, ...old),
      succeed('openssl', ['pkcs8', '-topk8', '-in', ec.key, '-out', path('ec.enc'), '-passout', `pass:${PASSPHRASE}`]),
    ]);
  });
  after(() => rm(dir, { recursive: true, force: true }));

  for (const file of ['rsa.p12', 'rsa-old.p12', 'ec.p12', 'ec-old.p12'])
    test(`${file}, as openssl exports it${file.includes('old') ? ' with RC2-40 and 3DES' : ''}`, async () => {
      const config = await validConfig(`{ clinic: { p12: ${file}, passphrase: "env:CLINIC_PASSPHRASE" } }`);
      const { identities, faults } = await surveyIdentities(config, { env, now: NOW });
      assert.deepEqual(faults, []);
      assert.deepEqual(
        identities.map((one) => [one.name, one.certificate.addresses, one.chain.length]),
        [['clinic', ['forms@clinic.example'], 1]],
      );
    });

  test('PEM, its key encrypted', async () => {
    const config = await validConfig('{ my_clinic: { cert: ec.pem, key: "file:ec.enc", passphrase: "env:CLINIC_PASSPHRASE" } }');
    const { identities, faults } = await surveyIdentities(config, { env, now: NOW });
    assert.deepEqual(faults, []);
    assert.equal(describeIdentity(identities[0] ?? identityFor('x'), NOW), 'my_clinic signs as forms@clinic.example until 2049-01-01');
    const { notes } = await siteFaults(config, [], { env, now: NOW });
    assert.ok(notes.includes('identity my_clinic signs as forms@clinic.example until 2049-01-01'), notes.join('\n'));
  });

  const unusable: readonly (readonly [string, string, RegExp])[] = [
    ['a wrong passphrase', '{ p12: rsa.p12, passphrase: "env:WRONG" }', /the password is wrong/],
    ['a wrong passphrase of a key', '{ cert: ec.pem, key: "file:ec.enc", passphrase: "env:WRONG" }', /the password is wrong/],
    ['no passphrase for a key that has one', '{ cert: ec.pem, key: "file:ec.enc" }', /no password was given/],
    ['a passphrase that is not set', '{ p12: rsa.p12, passphrase: "env:NOT_THERE" }', /not set/],
    ['no file', '{ p12: gone.p12, passphrase: "env:CLINIC_PASSPHRASE" }', /gone\.p12 \(ENOENT\)/],
    ['another file', '{ p12: ec.pem, passphrase: "env:CLINIC_PASSPHRASE" }', /not a PKCS#12/],
    ['a key that all users may read', '{ cert: ec.pem, key: "file:open.key" }', /open\.key: its mode is 0644: open to all users/],
    ['another’s key', '{ cert: ec.pem, key: "file:rsa.key" }', /belongs to none/],
  ];
  for (const [what, place, said] of unusable)
    test(`${what}: check and start say so, and no secret`, async () => {
      const config = await validConfig(`{ clinic: ${place} }`);
      const [fault, ...more] = (await surveyIdentities(config, { env, now: NOW })).faults;
      assert.deepEqual(more, []);
      assert.equal(fault?.key, 'identities.clinic');
      assert.match(fault?.wrong ?? '', said);
      assert.ok(fault !== undefined && fault.mend.length > 10 && fault.place.startsWith('/'));
      await assert.rejects(openIdentities(config, { env, now: () => NOW, log }), (error: Error & { code: string }) => {
        assert.equal(error.code, 'config-invalid');
        assert.doesNotMatch(`${error.message} ${fault.mend}`, new RegExp(`${PASSPHRASE}|nonsense`));
        return true;
      });
    });

  test('one that has expired does not keep the relay from starting, signs nothing, and is told', async (t) => {
    await writePair('over', { to: new Date(NOW - 1000) });
    const config = await validConfig('{ clinic: { cert: over.pem, key: "file:over.key" } }');
    const [fault] = (await surveyIdentities(config, { env, now: NOW })).faults;
    assert.match(fault?.wrong ?? '', /cannot sign now: it expired on 2026-11-23/);
    const opened = await openIdentities(config, { env, now: () => NOW, log });
    t.after(() => opened.close());
    const about = { queueId: 'Q', at: NOW, date: NOW, author: mailboxOf('forms@clinic.example'), randomBytes };
    assert.throws(() => opened.begin({ identity: 'clinic', form: 'detached', recode: 'none' }, about), { code: 'identity-unusable' });
  });

  test('a renewed certificate signs without a restart; half of one, and one that may not, leave the old', async (t) => {
    const { key, cert } = await writePair('live');
    const config = await validConfig('{ clinic: { cert: live.pem, key: "file:live.key" } }');
    const said: string[] = [];
    const listening = pino({ level: 'warn' }, { write: (line: string) => void said.push(line) });
    const opened = await openIdentities(config, { env, now: () => NOW, log: listening, pollMs: 3_600_000 });
    t.after(() => opened.close());
    const fingerprint = (): string | undefined => opened.identities()[0]?.certificate.fingerprint;
    const rests = async (): Promise<void> => {
      await opened.refresh();
      await opened.refresh();
    };
    const first = fingerprint();
    const next = certificateFor();
    // By rename, as careful programs write: each file has another inode.
    const replace = async (file: string, content: Buffer): Promise<void> => {
      await writeFile(`${file}.new`, content, { mode: 0o600 });
      await rename(`${file}.new`, file);
    };
    await replace(cert, pemOf(next.der));
    await rests();
    await rests();
    assert.equal(fingerprint(), first);
    assert.equal(said.length, 1, said.join(''));
    assert.match(said[0] ?? '', /identity cannot be used, the old one stays/);
    await replace(key, keyPem(next.keys.privateKey));
    await rests();
    assert.equal(fingerprint(), parseCertificate(next.der).fingerprint);
    await replace(cert, pemOf(certificateFor({ keys: next.keys, usage: [KEY_AGREEMENT] }).der));
    await rests();
    assert.equal(fingerprint(), parseCertificate(next.der).fingerprint);
    assert.match(said[1] ?? '', /meant for encryption/);
    // The rules were held against what the old one names.
    await replace(cert, pemOf(certificateFor({ keys: next.keys, addresses: ['anna@clinic.example'] }).der));
    await rests();
    assert.equal(fingerprint(), parseCertificate(next.der).fingerprint);
    assert.match(said[2] ?? '', /does not name forms@clinic\.example any more/);
  });

  test('what is written wrongly is told with its place', async () => {
    for (const [written, wrong] of [
      ['{ clinic: { p12: a.p12 } }', /no passphrase/],
      ['{ clinic: { cert: a.pem } }', /neither p12 nor key/],
      ['{ clinic: { p12: a.p12, passphrase: "env:A", key: "file:b" } }', /beside cert or key/],
      ['{ clinic: { p12: a.p12, passphrase: secret } }', /passphrase is not a place of a secret/],
      ['{ clinic: { pkcs12: a.p12 } }', /does not know pkcs12/],
      ['{ "a b": { p12: a.p12, passphrase: "env:A" } }', /is not a name/],
      ['[ clinic ]', /wants keys below it/],
    ] as const) {
      const read = await configOf(written);
      assert.ok(read.kind === 'invalid', written);
      assert.match(read.faults[0]?.wrong ?? '', wrong);
      assert.match(read.faults[0]?.place ?? '', /sealpost\.yaml:5/);
    }
  });
});

describe('a rule that signs says which From it signs for', () => {
  const own = [identityFor('clinic', { addresses: ['forms@clinic.example', 'intake@clinic.example'] })];
  const rule = (more: Partial<Rule>): Rule => ({
    name: 'intake',
    when: ALWAYS,
    then: 'seal',
    missing: 'refuse',
    unavailable: 'retry',
    subject: { kind: 'keep' },
    sign: { identity: 'clinic', form: 'detached', recode: 'none' },
    place: 'policies/10.yaml:2:5',
    ...more,
  });
  const author = (source: string): Condition => {
    const verdict = parsePattern(source);
    assert.ok(verdict.kind === 'pattern');
    return { kind: 'header_from', pattern: verdict.pattern };
  };
  const from = (address: string): Partial<Rule> => ({
    from: { replace: { name: '', mailbox: mailboxOf(address) }, original: 'inside' },
  });
  const all = (...of: readonly Condition[]): Condition => ({ kind: 'all', of });
  const any = (...of: readonly Condition[]): Condition => ({ kind: 'any', of });

  test('by the From that it writes, or by addresses of which one must be there', () => {
    for (const more of [
      from('Forms@clinic.example'),
      { when: all(author('forms@clinic.example')) },
      { when: all({ kind: 'signed', is: false }, any(author('forms@clinic.example'), author('intake@clinic.example'))) },
    ])
      assert.deepEqual(signFaults([rule(more)], own), []);
  });

  test('else it is a fault of the rule, with its place', () => {
    for (const [more, wrong] of [
      [{}, /does not say which From/],
      [from('anna@clinic.example'), /does not name anna@clinic\.example/],
      [{ when: all(author('*@clinic.example')) }, /does not say which From/],
      [{ when: any(author('forms@clinic.example'), { kind: 'signed', is: true } as const) }, /does not say which From/],
      [{ when: all(author('visitor@gmail.example')) }, /does not name visitor@gmail\.example/],
      [{ when: { kind: 'not', of: author('forms@clinic.example') } as const }, /does not say which From/],
      [{ ...from('forms@clinic.example'), sign: { identity: 'klinik', form: 'detached', recode: 'none' } as const }, /none of identities/],
    ] as const) {
      const [fault, ...others] = signFaults([rule(more)], own);
      assert.deepEqual(others, []);
      assert.match(fault?.wrong ?? '', wrong);
      assert.deepEqual([fault?.rule, fault?.place, fault?.key], ['intake', 'policies/10.yaml:2:5', 'sign']);
    }
  });
});
