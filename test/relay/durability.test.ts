/** P1 and P4: what got 250 is on the disk, is delivered whole after any kill, and every attempt is the same octets. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createPrivateKey } from 'node:crypto';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { openMessage } from '../../src/seal/open.ts';
import { makeSite, type Site } from './site.ts';
import { send } from './submit.ts';
import { type Delivery, keepingUpstream } from './upstream.ts';

const needs = (programs: Record<string, string>) => ({ skip: missingPrograms(programs) ?? false });
const quickRetry = { retry: { first: '1s', longest: '1s', max_age: '1h' } };
const large = `Subject: large\r\n\r\n${'0123456789abcdef0123456789abcdef\r\n'.repeat(10_000)}`;

/** No upstream yet: the connection closes at once. */
const closed: Replies = { greeting: undefined };

test(
  'P1 the queue, the body file and its folder are synced between the end of DATA and the 250',
  needs({ openssl: 'openssl', strace: 'strace' }),
  async (t) => {
    const upstream = await keepingUpstream(t, closed);
    const site = await makeSite(t, { upstreamPort: upstream.port });
    const trace = join(site.dir, 'trace');
    const relay = await site.serve(['strace', '-f', '-y', '-s', '64', '-e', 'trace=fsync,fdatasync,write,writev', '-o', trace]);
    await send(relay.port, ['anna@clinic.example'], large);
    await relay.kill();
    const lines = (await readFile(trace, 'utf8')).split('\n');
    const asked = lines.findIndex((line) => line.includes('354 '));
    const answered = lines.findIndex((line) => line.includes('250 2.0.0 queued'));
    assert.ok(asked > 0 && answered > asked, 'the dialogue is in the trace');
    const synced = lines
      .slice(asked, answered)
      .filter((line) => (/f(?:data)?sync/.test(line) && !line.includes('unfinished')) || /f(?:data)?sync resumed/.test(line));
    const started = lines
      .slice(asked, answered)
      .filter((line) => /f(?:data)?sync\(/.test(line))
      .join('\n');
    assert.ok(
      synced.every((line) => line.includes('= 0')),
      synced.join('\n'),
    );
    const at = ['/bodies/', '/bodies>', 'queue.sqlite-wal'].map((name) => started.lastIndexOf(name));
    assert.ok(
      at.every((place) => place >= 0),
      `file, folder and queue are synced: ${started}`,
    );
    assert.deepEqual(
      at,
      at.toSorted((a, b) => a - b),
      'the file before the folder before the row that names it',
    );
  },
);

test('P4 two attempts of one message are the same octets, across a kill', needs({ openssl: 'openssl' }), async (t) => {
  const replies: { dot: string } = { dot: '451 4.3.0 later\r\n' };
  const upstream = await keepingUpstream(t, replies);
  const site = await makeSite(t, { upstreamPort: upstream.port, config: quickRetry });
  const first = await site.serve();
  await send(first.port, ['anna@clinic.example'], large);
  await until('two attempts', () => upstream.deliveries().length >= 2);
  await first.kill();
  replies.dot = goodReplies.dot;
  const before = upstream.deliveries().length;
  const second = await site.serve();
  await until('the attempt after the kill', () => upstream.deliveries().length > before);
  const [one, ...others] = upstream.deliveries();
  for (const other of others) assert.ok(one?.octets.equals(other.octets));
  await second.stop();
  assert.match(await site.sealpost('queue', 'stats'), /delivered\s+1/);
});

/** Every message opened with the reader's key; answers the marker that its body is. */
async function markers(site: Site, deliveries: readonly Delivery[]): Promise<Set<string>> {
  const key = createPrivateKey(await readFile(site.readers.people.anna.key));
  return new Set(deliveries.map(({ octets }) => /marker-\d+/.exec(openMessage(octets, [{ key }]).entity.toString())?.[0] ?? 'no marker'));
}

/** Random kills; 200 for the full measure, which takes some minutes: KILL_CYCLES=200 npm test -- durability. */
const KILLS = Number(process.env['KILL_CYCLES'] ?? 40);

test(
  `P1 P4 every 250 is delivered, whole, over ${KILLS} kills at random moments under load`,
  { ...needs({ openssl: 'openssl' }), timeout: 20 * 60_000 },
  async (t) => {
    const upstream = await keepingUpstream(t);
    const site = await makeSite(t, { upstreamPort: upstream.port, config: quickRetry });
    const acknowledged = new Set<string>();
    let number = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const relay = await site.serve();
      const life = { over: false };
      const client = async (): Promise<void> => {
        while (!life.over) {
          const marker = `marker-${number++}`;
          const body = number % 7 === 0 ? `${marker}\r\n${large}` : marker;
          const sent = await send(relay.port, ['anna@clinic.example'], `Subject: x\r\n\r\n${body}\r\n`).then(
            () => true,
            () => false,
          );
          if (sent) acknowledged.add(marker);
        }
      };
      const clients = Promise.all([client(), client(), client()]);
      // Half of them at any moment from the start on, half behind two messages: a busy machine may take long to its first.
      const wanted = acknowledged.size + 2;
      if (kill % 2 === 1) await until('two messages are taken', async () => acknowledged.size >= wanted, 60_000);
      await sleep(Math.random() * 300);
      await relay.kill();
      life.over = true;
      await clients;
    }
    const last = await site.serve();
    await send(last.port, ['anna@clinic.example'], 'Subject: x\r\n\r\nmarker-999999\r\n');
    await until(
      'the queue is empty',
      async () => /"oldestAcceptedAt":\s*null/.test(await site.sealpost('queue', 'stats', '--json')),
      120_000,
    );
    const delivered = await markers(site, upstream.deliveries());
    const lost = [...acknowledged].filter((marker) => !delivered.has(marker));
    assert.deepEqual(lost, []);
    assert.ok(acknowledged.size >= KILLS, `only ${acknowledged.size} messages were taken between the kills`);
    await last.stop();
    assert.match(await site.sealpost('queue', 'stats'), /damaged\s+0/);
    await site.sealpost('audit', 'verify');
    t.diagnostic(
      `${acknowledged.size} acknowledged, ${upstream.deliveries().length} deliveries of ${delivered.size} messages, none lost, none damaged`,
    );
  },
);
