/** Revocation of a whole site, from its configuration: what asks, what only looks, what is kept, and what changes a verdict. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { openSiteCertificates, type SiteCertificates } from '../../../src/certificates/site.ts';
import { pathsOf } from '../../../src/commands/certificates/paths.ts';
import { loadConfig } from '../../../src/config.ts';
import { caExtensions, eventually, mailboxOf, make, noOpenssl, run, temporaryFolder } from '../openssl.ts';
import { freePort, read, startResponder, writeIndex } from './responder.ts';

const DAY = 24 * 3_600_000;
const NOW = Date.now();

describe('revocation of a site', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const logged: string[] = [];
  const log = pino({}, { write: (line: string) => void logged.push(line) });
  const open: SiteCertificates[] = [];
  const lists = createServer((_request, response) => {
    fetched++;
    response.end(readFileSync(join(folder, 'root.crl')));
  });
  let port = 0;
  let fetched = 0;

  before(async () => {
    const listPort = await freePort();
    lists.listen(listPort, '127.0.0.1');
    await once(lists, 'listening');
    port = await freePort();
    for (const name of ['anchors', 'intermediates', 'recipients', 'strict']) mkdirSync(join(folder, 'certs', name), { recursive: true });
    make(folder, { name: 'root', extensions: caExtensions });
    make(folder, { name: 'strict', extensions: caExtensions });
    const issue = (name: string, issuer: string, domain: string, ...extensions: string[]): void => {
      make(folder, { name, issuer, extensions: [`subjectAltName=email:${name}@${domain}`, ...extensions] });
      copyFileSync(join(folder, `${name}.pem`), join(folder, 'certs/recipients', `${name}.pem`));
    };
    issue('anna', 'root', 'clinic.example', `crlDistributionPoints=URI:http://127.0.0.1:${listPort}/root.crl`);
    issue('ben', 'root', 'clinic.example', `authorityInfoAccess=OCSP;URI:http://127.0.0.1:${port}/`);
    issue('cleo', 'root', 'clinic.example');
    issue('dora', 'strict', 'partner.example');
    copyFileSync(join(folder, 'root.pem'), join(folder, 'certs/anchors/root.pem'));
    copyFileSync(join(folder, 'strict.pem'), join(folder, 'certs/strict/strict.pem'));
    writeIndex(folder, 'index', [{ certificate: read(folder, 'ben'), status: 'V' }]);
    writeFileSync(join(folder, 'empty'), '');
    list('empty', 'root.crl');
  });

  after(() => lists.close());

  const list = (index: string, out: string): void => {
    writeFileSync(join(folder, 'crl.cnf'), `[ca]\ndefault_ca=d\n[d]\ndatabase=${index}\ndefault_md=sha256\n`);
    const by = ['-keyfile', 'root.key', '-cert', 'root.pem', '-crldays', '2'];
    run('openssl', ['ca', '-gencrl', '-config', 'crl.cnf', ...by, '-out', 'list.pem'], folder);
    run('openssl', ['crl', '-in', 'list.pem', '-outform', 'DER', '-out', out], folder);
  };

  /** `trust`: lines below certificates.trust; `data`: the folder for caches. */
  const site = async (data: string, trust: string, { writable = true, now = NOW } = {}): Promise<SiteCertificates> => {
    const text = `hostname: relay.clinic.example
operator: postmaster@clinic.example
listen: [{ host: 127.0.0.1, port: 2525 }]
upstream: [{ host: 127.0.0.1, port: 25 }]
queue: { sqlite: ${data}/queue.sqlite }
certificates: { trust: { fetch_networks: [127.0.0.0/8], ${trust} } }
`;
    writeFileSync(join(folder, 'sealpost.yaml'), text);
    const config = await loadConfig({ env: {}, cwd: folder });
    const { options } = pathsOf(config, {});
    const cache = { folder: join(folder, data), writable };
    const opened = openSiteCertificates(config.certificates, { ...options, cache, now: () => now, log });
    open.push(opened);
    return opened;
  };
  const asked = async ({ directory }: SiteCertificates, address: string): Promise<string> =>
    (await directory.lookup(mailboxOf(address))).kind;
  const shut = async (): Promise<void> => {
    for (const one of open.splice(0)) await one.close();
  };

  test('lists and answers are fetched, kept for the next start, and closed to others', async () => {
    const responder = await startResponder(folder, port, { ca: 'root', signer: 'root', index: 'index', more: ['-ndays', '2'] });
    try {
      const first = await site('data', 'revocation: hard');
      assert.equal(await asked(first, 'anna@clinic.example'), 'found');
      assert.equal(await asked(first, 'ben@clinic.example'), 'found');
      await eventually(async () => existsSync(join(folder, 'data/crls')) && readdirSync(join(folder, 'data/crls')).length === 1);
    } finally {
      await responder.stop();
      await shut();
    }
    const [answer = ''] = readdirSync(join(folder, 'data/ocsp'));
    assert.match(answer, /^[0-9a-f]{64}\.ocsp$/);
    assert.equal(statSync(join(folder, 'data/ocsp')).mode & 0o77, 0);
    assert.equal(statSync(join(folder, 'data/ocsp', answer)).mode & 0o77, 0);
    const before = fetched;
    const second = await site('data', 'revocation: hard');
    assert.equal(await asked(second, 'ben@clinic.example'), 'found', 'its responder is gone');
    assert.equal(await asked(second, 'anna@clinic.example'), 'found');
    await shut();
    assert.equal(fetched, before);
  });

  test('A23: a clock that went ahead makes all that is kept stale: unavailable under hard, said under soft', async () => {
    const late = { now: NOW + 30 * DAY, writable: false };
    assert.equal(await asked(await site('data', 'revocation: hard', late), 'ben@clinic.example'), 'unavailable');
    assert.equal(await asked(await site('data', 'revocation: hard', late), 'anna@clinic.example'), 'unavailable');
    logged.length = 0;
    assert.equal(await asked(await site('data', 'revocation: soft', late), 'ben@clinic.example'), 'found');
    assert.ok(logged.some((line) => line.includes('revocation is unknown, the certificate is taken')));
    await shut();
  });

  test('a look at many certificates fetches nothing; a command that only looks writes nothing', async () => {
    const looking = await site('empty-data', 'revocation: soft', { writable: false });
    const before = fetched;
    const verdict = await looking.trust.judge(read(folder, 'anna'), mailboxOf('anna@clinic.example'), AbortSignal.timeout(10_000));
    assert.equal(verdict.kind, 'trusted');
    assert.match(verdict.revocation, /^unknown: .*not fetched/);
    assert.equal(fetched, before);
    assert.equal(await asked(looking, 'anna@clinic.example'), 'found');
    assert.ok(fetched > before);
    await shut();
    assert.ok(!existsSync(join(folder, 'empty-data')));
  });

  test('the anchors of a set have a mode of their own', async () => {
    const set = (mode: string): string => `anchor_sets: [{ anchors: certs/strict, domains: [partner.example], revocation: ${mode} }]`;
    const strict = await site('data', `revocation: soft, ${set('hard')}`);
    assert.equal(await asked(strict, 'cleo@clinic.example'), 'found');
    assert.equal(await asked(strict, 'dora@partner.example'), 'absent', 'it names nobody to ask, which lasts');
    const easy = await site('data', `revocation: hard, ${set('off')}`);
    assert.equal(await asked(easy, 'dora@partner.example'), 'found');
    assert.equal(await asked(easy, 'cleo@clinic.example'), 'absent');
    await shut();
  });

  test('a list in the folder answers for certificates that name none, and counts as soon as it changes', async () => {
    mkdirSync(join(folder, 'certs/crls'));
    const relay = await site('data', 'revocation: hard, crls: certs/crls');
    assert.equal(await asked(relay, 'cleo@clinic.example'), 'absent');
    list('empty', 'certs/crls/.new');
    renameSync(join(folder, 'certs/crls/.new'), join(folder, 'certs/crls/root.crl'));
    await eventually(async () => (await asked(relay, 'cleo@clinic.example')) === 'found');
    writeIndex(folder, 'gone', [{ certificate: read(folder, 'cleo'), status: 'R 260501120000Z,superseded' }]);
    list('gone', 'certs/crls/.new');
    renameSync(join(folder, 'certs/crls/.new'), join(folder, 'certs/crls/root.crl'));
    await eventually(async () => (await asked(relay, 'cleo@clinic.example')) === 'absent');
    const { directory } = relay;
    const lookup = await directory.lookup(mailboxOf('cleo@clinic.example'));
    assert.ok(
      lookup.kind === 'absent' && lookup.rejected.some(({ reason }) => reason.startsWith('it was revoked on 2026-05-01 (superseded)')),
    );
    await shut();
  });
});
