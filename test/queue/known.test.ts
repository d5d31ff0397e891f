/** Known certificates on SQLite: what an older queue becomes, and what a disk does to the table. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { verifyAudit } from '../../src/audit/verify.ts';
import { listWaiting, readKnown, readKnownSince } from '../../src/queue/known-rows.ts';
import { openDatabaseReadOnly } from '../../src/queue/schema.ts';
import { ANNA, useOf } from './known-suite.ts';
import { claimOne, hasCode, makeSite, put, readAll, START, type Site } from './site.ts';

function tamper(site: Site, sql: string): void {
  const db = new DatabaseSync(site.paths.database, { enableForeignKeyConstraints: false });
  db.enableDefensive?.(false);
  db.exec(sql);
  db.close();
}

const eventsOf = (site: Site, event: string): Record<string, unknown>[] =>
  readFileSync(site.paths.audit, 'utf8')
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => ({ ...JSON.parse(line) }))
    .filter((entry) => entry['event'] === event);

test('a queue of schema 2 is read as it stands, brought up to date at start, and delivered', async (t) => {
  const site = await makeSite(t);
  const { folder, database, bodies, audit } = site.paths;
  for (const path of [folder, bodies]) mkdirSync(path, { mode: 0o700, recursive: true });
  copyFileSync(join(import.meta.dirname, 'v2', 'queue.sqlite'), database);
  copyFileSync(join(import.meta.dirname, 'v2', 'audit.jsonl'), audit);
  for (const path of [database, audit]) chmodSync(path, 0o600);
  const db = openDatabaseReadOnly(database);
  assert.deepEqual([readKnown(db, ANNA), listWaiting(db)], [[], []]);
  db.close();
  const store = await site.open();
  assert.deepEqual(await store.known.of(ANNA), []);
  assert.equal(await store.retry({ queueId: 'bounced' }, START, 'anna'), 1);
  const leases = await store.claim(START + 3_600_000, 10);
  assert.deepEqual(leases.map(({ queueId }) => queueId).toSorted(), ['bounced', 'deferred', 'ready', 'ready']);
  for (const lease of leases) {
    assert.equal((await readAll(store, lease)).length, 100);
    assert.equal(lease.envid, lease.queueId === 'deferred' ? null : 'E+2B1');
    await store.settle(lease, { kind: 'delivered' }, []);
  }
  await put(store, { id: 'new', uses: [useOf('old')] });
  await store.close();
  const again = await site.open();
  assert.equal((await again.known.of(ANNA)).length, 1);
  await readAll(again, await claimOne(again));
  await again.close();
  assert.equal((await verifyAudit({ file: audit })).kind, 'whole');
});

/** SQLite itself would write no such column: the schema says STRICT again before a relay sees it. */
function againstTypes(site: Site, sql: string): void {
  const strict = (from: string, to: string): void =>
    tamper(
      site,
      `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '${from}', '${to}') WHERE name = 'known_certificates'`,
    );
  strict(') STRICT', ') /**/');
  tamper(site, `PRAGMA ignore_check_constraints = ON; ${sql}`);
  strict(') /**/', ') STRICT');
}

/** How the disk may spoil what is known of Anna; mail is taken all the same, and the audit log tells of it. */
const damages: Record<string, (site: Site) => void> = {
  'a state that is none': (site) => tamper(site, `PRAGMA ignore_check_constraints = ON; UPDATE known_certificates SET state = 'usfd'`),
  'a column of another type': (site) =>
    againstTypes(site, "UPDATE known_certificates SET state = x'ff', subject = x'ff', not_after = 'never'"),
  'rows that cannot be written': (site) =>
    tamper(site, "CREATE TRIGGER spoilt BEFORE INSERT ON known_certificates BEGIN SELECT RAISE(ABORT, 'the page cannot be written'); END"),
};

for (const [damage, inflict] of Object.entries(damages)) {
  test(`${damage}: mail goes on being taken, and under a pin nothing unknown is used (P5, P10)`, async (t) => {
    const site = await makeSite(t);
    const before = await site.open();
    await put(before, { id: 'q1', uses: [useOf('old')] });
    await before.close();
    inflict(site);
    const store = await site.open();
    const refused = put(store, { id: 'q2', uses: [useOf('new', { pinned: true })] });
    await assert.rejects(refused, hasCode('lookup-unavailable'));
    await put(store, { id: 'q3', uses: [useOf('old')] });
    await put(store, { id: 'q4', uses: [useOf('new')] });
    assert.deepEqual(
      (await store.list({}, 10)).map(({ queueId }) => queueId),
      ['q1', 'q3', 'q4'],
    );
    await store.close();
    const told = ['damaged', 'certificate-changed'].flatMap((event) => eventsOf(site, event));
    assert.ok(told.length > 0 && told.every(({ recipient }) => recipient === ANNA));
    assert.equal((await verifyAudit({ file: site.paths.audit })).kind, 'whole');
  });
}

test('a certificate is written once a day: the second message of a day writes nothing about it', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1', uses: [useOf('old')] });
  tamper(site, "CREATE TRIGGER told BEFORE INSERT ON known_certificates BEGIN INSERT OR IGNORE INTO totals VALUES ('told', 1); END");
  const written = (): boolean => {
    const db = openDatabaseReadOnly(site.paths.database);
    const row = db.prepare("SELECT 1 FROM totals WHERE name = 'told'").get();
    db.close();
    return row !== undefined;
  };
  await put(store, { id: 'q2', uses: [useOf('old')] });
  assert.equal(written(), false);
  site.clock.now += 86_400_000;
  await put(store, { id: 'q3', uses: [useOf('old')] });
  assert.equal(written(), true);
  assert.equal((await store.known.of(ANNA))[0]?.lastAt, site.clock.now);
});

test('all that is known since a day, by address and fingerprint, a page at a time; beside a running relay the same', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  const names = Array.from({ length: 1100 }, (_, index) => `reader${String(index).padStart(4, '0')}@clinic.example`);
  const useAt = (address: string, name: string) => useOf(name, { address });
  await put(store, { id: 'old', uses: [useAt('before@clinic.example', 'before')] });
  site.clock.now += 10 * 86_400_000;
  await put(store, { id: 'new', uses: names.flatMap((name) => [useAt(name, 'one'), useAt(name, 'other')]) });
  const since = site.clock.now - 86_400_000;
  const found: string[] = [];
  for (let page = await store.known.page(since, null); page.length > 0; page = await store.known.page(since, page.at(-1) ?? null)) {
    assert.ok(page.length <= 1000, 'bounded');
    found.push(...page.map(({ address, fingerprint }) => `${address} ${fingerprint}`));
  }
  const expected = names.flatMap((name) => ['one', 'other'].map((one) => `${name} ${useOf(one).fingerprint}`)).toSorted();
  assert.deepEqual(found, expected);
  const db = openDatabaseReadOnly(site.paths.database);
  assert.deepEqual(
    [...readKnownSince(db, since)].map(({ address, fingerprint }) => `${address} ${fingerprint}`),
    expected,
  );
  assert.equal([...readKnownSince(db, 0)].length, expected.length + 1);
  db.close();
});
