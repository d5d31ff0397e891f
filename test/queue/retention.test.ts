import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { auditLines } from '../../src/audit/segments.ts';
import { makeSite, put, START, type Site } from './site.ts';
import { recordOf, ROTATE, verify } from './audit-verdict.ts';

const DAY = 86_400_000;
const YEAR = 366 * DAY;
const segmentsOf = (site: Site): string[] => readdirSync(site.paths.folder).filter((name) => /^audit-\d{12}\.jsonl$/.test(name));

/** A closed site with a segment of each of three days, and the one that is written. */
async function withDays(t: TestContext): Promise<Site> {
  const site = await makeSite(t);
  for (let day = 0; day < 3; day++) {
    site.clock.now = START + day * DAY;
    const store = await site.open({ auditRotate: ROTATE });
    for (const one of ['a', 'b', 'c', 'd']) await put(store, { id: `q${day}${one}` });
    await store.close();
  }
  return site;
}

async function prune(site: Site, keep: number): Promise<number> {
  const store = await site.open();
  try {
    return await store.pruneAudit(keep);
  } finally {
    await store.close();
  }
}

async function linesOf(site: Site): Promise<Record<string, unknown>[]> {
  const lines: Record<string, unknown>[] = [];
  for await (const { bytes } of auditLines(site.paths.audit)) lines.push(JSON.parse(bytes.toString()));
  return lines;
}

test('closed segments that are older than is to be kept are deleted, the log says so, and verify begins behind them', async (t) => {
  const site = await withDays(t);
  const before = segmentsOf(site);
  assert.ok(before.length >= 3, before.join());
  const all = await linesOf(site);
  site.clock.now = START + 2 * DAY + 1;
  const gone = await prune(site, DAY);
  assert.ok(gone >= 1 && gone < before.length, String(gone));
  assert.deepEqual(segmentsOf(site), before.slice(gone));
  const { base } = recordOf(site);
  const kept = await linesOf(site);
  assert.equal(kept[0]?.['seq'], base.seq + 1);
  const told = kept.at(-1) ?? {};
  assert.deepEqual(
    [told['event'], told['segments'], told['first_seq'], told['last_seq'], told['last_sha256']],
    ['audit-pruned', gone, 1, base.seq, base.hash],
  );
  const newest = all[base.seq - 1]?.['time'];
  assert.equal(told['newest'], newest);
  assert.ok(Date.parse(String(newest)) < START + DAY + 1, 'nothing younger is gone');
  const verdict = await verify(site);
  assert.deepEqual([verdict.kind, verdict.kind === 'whole' && verdict.head.seq], ['whole', all.length + 1]);
  assert.equal(await prune(site, DAY), 0, 'once');
});

test('what is young enough stays, and the file that is written stays whatever its age', async (t) => {
  const site = await withDays(t);
  const before = segmentsOf(site);
  const store = await site.open();
  assert.equal(await store.pruneAudit(30 * DAY), 0);
  assert.deepEqual(segmentsOf(site), before);
  // A day passes in each round: everything is too old by then.
  let gone = 0;
  for (let day = 3; day < 60; day++) {
    site.clock.now = START + day * DAY;
    gone += await store.pruneAudit(30 * DAY);
  }
  await store.close();
  assert.equal(gone, before.length);
  assert.deepEqual(segmentsOf(site), []);
  assert.ok(existsSync(site.paths.audit) && readFileSync(site.paths.audit).length > 0);
  assert.equal((await verify(site)).kind, 'whole');
});

test('a clock that is years ahead deletes nothing, nor one that leaps to and fro', async (t) => {
  const site = await withDays(t);
  const before = segmentsOf(site);
  for (let round = 0; round < 5; round++) {
    site.clock.now = START + 20 * YEAR;
    assert.equal(await prune(site, 30 * DAY), 0, 'ahead');
    site.clock.now = START + 3 * DAY;
    assert.equal(await prune(site, 30 * DAY), 0, 'right');
    site.clock.now = 0;
    assert.equal(await prune(site, 30 * DAY), 0, 'behind');
  }
  assert.deepEqual(segmentsOf(site), before);
  assert.equal((await verify(site)).kind, 'whole');
});

test('what a relay that died left of deleted segments goes at the next start; verify does not mind it', async (t) => {
  const site = await withDays(t);
  const aside = join(site.paths.folder, 'aside');
  mkdirSync(aside);
  for (const name of segmentsOf(site)) copyFileSync(join(site.paths.folder, name), join(aside, name));
  site.clock.now = START + 2 * DAY + 1;
  assert.ok((await prune(site, DAY)) > 0);
  const kept = segmentsOf(site);
  for (const name of readdirSync(aside)) copyFileSync(join(aside, name), join(site.paths.folder, name));
  assert.equal((await verify(site)).kind, 'whole');
  const store = await site.open();
  await store.close();
  assert.deepEqual(segmentsOf(site), kept);
});
