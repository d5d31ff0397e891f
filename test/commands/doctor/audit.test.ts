/** What `doctor` says of an audit log in segments, and of its keys. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { signCheckpoint } from '../../../src/audit/checkpoint.ts';
import { inspectAudit, inspectAuditKeys } from '../../../src/commands/doctor/audit.ts';
import type { Finding } from '../../../src/commands/doctor/finding.ts';
import { makeSite, put, type Site, START } from '../../queue/site.ts';

const shown = (found: readonly Finding[]): string[] => found.map(({ verdict, text }) => `${verdict}: ${text}`);
const look = async ({ paths }: Site, now = START): Promise<string[]> => shown(await inspectAudit(paths, now));

const closedOf = ({ paths }: Site): string[] =>
  readdirSync(paths.folder)
    .filter((name) => /^audit-\d{12}\.jsonl$/.test(name))
    .sort()
    .map((name) => join(paths.folder, name));

/** A closed site whose log has one line a message. `rotate`: octets of a segment, of which 500 are three lines. */
async function withLines(t: TestContext, messages: number, rotate: number): Promise<Site> {
  const site = await makeSite(t);
  const store = await site.open({ auditRotate: rotate });
  for (let one = 0; one < messages; one++) await put(store, { id: `q${one}` });
  await store.close();
  return site;
}

test('one file, its last line in place, and a clock that is behind it', async (t) => {
  const site = await withLines(t, 3, 1_000_000);
  assert.deepEqual(await look(site), ['ok: 3 lines, the last one is in place; sealpost audit verify walks them all']);
  assert.deepEqual(await look(site, START - 3_600_000), ['fault: it is behind the newest line of the audit log']);
});

test('a segment that was closed a moment ago: the head is the last line of the one before the empty file', async (t) => {
  const site = await withLines(t, 1, 10);
  assert.equal(readFileSync(site.paths.audit, 'utf8'), '');
  assert.deepEqual(await look(site), ['ok: 1 lines in 2 files, the last one is in place; sealpost audit verify walks them all']);
  const [closed = ''] = closedOf(site);
  writeFileSync(closed, readFileSync(closed, 'utf8').replace('q0', 'q9'));
  assert.deepEqual(await look(site), ['fault: line 1 is not the one that the database records']);
});

test('a segment that is gone, one that others may read, and a last line that was changed', async (t) => {
  const site = await withLines(t, 1, 10);
  const store = await site.open({ auditRotate: 1_000_000 });
  await put(store, { id: 'q1' });
  await store.close();
  assert.deepEqual(await look(site), ['ok: 2 lines in 2 files, the last one is in place; sealpost audit verify walks them all']);
  const [closed = ''] = closedOf(site);
  renameSync(closed, `${closed}.old`);
  assert.deepEqual(await look(site), [`fault: ${closed} is not there`]);
  renameSync(`${closed}.old`, closed);
  chmodSync(closed, 0o644);
  assert.deepEqual(await look(site), [`fault: ${closed} is open to others (mode 644)`]);
  chmodSync(closed, 0o600);
  writeFileSync(site.paths.audit, readFileSync(site.paths.audit, 'utf8').replace('q1', 'q2'));
  assert.deepEqual(await look(site), ['fault: line 2 is not the one that the database records']);
  rmSync(site.paths.audit);
  assert.deepEqual(await look(site), [`fault: ${site.paths.audit} is not there`, 'fault: line 2 is not the one that the database records']);
});

test('the keys of the audit log: hashed addresses, checkpoints, modes', async (t) => {
  const { paths } = await makeSite(t);
  const keys = join(dirname(paths.folder), 'keys');
  for (const folder of [keys, paths.folder]) mkdirSync(folder, { mode: 0o700, recursive: true });
  const config = (addresses: 'clear' | 'hashed') => ({
    keys,
    audit: { file: paths.audit, rotate: 1_000_000, keep: 0, addresses },
    queue: { sqlite: paths.database, keptBounced: 0 },
  });
  const keysNow = async (addresses: 'clear' | 'hashed'): Promise<string[]> => shown(await inspectAuditKeys(config(addresses)));
  await assert.rejects(keysNow('hashed'), { code: 'file-unreadable' });
  writeFileSync(join(keys, 'audit.key'), 'short', { mode: 0o600 });
  await assert.rejects(keysNow('hashed'), { code: 'key-malformed' });
  writeFileSync(join(keys, 'audit.key'), `${'0a'.repeat(32)}\n`);
  assert.deepEqual(await keysNow('hashed'), ['ok: addresses hashed, no signed checkpoints: sealpost audit key makes a key for them']);
  const pair = generateKeyPairSync('ed25519');
  const signing = join(keys, 'audit-sign.key');
  writeFileSync(signing, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o640 });
  assert.deepEqual(await keysNow('clear'), [`fault: ${signing} is open to others (mode 640)`]);
  chmodSync(signing, 0o600);
  assert.deepEqual(await keysNow('clear'), ['ok: addresses in clear, no checkpoint is signed yet']);
  const checkpoint = { seq: 7, hash: 'ab'.repeat(32), time: '2026-01-01T00:00:00.000Z', hostname: 'relay.clinic.example' };
  writeFileSync(paths.checkpoints, `${signCheckpoint(checkpoint, pair.privateKey)}\n`);
  assert.deepEqual(await keysNow('clear'), [`warning: ${join(keys, 'audit.pub')} is not there`]);
  writeFileSync(join(keys, 'audit.pub'), pair.publicKey.export({ type: 'spki', format: 'pem' }));
  assert.deepEqual(await keysNow('clear'), ['ok: addresses in clear, line 7 was signed at 2026-01-01T00:00:00.000Z']);
  writeFileSync(paths.checkpoints, `${signCheckpoint(checkpoint, generateKeyPairSync('ed25519').privateKey)}\n`);
  assert.match((await keysNow('clear')).join(), /^fault: the newest line of .* is not signed by /);
});
