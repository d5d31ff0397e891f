/**
 * Mail that cannot be sealed now is held, and goes out later: by hand with the key elsewhere, and by the relay itself. The relay as a process,
 * a directory that goes down, certificates that have ended, and openssl as the reader.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { type TestContext, test } from 'node:test';
import { issueCertificate, makeAuthority, DAY_MS } from '../../src/certificates/authority/issue.ts';
import { certificatePem } from '../../src/certificates/pem.ts';
import { createHold, keysIn } from '../../src/commands/hold-key.ts';
import { operatorName } from '../../src/commands/locate.ts';
import { openMessage } from '../../src/seal/open.ts';
import { openDatabaseReadOnly } from '../../src/queue/schema.ts';
import { BASE, noSlapd, person, startSlapd } from '../certificates/ldap/slapd.ts';
import { caExtensions, derOf, make } from '../certificates/openssl.ts';
import { mailbox as mailboxOf } from '../hold/world.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { makeSite, type Site, type SiteOptions } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
const FORM = 'From: forms@clinic.example\r\nSubject: intake of Anna\r\nContent-Type: text/plain\r\n\r\nthe secret word is plover\r\n';
const holds = { name: 'forms', then: 'seal', subject: { replace: 'a form [{queue_id}]' }, missing: 'hold', unavailable: 'hold' };

async function holdingSite(t: TestContext, options: Partial<SiteOptions> = {}) {
  const upstream = await keepingUpstream(t);
  const cache = { certificates: { cache: { found: '1s', absent: '1s', stale: '1s' } } };
  const config = { hold: { passphrase: 'file:keys/hold.passphrase' }, ...cache, ...options.config };
  const site = await makeSite(t, { upstreamPort: upstream.port, rules: [holds], people: ['otto'], ...options, config });
  const keys = keysIn(join(site.dir, 'keys'));
  await createHold(keys, 'Clinic', Date.now());
  return { site, upstream };
}

/** SHA-256 of each stored body, in their order; those of notices are empty, and left out. */
function bodiesOf(site: Site): string[] {
  const db = openDatabaseReadOnly(join(site.data, 'queue.sqlite'));
  try {
    return db
      .prepare('SELECT bytes FROM bodies WHERE length > 0 ORDER BY id')
      .all()
      .map(({ bytes }) =>
        createHash('sha256')
          .update(bytes instanceof Uint8Array ? bytes : '')
          .digest('hex'),
      );
  } finally {
    db.close();
  }
}

/** The ciphertext of a message as the upstream was handed it. */
async function ciphertextOf(folder: string, message: string): Promise<string> {
  const der = join(folder, 'sent.p7m');
  await writeFile(der, Buffer.from(message.slice(message.indexOf('\r\n\r\n')).replaceAll(/\s/g, ''), 'base64'));
  const parsed = (await succeed('openssl', ['asn1parse', '-inform', 'DER', '-in', der])).toString();
  const [, offset, header, length] = /^\s*(\d+):d=\d+\s+hl=(\d+) l=\s*(\d+) prim: cont \[ 0 \]\s*$/m.exec(parsed) ?? [];
  const start = Number(offset) + Number(header);
  return createHash('sha256')
    .update((await readFile(der)).subarray(start, start + Number(length)))
    .digest('hex');
}

async function openedBy(site: Site, name: 'anna' | 'otto', message: string): Promise<string> {
  const file = join(site.dir, 'sent.eml');
  await writeFile(file, message, 'latin1');
  const { certificate, key } = site.readers.people[name];
  return (await succeed('openssl', ['cms', '-decrypt', '-in', file, '-recip', certificate, '-inkey', key])).toString();
}

