/**
 * What the in-house CA hands out, in the hands of strangers: ten people from a table, each PKCS#12 imported by NSS and openssl and
 * the RSA ones by gpgsm, and mail sealed to each opened from what was imported, never from the file.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { expectedEntity, missingPerl } from './expected-entity.ts';
import { missingPrograms, run, succeed } from './programs.ts';
import { cmsOf, gpgsm } from './readers.ts';
import { streamNamed } from './streams.ts';

const CLI = new URL('../../src/cli.ts', import.meta.url).pathname;
const SENDER = 'forms@clinic.example';
const MAIL = streamNamed('multipart-with-pdf-and-png');
const noNss = missingPrograms({ certutil: 'libnss3-tools', cmsutil: 'libnss3-tools', pk12util: 'libnss3-tools' });
const missing = missingPerl() ?? missingPrograms({ openssl: 'openssl' });

interface Person {
  readonly address: string;
  readonly name: string;
  readonly key: 'rsa' | 'ec' | 'p384' | 'p521' | 'rsa3072';
}

const people: readonly Person[] = [
  { address: 'anna@clinic.example', name: 'Anna Berger', key: 'rsa' },
  { address: "o'neill@clinic.example", name: "Seán O'Neill", key: 'rsa' },
  { address: 'carla+forms@clinic.example', name: 'Carla, Dr. med.', key: 'rsa' },
  { address: 'dora@clinic.example', name: 'Dora Öztürk', key: 'rsa3072' },
  { address: 'emil@clinic.example', name: '', key: 'rsa' },
  { address: 'fritz@clinic.example', name: 'Fritz', key: 'ec' },
  { address: 'gerda@clinic.example', name: 'Gerda Æ', key: 'ec' },
  { address: 'hana@clinic.example', name: '花', key: 'ec' },
  { address: 'ivo@clinic.example', name: 'Ivo', key: 'p384' },
  { address: 'jana@clinic.example', name: 'Jana', key: 'p521' },
];

/** Half a megabyte in an assertion message helps nobody. */
const sameAs =
  (expected: Buffer) =>
  (opened: Buffer, { address }: Person): void =>
    assert.ok(opened.equals(expected), `${address}: ${opened.length} octets came out, ${expected.length} were sealed`);

