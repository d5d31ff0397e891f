/**
 * Promises under faults: a child uses the queue while strace kills it or refuses it a system call; what it had said by then
 * must be there afterwards, whole (P1, P4).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { execPath } from 'node:process';
import { test } from 'node:test';
import { auditLines } from '../../src/audit/segments.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { openDatabaseReadOnly } from '../../src/queue/schema.ts';
import { childScript, inject, inLanes, noStrace, noUnshare, runChild } from './faulty.ts';
import { hasCode, makeSite, put, readAll, type Site } from './site.ts';

const LONG_AFTER = Date.UTC(2100, 0, 1);

/** Opens what the child left behind and holds it to everything it said. */
async function assertKept(site: Site, lines: readonly string[], open = Promise.resolve().then(() => site.open())): Promise<void> {
  const accepted = new Map<string, string>();
  const delivered = new Set<string>();
  for (const line of lines) {
    const [what, id = '', sha256 = ''] = line.split(' ');
    if (what === 'accepted') accepted.set(id, sha256);
    if (what === 'delivered') delivered.add(id);
  }
  const store = await open;
  const found = new Map<string, string>();
  for (const lease of await store.claim(LONG_AFTER, 1000))
    found.set(
      lease.queueId,
      createHash('sha256')
        .update(await readAll(store, lease))
        .digest('hex'),
    );
  for (const id of delivered) assert.ok(!found.has(id), `${id} was delivered and is not sent again`);
  await store.close();
  assert.equal((await verifyAudit({ file: site.paths.audit })).kind, 'whole');
  const audit = await auditText(site.paths.audit);
  for (const [id, sha256] of accepted) {
    // Delivered and recorded, and killed before it could say so: the audit log says it.
    const gone = audit.includes(`"event":"delivered","queue_id":"${id}"`);
    assert.equal(found.get(id), gone ? undefined : sha256, `${id} was acknowledged`);
  }
  for (const id of accepted.keys()) assert.ok(audit.includes(`"event":"accepted","queue_id":"${id}"`), `the audit log tells of ${id}`);
  assertKnown(site, audit);
  for (const id of delivered) assert.ok(audit.includes(`"event":"delivered","queue_id":"${id}"`), `the audit log tells of ${id}`);
}

/** All segments. */
async function auditText(file: string): Promise<string> {
  const lines: string[] = [];
  for await (const { bytes } of auditLines(file)) lines.push(`${bytes.toString()}\n`);
  return lines.join('');
}

/** The child seals each message to a certificate of its own: it is known if the message was accepted, and told of as a change. */
function assertKnown(site: Site, audit: string): void {
  const events = audit
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line): Record<string, unknown> => ({ ...JSON.parse(line) }));
  const idsOf = (event: string): string[] => events.filter((entry) => entry['event'] === event).map((entry) => String(entry['queue_id']));
  const db = openDatabaseReadOnly(site.paths.database);
  const rows = db.prepare('SELECT subject AS id, address FROM known_certificates').all();
  db.close();
  assert.deepEqual(rows.map(({ id }) => String(id)).toSorted(), idsOf('accepted').toSorted());
  assert.equal(idsOf('certificate-changed').length, rows.length - new Set(rows.map(({ address }) => address)).size);
}

