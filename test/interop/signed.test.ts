/**
 * Mail that strangers signed is read as they meant it, and what openssl does not believe is not believed here. Wherever this reader is
 * the stricter one, the reason is one of those that docs/harvest.md names.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { judgeSignedData, type SignedDataVerdict } from '../../src/certificates/harvest/signed-data.ts';
import { readSigned } from '../../src/message/signed.ts';
import { mailOf } from '../certificates/harvest/sign.ts';
import { seeded } from '../certificates/chains.ts';
import { makeReaders, type Reader, type Readers } from './fixtures.ts';
import { missingPrograms, run, succeed } from './programs.ts';

const TEXT = 'Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße,\r\n-- \r\nAnna  \r\n\r\n';
const AES_256_CBC = '2.16.840.1.101.3.4.1.42';
const missing = missingPrograms({ openssl: 'openssl' });

async function* once(octets: Buffer): AsyncGenerator<Buffer> {
  yield octets;
}

async function judge(mail: Buffer): Promise<SignedDataVerdict> {
  const read = await readSigned(once(mail));
  return read.kind === 'refused' ? { kind: 'wrong', reason: read.reason } : judgeSignedData(read.signature, read.content);
}

/** Its capabilities, where the signer is that reader. */
async function assertSigned(mail: Buffer, { address }: Reader): Promise<readonly string[]> {
  const verdict = await judge(mail);
  assert.ok(verdict.kind === 'right', JSON.stringify(verdict));
  assert.deepEqual(verdict.signers[0]?.certificate.addresses, [address]);
  return verdict.signers[0]?.capabilities ?? [];
}

