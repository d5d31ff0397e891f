/** `certs pending`, `certs approve` and `certs forget` as an operator meets them, without a relay and beside one. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { knownHandlers } from '../../src/change-control.ts';
import { serveControl } from '../../src/control.ts';
import { caExtensions, make, noOpenssl } from '../certificates/openssl.ts';
import { ANNA, useOf } from '../queue/known-suite.ts';
import { makeSite, put, type Site } from '../queue/site.ts';
import { sealpost, type Transcript } from './transcript.ts';

const CONFIG = `
hostname: relay.clinic.example
operator: postmaster@clinic.example
listen: [{ host: 127.0.0.1, port: 2525, tls: off }]
upstream: [{ host: 127.0.0.1, port: 25, tls: off }]
certificates: { pin: true }
`;

const certs = (site: Site, ...words: readonly string[]): Promise<Transcript> =>
  sealpost(dirname(site.paths.folder), ['certs', ...words], { SUDO_USER: 'otto' });

/** Anna's old certificate is known, and another one with a hostile subject waits; no relay runs. */
async function makeWaiting(t: TestContext): Promise<Site> {
  const site = await makeSite(t);
  const store = await site.open();
  writeFileSync(join(dirname(site.paths.folder), 'sealpost.yaml'), CONFIG);
  await put(store, { id: 'q1', uses: [useOf('old')] });
  await store.known.wait(useOf('new', { subject: 'CN=\u001b[2Jnew\u202e', issuer: 'CN=other CA', serial: '7f' }));
  await store.close();
  return site;
}

const events = (site: Site, event: string): Record<string, unknown>[] =>
  readFileSync(site.paths.audit, 'utf8')
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => ({ ...JSON.parse(line) }))
    .filter((entry) => entry['event'] === event);

test('certs pending tells what waits, where from, since when, what is used meanwhile and how to approve; hostile text is escaped', async (t) => {
  const site = await makeWaiting(t);
  const [old, fresh] = [useOf('old').fingerprint, useOf('new').fingerprint];
  assert.deepEqual(await certs(site, 'pending'), {
    exit: 0,
    stderr: '',
    stdout: `${ANNA}
  waits     SHA-256 ${fresh}
  subject   CN=\\u001b[2Jnew\\u202e
  issuer    CN=other CA, another issuer than before
  serial    7f
  until     2026-01-02
  source    recipients/new.pem
  since     2026-01-01T00:00:00.000Z
  used now  SHA-256 ${old}, to 2026-01-02, last used on 2026-01-01
  approve   sealpost certs approve ${ANNA} ${fresh.slice(0, 16)}
`,
  });
  const { stdout } = await certs(site, 'pending', '--json');
  assert.partialDeepStrictEqual(JSON.parse(stdout), [
    { address: ANNA, fingerprint: fresh, subject: 'CN=\u001b[2Jnew\u202e', used: { fingerprint: old } },
  ]);
});

test('certs approve without a relay: the fingerprint as people copy it, and the audit log names who did it for whom', async (t) => {
  const site = await makeWaiting(t);
  const { fingerprint } = useOf('new');
  const copied = fingerprint.toUpperCase().replaceAll(/(..)(?!$)/g, '$1:');
  const wrong = await certs(site, 'approve', ANNA, useOf('other').fingerprint);
  assert.deepEqual([wrong.exit, wrong.stdout], [2, '']);
  assert.match(wrong.stderr, /no such certificate waits for approval/);
  assert.match((await certs(site, 'approve', ANNA, fingerprint.slice(0, 8))).stderr, /16 to 64 hexadecimal digits/);
  assert.match((await certs(site, 'approve', 'anna')).stderr, /no @ in it/);
  assert.deepEqual(await certs(site, 'approve', 'Anna@CLINIC.example', copied, '--by', 'Dr Ben\u202e'), {
    exit: 0,
    stderr: '',
    stdout: `Anna@CLINIC.example: SHA-256 ${fingerprint} may be used from now on\n`,
  });
  const [approved, ...others] = events(site, 'certificate-approved');
  assert.equal(others.length, 0);
  assert.partialDeepStrictEqual(approved, { recipient: ANNA, certificate_sha256: fingerprint, old_sha256: useOf('old').fingerprint });
  assert.match(String(approved?.['operator']), /^Dr Ben\u202e, typed by .*\S/u);
  assert.deepEqual(await certs(site, 'pending'), { exit: 0, stdout: '', stderr: 'sealpost: no certificate waits for approval\n' });
});