test('body, folder and database are synced, in that order, before a message is acknowledged (P1)', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  const trace = join(dirname(site.paths.folder), 'trace');
  await runChild(site, ['strace', '-f', '-y', '-o', trace, '-e', 'trace=fsync,fdatasync,write'], undefined, 'serial');
  const steps = readFileSync(trace, 'utf8')
    .split('\n')
    .flatMap((line) => {
      if (/ write\(1<.*"accepted /.test(line)) return ['said'];
      const synced = / f(?:data)?sync\(\d+<([^>]*)>/.exec(line)?.[1] ?? '';
      if (/\/bodies\/[0-9a-f]{32}$/.test(synced)) return ['body'];
      if (synced.endsWith('/bodies')) return ['folder'];
      return synced.endsWith('/queue.sqlite-wal') ? ['database'] : [];
    });
  // The audit writer's own commits may come in between; more syncs than one promise nothing more.
  const acknowledged = steps.join(' ').split(' said');
  assert.equal(acknowledged.length, 5);
  for (const [index, before] of acknowledged.slice(0, 4).entries())
    assert.match(before, index % 2 === 0 ? /database$/ : /body( database)* folder( database)+$/, `message ${index}: ${steps.join(' ')}`);
});

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

const sweeps: Record<string, readonly number[]> = {
  fsync: [...upTo(12), 14, 16, 18, 20, 22],
  pwrite64: [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 200, 260],
  unlink: [1, 2, 3],
  // The closing of a segment of the audit log.
  rename: [1, 2, 3],
};

for (const [call, moments] of Object.entries(sweeps)) {
  test(`killed at any ${call}: all that was acknowledged is there, whole, and told of`, { skip: noStrace }, async (t) => {
    let acknowledged = 0;
    await inLanes(moments, async (moment) => {
      const site = await makeSite(t);
      const { lines } = await runChild(site, inject(`${call}:signal=SIGKILL:when=${moment}`));
      acknowledged += lines.length;
      await assertKept(site, lines);
    });
    assert.ok(acknowledged > 0, 'some runs lived long enough to acknowledge');
  });
}

test('killed at random moments, again and again on one folder: nothing acknowledged is lost', async (t) => {
  const site = await makeSite(t);
  const said: string[] = [];
  for (const line of [1, 2, 4, 6, 8, 10, 12]) {
    const ran = await runChild(site, [], { line, afterMs: Math.random() * 10 });
    assert.ok(ran.lines.length >= line, ran.log);
    said.push(...ran.lines);
  }
  await assertKept(site, said);
});

test('an fsync of the database that fails: refused, and nothing is acknowledged after it', { skip: noStrace }, async (t) => {
  await inLanes([4, 6, 9], async (moment) => {
    const site = await makeSite(t);
    const wal = ['-P', `${site.paths.database}-wal`];
    const { lines, log } = await runChild(site, inject(`fsync:error=EIO:when=${moment}`, ...wal));
    const first = lines.findIndex((line) => /^refused .* storage-failed$/.test(line));
    assert.ok(first >= 0, `refused with its code: ${lines.join()}`);
    const after = lines.slice(first).filter((line) => !line.endsWith('storage-failed'));
    assert.deepEqual(after, ['closed'], 'the disk works again, and is not believed');
    assert.match(log, /takes no mail/);
    await assertKept(site, lines);
  });
});

test('refused by a failed sync, and there all the same after a crash: then it is there whole', { skip: noStrace }, async (t) => {
  let revived = 0;
  await inLanes([3, 4, 5, 6], async (moment) => {
    const site = await makeSite(t);
    const wal = ['-P', `${site.paths.database}-wal`];
    const { lines } = await runChild(site, inject(`fsync:error=EIO:when=${moment}`, ...wal), undefined, 'serial');
    const refused = lines.find((line) => line.startsWith('refused'));
    const store = await site.open();
    const waiting = await store.list({}, 10);
    if (waiting.some((entry) => entry.size > 100_000 && entry.queueId === refused?.split(' ')[1])) revived++;
    await store.close();
    await assertKept(site, lines);
  });
  assert.ok(revived > 0, 'a large message was revived by the write-ahead log');
});

test('an fsync of a body that fails: that message is refused, and no mail is taken after it', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  await (await site.open()).close();
  // The folder's sync is the second of the two that make a body durable.
  const { lines, log } = await runChild(site, inject('fsync:error=EIO:when=1', '-P', site.paths.bodies));
  assert.ok(
    lines.some((line) => line.endsWith('storage-failed')),
    lines.join(),
  );
  assert.match(log, /takes no mail/);
  await assertKept(site, lines);
});

test('no room for the database: refused as full, and taken again when there is room', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  const wal = ['-P', `${site.paths.database}-wal`];
  const { lines } = await runChild(site, inject('pwrite64:error=ENOSPC:when=50..53', ...wal));
  const refused = lines.findIndex((line) => line.endsWith('storage-full'));
  assert.ok(refused >= 0, lines.join());
  assert.ok(
    lines.slice(refused).some((line) => line.startsWith('accepted')),
    lines.join(),
  );
  assert.ok(!lines.some((line) => line.endsWith('storage-failed')), lines.join());
  await assertKept(site, lines);
});

