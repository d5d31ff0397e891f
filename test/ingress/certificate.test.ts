import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { type CertificateFiles, openLiveCertificate, readPair } from '../../src/ingress/certificate.ts';
import { makeLog } from '../../src/log.ts';
import { noOpenssl, rsa, run } from '../certificates/openssl.ts';
import { until } from '../interop/ports.ts';
import { codeOf } from './front.ts';
import { makeCertificate, makeSecureFront, type SecureFront } from './secure.ts';

const skip = noOpenssl;
const POLL_MS = 20;
const [first, second] = noOpenssl ? [] : [makeCertificate({ name: 'first' }), makeCertificate({ name: 'second' })];

interface Live {
  readonly files: CertificateFiles;
  readonly front: SecureFront;
  /** What a client of now is shown. */
  readonly shown: () => Promise<string>;
  readonly certificate: (text: string | Buffer) => void;
  readonly key: (text: string | Buffer) => void;
}

const content = (file: string | undefined): Buffer => readFileSync(file ?? '');
const fingerprint = (files: CertificateFiles | undefined): string => new X509Certificate(content(files?.certificate)).fingerprint256;

async function live(t: TestContext): Promise<Live> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-listener-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const [certificate, keyFile] = [join(dir, 'cert.pem'), join(dir, 'cert.key')];
  cpSync(first?.certificate ?? '', certificate);
  cpSync(first?.keyFile ?? '', keyFile);
  const files = { certificate, keyFile, readKey: async () => readFileSync(keyFile, 'utf8') };
  const front = await makeSecureFront(t, { files, pollMs: POLL_MS });
  const shown = async (): Promise<string> => {
    const client = await front.greet();
    await front.ehlo(client);
    const found = (await client.startTls()).getPeerX509Certificate()?.fingerprint256 ?? '';
    client.close();
    return found;
  };
  return { files, front, shown, certificate: (text) => writeFileSync(certificate, text), key: (text) => writeFileSync(keyFile, text) };
}

/** Long enough for several looks. */
const looks = (front: SecureFront, msg: string): Promise<void> => until(msg, () => front.log.some((entry) => entry['msg'] === msg));
const STAYS = 'certificate of a listener cannot be used, the old one stays';

test('a certificate that changes on disk is shown to the sessions that begin from then on, without a restart', { skip }, async (t) => {
  const { front, shown, certificate, key } = await live(t);
  assert.equal(await shown(), fingerprint(first));
  const before = await front.greet();
  await front.ehlo(before);
  await before.startTls();
  certificate(content(second?.certificate));
  // The new certificate does not fit the old key: the old pair stays in use.
  await looks(front, STAYS);
  assert.equal(await shown(), fingerprint(first));
  key(content(second?.keyFile));
  await until('the new one is shown', async () => (await shown()) === fingerprint(second));
  await looks(front, 'certificate of a listener changed');
  // Whoever was there before stays.
  await before.ask('NOOP', /^250/);
});

test(
  'a certificate or key that is cut short, emptied, something else or gone leaves the old one in use, with one warning each',
  { skip },
  async (t) => {
    const { files, front, shown, certificate, key } = await live(t);
    const whole = content(second?.certificate);
    const half = whole.subarray(0, whole.length / 2);
    const broken: [string, () => void][] = [
      ['cut short', () => certificate(half)],
      ['a chain whose second certificate is cut short', () => certificate(Buffer.concat([whole, half]))],
      ['empty', () => certificate('')],
      ['gone', () => rmSync(files.certificate)],
      ['no key', () => (certificate(content(first?.certificate)), key('-----BEGIN PRIVATE KEY-----\n'))],
      ['the key of another', () => key(content(second?.keyFile))],
    ];
    for (const [what, breakIt] of broken) {
      const warned = front.log.length;
      breakIt();
      await until(`a warning: ${what}`, () => front.log.slice(warned).some(({ msg, level }) => msg === STAYS && level === 'warn'));
      assert.equal(await shown(), fingerprint(first), what);
    }
    const warnings = front.log.filter(({ msg }) => msg === STAYS).length;
    for (let look = 0; look < 10; look++) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    assert.equal(front.log.filter(({ msg }) => msg === STAYS).length, warnings);
    // Renamed into place, as careful programs do.
    writeFileSync(`${files.certificate}.new`, whole);
    renameSync(`${files.certificate}.new`, files.certificate);
    await until('the new one is shown', async () => (await shown()) === fingerprint(second));
    assert.doesNotMatch(JSON.stringify(front.log), /PRIVATE KEY/);
  },
);

