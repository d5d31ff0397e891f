/** P10: what does not fit its checksums is set aside and never sent; everything else flows. */
import assert from 'node:assert/strict';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms, run } from '../interop/programs.ts';
import { spoilPage } from '../queue/site.ts';
import { CLI, makeSite } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

test(
  'P10 one flipped octet of a stored body: that message is set aside and not sent, the next one is',
  { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
  async (t) => {
    const replies: { greeting: string | undefined } & Replies = { greeting: undefined };
    const upstream = await keepingUpstream(t, replies);
    const site = await makeSite(t, { upstreamPort: upstream.port, config: { retry: { first: '1s', longest: '1s', max_age: '1h' } } });
    const relay = await site.serve();
    const large = `Subject: x\r\n\r\n${'0123456789abcdef\r\n'.repeat(20_000)}`;
    const damaged = await send(relay.port, ['anna@clinic.example', 'otto@clinic.example'], large);
    const [name = ''] = await readdir(join(site.data, 'bodies'));
    await flipOctet(join(site.data, 'bodies', name), 100_000);
    const whole = await send(relay.port, ['anna@clinic.example'], large);
    replies.greeting = goodReplies.greeting;
    await until('the whole message is delivered', () => upstream.deliveries().length > 0);
    await until('both rows are set aside', async () => /damaged\s+2/.test(await site.sealpost('queue', 'stats')));
    const [only, ...others] = upstream.deliveries();
    assert.ok(only?.octets.includes(whole));
    assert.deepEqual(others, []);
    assert.match(await site.sealpost('queue', 'show', damaged), /damaged/);
    await relay.stop();
    await site.sealpost('audit', 'verify');
    assert.equal((await site.sealpost('audit', 'show', '--id', damaged, '--event', 'damaged', '--json')).trim().split('\n').length, 2);
  },
);

for (const [damage, inflict] of [
  ['a page of the records that makes no sense', (database: string): void => spoilPage(database, 'records')],
  ['records whose table is gone', dropRecords],
] as const)
  test(
    `P10 ${damage}: the relay starts and mail flows, and the log and check say what is damaged`,
    { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
    async (t) => {
      const upstream = await keepingUpstream(t);
      const site = await makeSite(t, { upstreamPort: upstream.port });
      await (await site.serve()).stop();
      const database = join(site.data, 'queue.sqlite');
      inflict(database);
      const relay = await site.serve();
      await send(relay.port, ['anna@clinic.example'], 'Subject: x\r\n\r\nhello\r\n');
      await until('it is delivered', () => upstream.deliveries().length === 1);
      await until('the daily round was tried', () => relay.log().includes('the daily round cannot be made'));
      assert.match(relay.log(), /the records cannot be read/);
      assert.doesNotMatch(relay.log(), /"msg":"the queue (?:has )?stopped/);
      await send(relay.port, ['anna@clinic.example'], 'Subject: y\r\n\r\nhello\r\n');
      await until('the next is delivered', () => upstream.deliveries().length === 2);
      const { code, stdout } = await run(process.execPath, [CLI, '-c', site.file, 'check'], { cwd: site.dir });
      assert.equal(code, 1);
      assert.match(stdout.toString(), /queue\.sqlite.*\n?.*the records of the relay cannot be read/);
      await relay.stop();
      assert.equal(relay.child.exitCode, 0);
      await site.sealpost('audit', 'verify');
    },
  );

function dropRecords(database: string): void {
  const db = new DatabaseSync(database);
  db.exec('DROP TABLE records');
  db.close();
}

async function flipOctet(file: string, position: number): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const octet = Buffer.alloc(1);
    await handle.read(octet, 0, 1, position);
    octet[0] = (octet[0] ?? 0) ^ 1;
    await handle.write(octet, 0, 1, position);
  } finally {
    await handle.close();
  }
}
