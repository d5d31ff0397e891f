/** The pair of held mail: made, read, and every way in which it cannot be used, with what mends it. */
import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { createHold, keysIn } from '../../src/commands/hold-key.ts';
import { loadConfig } from '../../src/config.ts';
import { holdFaults, openHold } from '../../src/site/hold-keys.ts';
import { readSigningKey } from '../../src/upkeep/checkpoints.ts';
import { openMessage } from '../../src/seal/open.ts';
import { sealBody } from '../../src/seal/sealer.ts';
import { randomBytes } from 'node:crypto';
import { makeReaders } from '../interop/fixtures.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { sealpost, temporaryFolder } from '../commands/transcript.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
const holds = { name: 'forms', then: 'seal', missing: 'hold', unavailable: 'retry' } as const;
const seals = { name: 'all', then: 'seal', missing: 'refuse', unavailable: 'retry' } as const;
const silent = pino({ level: 'silent' });
const NOW = Date.UTC(2030, 0, 1);

async function site(t: TestContext, { passphrase = 'file:keys/hold.passphrase' }: { passphrase?: string | undefined } = {}) {
  const folder = await temporaryFolder(t);
  await mkdir(path.join(folder, 'keys'), { mode: 0o700 });
  const written = {
    hostname: 'relay.clinic.example',
    operator: 'it@clinic.example',
    listen: [{ host: '127.0.0.1', port: 0 }],
    upstream: [{ host: '127.0.0.1', port: 25 }],
    hold: passphrase === '' ? {} : { passphrase },
  };
  await writeFile(path.join(folder, 'sealpost.yaml'), JSON.stringify(written));
  const config = await loadConfig({ file: path.join(folder, 'sealpost.yaml'), env: {}, cwd: folder });
  const keys = keysIn(path.join(folder, 'keys'));
  return { folder, config, keys };
}

const faultsOf = async (
  config: Awaited<ReturnType<typeof loadConfig>>,
  rules: readonly Parameters<typeof holdFaults>[0][number][] = [holds],
) => holdFaults(rules, config, { env: {}, now: NOW });

test('a pair that was made holds and opens mail, by openssl and by the relay that knows the passphrase', needsOpenssl, async (t) => {
  const { folder, config, keys } = await site(t);
  await createHold(keys, 'Clinic', NOW);
  for (const file of [keys.key, keys.passphrase]) assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.deepEqual(await faultsOf(config), { faults: [], notes: [] });
  const hold = await openHold(config, {}, { log: silent, now: () => NOW });
  const [certificate, key] = [hold.certificate(), hold.privateKey()];
  assert.ok(certificate !== undefined && key !== undefined);
  const ciphertext: Buffer[] = [];
  const sealer = sealBody('aes-256-cbc', { write: async (octets) => void ciphertext.push(octets) }, randomBytes);
  await sealer.write(Buffer.from('Subject: secret\r\n\r\nbody\r\n'));
  const body = await sealer.end();
  const der = Buffer.concat([await body.prefixFor([certificate], 'rsaes-oaep'), ...ciphertext, body.suffix]);
  assert.equal(openMessage(der, [{ key, certificate }]).entity.toString(), 'Subject: secret\r\n\r\nbody\r\n');
  await writeFile(path.join(folder, 'held.p7m'), der);
  const opened = await succeed('openssl', [
    'cms',
    '-decrypt',
    '-inform',
    'DER',
    '-in',
    path.join(folder, 'held.p7m'),
    '-recip',
    keys.certificate,
    '-inkey',
    keys.key,
    '-passin',
    `file:${keys.passphrase}`,
  ]);
  assert.equal(opened.toString(), 'Subject: secret\r\n\r\nbody\r\n');
});

test('the key may be taken away or stay locked: mail is held, and released by hand', async (t) => {
  const { config, keys } = await site(t);
  await createHold(keys, 'Clinic', NOW);
  await rename(keys.key, `${keys.key}.away`);
  const hold = await openHold(config, {}, { log: silent, now: () => NOW });
  assert.ok(hold.certificate());
  assert.equal(hold.privateKey(), undefined);
  const { faults, notes } = await faultsOf(config);
  assert.deepEqual(faults, []);
  assert.match(notes.join(), /release --key FILE/);
  // It is back: a relay that runs finds it.
  await rename(`${keys.key}.away`, keys.key);
  await hold.look();
  assert.ok(hold.privateKey());

  const locked = await site(t, { passphrase: '' });
  await createHold(locked.keys, 'Clinic', NOW);
  assert.deepEqual((await faultsOf(locked.config)).faults, []);
  assert.equal((await openHold(locked.config, {}, { log: silent, now: () => NOW })).privateKey(), undefined);
});

