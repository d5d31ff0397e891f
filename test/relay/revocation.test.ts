/** Revoking, as the operator does it: the running relay refuses, by the file and by the served list, and openssl agrees. */
import assert from 'node:assert/strict';
import { copyFile, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import process from 'node:process';
import { test, type TestContext } from 'node:test';
import { namedIn } from '../../src/certificates/authority/crl.ts';
import type { IssuedRecord } from '../../src/certificates/authority/ledger.ts';
import { readCertificates } from '../../src/certificates/bundle.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { callControl } from '../../src/control.ts';
import { writePlaced } from '../certificates/authority/placed.ts';
import { createAuthority } from '../../src/commands/certificates/authority.ts';
import { freePort, until as within } from '../interop/ports.ts';
import { missingPrograms, run } from '../interop/programs.ts';
import { CLI, makeSite, type Site } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
/** What the docs promise is five seconds. */
const CEILING_MS = 50_000;
const until = (what: string, condition: () => boolean | Promise<boolean>): Promise<void> => within(what, condition, CEILING_MS);

const DORA = 'dora@clinic.example';
const EMIL = 'emil@clinic.example';

interface Setting {
  readonly site: Site;
  readonly url: string;
  readonly events: (event: string) => Promise<Record<string, unknown>[]>;
}

/** A site with an in-house CA that has issued for Dora and Emil. `more`: further keys of `certificates`. */
async function makeSetting(t: TestContext, more: Readonly<Record<string, unknown>> = {}): Promise<Setting> {
  const upstream = await keepingUpstream(t);
  const listPort = await freePort();
  const url = `http://127.0.0.1:${listPort}/in-house.crl`;
  const crl = { url, listen: { host: '127.0.0.1', port: listPort } };
  const site = await makeSite(t, {
    upstreamPort: upstream.port,
    people: [],
    config: { certificates: { authority: { passphrase: 'file:keys/ca.passphrase', crl }, ...more } },
  });
  const at = (name: string): string => join(site.dir, name);
  const places = { keys: at('keys'), anchors: at('certs/anchors'), intermediates: at('certs/intermediates') };
  const { issuing } = await createAuthority(places, 'Clinic', Date.now());
  for (const address of [DORA, EMIL]) await writePlaced(at('certs/recipients'), { authority: issuing, address, crlUrl: url });
  return {
    site,
    url,
    async events(event) {
      const text = await readFile(join(site.data, 'audit.jsonl'), 'utf8');
      const lines = text.slice(0, text.lastIndexOf('\n')).split('\n').filter(Boolean);
      return lines.map((line): Record<string, unknown> => ({ ...JSON.parse(line) })).filter((entry) => entry['event'] === event);
    },
  };
}

/** The reply that refused it; undefined where it was taken. */
const refusal = (port: number, address: string): Promise<string | undefined> => send(port, [address]).then(() => undefined, String);

const certificateAt = async (file: string): Promise<Certificate> =>
  readCertificates(await readFile(file)).certificates[0] ?? assert.fail(file);
const namedThere = async (file: string): Promise<number> => namedIn(await readFile(file)).length;

async function openssl(site: Site, file: string, person: string): Promise<string> {
  const anchors = join(site.dir, 'certs/anchors/in-house-root.pem');
  const lists = ['issuing', 'root'].map((name) => join(site.data, `own-crls/in-house-${name}.crl`));
  const pem = join(site.dir, 'lists.pem');
  const parts = await Promise.all(
    lists.map(async (list) => (await run('openssl', ['crl', '-inform', 'DER', '-in', list], { cwd: site.dir })).stdout),
  );
  await writeFile(pem, Buffer.concat(parts));
  const args = ['verify', '-x509_strict', '-crl_check_all', '-CRLfile', pem, '-CAfile', anchors, '-untrusted', file, person];
  const { stdout, stderr } = await run('openssl', args, { cwd: site.dir });
  return `${stdout.toString()}${stderr}`;
}

test('revoked: the running relay refuses it within the stated time, by file, and openssl agrees', needsOpenssl, async (t) => {
  const { site, events } = await makeSetting(t, { trust: { revocation: 'hard' } });
  const relay = await site.serve();
  // With our own lists at hand nothing is unknown under hard: neither the person's nor that of the issuing CA.
  for (const address of [DORA, EMIL]) assert.equal(await refusal(relay.port, address), undefined, relay.log());
  const said = await site.sealpost('certs', 'revoke', DORA, '--reason', 'keyCompromise', '--by', 'Dr Otto');
  assert.match(
    said,
    /^revoked: dora@clinic\.example, .*, keyCompromise\nlist: data\/own-crls\/in-house-issuing\.crl, number \d+, 1 revoked, /,
  );
  await until('it is refused', async () => /550 5\./.test((await refusal(relay.port, DORA)) ?? ''));
  await until('the log says why', () => /it was revoked on \d{4}-\d\d-\d\d \(keyCompromise\)/.test(relay.log()));
  assert.equal(await refusal(relay.port, EMIL), undefined, 'nobody else is');
  const lookup = await run(process.execPath, [CLI, '-c', site.file, 'certs', 'lookup', DORA], { cwd: site.dir });
  assert.match(lookup.stdout.toString(), /it was revoked on \d{4}-\d\d-\d\d \(keyCompromise\), says the in-house CA/);

  const intermediate = join(site.dir, 'certs/intermediates/in-house-issuing.pem');
  assert.match(await openssl(site, intermediate, join(site.dir, 'certs/recipients', `${DORA}.pem`)), /certificate revoked/);
  assert.match(await openssl(site, intermediate, join(site.dir, 'certs/recipients', `${EMIL}.pem`)), /: OK/);

  const [event, ...others] = await events('certificate-revoked');
  assert.equal(others.length, 0);
  assert.partialDeepStrictEqual(event, {
    recipient: DORA,
    reason: 'keyCompromise',
    certificate_issuer: 'CN=In-house issuing CA of Clinic',
  });
  assert.match(String(event?.['operator']), /^Dr Otto, typed by ./);
  const written = (await events('crl-written')).filter(({ issuer }) => issuer === 'CN=In-house issuing CA of Clinic');
  assert.deepEqual(
    written.map(({ operator, revoked }) => [String(operator).split(',')[0], revoked]),
    [
      ['relay', 0],
      ['Dr Otto', 1],
    ],
  );
});

test('another site that knows the CA by its certificates alone finds the list where they say', needsOpenssl, async (t) => {
  const { site, url } = await makeSetting(t);
  const relay = await site.serve();
  const other = await makeSite(t, {
    upstreamPort: 1,
    people: [],
    config: { certificates: { trust: { fetch_networks: ['127.0.0.0/8'] } } },
  });
  for (const file of [
    'certs/anchors/in-house-root.pem',
    'certs/intermediates/in-house-issuing.pem',
    `certs/recipients/${DORA}.pem`,
    `certs/recipients/${EMIL}.pem`,
  ])
    await copyFile(join(site.dir, file), join(other.dir, file));
  const lookup = async (address: string): Promise<string> =>
    (await run(process.execPath, [CLI, '-c', other.file, 'certs', 'lookup', address], { cwd: other.dir })).stdout.toString();
  assert.match(await lookup(DORA), /  used: /);
  await site.sealpost('certs', 'revoke', DORA, '--reason', 'superseded');
  // A command keeps no list, so this is the first fetch of another relay.
  assert.match(await lookup(DORA), new RegExp(`it was revoked on .* \\(superseded\\), says CRL ${url}`));
  assert.match(await lookup(EMIL), /used: /);
  const status = await new Promise<number>((resolve, reject) => {
    get(new URL('/in-house-root.crl', url), (response) => resolve(response.resume().statusCode ?? 0)).on('error', reject);
  });
  assert.equal(status, 200, "the root's list stands beside it");
  await relay.stop();
});

test('a command that is killed before it writes the list: refused at once, in every mode, and the relay writes the list', async (t) => {
  for (const revocation of ['off', 'soft']) {
    const { site } = await makeSetting(t, { trust: { revocation } });
    const relay = await site.serve();
    const file = join(site.data, 'own-crls/in-house-issuing.crl');
    assert.equal(await refusal(relay.port, DORA), undefined, relay.log());
    const dora = await certificateAt(join(site.dir, 'certs/recipients', `${DORA}.pem`));
    const issuing = await certificateAt(join(site.dir, 'certs/intermediates/in-house-issuing.pem'));
    const record: IssuedRecord = {
      serial: dora.serial,
      fingerprint: dora.fingerprint,
      address: DORA,
      issuer: issuing.fingerprint,
      name: null,
      key: 'P-256',
      notBefore: dora.notBefore.getTime(),
      notAfter: dora.notAfter.getTime(),
      issuedAt: dora.notBefore.getTime(),
      issuedBy: 'otto',
      revoked: { at: Date.now(), reason: 'keyCompromise', by: 'otto' },
      renews: null,
    };
    await callControl(join(site.data, 'control.sock'), { command: 'certs-revoked', operator: 'otto', records: [record] });
    assert.equal(await namedThere(file), 0, 'no list says so yet');
    assert.match((await refusal(relay.port, DORA)) ?? '', /550 5\./, revocation);
    assert.equal(await refusal(relay.port, EMIL), undefined, 'nobody else is');
    await until('the relay writes the list', async () => (await namedThere(file)) === 1);
    // Neither without the list, nor after a start without it.
    await rm(join(site.data, 'own-crls'), { recursive: true });
    assert.match((await refusal(relay.port, DORA)) ?? '', /550 5\./, revocation);
    const lookup = await run(process.execPath, [CLI, '-c', site.file, 'certs', 'lookup', DORA], { cwd: site.dir });
    assert.match(lookup.stdout.toString(), /it was revoked on .* \(keyCompromise\), says the in-house CA/);
    await relay.stop();
    await rm(join(site.dir, 'keys/issuing.key'), { force: true });
    const again = await site.serve();
    assert.match((await refusal(again.port, DORA)) ?? '', /550 5\./, revocation);
    await again.stop();
  }
});

test('a list that is gone, or lacks what was revoked, is written when the relay starts', needsOpenssl, async (t) => {
  const { site } = await makeSetting(t);
  const list = join(site.data, 'own-crls/in-house-issuing.crl');
  await site.sealpost('certs', 'crl');
  const before = await readFile(list);
  await site.sealpost('certs', 'revoke', DORA, '--reason', 'affiliationChanged');
  // As if somebody had pulled the plug between the record and the file.
  await writeFile(list, before);
  const { code, stdout } = await run(process.execPath, [CLI, '-c', site.file, 'check'], { cwd: site.dir });
  assert.equal(code, 1);
  assert.match(
    stdout.toString(),
    /in-house-issuing\.crl: certificates\.authority\.crl: lacks what was revoked since\n {2}mend: sealpost certs crl/,
  );
  const relay = await site.serve();
  assert.match((await refusal(relay.port, DORA)) ?? '', /550 5\./);
  await relay.stop();
  await rm(list);
  const again = await site.serve();
  assert.match((await refusal(again.port, DORA)) ?? '', /550 5\./);
  assert.equal((await stat(list)).mode & 0o777, 0o644);
});
