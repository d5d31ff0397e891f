/** Several folders that are one source: what one of them cannot read is no absence, and hides nothing that another has (P5). */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { pino } from 'pino';
import { makeFileSource, openRecipientFolder } from '../../src/certificates/files.ts';
import { openSiteCertificates, type SiteCertificates } from '../../src/certificates/site.ts';
import type { CertificateSource } from '../../src/certificates/source.ts';
import { eventually, mailboxOf, make, noOpenssl, temporaryFolder } from './openssl.ts';

const anna = mailboxOf('anna@example.org');

describe('a list of folders', { skip: noOpenssl }, () => {
  const made = temporaryFolder();
  make(made, { name: 'anna' });
  make(made, { name: 'ben' });
  make(made, { name: 'newer', extensions: ['subjectAltName=email:anna@example.org'], from: '20240101000000Z' });

  const opened: SiteCertificates[] = [];
  const sources: CertificateSource[] = [];
  after(async () => {
    for (const one of [...opened, ...sources]) await one.close();
  });

  /** A site of two folders, `data` its data folder, all three certificates its anchors. */
  const open = (
    names = ['recipients', 'data/certs'],
  ): { root: string; put: (to: string, name: string) => void; site: SiteCertificates } => {
    const root = temporaryFolder();
    for (const folder of ['anchors', 'intermediates', 'recipients']) mkdirSync(join(root, folder));
    for (const name of ['anna', 'ben', 'newer']) copyFileSync(join(made, `${name}.pem`), join(root, 'anchors', `${name}.pem`));
    const put = (to: string, name: string): void => {
      mkdirSync(join(root, to, '..'), { recursive: true });
      copyFileSync(join(made, `${name}.pem`), join(root, to));
    };
    put('recipients/ben.pem', 'ben');
    const site = openSiteCertificates(
      {
        sources: [{ files: names.map((name) => join(root, name)) }],
        cache: { found: 0, absent: 0, stale: 0 },
        trust: { anchors: join(root, 'anchors'), intermediates: join(root, 'intermediates'), revocation: 'off', fetchNetworks: [] },
      },
      {
        now: Date.now,
        log: pino({ level: 'silent' }),
        patience: 10_000,
        cache: { folder: join(root, 'data'), writable: true },
        own: join(root, 'data/certs'),
        ldapSecrets: () => Promise.reject(new Error('there is no LDAP source')),
      },
    );
    opened.push(site);
    return { root, put, site };
  };
  const used = async ({ directory }: SiteCertificates): Promise<string> => {
    const lookup = await directory.lookup(anna);
    return lookup.kind === 'found' ? lookup.chosen.map(({ place }) => place).join(' ') : lookup.kind;
  };
  const becomes = (site: SiteCertificates, expected: string): Promise<void> => eventually(async () => (await used(site)) === expected);

  test('P9 the choice sees the certificates of all of them together: the newest first, wherever it lies', async () => {
    const { put, site } = open();
    assert.equal(await used(site), 'absent');
    put('data/certs/anna.pem', 'anna');
    await becomes(site, 'data/certs/anna.pem');
    put('recipients/anna.pem', 'newer');
    await becomes(site, 'recipients/anna.pem data/certs/anna.pem');
  });

  test("P5 the relay's own folder is empty until there is something in it; another one that is missing proves no absence", async () => {
    const { site, root } = open();
    assert.equal(await used(site), 'absent');
    const other = open(['recipients', 'second']);
    assert.equal(await used(other.site), 'unavailable');
    other.put('recipients/anna.pem', 'anna');
    await becomes(other.site, 'recipients/anna.pem');
    mkdirSync(join(root, 'data/certs'), { recursive: true });
    await site.recipients[1]?.refresh();
    assert.equal(await used(site), 'absent');
  });

  test('P5 the own folder that held certificates and is gone makes nobody absent, and hides nothing of the other', async () => {
    const { put, root, site } = open();
    put('data/certs/anna.pem', 'anna');
    await becomes(site, 'data/certs/anna.pem');
    renameSync(join(root, 'data/certs'), join(root, 'elsewhere'));
    await becomes(site, 'unavailable');
    const ben = await site.directory.lookup(mailboxOf('ben@example.org'));
    assert.equal(ben.kind, 'found');
    assert.match(ben.asked[0]?.remarks.join() ?? '', /not all could be read: .*data\/certs/);
    renameSync(join(root, 'elsewhere'), join(root, 'data/certs'));
    await becomes(site, 'data/certs/anna.pem');
  });

  test('P9 while the newest is half-written in one folder, the older one of another does not take its place', async () => {
    const root = temporaryFolder();
    const folders = ['recipients', 'own'].map((name) => {
      mkdirSync(join(root, name));
      copyFileSync(join(made, name === 'own' ? 'anna.pem' : 'newer.pem'), join(root, name, 'anna.pem'));
      const cache = { folder: join(root, 'cache'), writable: true };
      // Nothing of what was read stays in memory: the file alone could answer.
      return openRecipientFolder({ path: join(root, name), log: pino({ level: 'silent' }), cache, heldBytes: 0 });
    });
    const [first, second] = folders;
    assert.ok(first !== undefined && second !== undefined);
    const source = makeFileSource(first, second);
    sources.push(source);
    const found = async (): Promise<string> => {
      const answer = await source.lookup(anna, new AbortController().signal);
      return answer.kind === 'found' ? answer.candidates.map(({ place }) => place).join(' ') : answer.kind;
    };
    assert.equal(await found(), 'recipients/anna.pem own/anna.pem');
    const file = join(root, 'recipients/anna.pem');
    const whole = readFileSync(file);
    truncateSync(file, 200);
    await first.refresh();
    assert.equal(await found(), 'unavailable');
    writeFileSync(file, whole);
    await eventually(async () => (await found()) === 'recipients/anna.pem own/anna.pem');
    rmSync(file);
    await eventually(async () => (await found()) === 'own/anna.pem');
  });

  test('places tell the folders apart, also those of one name', async () => {
    const { put, site } = open(['north/certs', 'south/certs', 'data/certs']);
    for (const folder of ['north', 'south']) put(`${folder}/certs/anna.pem`, folder === 'north' ? 'anna' : 'newer');
    await Promise.all(site.recipients.map((folder) => folder.refresh()));
    await becomes(site, 'south/certs/anna.pem north/certs/anna.pem');
  });
});