test('check tells of every pair that cannot be used, with its place and its mend', needsOpenssl, async (t) => {
  const { folder, config, keys } = await site(t);
  const wrongs = async (rules?: Parameters<typeof faultsOf>[1]): Promise<string> =>
    (await faultsOf(config, rules)).faults
      .map(({ place, key, wrong, mend }) => `${path.basename(place)} ${key} ${wrong} / ${mend}`)
      .join('\n');
  assert.match(
    await wrongs(),
    /^hold\.pem hold\.certificate is not there, and the rule forms holds mail.* \/ sealpost queue hold-key makes one$/,
  );
  assert.equal(await wrongs([seals]), '');
  assert.match(await wrongs([{ ...seals, then: 'hold' }]), /the rule all holds mail/);
  assert.match(await wrongs([{ ...seals, unavailable: 'hold' }]), /the rule all holds mail/);
  assert.equal(await wrongs([{ ...seals, then: 'refuse', missing: 'hold' }]), '', 'a rule that refuses looks up nothing');

  await createHold(keys, 'Clinic', NOW);
  await chmod(keys.key, 0o644);
  assert.match(await wrongs(), /^hold\.key hold\.key its mode is 0644: open to all users \/ chmod o= /);
  const read = await openHold(config, {}, { log: silent, now: () => NOW });
  assert.ok(read.privateKey(), 'told of, and used: not to release mail would help nobody');
  await chmod(keys.key, 0o600);
  await chmod(keys.passphrase, 0o644);
  assert.match(
    await wrongs(),
    /^hold\.key hold\.key .*hold\.passphrase: its mode is 0644: open to all users \/ chmod o= .*hold\.passphrase$/,
  );
  await chmod(keys.passphrase, 0o600);
  await writeFile(keys.passphrase, 'another\n');
  assert.match(await wrongs(), /^hold\.key hold\.key the passphrase does not open .* \/ hold\.passphrase names/);
  await rm(keys.passphrase);
  assert.match(await wrongs(), /hold\.passphrase/);

  await rm(keys.key);
  const { people } = await makeReaders(folder);
  await writeFile(keys.certificate, await readFile(people.anna.certificate));
  assert.equal(await wrongs(), '', 'any certificate that mail can be sealed to');
  await writeFile(keys.key, await readFile(people.ben.key), { mode: 0o600 });
  await writeFile(keys.passphrase, 'unused\n', { mode: 0o600 });
  assert.match(await wrongs(), /is not the key of .*hold\.pem \/ the two belong together/);
  await writeFile(keys.certificate, 'nothing');
  assert.match(await wrongs(), /^hold\.pem hold\.certificate holds no certificate/);
});

test('an expired certificate still holds, with a loud note; one for signing does not', needsOpenssl, async (t) => {
  const { folder, config, keys } = await site(t);
  await createHold(keys, 'Clinic', Date.UTC(2015, 0, 1));
  const { faults, notes } = await faultsOf(config);
  assert.deepEqual(faults, []);
  assert.match(notes.join(), /expired on 2024-12-31; mail is held to it all the same/);
  const said: string[] = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void said.push(line) });
  assert.ok((await openHold(config, {}, { log, now: () => NOW })).certificate());
  assert.match(said.join(), /out of its time/);

  const signing = path.join(folder, 'signing.pem');
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', keys.key, '-out', signing, '-subj', '/CN=s', '-days', '9'];
  await succeed('openssl', [...args, '-addext', 'keyUsage=critical,digitalSignature']);
  await writeFile(keys.certificate, await readFile(signing));
  const refused = await faultsOf(config);
  assert.match(refused.faults[0]?.wrong ?? '', /lacks keyEncipherment/);
  assert.equal((await openHold(config, {}, { log: silent, now: () => NOW })).certificate(), undefined);
});

test('queue hold-key makes a pair for a site that has none, and never writes over one', async (t) => {
  const { folder, keys } = await site(t, { passphrase: '' });
  const made = await sealpost(folder, ['queue', 'hold-key']);
  assert.deepEqual(
    { exit: made.exit, stdout: made.stdout },
    { exit: 0, stdout: 'wrote keys/hold.passphrase\nwrote keys/hold.key\nwrote keys/hold.pem\n' },
  );
  assert.match(made.stderr, /hold: \{ passphrase: "file:keys\/hold\.passphrase" \}/);
  const [certificate] = readCertificates(await readFile(keys.certificate)).certificates;
  assert.equal(certificate?.subject, 'CN=Held mail of relay.clinic.example');
  const before = await readFile(keys.key, 'utf8');
  const again = await sealpost(folder, ['queue', 'hold-key']);
  assert.equal(again.exit, 1);
  assert.match(again.stderr, /mail that is held now needs the pair/);
  assert.equal(await readFile(keys.key, 'utf8'), before);
});

const asRoot = { skip: process.getuid?.() === 0 ? false : 'only root can become another user' };

test('a folder of keys that is closed to the relay is no fault where nothing is held', asRoot, async (t) => {
  const { config, keys, folder } = await site(t);
  await createHold(keys, 'Clinic', NOW);
  await chmod(folder, 0o755);
  const said: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void said.push(line) });
  process.seteuid?.(65_534);
  try {
    const hold = await openHold(config, {}, { log, now: () => NOW });
    assert.deepEqual([hold.certificate(), said], [undefined, []]);
    assert.deepEqual(await faultsOf(config, [seals]), { faults: [], notes: [] });
    const [fault] = (await faultsOf(config)).faults;
    assert.deepEqual([fault?.place, fault?.wrong], [keys.certificate, 'cannot be read (EACCES)']);
    assert.equal(await readSigningKey(path.join(folder, 'keys/audit-sign.key')), undefined);
  } finally {
    process.seteuid?.(0);
  }
  await writeFile(path.join(folder, 'keys/audit-sign.key'), 'x', { mode: 0o600 });
  await chmod(path.join(folder, 'keys'), 0o755);
  process.seteuid?.(65_534);
  try {
    await assert.rejects(readSigningKey(path.join(folder, 'keys/audit-sign.key')), { code: 'file-unreadable' });
  } finally {
    process.seteuid?.(0);
  }
});
