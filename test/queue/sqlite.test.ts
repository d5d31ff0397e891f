import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { execPath } from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chainLine, readLink, type AuditHead } from '../../src/audit.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import type { SealpostError } from '../../src/errors.ts';
import { hashWithoutTime } from '../../src/queue/checksum.ts';
import { listEntries, readAuditHead, readAuditRecord, readStats } from '../../src/queue/operator.ts';
import { openDatabaseReadOnly } from '../../src/queue/schema.ts';
import { type Asked, claimOne, hasCode, makeSite, put, readAll, START, type Site } from './site.ts';
import { storeSuite } from './store-suite.ts';

storeSuite('sqlite', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  return {
    store,
    clock: site.clock,
    audit: () =>
      readFileSync(site.paths.audit, 'utf8')
        .trim()
        .split('\n')
        .map((line): Record<string, unknown> => ({ ...JSON.parse(line) })),
    assertNothingLeft: () => assert.deepEqual(readdirSync(site.paths.bodies), []),
    // Closing changes no row: a lease stays a lease.
    reopen: async () => {
      await store.close();
      return site.open();
    },
  };
});

const LARGE = 300_000;
/** A relay's use of the queue in a process of its own. */
const childScript = fileURLToPath(new URL('./child.ts', import.meta.url));

const bodyFile = (site: Site): string => {
  const [name] = readdirSync(site.paths.bodies);
  assert.ok(name !== undefined);
  return join(site.paths.bodies, name);
};

/** Changes the database behind the closed store's back. */
function tamper(site: Site, sql: string): void {
  const db = new DatabaseSync(site.paths.database);
  db.exec(sql);
  db.close();
}

test('files are 0600, folders 0700, whatever the umask', async (t) => {
  const site = await makeSite(t);
  const before = process.umask(0);
  t.after(() => process.umask(before));
  const store = await site.open();
  await put(store, { id: 'q1', octets: LARGE });
  const { folder, database, bodies, lock, audit } = site.paths;
  const modes = [folder, bodies, database, `${database}-wal`, `${database}-shm`, lock, audit, bodyFile(site)].map((path) =>
    (statSync(path).mode & 0o777).toString(8),
  );
  assert.deepEqual(modes, ['700', '700', '600', '600', '600', '600', '600', '600']);
});

test('a second instance on the same folder is refused, and let in when the first has closed', async (t) => {
  const site = await makeSite(t);
  const first = await site.open();
  await assert.rejects(site.open(), hasCode('queue-in-use'));
  await put(first, { id: 'q1' });
  await first.close();
  const second = await site.open();
  assert.equal((await second.stats()).states.ready, 1);
});

test('a queue of a newer release, or the database of something else, is not touched', async (t) => {
  const site = await makeSite(t);
  await (await site.open()).close();
  tamper(site, 'PRAGMA user_version = 99');
  await assert.rejects(site.open(), hasCode('queue-newer'));
  tamper(site, 'PRAGMA user_version = 1; PRAGMA application_id = 7');
  await assert.rejects(site.open(), hasCode('storage-failed'));
});

test('a queue of the first release is read as it stands, brought up to date at start, and delivered', async (t) => {
  const site = await makeSite(t);
  const { folder, database, bodies, audit } = site.paths;
  for (const path of [folder, bodies]) mkdirSync(path, { mode: 0o700, recursive: true });
  copyFileSync(join(import.meta.dirname, 'v1', 'queue.sqlite'), database);
  copyFileSync(join(import.meta.dirname, 'v1', 'audit.jsonl'), audit);
  for (const path of [database, audit]) chmodSync(path, 0o600);
  const large = Buffer.alloc(140_000, 'large');
  const db = openDatabaseReadOnly(database);
  const name = String(db.prepare('SELECT file FROM bodies WHERE file IS NOT NULL').get()?.['file']);
  writeFileSync(join(bodies, name), large, { mode: 0o600 });
  assert.deepEqual(
    listEntries(db, {}, 10).map(({ queueId, state }) => [queueId, state]),
    [
      ['ready', 'leased'],
      ['ready', 'leased'],
      ['large', 'leased'],
      ['deferred', 'deferred'],
      ['bounced', 'bounced'],
    ],
  );
  db.close();

  const store = await site.open();
  assert.equal((await store.stats()).totals.ambiguous, 1, 'past the dot when its relay died');
  assert.equal(await store.retry({ queueId: 'bounced' }, START, 'anna'), 1);
  const leases = await store.claim(START + 3_600_000, 10);
  assert.deepEqual(leases.map(({ queueId }) => queueId).sort(), ['bounced', 'deferred', 'large', 'ready', 'ready']);
  for (const lease of leases) {
    const octets = await readAll(store, lease);
    if (lease.queueId === 'large') assert.ok(octets.equals(large));
    const sender = lease.queueId === 'large' ? '' : 'form@clinic.example';
    assert.deepEqual([lease.sender, lease.originalSender, lease.notify, lease.notice], [sender, sender, null, null]);
    await store.settle(lease, { kind: 'delivered' }, [{ event: 'delivered', queue_id: lease.queueId }]);
  }
  await put(store, { id: 'new', asked });
  await store.close();
  const again = await site.open();
  await readAll(again, await claimOne(again));
  await again.close();
  assert.equal((await verifyAudit({ file: audit })).kind, 'whole');
});