test('a pair is taken only once its files rest', { skip }, async (t) => {
  const { files, shown, certificate, key } = await live(t);
  // As somebody types: a whole certificate that is not the last word, written again and again.
  key(content(second?.keyFile));
  const writing = setInterval(
    () => certificate(Buffer.concat([content(second?.certificate), Buffer.from('\n'.repeat(Date.now() % 97))])),
    1,
  );
  t.after(() => clearInterval(writing));
  for (let look = 0; look < 5; look++) assert.equal(await shown(), fingerprint(first));
  clearInterval(writing);
  await until('the new one is shown', async () => (await shown()) === fingerprint(second));
  assert.ok(files.certificate !== '');
});

const said = (log: Record<string, unknown>[]) => makeLog({ level: 'info', format: 'json' }, collect(log));
const collect = (log: Record<string, unknown>[]): Writable =>
  new Writable({
    write: (line: Buffer, _encoding, done) => {
      const entry: Record<string, unknown> = JSON.parse(line.toString());
      log.push(entry);
      done();
    },
  });

test('a listener does not start with a pair that cannot be used; the error says what is wrong, and no secret', { skip }, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-listener-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const files = (certificate: string, key: () => Promise<string>): CertificateFiles => ({ certificate, keyFile: undefined, readKey: key });
  const good = async (): Promise<string> => content(first?.keyFile).toString();
  const certificate = first?.certificate ?? '';
  run('openssl', ['pkcs8', '-topk8', '-in', first?.keyFile ?? '', '-out', join(dir, 'locked.key'), '-passout', 'pass:x'], dir);
  writeFileSync(join(dir, 'der.pem'), new X509Certificate(content(certificate)).raw.toString('latin1'), 'latin1');
  writeFileSync(
    join(dir, 'damaged.pem'),
    content(certificate)
      .toString()
      .replace(/\n.{10}/, '\nAAAAAAAAAA'),
  );
  const cases: [CertificateFiles, RegExp][] = [
    [files(join(dir, 'absent.pem'), good), /^a file cannot be read: .*absent\.pem \(ENOENT\)$/],
    [files(join(dir, 'locked.key'), good), /: there is no PEM certificate in it$/],
    [files(join(dir, 'damaged.pem'), good), /: a certificate in it is damaged$/],
    [files(certificate, async () => content(second?.keyFile).toString()), /: it does not fit its key$/],
    [
      files(certificate, async () => content(join(dir, 'locked.key')).toString()),
      /: its key is not a PEM private key without a passphrase$/,
    ],
  ];
  for (const [pair, message] of cases) {
    await assert.rejects(openLiveCertificate(pair, { log: said([]), now: Date.now }), (error: Error) => {
      assert.match(error.message, message);
      assert.match(codeOf(error) ?? '', /^(?:listener-certificate-unusable|file-unreadable)$/);
      assert.doesNotMatch(error.message, /PRIVATE/);
      return true;
    });
  }
});

test('a key that is too weak for TLS is refused as such', { skip }, async () => {
  const weak = makeCertificate({ name: 'weak', key: rsa(1024) });
  await assert.rejects(readPair(weak), /TLS does not take it: its key or signature is too weak$/);
});

test('an expired certificate and one that soon is are told when they are read', { skip }, async () => {
  const expired = makeCertificate({ name: 'server-expired', from: '20200101000000Z', to: '20210101000000Z' });
  const soon = Date.parse('2021-01-01T00:00:00Z') - 13 * 86_400_000;
  for (const [now, msg] of [
    [Date.now(), 'certificate of a listener has expired'],
    [soon, 'certificate of a listener expires soon'],
    [soon - 2 * 86_400_000, 'certificate of a listener read'],
  ] as const) {
    const log: Record<string, unknown>[] = [];
    (await openLiveCertificate(expired, { log: said(log), now: () => now })).close();
    assert.deepEqual(
      log.map((entry) => entry['msg']),
      [msg],
    );
  }
});
