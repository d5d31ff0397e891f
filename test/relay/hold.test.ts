/**
 * Mail that cannot be sealed now is held, and goes out later: by hand with the key elsewhere, and by the relay itself. The relay as a process,
 * a directory that goes down, certificates that have ended, and openssl as the reader.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createHold, keysIn } from '../../src/commands/hold-key.ts';
import { openDatabaseReadOnly } from '../../src/queue/schema.ts';
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
  const config = { hold: { passphrase: 'file:keys/hold.passphrase' }, ...options.config };
  const site = await makeSite(t, { upstreamPort: upstream.port, rules: [holds], people: ['otto'], ...options, config });
  const keys = keysIn(join(site.dir, 'keys'));
  await createHold(keys, 'Clinic', Date.now());
  return { site, upstream };
}

/** SHA-256 of each stored body, in their order. */
function bodiesOf(site: Site): string[] {
  const db = openDatabaseReadOnly(join(site.data, 'queue.sqlite'));
  try {
    return db
      .prepare('SELECT bytes FROM bodies ORDER BY id')
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

const eventsOf = async (site: Site, queueId: string): Promise<string[]> =>
  (await readFile(join(site.data, 'audit.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => Object.assign({}, JSON.parse(line)))
    .filter((event) => event['queue_id'] === queueId)
    .map(({ event }) => String(event));

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
    assert.deepEqual((await eventsOf(site, queueId)).slice(0, 4), ['accepted', 'held', 'released', 'sealed']);
    await relay.stop();
  },
);