test('what was asked goes with the last row that it belongs to', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1', asked, recipients: ['a@x.example', 'b@x.example'] });
  const left = (): number[] => {
    const db = openDatabaseReadOnly(site.paths.database);
    const count = (table: string): number => Number(db.prepare(`SELECT count(*) AS rows FROM ${table}`).get()?.['rows']);
    const counts = [count('message_asked'), count('recipient_asked')];
    db.close();
    return counts;
  };
  const seen = [left()];
  for (const lease of await store.claim(START, 2)) {
    await store.settle(lease, { kind: 'delivered' }, []);
    seen.push(left());
  }
  assert.deepEqual(seen, [
    [1, 2],
    [1, 1],
    [0, 0],
  ]);
});

test('an older queue with a damaged row is brought up to date all the same (P10)', async (t) => {
  const site = await makeSite(t);
  const before = await site.open();
  for (const id of ['q1', 'q2', 'q3']) await put(before, { id });
  await before.close();
  tamper(
    site,
    `DROP TABLE message_asked; DROP TABLE recipient_asked; DROP TABLE known_certificates; DROP TABLE records; DROP TABLE recipient_kept;
      PRAGMA user_version = 1`,
  );
  rewriteSchema(site, `, 'held'`, '');
  flipHeaderType(site, 2);
  const store = await site.open();
  assert.deepEqual(
    (await store.claim(START, 10)).map((lease) => lease.queueId),
    ['q1', 'q3'],
  );
});

const bodyDamages: Record<string, (path: string) => void> = {
  'one flipped bit': (path) => {
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(LARGE - 5) ^ 1, LARGE - 5);
    writeFileSync(path, bytes);
  },
  'a cut end': (path) => truncateSync(path, LARGE - 1),
  'octets behind the end': (path) => truncateSync(path, LARGE + 1),
  zeros: (path) => writeFileSync(path, Buffer.alloc(LARGE)),
  'no file': (path) => rmSync(path),
  'a symbolic link to the same octets (A36)': (path) => {
    renameSync(path, `${path}.moved`);
    symlinkSync(`${path}.moved`, path);
  },
  'a file open to others (A36)': (path) => chmodSync(path, 0o644),
  'a FIFO (A36)': (path) => {
    rmSync(path);
    assert.equal(spawnSync('mkfifo', ['-m', '600', path]).status, 0);
  },
};

for (const [damage, inflict] of Object.entries(bodyDamages)) {
  test(`a body file with ${damage} is noticed before its end, and the rest flows (P10)`, async (t) => {
    const site = await makeSite(t);
    const store = await site.open();
    const { ciphertext } = await put(store, { id: 'q1', octets: LARGE });
    const path = bodyFile(site);
    inflict(path);
    await put(store, { id: 'q2' });
    const [damaged, whole] = await store.claim(START, 2);
    assert.ok(damaged !== undefined && whole !== undefined);
    let octets = 0;
    await assert.rejects(async () => {
      for await (const bytes of store.read(damaged)) octets += bytes.length;
    }, hasCode('queue-item-damaged'));
    assert.ok(octets < ciphertext.length, 'the last octets were never handed out');
    assert.equal((await readAll(store, whole)).length, 100);
    await store.settle(damaged, { kind: 'damaged', reason: damage }, [{ event: 'damaged', queue_id: 'q1' }]);
    assert.equal((await store.stats()).states.damaged, 1);
  });
}

const inlineDamages: Record<string, string> = {
  'a changed body': `UPDATE bodies SET bytes = CAST(zeroblob(100) AS BLOB)`,
  'a cut body': `UPDATE bodies SET bytes = substr(bytes, 1, 99)`,
  'a body file elsewhere': `UPDATE bodies SET bytes = NULL, file = '../queue.sqlite'`,
};

