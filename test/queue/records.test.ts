/** Records on SQLite: what an older queue becomes, what a disk does to the table, and what a kill leaves. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { verifyAudit } from '../../src/audit/verify.ts';
import { listWaiting, readKnown } from '../../src/queue/known-rows.ts';
import { readRecords } from '../../src/queue/record-rows.ts';
import { openDatabaseReadOnly } from '../../src/queue/schema.ts';
import { ANNA, useOf } from './known-suite.ts';
import { hasCode, makeSite, put, readAll, spoilPage, START, type Site } from './site.ts';

const KIND = 'issued';

function tamper(site: Site, sql: string): void {
  const db = new DatabaseSync(site.paths.database, { enableForeignKeyConstraints: false });
  db.enableDefensive?.(false);
  db.exec(sql);
  db.close();
}

const serialsTold = (site: Site): unknown[] =>
  readFileSync(site.paths.audit, 'utf8')
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => ({ ...JSON.parse(line) }))
    .filter(({ event }) => event === 'certificate-issued')
    .map((entry) => entry['certificate_serial']);

test('a queue of schema 3 is read as it stands, brought up to date at start, and delivered', async (t) => {
  const site = await makeSite(t);
  const { folder, database, bodies, audit } = site.paths;
  for (const path of [folder, bodies]) mkdirSync(path, { mode: 0o700, recursive: true });
  for (const [name, path] of [
    ['queue.sqlite', database],
    ['audit.jsonl', audit],
  ] as const) {
    copyFileSync(join(import.meta.dirname, 'v3', name), path);
    chmodSync(path, 0o600);
  }
  const db = openDatabaseReadOnly(database);
  assert.deepEqual(readRecords(db, KIND), []);
  assert.deepEqual(
    readKnown(db, ANNA).map(({ subject, state }) => `${subject} ${state}`),
    ['CN=new waiting', 'CN=old used'].toSorted(),
  );
  assert.equal(listWaiting(db).length, 1);
  db.close();
  const store = await site.open();
  assert.deepEqual(await store.records.list(KIND), []);
  await store.records.change([{ kind: KIND, key: 'a', value: 'kept' }], [{ event: 'certificate-issued', certificate_serial: 'a' }]);
  assert.equal((await store.known.approve({ address: ANNA, fingerprint: null }, 'otto')).kind, 'approved');
  assert.equal(await store.retry({ queueId: 'bounced' }, START, 'anna'), 1);
  const leases = await store.claim(START + 3_600_000, 10);
  assert.deepEqual(leases.map(({ queueId }) => queueId).toSorted(), ['bounced', 'deferred', 'ready', 'ready']);
  for (const lease of leases) {
    assert.equal((await readAll(store, lease)).length, 100);
    await store.settle(lease, { kind: 'delivered' }, []);
  }
  await store.close();
  const again = await site.open();
  assert.equal((await again.records.get(KIND, 'a'))?.value, 'kept');
  await again.close();
  assert.equal((await verifyAudit({ file: audit })).kind, 'whole');
  assert.deepEqual(serialsTold(site), ['a']);
});

/** SQLite itself would write no such column: the schema says STRICT again before a relay sees it. */
function againstTypes(site: Site, sql: string): void {
  const strict = (from: string, to: string): void =>
    tamper(site, `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '${from}', '${to}') WHERE name = 'records'`);
  strict(') STRICT', ') /**/');
  tamper(site, `PRAGMA ignore_check_constraints = ON; ${sql}`);
  strict(') /**/', ') STRICT');
}

const damages: Record<string, (site: Site) => void> = {
  'a page that makes no sense': (site) => spoilPage(site.paths.database, 'records'),
  'the loss of the table': (site) => tamper(site, 'DROP TABLE records'),
  'a column of another type': (site) => againstTypes(site, "UPDATE records SET value = x'ff00', at = 'never'"),
  'rows that cannot be written': (site) =>
    tamper(site, "CREATE TRIGGER spoilt BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'the page cannot be written'); END"),
};

for (const [damage, inflict] of Object.entries(damages)) {
  test(`${damage} of the records: mail goes on being taken and delivered, and nothing is told that did not happen (P10)`, async (t) => {
    const site = await makeSite(t);
    const before = await site.open();
    await put(before, { id: 'q1', uses: [useOf('old')] });
    await before.records.change([{ kind: KIND, key: 'a', value: 'whole' }], []);
    await before.close();
    inflict(site);
    const stopped: unknown[] = [];
    const store = await site.open({ onFailure: (error) => stopped.push(error) });
    const change = [{ kind: KIND, key: 'b', value: 'new' }];
    const changed = await store.records
      .change(change, [{ event: 'certificate-issued', certificate_serial: 'b' }])
      .catch((error: unknown) => (hasCode('storage-failed')(error) ? undefined : error));
    await store.records.get(KIND, 'a').catch(hasCode('storage-failed'));
    await store.records.list(KIND).catch(hasCode('storage-failed'));
    await put(store, { id: 'q2', uses: [useOf('old')] });
    const leases = await store.claim(START, 10);
    assert.deepEqual(leases.map(({ queueId }) => queueId).toSorted(), ['q1', 'q2']);
    for (const lease of leases) {
      assert.equal((await readAll(store, lease)).length, 100);
      await store.settle(lease, { kind: 'delivered' }, []);
    }
    await store.close();
    assert.deepEqual(stopped, []);
    assert.deepEqual(serialsTold(site), changed === true ? ['b'] : []);
    assert.equal((await verifyAudit({ file: site.paths.audit })).kind, 'whole');
  });
}

const ROUNDS = 4;

test('whenever the process is killed: what it said is kept, and every record has its event', async (t) => {
  const site = await makeSite(t);
  mkdirSync(site.paths.folder, { mode: 0o700 });
  const script = fileURLToPath(new URL('./records-child.ts', import.meta.url));
  const said: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const child = spawn(execPath, [script, site.paths.folder, `${round}`], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    let text = '';
    child.stdout.on('data', (bytes: Buffer) => {
      text += bytes.toString();
      // At another place of its work each time.
      if (text.split('\n').length > 10 + 17 * round) child.kill('SIGKILL');
    });
    await once(child, 'close');
    said.push(...text.slice(0, text.lastIndexOf('\n')).split('\n'));
  }
  const store = await site.open();
  const keys = (await store.records.list(KIND)).map(({ key }) => key);
  await store.close();
  for (const key of said) assert.ok(keys.includes(key), key);
  assert.deepEqual(serialsTold(site).map(String).toSorted(), keys.toSorted());
  const halves = Map.groupBy(keys, (key) => key.slice(0, -1));
  for (const [, both] of halves) assert.equal(both.length, 2);
  assert.equal((await verifyAudit({ file: site.paths.audit })).kind, 'whole');
});
