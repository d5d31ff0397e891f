/** Held rows on SQLite: what the disk makes of them, a queue from before there were any, and kills while they end (P1, P7, P10). */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { verifyAudit } from '../../src/audit/verify.ts';
import { sealedHash } from '../../src/queue/checksum.ts';
import { listEntries, readStats } from '../../src/queue/operator.ts';
import type { Kept, QueueStore } from '../../src/queue/queue.ts';
import { openDatabase, openDatabaseReadOnly } from '../../src/queue/schema.ts';
import { inject, inLanes, noStrace, runChild } from './faulty.ts';
import { claimOne, heldOne, makeSite, put, readAll, type Site, START } from './site.ts';

const held: Kept = { kind: 'held', facts: '{"rule":"patients"}' };
const spooled: Kept = { kind: 'spooled', facts: '{"size":7}' };
const as = { header: Buffer.from('H\r\n\r\n'), prefix: Buffer.from('P'), suffix: Buffer.alloc(0), sender: '', needsSmtputf8: false };

/** While no store is open. */
function tamper(site: Site, sql: string): void {
  const db = new DatabaseSync(site.paths.database);
  db.exec(sql);
  db.close();
}

/** What the disk does to row 1, and the reason under which it is set aside. `spooled`: to one that passes. */
const damages: Record<string, { readonly sql: string; readonly reason: RegExp; readonly kept?: Kept }> = {
  'its facts gone': { sql: 'DELETE FROM recipient_kept WHERE row = 1', reason: /nothing says why/ },
  'its facts changed': { sql: `UPDATE recipient_kept SET facts = replace(facts, 'p', 'q') WHERE row = 1`, reason: /checksum/ },
  'facts of no kind': { sql: `UPDATE recipient_kept SET kind = 'hele' WHERE row = 1`, reason: /nothing says why/ },
  'facts of another kind, and due': {
    sql: `UPDATE recipient_kept SET kind = 'spooled' WHERE row = 1; UPDATE recipients SET state = 'ready', due_at = ${START} WHERE id = 1`,
    reason: /checksum/,
  },
  'a state that says it is due': {
    sql: `UPDATE recipients SET state = 'ready', due_at = ${START} WHERE id = 1`,
    reason: /it is held, and its state/,
  },
  'a header that is another': { sql: 'UPDATE recipients SET header = prefix WHERE id = 1', reason: /checksum/ },
  'facts gone that say it passes': { sql: 'DELETE FROM recipient_kept WHERE row = 1', reason: /checksum/, kept: spooled },
  'facts that say it was released': { sql: `UPDATE recipient_kept SET kind = 'released' WHERE row = 1`, reason: /checksum/, kept: spooled },
};

for (const [damage, { sql, reason, kept = held }] of Object.entries(damages)) {
  test(`held or passed mail with ${damage} is set aside: neither sent nor released (P3, P10)`, async (t) => {
    const site = await makeSite(t);
    const before = await site.open();
    await put(before, { id: 'q1', kept });
    await put(before, { id: 'q2', kept: held });
    await before.close();
    tamper(site, sql);
    const store = await site.open();
    assert.deepEqual(await store.claim(START, 10), []);
    assert.equal((await heldOne(store)).queueId, 'q2');
    const [entry] = await store.list({ state: 'damaged' }, 10);
    assert.equal(entry?.queueId, 'q1');
    assert.match(entry?.reason ?? '', reason);
    assert.equal(await store.remove({ queueId: 'q1' }, 'anna'), 1);
  });
}

test('a held row that the disk changes between reading and release is not released, and its ciphertext is checked (P10)', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1', kept: held });
  const row = await heldOne(store);
  // As an operator's tool beside the relay may do it, never the relay.
  const beside = new DatabaseSync(site.paths.database, { timeout: 5000 });
  beside.exec('UPDATE recipients SET prefix = header; UPDATE bodies SET bytes = zeroblob(length)');
  beside.close();
  assert.equal(await store.release(row, as, [{ event: 'released', queue_id: 'q1' }]), false);
  assert.equal((await store.stats()).states.damaged, 1);
  await assert.rejects(async () => {
    for await (const octets of store.readHeld(row)) void octets;
  });
  await store.close();
  assert.doesNotMatch(readFileSync(site.paths.audit, 'utf8'), /"released"/);
});