const rowDamages: Record<string, string> = {
  'a changed header': `UPDATE recipients SET header = CAST('To: x' AS BLOB)`,
  'a changed prefix': `UPDATE recipients SET prefix = zeroblob(300)`,
  'a changed suffix': `UPDATE recipients SET suffix = zeroblob(18)`,
  'another address': `UPDATE recipients SET address = 'anna@clinic.examplf'`,
  'another sender': `UPDATE messages SET sender = 'form@clinic.examplf'`,
  'another queue id': `PRAGMA foreign_keys = OFF; UPDATE messages SET id = 'q9'; UPDATE recipients SET message = 'q9'`,
  'another need of SMTPUTF8': `UPDATE recipients SET needs_smtputf8 = 1`,
  'the body of another message': `
    INSERT INTO bodies (length, sha256, bytes) VALUES (0, x'${createHash('sha256').digest('hex')}', x'');
    UPDATE recipients SET body = 2`,
  'another time of acceptance': 'UPDATE messages SET accepted_at = accepted_at - 864000000',
  'an octet moved from header to prefix': `
    UPDATE recipients SET prefix = CAST(substr(header, -1) || prefix AS BLOB), header = substr(header, 1, length(header) - 1)`,
};

/** The row says something in each column that a flipped bit could change. */
const askedDamages: Record<string, string> = {
  'another sender for the upstream': `UPDATE recipient_asked SET sender = 'bounce@clinic.examplf'`,
  'another NOTIFY': `UPDATE recipient_asked SET notify = 'DELAY'`,
  'a NOTIFY that is none': `UPDATE recipient_asked SET notify = 'FAILURD'`,
  'another ORCPT': `UPDATE recipient_asked SET orcpt = 'rfc822;b@x'`,
  'no word of what was asked': 'DELETE FROM recipient_asked',
  'another ENVID': `UPDATE message_asked SET envid = 'f'`,
  'another submitter': `UPDATE message_asked SET submitter = 'wea@clinic.example'`,
  'other facts of a notice': `UPDATE message_asked SET notice = '{}'`,
  'an ENVID become a submitter': `UPDATE message_asked SET envid = submitter, submitter = envid`,
};
const asked: Asked = {
  envid: 'e',
  submitter: 'web@clinic.example',
  notice: '{"a":1}',
  sender: '',
  notify: new Set(['failure']),
  orcpt: 'rfc822;a@x',
};

for (const [damage, sql] of Object.entries(inlineDamages)) {
  test(`${damage} is noticed before its first octet (P10)`, async (t) => {
    const site = await makeSite(t);
    const before = await site.open();
    await put(before, { id: 'q1' });
    await before.close();
    tamper(site, sql);
    const store = await site.open();
    const lease = await claimOne(store);
    let octets = 0;
    await assert.rejects(async () => {
      for await (const bytes of store.read(lease)) octets += bytes.length;
    }, hasCode('queue-item-damaged'));
    assert.equal(octets, 0);
  });
}

for (const [damage, sql] of [...Object.entries(rowDamages), ...Object.entries(askedDamages)]) {
  test(`a row with ${damage} is set aside before anybody is told of it (P10)`, async (t) => {
    const site = await makeSite(t);
    const before = await site.open();
    await put(before, { id: 'q1', ...(damage in askedDamages ? { asked } : {}) });
    await before.close();
    tamper(site, sql);
    const store = await site.open();
    assert.deepEqual(await store.claim(Date.now(), 10), []);
    assert.deepEqual(
      (await store.list({}, 10)).map(({ state, reason }) => ({ state, reason })),
      [{ state: 'damaged', reason: 'its envelope, header or recipient part does not fit its checksum' }],
    );
  });
}

/** A flipped serial type: the row says TEXT where the table says BLOB. SQLite lets it be read, and refuses every write of it. */
const flipHeaderType = (site: Site, row: number): void =>
  againstTypes(site, `UPDATE recipients SET header = CAST(header AS TEXT) WHERE id = ${row}`);

function againstTypes(site: Site, sql: string): void {
  rewriteSchema(site, ') STRICT', ') /**/');
  tamper(site, sql);
  rewriteSchema(site, ') /**/', ') STRICT');
}

/** In the statement that made the table of recipients. */
function rewriteSchema(site: Site, from: string, to: string): void {
  const db = new DatabaseSync(site.paths.database, { enableForeignKeyConstraints: false });
  db.enableDefensive?.(false);
  db.exec('PRAGMA writable_schema = ON');
  db.prepare(`UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = 'recipients'`).run(from, to);
  db.close();
}