test('an audit file that cannot be written: no mail is taken, file and cause are said, delivery goes on', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  const { lines, log } = await runChild(site, inject('pwrite64:error=ENOSPC:when=1+', '-P', site.paths.audit), undefined, 'unwritable');
  const count = (what: string): number => lines.filter((line) => line.startsWith(what)).length;
  assert.ok(count('accepted') > 0, lines.join());
  assert.ok(
    lines.some((line) => /^refused .* audit-failed$/.test(line)),
    lines.join(),
  );
  assert.equal(count('delivered'), count('accepted'), lines.join());
  assert.match(log, /no mail is taken/);
  assert.match(log, /audit\.jsonl.*ENOSPC/);
  await assertKept(site, lines);
});

test('a segment that the disk does not rename: the file grows on, and no line is lost', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  const { lines, log } = await runChild(site, inject('rename:error=EIO:when=1+'), undefined, 'serial');
  assert.ok(
    lines.some((line) => line.startsWith('accepted')),
    lines.join(),
  );
  assert.match(log, /EIO.*it grows on/);
  await assertKept(site, lines);
});

test('an audit file that cannot be written at the start: refused by name, and its lines are kept', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  const unwritable = inject('pwrite64:error=EIO:when=1+', '-P', site.paths.audit);
  const { lines } = await runChild(site, unwritable, undefined, 'unwritable');
  const again = await runChild(site, unwritable, undefined, 'open');
  assert.ok(!again.lines.includes('opened'), again.lines.join());
  assert.match(again.log, /audit-failed/);
  await assertKept(site, lines);
});

test('mail is taken again by itself once the audit file can be written', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  const { lines, log } = await runChild(site, inject('pwrite64:error=ENOSPC:when=1', '-P', site.paths.audit), undefined, 'unwritable');
  const refused = lines.findIndex((line) => /^refused .* audit-failed$/.test(line));
  assert.ok(refused >= 0, lines.join());
  assert.ok(
    lines.slice(refused).some((line) => line.startsWith('accepted')),
    lines.join(),
  );
  assert.match(log, /the audit file is written again/);
  await assertKept(site, lines);
});

test('more audit lines than may wait for their file: no mail is taken', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  const { lines } = await runChild(site, inject('pwrite64:error=ENOSPC:when=1+', '-P', site.paths.audit), undefined, 'backlog');
  assert.ok(
    lines.some((line) => line.startsWith('accepted')),
    lines.join(),
  );
  assert.ok(
    lines.some((line) => /^refused .* audit-failed$/.test(line)),
    lines.join(),
  );
  await assertKept(site, lines);
});

test('an audit file that is slow to sync is appended to once at a time', { skip: noStrace }, async (t) => {
  const site = await makeSite(t);
  const slow = ['strace', '-f', '--seccomp-bpf', '-o', '/dev/null', '-e', 'trace=fsync', '-e', 'inject=fsync:delay_enter=60000'];
  const { lines } = await runChild(site, slow);
  assert.equal(lines.at(-1), 'closed');
  await assertKept(site, lines);
});

test('a full file system refuses mail with storage-full and goes on delivering', { skip: noUnshare }, async (t) => {
  const site = await makeSite(t);
  const { folder } = site.paths;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const script = `mount -t tmpfs -o size=6m,mode=700 tmpfs "$3" && exec "$1" "$2" "$3" fill`;
  const ran = spawnSync('unshare', ['-rm', 'sh', '-c', script, 'sh', execPath, childScript, folder], { encoding: 'utf8' });
  const lines = ran.stdout.trimEnd().split('\n');
  const count = (what: string): number => lines.filter((line) => line.startsWith(what)).length;
  assert.ok(count('accepted') > 5, ran.stderr);
  assert.ok(
    lines.some((line) => /^refused m\d+ storage-full$/.test(line)),
    ran.stdout,
  );
  assert.equal(count('delivered'), count('accepted'), ran.stderr);
  assert.equal(lines.at(-1), 'verified whole', ran.stdout + ran.stderr);
});

test('a lock that its owner was killed with is free', async (t) => {
  const site = await makeSite(t);
  await runChild(site, [], { line: 3, afterMs: 0 });
  const store = await site.open();
  await put(store, { id: 'next' });
  await assert.rejects(site.open(), hasCode('queue-in-use'));
  await store.close();
  assert.ok(readdirSync(site.paths.folder).includes('lock.sqlite'));
});
