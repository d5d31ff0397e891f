/** `certs expiring` as an operator and a monitor meet it. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { ISSUED, writeIssued } from '../../src/certificates/authority/ledger.ts';
import { caExtensions, make, noOpenssl } from '../certificates/openssl.ts';
import { useOf } from '../queue/known-suite.ts';
import { makeSite, put, type Site } from '../queue/site.ts';
import { sealpost, type Transcript } from './transcript.ts';

const DAY = 86_400_000;
const CONFIG = `
hostname: relay.clinic.example
operator: postmaster@clinic.example
listen: [{ host: 127.0.0.1, port: 2525, tls: off }]
upstream: [{ host: 127.0.0.1, port: 25, tls: off }]
`;

const inDays = (days: number): number => Math.floor((Date.now() + days * DAY) / 1000) * 1000 + 60_000;
const asn1 = (at: number): string => new Date(at).toISOString().replaceAll(/[-:T]|\.\d+/g, '');
const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** Certificates by name, of a person and so many days; each in a folder of recipients that the CA `root` is trusted for. */
async function makePeople(t: TestContext, people: Readonly<Record<string, readonly [string, number]>>): Promise<Site & { root: string }> {
  const site = await makeSite(t);
  site.clock.now = Date.now();
  const root = dirname(site.paths.folder);
  for (const folder of ['certs/recipients', 'certs/anchors', 'certs/intermediates', 'made', 'data'])
    mkdirSync(join(root, folder), { recursive: true, mode: 0o700 });
  make(join(root, 'made'), { name: 'root', extensions: caExtensions });
  copyFileSync(join(root, 'made/root.pem'), join(root, 'certs/anchors/root.pem'));
  for (const [name, [person, days]] of Object.entries(people)) {
    const extensions = [`subjectAltName=email:${person}@clinic.example`];
    make(join(root, 'made'), { name, issuer: 'root', extensions, from: '20250101000000Z', to: asn1(inDays(days)) });
    copyFileSync(join(root, `made/${name}.pem`), join(root, `certs/recipients/${name}.pem`));
  }
  writeFileSync(join(root, 'sealpost.yaml'), CONFIG);
  return { ...site, root };
}

const expiring = ({ root }: { root: string }, ...words: readonly string[]): Promise<Transcript> =>
  sealpost(root, ['certs', 'expiring', ...words]);

test('what ends is listed with where and whose; what is covered by another one only on request', { skip: noOpenssl }, async (t) => {
  const site = await makePeople(t, {
    'anna-old': ['anna', 5],
    'anna-new': ['anna', 400],
    ben: ['ben', 20],
    carla: ['carla', -3],
    dora: ['dora', 90],
  });
  const listed = await expiring(site);
  assert.equal(listed.stderr, '');
  assert.deepEqual(listed.stdout.trim().split('\n'), [
    `ben@clinic.example    ${dayOf(inDays(20))}  20 days  recipients/ben.pem    -  CN=root`,
    `carla@clinic.example  ${dayOf(inDays(-3))}  ended    recipients/carla.pem  -  CN=root`,
  ]);
  const all = await expiring(site, '--all', '--within', '7d');
  assert.match(all.stdout, new RegExp(`^anna@clinic\\.example .* covered to ${dayOf(inDays(400))} `));
  assert.doesNotMatch(all.stdout, /ben@/);
  const rows: { address: string; covered_by: unknown; days_left: number; in_house: boolean }[] = JSON.parse(
    (await expiring(site, '--within', '100d', '--json')).stdout,
  );
  assert.deepEqual(
    rows.map(({ address, days_left: days }) => [address, days]),
    [
      ['ben@clinic.example', 20],
      ['carla@clinic.example', -3],
      ['dora@clinic.example', 90],
    ],
  );
  const failed = await expiring(site, '--fail');
  assert.equal(failed.exit, 1);
  assert.match(failed.stderr, /2 certificates end or have ended/);
  assert.equal((await expiring(site, '--fail', '--within', 'soon')).exit, 2);
});

test('nothing ends: said on stderr, exit 0 for a monitor too', { skip: noOpenssl }, async (t) => {
  const site = await makePeople(t, { anna: ['anna', 400] });
  assert.deepEqual(await expiring(site, '--fail'), { exit: 0, stdout: '', stderr: 'sealpost: no certificate ends within that time\n' });
  assert.equal((await expiring(site, '--json')).stdout, '[]\n');
});

test(
  'certificates of directories count while mail is sealed to them; what the CA issued is told, what it revoked is not',
  { skip: noOpenssl },
  async (t) => {
    const site = await makePeople(t, { anna: ['anna', 10], ben: ['ben', 10] });
    const store = await site.open();
    const place = 'ldaps://ldap.clinic.example uid=x';
    const use = (name: string, more: object) => useOf(name, { address: `${name}@clinic.example`, source: place, ...more });
    await put(store, { id: 'q1', uses: [use('emil', { notAfter: inDays(9) })] });
    await put(store, { id: 'q2', uses: [useOf('gone', { address: 'fritz@clinic.example', source: 'recipients/gone.pem' })] });
    // Another one has taken its place in the directory.
    site.clock.now -= 20 * DAY;
    await put(store, { id: 'q3', uses: [use('greta', { notAfter: inDays(9) })] });
    site.clock.now += 20 * DAY;
    await put(store, { id: 'q4', uses: [use('greta', { fingerprint: 'ab'.repeat(32), notAfter: inDays(300) })] });
    for (const [name, revoked] of [
      ['anna', null],
      ['ben', { at: 1, reason: 'keyCompromise', by: 'otto' }],
    ] as const) {
      const { fingerprint } = JSON.parse((await sealpost(site.root, ['certs', 'show', `made/${name}.pem`, '--json'])).stdout)[0];
      const serial = Buffer.from(name).toString('hex');
      const record = { serial, fingerprint, address: `${name}@clinic.example`, issuer: 'x', name: null, key: 'rsa', renews: null };
      const times = { notBefore: 1, notAfter: 2, issuedAt: 1, issuedBy: 'otto' };
      await store.records.change([{ kind: ISSUED, key: serial, value: writeIssued({ ...record, ...times, revoked }) }], []);
    }
    await store.close();
    const { stdout } = await expiring(site);
    assert.deepEqual(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(/ {2,}/)),
      [
        ['anna@clinic.example', dayOf(inDays(10)), '10 days', 'recipients/anna.pem', '-', 'in-house'],
        ['emil@clinic.example', dayOf(inDays(9)), '9 days', place, '-', 'CN=clinic CA'],
      ],
    );
  },
);