/** How one row of three can be damaged so that it cannot be claimed at all. */
const claimDamages: Record<string, (site: Site) => void> = {
  'a flipped column type': (site) => flipHeaderType(site, 2),
  'no body row': (site) => tamper(site, 'PRAGMA foreign_keys = OFF; DELETE FROM bodies WHERE id = 2'),
  'no message row': (site) => tamper(site, `PRAGMA foreign_keys = OFF; DELETE FROM messages WHERE id = 'q2'`),
  'a number beyond all numbers': (site) => tamper(site, 'UPDATE recipients SET attempts = 9223372036854775807 WHERE id = 2'),
  'a row that takes no write': (site) =>
    tamper(
      site,
      `UPDATE recipients SET attempts = 9223372036854775807 WHERE id = 2;
      CREATE TRIGGER stuck BEFORE UPDATE ON recipients WHEN old.id = 2 BEGIN SELECT RAISE(ABORT, 'no'); END`,
    ),
};

for (const [damage, inflict] of Object.entries(claimDamages)) {
  test(`${damage} in one row costs that row alone, said in list, stats and audit log (P10)`, async (t) => {
    const site = await makeSite(t);
    const before = await site.open();
    for (const id of ['q1', 'q2', 'q3']) await put(before, { id });
    await before.close();
    inflict(site);
    const store = await site.open();
    const ids = (await store.claim(START, 10)).map((lease) => lease.queueId);
    assert.deepEqual(ids, ['q1', 'q3']);
    assert.equal(await store.nextDue(), undefined);
    assert.equal((await store.stats()).states.damaged, 1);
    const [shown, ...others] = await store.list({ state: 'damaged' }, 10);
    assert.deepEqual([shown?.queueId, shown?.recipient, shown?.dueAt, others.length], ['q2', 'anna@clinic.example', null, 0]);
    assert.ok((shown?.reason ?? '') !== '');
    assert.equal(await store.retry({}, START, 'anna'), 0);
    assert.equal(await store.remove({ queueId: 'q2' }, 'anna'), 1);
    await store.close();
    const told = lines(site).filter((line) => line.includes('"event":"damaged"'));
    assert.equal(told.length, 1);
    assert.match(String(told[0]), /"queue_id":"q2","recipient":"anna@clinic\.example"/);
  });
}

test('a damaged row that was leased when the relay died does not keep the next from starting (P10)', async (t) => {
  const site = await makeSite(t);
  const before = await site.open();
  for (const id of ['q1', 'q2', 'q3']) await put(before, { id });
  await before.claim(START, 10);
  await before.close();
  flipHeaderType(site, 2);
  const store = await site.open();
  const { states } = await store.stats();
  assert.deepEqual([states.ready, states.damaged, states.leased], [2, 1, 0]);
});

/** What a flipped bit makes of the columns that say whether a row waits, and for how long. */
const stateDamages: Record<string, (site: Site) => void> = {
  'a state that is none': (site) =>
    tamper(site, `PRAGMA ignore_check_constraints = ON; UPDATE recipients SET state = 'leasfd' WHERE id = 2`),
  'a wait without an end': (site) => tamper(site, 'PRAGMA ignore_check_constraints = ON; UPDATE recipients SET due_at = NULL WHERE id = 2'),
  'a time to go though it waits for none': (site) =>
    tamper(site, `PRAGMA ignore_check_constraints = ON; UPDATE recipients SET state = 'bounced' WHERE id = 2`),
  'a time to go that is none': (site) => againstTypes(site, `UPDATE recipients SET due_at = 'x' WHERE id = 2`),
  'fewer attempts than none': (site) => tamper(site, 'UPDATE recipients SET attempts = -5 WHERE id = 2'),
  'more attempts than can be made': (site) => tamper(site, 'UPDATE recipients SET attempts = attempts | (1 << 40) WHERE id = 2'),
};

