/** What `doctor` says of a queue that holds what somebody must look at. */
import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { inspectQueue } from '../../../src/commands/doctor/store.ts';
import { makeSite, put, type Site, START } from '../../queue/site.ts';

const DAY_MS = 86_400_000;

const look = async ({ paths }: Site, now = START): Promise<string[]> =>
  (await inspectQueue(paths, join(dirname(paths.folder), 'keys'), now)).map(({ verdict, text }) => `${verdict}: ${text}`);

test('held mail: nothing to say on the first day, a warning behind it', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1', kept: { kind: 'held', facts: '{}' } });
  assert.deepEqual(await look(site, START + DAY_MS), ['ok: 1 held']);
  assert.deepEqual(await look(site, START + 3 * DAY_MS), ['warning: 1 held, the oldest for 3 d']);
});

test('a damaged row is a fault', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1' });
  await store.close();
  const db = new DatabaseSync(site.paths.database);
  db.exec(`UPDATE recipients SET prefix = x'00'`);
  db.close();
  const again = await site.open();
  assert.deepEqual(await again.claim(START, 1), []);
  assert.deepEqual(await look(site), ['fault: 1 damaged']);
});

test('passed mail that waits under a spool key that is gone is a fault', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1', kept: { kind: 'spooled', facts: '{}' } });
  assert.deepEqual(await look(site), ['fault: mail that passes in clear waits, and spool.key is gone']);
});