describe('strangers sign', { skip: missing ?? false }, () => {
  let dir: string;
  let readers: Readers;
  let text: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 's-'));
    readers = await makeReaders(join(dir, 'people'));
    text = join(dir, 'text');
    await writeFile(text, TEXT);
  });
  after(() => rm(dir, { recursive: true, force: true }));
  const sign = ({ certificate, key, address }: Reader, ...options: readonly string[]): Promise<Buffer> =>
    succeed('openssl', ['cms', '-sign', '-in', text, '-signer', certificate, '-inkey', key, '-from', address, ...options]);

  const kinds: readonly (readonly [string, readonly string[]])[] = [
    ['detached', []],
    ['detached, CRLF in the header too', ['-crlfeol']],
    ['opaque', ['-nodetach']],
    ['opaque, streamed in indefinite lengths', ['-nodetach', '-stream']],
    ['SHA-384', ['-md', 'sha384']],
    ['SHA-512', ['-md', 'sha512']],
    ['by key identifier', ['-keyid']],
  ];
  for (const [what, options] of kinds)
    test(`openssl, ${what}`, async () => {
      for (const reader of [readers.people.anna, readers.people.ben, readers.people.dora])
        assert.ok((await assertSigned(await sign(reader, ...options), reader)).includes(AES_256_CBC));
    });
  test('openssl, RSASSA-PSS', async () => {
    for (const salt of ['max', 'digest', '20'])
      await assertSigned(
        await sign(readers.people.anna, '-keyopt', 'rsa_padding_mode:pss', '-keyopt', `rsa_pss_saltlen:${salt}`),
        readers.people.anna,
      );
  });
  test('openssl, what is refused on purpose', async () => {
    const { anna } = readers.people;
    for (const [options, reason] of [
      [['-noattr'], /without attributes/],
      [['-md', 'sha1'], /SHA-1/],
      [['-nocerts'], /the certificate of the signer is not in it/],
    ] as const) {
      const verdict = await judge(await sign(anna, ...options));
      assert.match(verdict.kind === 'wrong' ? verdict.reason : '', reason);
    }
  });
  test('openssl, two signers: both are seen, and one that is wrong refuses the mail', async () => {
    const { anna, otto } = readers.people;
    const mail = await sign(anna, '-signer', otto.certificate, '-inkey', otto.key);
    const verdict = await judge(mail);
    assert.equal(verdict.kind === 'right' && verdict.signers.length, 2);
  });
  test(
    'NSS',
    { skip: missingPrograms({ cmsutil: 'libnss3-tools', certutil: 'libnss3-tools', pk12util: 'libnss3-tools' }) ?? false },
    async () => {
      const { anna } = readers.people;
      const database = ['-d', `sql:${dir}`];
      await succeed('certutil', ['-N', ...database, '--empty-password']);
      await succeed('certutil', ['-A', ...database, '-n', 'ca', '-t', 'CT,CT,CT', '-i', readers.ca]);
      await succeed('pk12util', ['-i', anna.p12 ?? '', ...database, '-W', readers.passphrase, '-K', '']);
      const out = join(dir, 'nss.p7s');
      await succeed('cmsutil', ['-S', '-G', '-P', ...database, '-N', 'anna', '-T', '-H', 'SHA256', '-i', text, '-o', out]);
      const signature = await readFile(out);
      assert.ok((await assertSigned(mailOf(TEXT, signature, anna.address), anna)).includes(AES_256_CBC));
      const verdict = judgeSignedData(signature, Buffer.from(TEXT));
      assert.ok(verdict.kind === 'right' && verdict.signers[0]?.preferred !== undefined);
    },
  );
  test('gpgsm', { skip: missingPrograms({ gpgsm: 'gpgsm', 'gpg-agent': 'gpg-agent', gpgconf: 'gpgconf' }) ?? false }, async (t) => {
    const { anna } = readers.people;
    const options = { env: { GNUPGHOME: join(dir, 'g') } };
    await succeed('mkdir', ['-m', '700', options.env.GNUPGHOME]);
    t.after(() => succeed('gpgconf', ['--kill', 'all'], options));
    const printed = await succeed('openssl', ['x509', '-in', readers.ca, '-noout', '-fingerprint', '-sha1']);
    await writeFile(join(options.env.GNUPGHOME, 'trustlist.txt'), `${printed.toString().trim().split('=')[1]} S relax\n`);
    await writeFile(join(options.env.GNUPGHOME, 'gpg-agent.conf'), 'allow-loopback-pinentry\n');
    const base = ['--batch', '--no-tty', '--disable-crl-checks', '--pinentry-mode', 'loopback', '--passphrase-fd', '0'];
    const ask = (...args: readonly string[]): Promise<Buffer> =>
      succeed('gpgsm', [...base, ...args], { ...options, input: Buffer.from(`${readers.passphrase}\n`) });
    await ask('--import', anna.p12 ?? '');
    await assertSigned(mailOf(TEXT, await ask('--detach-sign', '--local-user', anna.address, text), anna.address), anna);
  });
  const jars = ['bcpkix', 'bcprov', 'bcutil'].map((name) => `/usr/share/java/${name}.jar`);
  const noBouncy = jars.every((jar) => existsSync(jar))
    ? missingPrograms({ java: 'default-jre-headless', javac: 'default-jdk-headless' })
    : 'BouncyCastle is not installed (Debian package libbcmail-java)';
  test('BouncyCastle', { skip: noBouncy ?? false }, async () => {
    const source = new URL('BouncySigner.java', import.meta.url).pathname;
    for (const [reader, algorithm] of [
      [readers.people.anna, 'SHA256withRSA'],
      [readers.people.anna, 'SHA256withRSAandMGF1'],
      [readers.people.carla, 'SHA384withECDSA'],
    ] as const) {
      const out = join(dir, `${algorithm}.p7s`);
      await succeed('java', ['-cp', jars.join(':'), source, algorithm, reader.certificate, reader.key, text, out]);
      assert.ok((await assertSigned(mailOf(TEXT, await readFile(out), reader.address), reader)).includes(AES_256_CBC));
    }
  });

  test('changed at random: what openssl does not believe is not believed here', { timeout: 300_000 }, async () => {
    const { anna, ben } = readers.people;
    const random = seeded(8551);
    const pick = (below: number): number => Math.floor(random() * below);
    let [both, stricter] = [0, 0];
    for (const reader of [anna, ben]) {
      const original = await readSigned(once(await sign(reader)));
      assert.ok(original.kind === 'signed' && original.content !== undefined);
      await assertSigned(mailOf(original.content, original.signature, reader.address), reader);
      for (let round = 0; round < 120; round++) {
        const content = Buffer.from(original.content);
        const signature = Buffer.from(original.signature);
        const changed = round % 6 === 0 ? content : signature;
        const at = pick(changed.length);
        changed[at] = (changed[at] ?? 0) ^ (1 << pick(8));
        const mail = mailOf(content, signature, reader.address);
        const theirs = await run('openssl', ['cms', '-verify', '-CAfile', readers.ca, '-out', '/dev/null'], { input: mail });
        const ours = await judge(mail);
        if (theirs.code !== 0 && ours.kind === 'right') {
          // What openssl says of the chain is judged elsewhere (trust).
          assert.match(theirs.stderr, /certificate verify error/, `round ${round}, octet ${at}: ${theirs.stderr}`);
        }
        if (theirs.code === 0 && ours.kind === 'right') both++;
        if (theirs.code === 0 && ours.kind === 'wrong') {
          stricter++;
          assert.match(ours.reason, /cannot be read|hashed in two ways|NUL|not taken/, `round ${round}, octet ${at}`);
        }
      }
    }
    // Some octets are signed by nobody: the test would be of no use where openssl refused all.
    assert.ok(both + stricter > 0);
  });
});