for (const [damage, inflict] of Object.entries(stateDamages)) {
  test(`a row with ${damage} is set aside, and its operator sees the queue all the same (P10)`, async (t) => {
    const site = await makeSite(t);
    const before = await site.open();
    for (const id of ['q1', 'q2', 'q3']) await put(before, { id });
    await before.close();
    inflict(site);
    const store = await site.open();
    const ids = (await store.claim(START, 10)).map((lease) => lease.queueId);
    assert.deepEqual(ids, ['q1', 'q3']);
    assert.partialDeepStrictEqual((await store.stats()).states, { leased: 2, damaged: 1, ready: 0, bounced: 0 });
    assert.deepEqual(
      (await store.list({ state: 'damaged' }, 10)).map(({ queueId }) => queueId),
      ['q2'],
    );
    assert.equal(await store.remove({ queueId: 'q2' }, 'anna'), 1);
    await store.close();
    assert.equal(lines(site).filter((line) => line.includes('"event":"damaged","queue_id":"q2"')).length, 1);
  });
}

test('a state that is none while no relay runs is shown as damaged, not as a failure of list and stats (P10)', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1' });
  await store.close();
  tamper(site, `PRAGMA ignore_check_constraints = ON; UPDATE recipients SET state = 'rfady'`);
  const db = openDatabaseReadOnly(site.paths.database);
  t.after(() => db.close());
  assert.deepEqual(
    listEntries(db, { state: 'damaged' }, 10).map(({ state }) => state),
    ['damaged'],
  );
  assert.equal(readStats(db).states.damaged, 1);
});

for (const bit of [31, 50, 60]) {
  test(`a row that a flipped bit ${bit} made due in a far future is due at the next start (P7)`, async (t) => {
    const site = await makeSite(t);
    const before = await site.open();
    await put(before, { id: 'q1' });
    await before.settle(await claimOne(before), { kind: 'deferred', dueAt: START + 3_600_000, reason: '451 later' }, []);
    await put(before, { id: 'q2' });
    await before.settle(await claimOne(before), { kind: 'deferred', dueAt: START + 3_600_000, reason: '451 later' }, []);
    await before.close();
    tamper(site, `UPDATE recipients SET due_at = due_at | (1 << ${bit}) WHERE id = 1`);
    const store = await site.open();
    assert.equal((await claimOne(store, START)).queueId, 'q1');
    assert.equal(await store.nextDue(), START + 3_600_000);
  });
}

test('a row whose checksum does not cover its time of acceptance is claimed, and set aside where the time cannot be (P10)', async (t) => {
  const site = await makeSite(t);
  const before = await site.open();
  for (const id of ['q1', 'q2', 'q3']) await put(before, { id, asked });
  const leases = await before.claim(START, 10);
  await before.close();
  const db = new DatabaseSync(site.paths.database);
  const bodies = db.prepare('SELECT length, sha256 FROM bodies ORDER BY id').all();
  for (const [index, lease] of leases.entries()) {
    const { length, sha256 } = bodies[index] ?? {};
    assert.ok(typeof length === 'number' && sha256 instanceof Uint8Array);
    const row = { ...lease, address: lease.recipient, notify: 'FAILURE', bodyLength: length, bodySha256: sha256, kept: null };
    db.prepare('UPDATE recipients SET sha256 = ? WHERE id = ?').run(hashWithoutTime(row), lease.row);
  }
  db.exec(`UPDATE messages SET accepted_at = accepted_at | (1 << 46) WHERE id = 'q2';
    UPDATE messages SET accepted_at = accepted_at & ~(1 << 40) WHERE id = 'q3'`);
  db.close();
  const store = await site.open();
  assert.deepEqual(
    (await store.claim(START, 10)).map(({ queueId }) => queueId),
    ['q1'],
  );
  assert.equal((await store.stats()).states.damaged, 2);
});

const YEAR = 365 * 86_400_000;

for (const restart of [false, true]) {
  test(`mail taken while the clock was a year ahead goes out once it is right${restart ? ', after a restart too' : ''} (P7)`, async (t) => {
    const site = await makeSite(t);
    const store = await site.open();
    site.clock.now = START + YEAR;
    const { message } = await put(store, { id: 'q1' });
    await store.enqueue({ ...message, id: 'q2', acceptedAt: START + YEAR }, []);
    await store.enqueue({ ...message, id: 'q3', acceptedAt: START + YEAR }, []);
    const [, , third] = await store.claim(START + YEAR, 3);
    assert.ok(third !== undefined);
    await store.settle(third, { kind: 'deferred', dueAt: START + YEAR + 60_000, reason: '451 later' }, []);
    if (restart) await store.close();
    site.clock.now = START;
    const after = restart ? await site.open() : store;
    const ids = (await after.claim(START, 10)).map((lease) => lease.queueId).sort();
    assert.deepEqual(ids, restart ? ['q1', 'q2', 'q3'] : ['q3']);
    assert.equal(await after.nextDue(), undefined);
    assert.equal((await after.claim(START + 1, 10)).length, 0);
  });
}

