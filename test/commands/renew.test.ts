/** `sealpost certs renew` as people run it. */
import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { after, before, describe, test, type TestContext } from 'node:test';
import { openAuthority } from '../../src/certificates/authority/files.ts';
import { issueCertificate } from '../../src/certificates/authority/issue.ts';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { certificatePem } from '../../src/certificates/pem.ts';
import { isKeyOf, openPkcs12 } from '../../src/certificates/pkcs12/keys.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { sealpost, temporaryFolder, type Transcript } from './transcript.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');
const ONE_LEVEL = join(import.meta.dirname, '../certificates/authority/one-level');
const noFaketime = missingPrograms({ faketime: 'faketime' }) ?? false;
const today = new Date().toISOString().slice(0, 10);
const OUT = `issued/renewed-${today}`;

describe('sealpost certs renew', () => {
  /** A site with Anna (20 days), Ben (EC, 825 days) and Carla (20 days); each test works on a copy. */
  let pattern: string;
  before(async () => {
    pattern = await realpath(await mkdtemp(join(tmpdir(), 'renew-')));
    const made = await sealpost(pattern, ['init', '.']);
    assert.equal(made.exit, 0, made.stderr);
    for (const [address, ...wish] of [
      ['Anna@clinic.example', '--days', '20', '--name', 'Anna Bär'],
      ['ben@clinic.example', '--key', 'ec'],
      ['carla@clinic.example', '--key', 'ec', '--days', '20'],
    ])
      assert.equal((await sealpost(pattern, ['certs', 'issue', address ?? '', ...wish])).exit, 0);
  });
  after(() => rm(pattern, { recursive: true, force: true }));

  const siteOf = async (t: TestContext): Promise<string> => {
    const site = await temporaryFolder(t);
    await cp(pattern, site, { recursive: true, preserveTimestamps: true });
    return site;
  };
  const renew = (site: string, ...words: string[]): Promise<Transcript> => sealpost(site, ['certs', 'renew', ...words]);
  const held = async (site: string, address: string) =>
    readCertificates(await readFile(join(site, 'certs/recipients', `${address}.pem`))).certificates;
  const events = async (site: string): Promise<string[]> =>
    (await readFile(join(site, 'data/audit.jsonl'), 'utf8').catch(() => '')).match(/"event":"certificate-renewed"/g) ?? [];

  test('a new key beside the old one: PKCS#12, password and page for their owner alone', async (t) => {
    const site = await siteOf(t);
    const { exit, stdout, stderr } = await renew(site, 'anna@clinic.example');
    assert.deepEqual([exit, stderr], [0, '']);
    assert.match(stdout, /^renewed: anna@clinic\.example, RSA-2048, valid until \d{4}-\d\d-\d\d, the old one until \d{4}-\d\d-\d\d\n/);
    assert.match(stdout, new RegExp(`private key  ${OUT}/anna@clinic\\.example\\.p12\n`));
    assert.match(stdout, /they keep the old one\./);
    const [old, made, ...more] = await held(site, 'anna@clinic.example');
    assert.ok(old !== undefined && made !== undefined && more.length === 0);
    assert.deepEqual([made.subject, made.addresses], ['CN=Anna Bär', old.addresses]);
    const password = (await readFile(join(site, OUT, 'anna@clinic.example.password'), 'utf8')).trim();
    const [pair] = openPkcs12(await readFile(join(site, OUT, 'anna@clinic.example.p12')), password);
    assert.ok(pair !== undefined && isKeyOf(pair.key, made) && !isKeyOf(pair.key, old));
    assert.equal(pair.others.length, 2, 'the issuing CA and the root');
    for (const name of await readdir(join(site, OUT))) assert.equal((await stat(join(site, OUT, name))).mode & 0o777, 0o600, name);
    const page = await readFile(join(site, OUT, 'anna@clinic.example.html'), 'utf8');
    assert.match(page, /Anna Bär/);
    assert.ok(page.includes(old.fingerprint.slice(0, 4).toUpperCase()));
    for (const text of [page, stdout, JSON.stringify(await readFile(join(site, 'data/audit.jsonl'), 'utf8'))])
      assert.equal(text.includes(password), false, 'the password stands in its file alone');
  });

  test('a fourth certificate, which would leave the first unnamed while it is valid, is refused also with --again', async (t) => {
    const site = await siteOf(t);
    const again = (out: string): Promise<Transcript> => renew(site, 'carla@clinic.example', '--again', '--out', out);
    for (const out of ['one', 'two']) assert.equal((await again(out)).exit, 0);
    const [first] = await held(site, 'carla@clinic.example');
    const { exit, stderr } = await again('three');
    assert.equal(exit, 1);
    assert.ok(stderr.includes(`mail names its 3 newest, and ${first?.fingerprint.slice(0, 16)}, valid until `), stderr);
    assert.equal((await held(site, 'carla@clinic.example')).length, 3);
    assert.equal(
      (await renew(site, 'carla@clinic.example', '--again', '--key', 'rsa', '--out', 'rsa')).exit,
      0,
      'another type stands apart',
    );
  });

  test('given twice it renews once; --again says that it is meant', async (t) => {
    const site = await siteOf(t);
    assert.equal((await renew(site, 'anna@clinic.example')).exit, 0);
    const { exit, stdout, stderr } = await renew(site, 'anna@clinic.example', 'ben@clinic.example', '--json');
    assert.equal(exit, 1);
    assert.match(stderr, /^sealpost: anna@clinic\.example was not renewed: a newer one was made on .*; --again makes another\n/);
    const told = JSON.parse(stdout);
    assert.deepEqual([told.dry_run, told.renewed.length, told.refused.length], [false, 1, 1]);
    assert.deepEqual([told.renewed[0].address, told.renewed[0].key, told.renewed[0].renews.key], ['ben@clinic.example', 'P-256', 'P-256']);
    const [old] = await held(site, 'anna@clinic.example');
    assert.match((await renew(site, old?.fingerprint.slice(0, 16) ?? '')).stderr, /a newer one was made/);
    assert.match((await renew(site, 'anna@clinic.example', '--again')).stderr, /a file is in the way: issued\/renewed-/);
    assert.equal((await renew(site, 'anna@clinic.example', '--again', '--out', 'third')).exit, 0);
    assert.equal((await held(site, 'anna@clinic.example')).length, 3);
    assert.equal((await events(site)).length, 3);
  });

  test('a run that was interrupted before the certificate stood in its folder is done anew', async (t) => {
    const site = await siteOf(t);
    const file = join(site, 'certs/recipients/anna@clinic.example.pem');
    const before = await readFile(file);
    assert.equal((await renew(site, 'anna@clinic.example')).exit, 0);
    await writeFile(file, before);
    assert.match((await renew(site, 'anna@clinic.example')).stderr, /a file is in the way: issued\/renewed-/);
    assert.equal((await renew(site, 'anna@clinic.example', '--out', 'second')).exit, 0);
    assert.equal((await held(site, 'anna@clinic.example')).length, 2);
    assert.equal((await events(site)).length, 2, 'the ledger keeps the one that nobody has');
  });

  test('--within: those that end in time and stand in the folder; a dry run makes nothing', { skip: noFaketime }, async (t) => {
    const site = await siteOf(t);
    const before = await held(site, 'anna@clinic.example');
    assert.deepEqual(await renew(site, '--within', '30d'), {
      exit: 0,
      stdout: '',
      stderr: 'sealpost: none of the in-house CA ends within that time\n',
    });
    // They are as young as this test; in their second half they are due.
    const later = await ahead(site, 11, 'certs', 'renew', '--within', '30d', '--dry-run');
    assert.match(later, /^would renew: anna@clinic\.example, RSA-2048, the old one until .*\nwould renew: carla@clinic\.example, P-256, /);
    assert.deepEqual(await held(site, 'anna@clinic.example'), before);
    assert.deepEqual(
      (await readdir(join(site, 'issued'))).filter((name) => name.startsWith('renewed')),
      [],
    );
    await rm(join(site, 'certs/recipients/carla@clinic.example.pem'));
    assert.match(await ahead(site, 11, 'certs', 'renew', '--within', '30d'), /^renewed: anna@clinic\.example, [^\n]*\n  cert/);
    assert.equal(await ahead(site, 12, 'certs', 'renew', '--within', '30d'), '');
    assert.match(await ahead(site, 50, 'certs', 'renew', '--within', '30d', '--out', 'late'), /^renewed: anna@clinic\.example/);
    assert.equal((await held(site, 'anna@clinic.example')).length, 3);
  });

  test('another kind of key: done, and told that the old one opens nothing from now on', async (t) => {
    const site = await siteOf(t);
    const { exit, stderr } = await renew(site, 'anna@clinic.example', '--key', 'ec', '--days', '90');
    assert.equal(exit, 0);
    assert.equal(
      stderr,
      'sealpost: anna@clinic.example: the old key is RSA-2048, the new one P-256: mail names one type, so the old one opens nothing from now on\n',
    );
    const [, made] = await held(site, 'anna@clinic.example');
    assert.equal(Math.round(((made?.notAfter.getTime() ?? 0) - Date.now()) / 86_400_000), 90);
  });

  test('what lasts as long as the CA gains nothing, and is told so', async (t) => {
    const site = await siteOf(t);
    assert.equal((await sealpost(site, ['certs', 'issue', 'emil@clinic.example', '--key', 'ec', '--days', '3652', '--out', 'x'])).exit, 0);
    const { exit, stderr } = await renew(site, 'emil@clinic.example');
    assert.equal(exit, 1);
    assert.match(
      stderr,
      /emil@clinic\.example was not renewed: the in-house CA itself ends on \d{4}-\d\d-\d\d, and no certificate lasts longer/,
    );
    assert.equal((await held(site, 'emil@clinic.example')).length, 1);
  });

  test('what cannot be renewed: strangers, nobody, no words at all', async (t) => {
    const site = await siteOf(t);
    const { exit, stderr } = await renew(site, 'nobody@clinic.example', 'f00', '0123456789abcdef');
    assert.equal(exit, 1);
    assert.match(stderr, /nobody@clinic\.example was not renewed: the in-house CA has signed none for it: sealpost certs issue/);
    assert.match(stderr, /f00 was not renewed: neither an address nor 8 figures/);
    assert.match(stderr, /0123456789abcdef was not renewed: the in-house CA has signed no such certificate/);
    assert.match((await renew(site)).stderr, /hint: sealpost certs renew --within 30d --dry-run/);
    assert.equal((await renew(site, 'ben@clinic.example', '--within', '30d')).exit, 2);
    assert.equal((await renew(site, '--within', 'soon')).exit, 2);
  });

  test('A22: one that only names the CA as its issuer is none of its own', async (t) => {
    const [site, other] = [await siteOf(t), await temporaryFolder(t)];
    // The same name, another key: as anybody could make it.
    assert.equal((await sealpost(other, ['init', '.'])).exit, 0);
    assert.equal((await sealpost(other, ['certs', 'issue', 'mallory@clinic.example'])).exit, 0);
    await cp(join(other, 'certs/recipients'), join(site, 'certs/recipients'), { recursive: true });
    assert.match((await renew(site, 'mallory@clinic.example')).stderr, /the in-house CA has signed none for it/);
  });

  test('a CA of an earlier release, of one level and without a ledger, renews what it has signed', async (t) => {
    const site = await temporaryFolder(t);
    for (const folder of ['certs/recipients', 'certs/anchors', 'certs/intermediates', 'keys'])
      await mkdir(join(site, folder), { recursive: true });
    const ends = { listen: [{ host: '127.0.0.1', port: 2525 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
    const config = { hostname: 'relay.clinic.example', operator: 'postmaster@clinic.example', ...ends };
    await writeFile(join(site, 'sealpost.yaml'), JSON.stringify(config));
    await cp(join(ONE_LEVEL, 'ca.key'), join(site, 'keys/ca.key'));
    await cp(join(ONE_LEVEL, 'in-house-ca.pem'), join(site, 'certs/anchors/in-house-ca.pem'));
    const places = { keys: join(site, 'keys'), anchors: join(site, 'certs/anchors'), intermediates: join(site, 'certs/intermediates') };
    const { issuing } = openAuthority(places, undefined);
    const wish = { mailbox: mailboxOf('dora@clinic.example'), name: 'Dora', key: 'ec', days: 10, now: Date.now() } as const;
    const { certificate: old } = await issueCertificate({ authority: issuing, ...wish });
    await writeFile(join(site, 'certs/recipients/dora@clinic.example.pem'), certificatePem(old));
    const { exit, stdout, stderr } = await renew(site, old.fingerprint);
    assert.deepEqual([exit, stderr], [0, '']);
    assert.match(stdout, /^renewed: dora@clinic\.example, P-256, /);
    const [, made] = await held(site, 'dora@clinic.example');
    assert.deepEqual([made?.subject, made?.issuer], ['CN=Dora', old.issuer]);
    assert.match((await renew(site, 'dora@clinic.example')).stderr, /a newer one was made/);
  });
});

/** A command some days ahead: what it prints. */
async function ahead(site: string, days: number, ...words: readonly string[]): Promise<string> {
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', CLI, ...words];
  const environment = { NODE_NO_WARNINGS: '1' };
  return (await succeed('faketime', ['-f', `+${days}d`, ...command], { cwd: site, env: environment })).toString();
}