test('a held row that is another than was read, and whole, is neither released nor given up: somebody else decided meanwhile (P4, P9)', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1', kept: held });
  const row = await heldOne(store);
  const header = Buffer.from('To: somebody@else.example\r\n\r\n');
  const beside = new DatabaseSync(site.paths.database, { timeout: 5000 });
  const bodySha256 = beside.prepare('SELECT sha256 FROM bodies').get()?.['sha256'];
  assert.ok(bodySha256 instanceof Uint8Array);
  const other = { ...row, header, bodySha256, address: row.recipient, notify: null, notice: null, kept: held };
  beside.prepare('UPDATE recipients SET header = ?, sha256 = ?').run(header, sealedHash(other));
  beside.close();
  assert.equal(await store.release(row, as, [{ event: 'released', queue_id: 'q1' }]), false);
  assert.equal(await store.endHeld(row, { kind: 'bounced', reason: 'too long' }, []), false);
  assert.deepEqual((await heldOne(store)).header, header, 'it is whole, and waits as it was written');
  await store.close();
  assert.doesNotMatch(readFileSync(site.paths.audit, 'utf8'), /"released"/);
});

/** A queue as schema 4 left it: bounced, deferred and ready. */
async function before5(t: Parameters<typeof makeSite>[0]): Promise<Site> {
  const site = await makeSite(t);
  for (const path of [site.paths.folder, site.paths.bodies]) mkdirSync(path, { mode: 0o700, recursive: true });
  copyFileSync(join(import.meta.dirname, 'v4', 'queue.sqlite'), site.paths.database);
  copyFileSync(join(import.meta.dirname, 'v4', 'audit.jsonl'), site.paths.audit);
  for (const path of [site.paths.database, site.paths.audit]) chmodSync(path, 0o600);
  return site;
}

function tableOf(database: string): { readonly sql: string; readonly integrity: unknown } {
  const db = new DatabaseSync(database);
  const sql = String(db.prepare(`SELECT sql FROM sqlite_schema WHERE name = 'recipients'`).get()?.['sql']);
  const integrity = db.prepare('PRAGMA integrity_check').get()?.['integrity_check'];
  db.close();
  return { sql, integrity };
}

async function assertWorks(store: QueueStore): Promise<void> {
  await put(store, { id: 'held', kept: held });
  assert.equal(await store.release(await heldOne(store), as, []), true);
  const leases = await store.claim(START + 3_600_000, 10);
  assert.deepEqual(leases.map(({ queueId }) => queueId).toSorted(), ['asked', 'held', 'plain']);
  for (const lease of leases) assert.equal((await readAll(store, lease)).length, 100);
}

test('a queue of schema 4 is read as it stands, and holds mail once a relay has opened it; the database is whole', async (t) => {
  const site = await before5(t);
  const db = openDatabaseReadOnly(site.paths.database);
  assert.deepEqual(
    listEntries(db, {}, 10).map(({ queueId, state, kept }) => [queueId, state, kept]),
    [
      ['plain', 'bounced', null],
      ['plain', 'deferred', null],
      ['asked', 'ready', null],
    ],
  );
  assert.equal(readStats(db).oldestHeldAt, null);
  db.close();
  const store = await site.open();
  await assertWorks(store);
  await store.close();
  const fresh = await makeSite(t);
  await (await fresh.open()).close();
  assert.deepEqual(tableOf(site.paths.database), { sql: tableOf(fresh.paths.database).sql, integrity: 'ok' });
  const again = openDatabase(site.paths.database);
  assert.throws(() => again.exec('PRAGMA writable_schema = ON; DELETE FROM sqlite_schema'), 'nobody writes there any more');
  again.close();
});

test('a queue of schema 4 whose start is killed has the one schema or the other, and every row', { skip: noStrace }, async (t) => {
  const seen = new Set<string>();
  const moments = [...[1, 3].map((moment) => ['fsync', moment] as const), ...[2, 5, 9, 14].map((moment) => ['pwrite64', moment] as const)];
  await inLanes(moments, async ([call, moment]) => {
    const site = await before5(t);
    const only = ['-P', site.paths.database, '-P', `${site.paths.database}-wal`];
    const { lines } = await runChild(site, inject(`${call}:signal=SIGKILL:when=${moment}`, ...only), undefined, 'open');
    const { sql, integrity } = tableOf(site.paths.database);
    assert.equal(integrity, 'ok');
    seen.add(`${lines.includes('opened') ? 'opened' : 'killed'} ${sql.includes(`'held'`) ? 'with' : 'without'}`);
    const store = await site.open();
    await assertWorks(store);
    await store.close();
  });
  assert.ok(seen.has('killed without'), 'some are killed before the change is there');
});