test('a row that is deferred by a clock that is right stays so, though the clock was slewed', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1' });
  await store.settle(await claimOne(store), { kind: 'deferred', dueAt: START + 3_600_000, reason: '451 later' }, []);
  assert.deepEqual(await store.claim(START - 30_000, 10), []);
  assert.equal(await store.nextDue(), START + 3_600_000);
});

test('start sweeps bodies that no row names, and leaves what is not a body to the operator', async (t) => {
  const site = await makeSite(t);
  const before = await site.open();
  await put(before, { id: 'q1', octets: LARGE });
  const kept = bodyFile(site);
  const orphan = join(site.paths.bodies, '0'.repeat(32));
  const odd = join(site.paths.bodies, 'notes.txt');
  await before.close();
  for (const path of [orphan, odd]) writeFileSync(path, 'x', { mode: 0o600 });
  await site.open();
  assert.deepEqual(readdirSync(site.paths.bodies).sort(), [kept, odd].map((path) => basename(path)).sort());
  assert.match(site.logged.join(''), /notes\.txt/);
});

test('the file of a body goes when its last row has gone', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1', octets: LARGE });
  await store.settle(await claimOne(store), { kind: 'delivered' }, []);
  await store.close();
  assert.deepEqual(readdirSync(site.paths.bodies), []);
});

test('a folder open to others, or a link in the place of a file, is refused at start (A36)', async (t) => {
  const site = await makeSite(t);
  await (await site.open()).close();
  chmodSync(site.paths.folder, 0o755);
  await assert.rejects(site.open(), hasCode('data-folder-unsafe'));
  chmodSync(site.paths.folder, 0o700);
  for (const path of [site.paths.database, site.paths.lock, site.paths.audit]) {
    renameSync(path, `${path}.moved`);
    symlinkSync(`${path}.moved`, path);
    await assert.rejects(site.open(), hasCode('data-folder-unsafe'));
    rmSync(path);
    renameSync(`${path}.moved`, path);
  }
  await site.open();
});

test('no mail is taken while less than the reserve is free; what is queued still moves', async (t) => {
  const site = await makeSite(t);
  const before = await site.open();
  await put(before, { id: 'q1' });
  await before.close();
  const store = await site.open({ reserveBytes: Number.MAX_SAFE_INTEGER });
  await assert.rejects(put(store, { id: 'q2' }), hasCode('storage-full'));
  assert.deepEqual(codesOf(await store.refusals()), ['storage-full']);
  await store.settle(await claimOne(store), { kind: 'delivered' }, []);
  assert.equal((await store.stats()).totals.delivered, 1);
});

test('every cause for which no mail is taken is told, each once', async (t) => {
  const site = await makeSite(t);
  const store = await site.open({ reserveBytes: Number.MAX_SAFE_INTEGER, auditBacklog: 0 });
  assert.deepEqual(codesOf(await store.refusals()), ['storage-full', 'audit-failed']);
});

const codesOf = (errors: readonly SealpostError[]): string[] => errors.map(({ code }) => code);

