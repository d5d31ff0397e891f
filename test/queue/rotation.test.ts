import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { auditLines, closedPath } from '../../src/audit/segments.ts';
import { until } from '../interop/ports.ts';
import { makeSite, put, type Site } from './site.ts';
import { ROTATE, verify } from './audit-verdict.ts';

/** A closed site whose log has several segments. */
async function withSegments(t: TestContext, messages = 12): Promise<Site> {
  const site = await makeSite(t);
  for (let index = 0; index < messages; index += 4) {
    const store = await site.open({ auditRotate: ROTATE });
    for (let one = index; one < index + 4; one++) await put(store, { id: `q${one}` });
    await store.close();
  }
  return site;
}

const segmentsOf = (site: Site): string[] =>
  readdirSync(site.paths.folder)
    .filter((name) => /^audit-\d{12}\.jsonl$/.test(name))
    .sort()
    .map((name) => join(site.paths.folder, name));

async function idsOf(site: Site): Promise<string[]> {
  const ids: string[] = [];
  for await (const { bytes } of auditLines(site.paths.audit)) ids.push(String(/"queue_id":"(q\d+)"/.exec(bytes.toString())?.[1]));
  return ids;
}

test('a file that is large enough is closed under the number of its first line, and the chain goes on in a new one', async (t) => {
  const site = await withSegments(t);
  const closed = segmentsOf(site);
  assert.ok(closed.length >= 2, closed.join());
  for (const file of [...closed, site.paths.audit]) assert.equal(statSync(file).mode & 0o777, 0o600);
  for (const file of closed) {
    const first = JSON.parse(String(readFileSync(file, 'utf8').split('\n')[0]));
    assert.equal(file, closedPath(site.paths.audit, first.seq));
  }
  assert.equal((await verify(site)).kind, 'whole');
  assert.deepEqual(
    await idsOf(site),
    Array.from({ length: 12 }, (_, index) => `q${index}`),
  );
});

const interruptions: Record<string, (site: Site, closed: string) => void> = {
  'before the new file was made': (site, closed) => renameSync(site.paths.audit, closed),
  'before the database recorded it': (site, closed) => {
    renameSync(site.paths.audit, closed);
    writeFileSync(site.paths.audit, '', { mode: 0o600 });
  },
};

for (const [when, interrupt] of Object.entries(interruptions)) {
  test(`the closing of a segment that was interrupted ${when} is undone at start`, async (t) => {
    const site = await withSegments(t, 4);
    const store = await site.open();
    await put(store, { id: 'q4' });
    await store.close();
    const first = JSON.parse(String(readFileSync(site.paths.audit, 'utf8').split('\n')[0]));
    const closed = closedPath(site.paths.audit, first.seq);
    interrupt(site, closed);
    const again = await site.open({ auditRotate: ROTATE });
    for (const id of ['q5', 'q6', 'q7', 'q8']) await put(again, { id });
    await again.close();
    assert.equal((await verify(site)).kind, 'whole');
    assert.deepEqual(
      await idsOf(site),
      Array.from({ length: 9 }, (_, index) => `q${index}`),
    );
    assert.match(site.logged.join(''), /was interrupted/);
  });
}

test('start is refused where a file with lines stands beside a segment of the same number', async (t) => {
  const site = await withSegments(t, 4);
  const store = await site.open();
  await put(store, { id: 'q4' });
  await store.close();
  const first = JSON.parse(String(readFileSync(site.paths.audit, 'utf8').split('\n')[0]));
  writeFileSync(closedPath(site.paths.audit, first.seq), 'x\n', { mode: 0o600 });
  await assert.rejects(site.open(), { code: 'audit-broken' });
});

test('a segment that cannot be closed grows on, and mail is taken', async (t) => {
  const site = await makeSite(t);
  const store = await site.open({ auditRotate: ROTATE });
  writeFileSync(closedPath(site.paths.audit, 1), 'in the way\n', { mode: 0o600 });
  for (let index = 0; index < 6; index++) await put(store, { id: `q${index}` });
  await store.close();
  rmSync(closedPath(site.paths.audit, 1));
  assert.match(site.logged.join(''), /it grows on/);
  assert.equal((await verify(site)).kind, 'whole');
});

test('a segment whose end the database does not take grows on under its own name, and mail is taken', async (t) => {
  const site = await makeSite(t);
  await (await site.open()).close();
  const db = new DatabaseSync(site.paths.database);
  db.exec("CREATE TRIGGER full BEFORE INSERT ON audit_segments BEGIN SELECT RAISE(ABORT, 'no'); END");
  db.close();
  const store = await site.open({ auditRotate: ROTATE });
  for (let index = 0; index < 6; index++) await put(store, { id: `q${index}` });
  await until('a rotation fails', () => site.logged.join('').includes('it grows on'));
  await put(store, { id: 'q6' });
  assert.deepEqual(await store.refusals(), []);
  await store.close();
  assert.deepEqual(segmentsOf(site), []);
  assert.equal((await verify(site)).kind, 'whole');
  assert.equal((await idsOf(site)).length, 7);
});

/** The second line of the second segment, as it is changed. */
const tamperings: Record<string, readonly [change: (lines: string[]) => void, line: number, fault: string]> = {
  edited: [(lines) => lines.splice(1, 1, String(lines[1]).replace('"accepted"', '"delivered"')), 2, 'changed'],
  dropped: [(lines) => lines.splice(1, 1), 2, 'missing'],
  swapped: [(lines) => lines.splice(1, 2, String(lines[2]), String(lines[1])), 2, 'swapped'],
};

for (const [what, [change, line, fault]] of Object.entries(tamperings)) {
  test(`verify names file and line where one line of a closed segment is ${what}`, async (t) => {
    const site = await makeSite(t);
    for (const start of [0, 5, 10]) {
      const store = await site.open({ auditRotate: ROTATE });
      for (let index = start; index < start + 5; index++) await put(store, { id: `q${index}` });
      await store.close();
    }
    const file = String(segmentsOf(site)[1]);
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    assert.ok(lines.length >= 3, `${lines.length} lines`);
    change(lines);
    writeFileSync(file, `${lines.join('\n')}\n`);
    const verdict = await verify(site);
    assert.deepEqual(verdict.kind === 'broken' ? [verdict.file, verdict.line, verdict.fault] : verdict.kind, [file, line, fault]);
  });
}

test('verify names the place where a closed segment is gone', async (t) => {
  const site = await withSegments(t);
  const [, gone = '', next = site.paths.audit] = segmentsOf(site);
  rmSync(gone);
  const verdict = await verify(site);
  assert.deepEqual(verdict.kind === 'broken' ? [verdict.file, verdict.line, verdict.fault] : verdict.kind, [next, 1, 'missing']);
});