const recordsOf = async (site: Site, queueId: string): Promise<Record<string, unknown>[]> =>
  (await readFile(join(site.data, 'audit.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => Object.assign({}, JSON.parse(line)))
    .filter((event) => event['queue_id'] === queueId);

test(
  'held while there is no certificate, released by hand with the key elsewhere: the same ciphertext, opened by openssl',
  needsOpenssl,
  async (t) => {
    const { site, upstream } = await holdingSite(t);
    const safe = join(site.dir, 'safe');
    await mkdir(safe, { mode: 0o700 });
    for (const name of ['hold.key', 'hold.passphrase']) await rename(join(site.dir, 'keys', name), join(safe, name));
    const relay = await site.serve();
    const { address, certificate } = site.readers.people.anna;
    const queueId = await send(relay.port, [address], FORM);
    const [before] = bodiesOf(site);
    const named = ['--key', join(safe, 'hold.key'), '--passphrase', `file:${join(safe, 'hold.passphrase')}`];
    await assert.rejects(site.sealpost('queue', 'release', queueId), /the key of held mail is not here/);
    await assert.rejects(site.sealpost('queue', 'release', queueId, ...named), /1 stays held/);
    // Of another pair: it is not tried on the mail at all.
    const other = ['--key', site.readers.people.otto.key];
    await assert.rejects(site.sealpost('queue', 'release', '--all', ...other), /that is not the key of/);

    await copyFile(certificate, join(site.dir, 'certs/recipients/anna.pem'));
    let said = '';
    await until('released', async () => {
      said = await site.sealpost('queue', 'release', queueId, ...named, '--json').catch(() => '');
      return said !== '';
    });
    assert.deepEqual(JSON.parse(said), { queueId, recipient: address, state: 'released', rule: 'forms', why: null, reencrypted: false });
    const mail = () => upstream.deliveries().filter(({ recipient }) => recipient === address);
    await until('delivered', () => mail().length === 1);
    const [sent = ''] = mail().map(({ octets }) => octets.toString('latin1'));
    assert.equal(await ciphertextOf(site.dir, sent), before, 'the ciphertext is the very one that was stored');
    assert.match(sent, new RegExp(`^Subject: a form \\[${queueId}\\]\r$`, 'm'));
    assert.match(await openedBy(site, 'anna', sent), /^Subject: intake of Anna\r\n[^]*the secret word is plover/);
    assert.ok(!relay.log().includes('plover'));
    await relay.stop();
    const events = (await recordsOf(site, queueId)).map(({ event }) => event);
    assert.deepEqual(events, ['accepted', 'held', 'released', 'sealed', 'delivered']);
  },
);

test(
  'LDAP down and a certificate that has ended: the form gets its 250, and the mail goes out by itself, over a restart',
  { skip: noSlapd || needsOpenssl.skip },
  async (t) => {
    const certificates = {
      sources: [{ files: 'certs/recipients' }, { ldap: { url: 'ldaps://127.0.0.1', base: BASE, ca: 'ldap/ca.pem' } }],
      cache: { found: '1s', absent: '1s', stale: '1s' },
    };
    const { site, upstream } = await holdingSite(t, { people: ['otto'], config: { certificates } });
    const reader = site.readers.people.anna;
    const entry = person({ name: 'anna', mail: [reader.address], userCertificate: [derOf(await readFile(reader.certificate, 'latin1'))] });
    const folder = join(site.dir, 'ldap');
    await mkdir(folder);
    make(folder, { name: 'ca', extensions: caExtensions });
    make(folder, { name: 'server', issuer: 'ca', extensions: ['subjectAltName=IP:127.0.0.1', 'extendedKeyUsage=serverAuth'] });
    const slapd = await startSlapd(t, { ldif: entry, tls: { cert: join(folder, 'server.pem'), key: join(folder, 'server.key') } });
    await writeFile(site.file, (await readFile(site.file, 'utf8')).replace('ldaps://127.0.0.1', `ldaps://127.0.0.1:${slapd.tlsPort}`));
    // Carla's ended last night.
    const now = Date.now();
    const authority = await makeAuthority({ name: 'CA', now: now - 3 * DAY_MS });
    await writeFile(join(site.dir, 'certs/anchors/ours.pem'), certificatePem(authority.certificate));
    const mailbox = mailboxOf('carla@clinic.example');
    const issue = (at: number) => issueCertificate({ authority, mailbox, key: 'rsa', days: 1, now: at });
    await writeFile(join(site.dir, 'certs/recipients/carla.pem'), certificatePem((await issue(now - 2 * DAY_MS)).certificate));
    const relay = await site.serve();
    const ended = await send(relay.port, [mailbox.address], FORM);
    await slapd.stop();
    const down = await send(relay.port, [reader.address], FORM);
    const before = bodiesOf(site);
    await relay.stop();

    const renewed = await issue(now);
    await writeFile(join(site.dir, 'certs/recipients/carla.pem'), certificatePem(renewed.certificate));
    // No relay runs: the command does it itself, with the key that is there.
    const said = await site.sealpost('queue', 'release', ended);
    assert.equal(said, `${ended}  ${mailbox.address}  released by rule forms\n`);
    await slapd.start();
    const again = await site.serve();
    const sentTo = (address: string) => upstream.deliveries().filter(({ recipient }) => recipient === address);
    await until('both delivered', () => sentTo(reader.address).length + sentTo(mailbox.address).length === 2, 20_000);
    const [toAnna = '', toCarla = ''] = [reader.address, mailbox.address].flatMap(sentTo).map(({ octets }) => octets.toString('latin1'));
    assert.deepEqual(
      [await ciphertextOf(site.dir, toCarla), await ciphertextOf(site.dir, toAnna)],
      before,
      'the very ciphertexts that were stored',
    );
    assert.match(await openedBy(site, 'anna', toAnna), /the secret word is plover/);
    const [carla] =
      openMessage(Buffer.from(toCarla, 'latin1'), [renewed])
        .entity.toString()
        .match(/the secret word is plover/) ?? [];
    assert.ok(carla);
    await again.stop();
    for (const [queueId, because, operator] of [
      [ended, 'missing', operatorName({ env: process.env })],
      [down, 'unavailable', 'relay'],
    ] as const) {
      const events = await recordsOf(site, queueId);
      assert.equal(events.find(({ event }) => event === 'held')?.['because'], because);
      assert.equal(events.find(({ event }) => event === 'released')?.['operator'], operator);
    }
  },
);