const disappearances: Record<string, (site: Site) => void> = {
  'the whole folder is deleted': (site) => rmSync(site.paths.folder, { recursive: true }),
  'the database is deleted': (site) => {
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${site.paths.database}${suffix}`);
  },
  'the write-ahead log is deleted': (site) => rmSync(`${site.paths.database}-wal`),
  'an older copy is put in its place': (site) => {
    copyFileSync(site.paths.database, `${site.paths.database}.copy`);
    renameSync(`${site.paths.database}.copy`, site.paths.database);
  },
  'the folder of bodies is made anew': (site) => {
    rmSync(site.paths.bodies, { recursive: true });
    mkdirSync(site.paths.bodies, { mode: 0o700 });
  },
  'the lock is deleted, so that a second relay may start': (site) => rmSync(site.paths.lock),
};

for (const [what, inflict] of Object.entries(disappearances)) {
  test(`no mail is taken any more once ${what} under a running relay (P1)`, async (t) => {
    const site = await makeSite(t);
    const failures: string[] = [];
    const store = await site.open({ onFailure: (error) => failures.push(error.code) });
    await put(store, { id: 'q1' });
    assert.deepEqual(await store.refusals(), []);
    inflict(site);
    site.clock.now += 1000;
    assert.equal((await store.refusals())[0]?.code, 'storage-failed');
    for (const id of ['q2', 'q3']) await assert.rejects(put(store, { id }), hasCode('storage-failed'));
    assert.deepEqual(failures, ['storage-failed']);
    assert.match(site.logged.join(''), /was deleted, moved or replaced while the relay ran/);
  });
}

test('an audit file that is moved away under a running relay stops the queue, and no line is lost', async (t) => {
  const site = await makeSite(t);
  const { promise: failed, resolve } = Promise.withResolvers<string>();
  const store = await site.open({ onFailure: (error) => resolve(error.code) });
  await put(store, { id: 'q1' });
  renameSync(site.paths.audit, `${site.paths.audit}.1`);
  assert.equal(await failed, 'audit-failed');
  assert.match(site.logged.join(''), /audit\.jsonl was deleted, moved or replaced/);
  assert.equal((await store.refusals())[0]?.code, 'audit-failed');
  await assert.rejects(put(store, { id: 'q2' }), hasCode('audit-failed'));
  await store.close();
  renameSync(`${site.paths.audit}.1`, site.paths.audit);
  await (await site.open()).close();
  assert.match(lines(site).join(''), /"queue_id":"q1"/);
  assert.deepEqual(await verifyAudit({ file: site.paths.audit, head: recordedHead(site) }), {
    kind: 'whole',
    head: recordedHead(site),
    beyond: 0,
  });
});

test('the whole queue works under the permission model, which denies fs.fsync', async (t) => {
  const site = await makeSite(t);
  const flags = ['--permission', '--allow-fs-read=*', `--allow-fs-write=${dirname(site.paths.folder)}`, '--allow-worker'];
  const child = spawnSync(execPath, [...flags, childScript, site.paths.folder, 'round'], { encoding: 'utf8' });
  assert.equal(child.status, 0, child.stderr);
  assert.equal(child.stdout, 'delivered small\ndelivered large\n');
  assert.equal((await verifyAudit({ file: site.paths.audit })).kind, 'whole');
});

test('the compiled queue finds its compiled worker', async (t) => {
  const site = await makeSite(t);
  const dist = join(dirname(site.paths.folder), 'dist');
  const project = fileURLToPath(new URL('../../', import.meta.url));
  const tsc = join(project, 'node_modules', '.bin', 'tsc');
  const built = spawnSync(execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', dist], { cwd: project, encoding: 'utf8' });
  assert.equal(built.status, 0, built.stdout);
  writeFileSync(join(dist, 'package.json'), '{ "type": "module" }');
  const script = `
    const { openSqliteQueue } = await import(${JSON.stringify(join(dist, 'queue/sqlite.js'))});
    const store = await openSqliteQueue({ ...${JSON.stringify(site.paths)}, now: Date.now, log: {} });
    await store.record([{ event: 'started' }]);
    await store.close();`;
  writeFileSync(join(dist, 'main.js'), script);
  const ran = spawnSync(execPath, [join(dist, 'main.js')], { encoding: 'utf8' });
  assert.deepEqual([ran.status, ran.stderr], [0, '']);
  assert.equal(lines(site).length, 1);
});

// The audit file as the store keeps it; the chain itself is in test/audit.test.ts.

const lines = (site: Site): string[] => readFileSync(site.paths.audit, 'utf8').trimEnd().split('\n');

test('events of many concurrent changes stand in the file once each, chained, numbered in the order of their commits', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  const ids = Array.from({ length: 300 }, (_, index) => `q${index}`);
  for (let at = 0; at < ids.length; at += 100) {
    await Promise.all(ids.slice(at, at + 100).map((id) => put(store, { id })));
    // Longer than the writer waits, so that it appends while others commit.
    await setTimeout(120);
  }
  await store.close();
  assert.deepEqual(await verifyAudit({ file: site.paths.audit, head: recordedHead(site) }), {
    kind: 'whole',
    head: recordedHead(site),
    beyond: 0,
  });
  assert.deepEqual(
    lines(site)
      .map((line) => String(/"queue_id":"(q\d+)"/.exec(line)?.[1]))
      .sort(),
    ids.sort(),
  );
});

test('verifying beside a relay at work raises no false alarm', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'first' });
  const until = Date.now() + 1500;
  const load = async (worker: number): Promise<void> => {
    for (let index = 0; Date.now() < until; index++) await put(store, { id: `q${worker}-${index}` });
  };
  const working = Promise.all([1, 2, 3, 4].map(load));
  const db = openDatabaseReadOnly(site.paths.database);
  let times = 0;
  while (Date.now() < until) {
    // One look, as the command has two.
    const { size } = statSync(site.paths.audit);
    const verdict = await verifyAudit({ file: site.paths.audit, ...readAuditRecord(db), upTo: size });
    assert.equal(verdict.kind, 'whole', JSON.stringify(verdict));
    times++;
  }
  db.close();
  await working;
  assert.ok(times > 3, `${times} times`);
});

function recordedHead(site: Site): AuditHead {
  const db = openDatabaseReadOnly(site.paths.database);
  const head = readAuditHead(db);
  db.close();
  return head;
}

test('a request that fails leaves no event, neither its own nor a gap', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await Promise.allSettled([
    put(store, { id: 'q1' }),
    put(store, { id: 'q1' }),
    put(store, { id: 'q2', events: [{ event: 'accepted', 'Not A Name': 1 }] }),
    put(store, { id: 'q3' }),
  ]);
  assert.equal((await store.stats()).totals.accepted, 2);
  await store.close();
  assert.deepEqual(
    // In the order in which their bodies were stored, which load decides.
    lines(site)
      .map((line) => String(/"queue_id":"(q\d)"/.exec(line)?.[1]))
      .sort(),
    ['q1', 'q3'],
  );
  assert.equal((await verifyAudit({ file: site.paths.audit })).kind, 'whole');
});

test('a relay that died past the dot is told of once, with the id and the recipient', async (t) => {
  const site = await makeSite(t);
  const first = await site.open();
  await put(first, { id: 'q1' });
  await first.passDot(await claimOne(first));
  await first.close();
  await (await site.open()).close();
  await (await site.open()).close();
  const told = lines(site).filter((line) => line.includes('"ambiguous"'));
  assert.equal(told.length, 1);
  assert.match(String(told[0]), /"queue_id":"q1","recipient":"anna@clinic\.example"/);
});

/** A site with three lines in its file, closed. */
async function withThreeLines(t: TestContext): Promise<Site> {
  const site = await makeSite(t);
  const store = await site.open();
  for (const id of ['q1', 'q2', 'q3']) await put(store, { id });
  await store.close();
  return site;
}

for (const tail of ['{"seq":4,"time":"20', '\0\0\0\0\0\0\0\0', 'half a line\nand more']) {
  test(`a torn tail is mended at start: ${JSON.stringify(tail)}`, async (t) => {
    const site = await withThreeLines(t);
    appendFileSync(site.paths.audit, tail);
    const store = await site.open();
    await put(store, { id: 'q4' });
    await store.close();
    assert.equal(lines(site).length, 4);
    assert.equal((await verifyAudit({ file: site.paths.audit, head: recordedHead(site) })).kind, 'whole');
  });
}

test('lines that were appended but not recorded when the relay died are not written twice', async (t) => {
  const site = await withThreeLines(t);
  const [, , third = ''] = lines(site);
  const { hash } = recordedHead(site);
  const db = new DatabaseSync(site.paths.database);
  db.prepare('INSERT INTO audit_pending VALUES (3, ?, ?)').run(hash, Buffer.from(`${third}\n`));
  const second = readLink(Buffer.from(String(lines(site)[1])));
  db.prepare('UPDATE audit_head SET seq = 2, hash = ?, bytes = bytes - ?').run(String(second?.hash), third.length + 1);
  db.close();
  await (await site.open()).close();
  assert.equal(lines(site).length, 3);
  assert.equal((await verifyAudit({ file: site.paths.audit, head: recordedHead(site) })).kind, 'whole');
});

const breaks: Record<string, (site: Site) => void> = {
  'is gone': (site) => rmSync(site.paths.audit),
  'lost its last line': (site) => writeFileSync(site.paths.audit, `${lines(site).slice(0, 2).join('\n')}\n`),
  // Its end is the recorded one: what comes next would stand behind a hole.
  'lost its first line': (site) => writeFileSync(site.paths.audit, `${lines(site).slice(1, 3).join('\n')}\n`),
  'has another last line': (site) => writeFileSync(site.paths.audit, readFileSync(site.paths.audit, 'utf8').replace('q3', 'q9')),
  'goes on behind the database': (site) => {
    const { seq, hash, bytes } = recordedHead(site);
    appendFileSync(site.paths.audit, chainLine({ seq, hash, bytes }, { event: 'removed', queue_id: 'q1' }, START).line);
  },
};

for (const [what, inflict] of Object.entries(breaks)) {
  test(`start is refused where the audit file ${what}`, async (t) => {
    const site = await withThreeLines(t);
    inflict(site);
    await assert.rejects(site.open(), hasCode('audit-broken'));
  });
}