interface Promised {
  readonly held: Map<string, string>;
  readonly releasing: Map<string, string>;
  readonly released: Set<string>;
  readonly ended: Set<string>;
}

function promisedBy(lines: readonly string[]): Promised {
  const promised: Promised = { held: new Map(), releasing: new Map(), released: new Set(), ended: new Set() };
  for (const line of lines) {
    const [what, id = '', sha256 = ''] = line.split(' ');
    if (what === 'held') promised.held.set(id, sha256);
    if (what === 'releasing') promised.releasing.set(id, sha256);
    if (what === 'released') promised.released.add(id);
    if (what === 'ended') promised.ended.add(id);
  }
  return promised;
}

const hashOf = async (octets: AsyncIterable<Buffer>): Promise<string> => {
  const hash = createHash('sha256');
  for await (const part of octets) hash.update(part);
  return hash.digest('hex');
};

/** Held, ready or bounced, one of them and whole, as the audit log says; and nothing that was said is undone. */
async function assertOneEach(site: Site, { held: sealed, releasing, released, ended }: Promised): Promise<string[]> {
  const store = await site.open();
  const waiting = new Map((await store.heldRows({}, 0, 100)).map((row) => [row.queueId, row]));
  const entries = await store.list({}, 100);
  const due = new Map((await store.claim(Date.UTC(2100, 0, 1), 100)).map((lease) => [lease.queueId, lease]));
  const states: string[] = [];
  const found = new Map<string, string>();
  for (const id of sealed.keys()) {
    const [entry, ...others] = entries.filter(({ queueId }) => queueId === id);
    assert.ok(entry !== undefined && others.length === 0, `${id} is there once`);
    states.push(entry.state);
    found.set(id, entry.state);
    const row = waiting.get(id);
    const lease = due.get(id);
    if (row !== undefined) assert.equal(await hashOf(store.readHeld(row)), sealed.get(id));
    if (lease !== undefined) assert.equal(await hashOf(store.read(lease)), releasing.get(id));
    if (lease !== undefined) assert.equal(lease.prefix.toString(), 'prefix');
    assert.equal(due.has(`n-${id}`), entry.state === 'bounced', 'the notice came with the end of it');
  }
  await store.close();
  assert.equal((await verifyAudit({ file: site.paths.audit })).kind, 'whole');
  const audit = readFileSync(site.paths.audit, 'utf8');
  const told = (event: string, id: string): number => audit.split(`"event":"${event}","queue_id":"${id}"`).length - 1;
  for (const [id, state] of found) {
    assert.equal(told('held', id), 1);
    assert.deepEqual([told('released', id), told('bounced', id)], [state === 'ready' ? 1 : 0, state === 'bounced' ? 1 : 0], id);
  }
  for (const id of released) assert.equal(found.get(id), 'ready');
  for (const id of ended) assert.equal(found.get(id), 'bounced');
  return states;
}

test(
  'killed while held mail is released or given up: each is held or ended, whole, and told of once (P1, P7)',
  { skip: noStrace },
  async (t) => {
    const sweep = [
      ...[8, 14].map((moment) => ['fsync', moment] as const),
      ...[36, 48, 90, 140].map((moment) => ['pwrite64', moment] as const),
      ['unlink', 1] as const,
    ];
    const seen = new Set<string>();
    await inLanes(sweep, async ([call, moment]) => {
      const site = await makeSite(t);
      await (await site.open()).close();
      const { lines } = await runChild(site, inject(`${call}:signal=SIGKILL:when=${moment}`), undefined, 'held');
      for (const state of await assertOneEach(site, promisedBy(lines))) seen.add(state);
    });
    assert.deepEqual([...seen].toSorted(), ['bounced', 'held', 'ready'], 'kills came before and behind each end');
  },
);

test('a released row is told by its release how long it has waited, after a restart too', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1', kept: held });
  site.clock.now = START + 10 * 86_400_000;
  assert.equal(await store.release(await heldOne(store), as, []), true);
  await store.close();
  const lease = await claimOne(await site.open(), site.clock.now);
  assert.deepEqual([lease.acceptedAt, lease.waitsSince], [START, START + 10 * 86_400_000]);
});