describe('what the in-house CA hands out', { skip: missing ?? false }, () => {
  let site: string;
  let root: string;
  let assertSame: (opened: Buffer, person: Person) => void;
  /** By the command, as an operator does. */
  const sealpost = (words: readonly string[], input?: Buffer): Promise<Buffer> =>
    succeed(process.execPath, ['--disable-warning=ExperimentalWarning', CLI, ...words], {
      cwd: site,
      env: { NODE_COMPILE_CACHE: join(site, 'compile-cache') },
      ...(input === undefined ? {} : { input }),
    });
  const kitOf = ({ address }: Person, ending: string): string => join(site, 'issued', `${address.replaceAll("'", '%27')}.${ending}`);
  const passwordOf = async (person: Person): Promise<string> => (await readFile(kitOf(person, 'password'), 'utf8')).trimEnd();
  const messageTo = ({ address }: Person): Promise<Buffer> => readFile(join(site, 'sealed', `${encodeURIComponent(address)}.eml`));
  const folder = (name: string): Promise<string> => mkdtemp(join(tmpdir(), name));
  const rsa = people.filter(({ key }) => key.startsWith('rsa'));

  before(async () => {
    site = await realpath(await mkdtemp(join(tmpdir(), 'issued-')));
    root = join(site, 'certs/anchors/in-house-root.pem');
    await sealpost(['init', '.']);
    const rows = people.map(({ address, name, key }) => `${address},"${name}",${key}\n`);
    await writeFile(join(site, 'people.csv'), `address,name,key\n${rows.join('')}`);
    await sealpost(['certs', 'issue', '--csv', 'people.csv']);
    const recipients = people.flatMap(({ address }) => ['--to', address]);
    await sealpost(['seal', '--from', SENDER, ...recipients, '--out-dir', 'sealed'], MAIL);
    assertSame = sameAs(await expectedEntity(MAIL, 'replace'));
  });
  after(() => rm(site, { recursive: true, force: true }));

  test('openssl: each opens with its password, the path is good, and so is what it reads', async () => {
    for (const person of people) {
      const pem = join(site, 'imported.pem');
      const password = ['-passin', `file:${kitOf(person, 'password')}`];
      await succeed('openssl', ['pkcs12', '-in', kitOf(person, 'p12'), ...password, '-nodes', '-out', pem]);
      const chain = join(site, 'chain.pem');
      await succeed('openssl', ['pkcs12', '-in', kitOf(person, 'p12'), ...password, '-nokeys', '-cacerts', '-out', chain]);
      // The issuing CA comes from the PKCS#12; only the root is trusted beforehand.
      const verified = await succeed('openssl', ['verify', '-x509_strict', '-CAfile', root, '-untrusted', chain, pem]);
      assert.match(verified.toString(), /: OK/, person.address);
      const decrypt = ['cms', '-decrypt', '-binary', '-inform', 'SMIME', '-recip', pem, '-inkey', pem];
      assertSame(await succeed('openssl', decrypt, { input: await messageTo(person) }), person);
    }
  });

  test('NSS: all ten into one database, each good for mail; those with RSA keys open theirs', { skip: noNss ?? false }, async (t) => {
    const database = await folder('nss-');
    t.after(() => rm(database, { recursive: true, force: true }));
    const at = ['-d', `sql:${database}`];
    await succeed('certutil', ['-N', ...at, '--empty-password']);
    for (const person of people) await succeed('pk12util', ['-i', kitOf(person, 'p12'), ...at, '-w', kitOf(person, 'password'), '-K', '']);
    const keys = (await succeed('certutil', ['-K', ...at])).toString();
    for (const { address } of people) assert.ok(keys.includes(address), address);
    await succeed('certutil', ['-A', ...at, '-n', 'the root', '-t', ',C,', '-i', root]);
    for (const { address } of people) {
      const good = (await succeed('certutil', ['-V', ...at, '-u', 'R', '-e', '-n', address])).toString();
      assert.match(good, /certificate is valid/, address);
    }
    for (const person of rsa) {
      const [input, output] = [join(database, 'in.p7m'), join(database, 'out')];
      await writeFile(input, cmsOf(await messageTo(person)));
      await succeed('cmsutil', ['-D', ...at, '-i', input, '-o', output]);
      assertSame(await readFile(output), person);
    }
  });

  test('gpgsm: those with RSA keys, the root trusted, each opens theirs', { skip: gpgsm.missing() ?? false }, async (t) => {
    // The agent's socket lives in here and its path has 108 octets at most (sun_path).
    const home = await folder('g-');
    const options = { env: { GNUPGHOME: home } };
    t.after(async () => {
      await succeed('gpgconf', ['--kill', 'all'], options);
      await rm(home, { recursive: true, force: true });
    });
    await writeFile(join(home, 'gpg-agent.conf'), 'allow-loopback-pinentry\ns2k-count 65536\n');
    const print = await succeed('openssl', ['x509', '-in', root, '-noout', '-fingerprint', '-sha1']);
    await writeFile(join(home, 'trustlist.txt'), `${print.toString().trim().split('=')[1]} S\n`);
    const base = ['--batch', '--no-tty', '--disable-crl-checks', '--pinentry-mode', 'loopback', '--passphrase-fd', '0'];
    const withPassword = async (person: Person): Promise<{ env: Readonly<Record<string, string>>; input: Buffer }> => ({
      ...options,
      input: Buffer.from(`${await passwordOf(person)}\n`),
    });
    for (const person of rsa) {
      await succeed('gpgsm', [...base, '--import', kitOf(person, 'p12')], await withPassword(person));
      const listed = await run(
        'gpgsm',
        ['--batch', '--disable-crl-checks', '--list-secret-keys', '--with-validation', person.address],
        options,
      );
      assert.match(listed.stdout.toString(), /\[certificate is good\]/, `${person.address}: ${listed.stderr}`);
      const input = join(home, 'in.p7m');
      await writeFile(input, cmsOf(await messageTo(person)));
      assertSame(await succeed('gpgsm', [...base, '--decrypt', input], await withPassword(person)), person);
    }
  });

  test('each page names its file, its person and its fingerprint, and no page its password', async () => {
    for (const person of people) {
      const page = await readFile(kitOf(person, 'html'), 'utf8');
      const certificate = await succeed('openssl', ['x509', '-in', join(site, 'certs/recipients', basename(kitOf(person, 'pem')))]);
      const print = (await succeed('openssl', ['x509', '-noout', '-fingerprint', '-sha256'], { input: certificate })).toString();
      const grouped = print
        .trim()
        .split('=')[1]
        ?.replaceAll(':', '')
        .replaceAll(/.{4}(?=.)/g, '$& ');
      for (const part of [grouped ?? '?', basename(kitOf(person, 'p12')), person.name.replace("'", '&#39;')])
        assert.ok(page.includes(part), part);
      assert.equal(page.includes(await passwordOf(person)), false);
    }
  });
});