test('certs approve of one that is not listed, since strangers fill the list, wants the whole fingerprint', async (t) => {
  const site = await makeWaiting(t);
  const store = await site.open();
  for (let index = 0; index < 8; index++) await store.known.wait(useOf(`poison${index}`));
  await store.close();
  const { fingerprint } = useOf('renewed');
  const part = await certs(site, 'approve', ANNA, fingerprint.slice(0, 16));
  assert.equal(part.exit, 2);
  assert.match(part.stderr, /more wait than are listed: name the whole fingerprint/);
  assert.equal((await certs(site, 'approve', ANNA, fingerprint)).stdout, `${ANNA}: SHA-256 ${fingerprint} may be used from now on\n`);
  assert.match((await certs(site, 'pending')).stdout, new RegExp(`used now  SHA-256 ${useOf('old').fingerprint}`));
  assert.equal(events(site, 'certificate-unlisted').length, 1);
});

test('certs forget wants --yes, and says how many', async (t) => {
  const site = await makeWaiting(t);
  const asked = await certs(site, 'forget', ANNA);
  assert.deepEqual([asked.exit, asked.stdout], [2, '']);
  assert.match(asked.stderr, /sealpost certs forget anna@clinic\.example --yes/);
  assert.equal((await certs(site, 'forget', ANNA, '--yes')).stdout, `${ANNA}: 2 certificates forgotten\n`);
  assert.match((await certs(site, 'forget', ANNA, '--yes')).stderr, /no such certificate is known/);
  assert.deepEqual(
    events(site, 'certificate-forgotten')
      .map(({ was }) => String(was))
      .toSorted(),
    ['used', 'waiting'],
  );
});

test('a running relay does it, and its next look-up knows', async (t) => {
  const site = await makeWaiting(t);
  const store = await site.open();
  const control = await serveControl({ socket: site.paths.socket, handlers: knownHandlers(store.known), log: pino({ level: 'silent' }) });
  t.after(() => control.close());
  const { fingerprint } = useOf('new');
  await assert.rejects(put(store, { id: 'q2', uses: [useOf('new', { pinned: true })] }));
  assert.equal((await certs(site, 'approve', ANNA)).exit, 0);
  await put(store, { id: 'q2', uses: [useOf('new', { pinned: true })] });
  assert.equal((await certs(site, 'forget', ANNA, fingerprint.slice(0, 16), '--yes')).exit, 0);
  assert.equal(store.known.remembers(ANNA, fingerprint), false);
  await assert.rejects(put(store, { id: 'q3', uses: [useOf('new', { pinned: true })] }));
});

test('where no relay has run nothing waits, and nothing is made by asking', async (t) => {
  const site = await makeSite(t);
  writeFileSync(join(dirname(site.paths.folder), 'sealpost.yaml'), CONFIG);
  assert.deepEqual(await certs(site, 'pending', '--json'), { exit: 0, stdout: '[]\n', stderr: '' });
  assert.equal((await certs(site, 'approve', ANNA)).exit, 1);
  assert.throws(() => chmodSync(site.paths.folder, 0o700), { code: 'ENOENT' });
});

test('check and certs list know what waits', { skip: noOpenssl }, async (t) => {
  const site = await makeSite(t);
  const folder = dirname(site.paths.folder);
  for (const name of ['recipients', 'anchors', 'intermediates']) mkdirSync(join(folder, 'certs', name), { recursive: true });
  make(folder, { name: 'ca', extensions: caExtensions });
  make(folder, { name: 'anna', issuer: 'ca', extensions: [`subjectAltName=email:${ANNA}`] });
  copyFileSync(join(folder, 'ca.pem'), join(folder, 'certs/anchors/ca.pem'));
  copyFileSync(join(folder, 'anna.pem'), join(folder, 'certs/recipients/anna.pem'));
  const [certificate] = readCertificates(readFileSync(join(folder, 'anna.pem'))).certificates;
  assert.ok(certificate);
  const store = await site.open();
  await put(store, { id: 'q1', uses: [useOf('old')] });
  await store.known.wait({ ...useOf('new'), fingerprint: certificate.fingerprint });
  await store.close();
  writeFileSync(join(folder, 'sealpost.yaml'), CONFIG);
  assert.match((await sealpost(folder, ['check'])).stdout, /^note: 1 changed certificate waits for approval: sealpost certs pending$/m);
  assert.match((await certs(site, 'list')).stdout, / usable \(waits for approval: sealpost certs pending\) /);
  writeFileSync(join(folder, 'sealpost.yaml'), CONFIG.replace('pin: true', 'pin: false'));
  assert.doesNotMatch((await sealpost(folder, ['check'])).stdout, /approval/);
});
