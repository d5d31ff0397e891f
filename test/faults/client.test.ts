/** Faults, rows "the client loses our 250", "two instances on one SQLite queue" and "an older release's queue". */
import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { until } from '../interop/ports.ts';
import { run } from '../interop/programs.ts';
import { CLI } from '../relay/site.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import { LARGE, mail, midway, needs, quickRetry, tried } from './tried.ts';

const ANNA = ['anna@clinic.example'];

test('the client loses our 250: delivered once; what it sends again is delivered again (P4)', needs(), async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
  const relay = await site.serve();
  for (const [index, lines] of [1, LARGE].entries()) {
    const client = await midway(relay.port, mail(lines));
    client.pause();
    client.send('.\r\n');
    await until('it is taken', async () => (await site.events('accepted')).length === index + 1);
    client.reset();
  }
  await until('both are delivered', async () => (await site.events('delivered')).length === 2);
  await send(relay.port, ANNA, mail());
  await until('again', async () => (await site.events('delivered')).length === 3);
  await relay.stop();
  assert.equal(upstream.deliveries().length, 3);
  assert.equal(new Set((await site.events('delivered')).map((event) => event['queue_id'])).size, 3);
  await site.assertWhole(upstream.deliveries());
  await site.assertSealed(upstream.deliveries());
});

test('two instances on one queue: the second refuses with queue-in-use, and the first goes on', needs(), async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
  const relay = await site.serve();
  const { code, stdout, stderr } = await run(process.execPath, [CLI, '-c', site.file, 'serve'], { cwd: site.dir });
  assert.equal(code, 1);
  assert.match(stderr, /sealpost: .*another/);
  assert.doesNotMatch(stdout.toString(), /"msg":"listening"/);
  await send(relay.port, ANNA, mail());
  await until('it is delivered', () => upstream.deliveries().length === 1);
  await relay.stop();
  await site.assertSealed(upstream.deliveries());
});

for (const release of ['v1', 'v2', 'v3', 'v4'])
  test(
    `an older release's queue, ${release}: the relay starts on it, and each of its recipients has an end or waits`,
    needs(),
    async (t) => {
      const upstream = await keepingUpstream(t);
      const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
      for (const name of ['queue.sqlite', 'audit.jsonl']) {
        await copyFile(resolve(import.meta.dirname, '../queue', release, name), join(site.data, name));
        await chmod(join(site.data, name), 0o600);
      }
      const db = new DatabaseSync(join(site.data, 'queue.sqlite'), { readOnly: true });
      const count = (states: string): number =>
        Number(db.prepare(`SELECT count(*) AS n FROM recipients WHERE state IN (${states})`).get()?.['n']);
      const [flowing, bounced] = [count(`'ready', 'leased', 'deferred'`), count(`'bounced'`)];
      await mkdir(join(site.data, 'bodies'), { mode: 0o700 });
      for (const { file } of db.prepare('SELECT file FROM bodies WHERE file IS NOT NULL').all())
        await writeFile(join(site.data, 'bodies', String(file)), Buffer.alloc(140_000, 'large'), { mode: 0o600 });
      db.close();
      assert.ok(flowing > 0);
      const before = (await site.events('delivered', 'damaged')).length;
      const relay = await site.serve();
      const ended = async (): Promise<number> => (await site.events('delivered', 'damaged')).length - before;
      await until('all that was due has an end', async () => (await ended()) === flowing, 20_000);
      const stats = await site.sealpost('queue', 'stats');
      assert.match(stats, new RegExp(`ready 0, leased 0, deferred 0, .*bounced ${bounced}, damaged 0`));
      await send(relay.port, ANNA, mail());
      await until('the new one is delivered', async () => (await ended()) === flowing + 1);
      await relay.stop();
      await site.sealpost('audit', 'verify');
      await site.assertSealed(upstream.deliveries());
    },
  );
