/** Faults, row "damaged item": flipped, cut, zeroed or gone, it is set aside with an alarm, and the rest flows (P10). */
import assert from 'node:assert/strict';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { spoilPage } from '../queue/site.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import { LARGE, mail, needs, quickRetry, type Tried, tried } from './tried.ts';

const ANNA = ['anna@clinic.example'];

type Damage = readonly [what: string, lines: number, inflict: (site: Tried, id: string) => Promise<void> | void];

/** The file of a message's body. */
function bodyOf(site: Tried, id: string): string {
  const db = new DatabaseSync(join(site.data, 'queue.sqlite'), { readOnly: true });
  const row = db.prepare('SELECT file FROM bodies JOIN recipients ON recipients.body = bodies.id WHERE message = ?').get(id);
  db.close();
  return join(site.data, 'bodies', String(row?.['file']));
}

/** Sets a column of a message's rows, as a disk may change it. */
const column = (table: 'recipients' | 'bodies', assignment: string) => (site: Tried, id: string) => {
  const db = new DatabaseSync(join(site.data, 'queue.sqlite'));
  const which = table === 'recipients' ? 'message = ?' : 'id IN (SELECT body FROM recipients WHERE message = ?)';
  assert.equal(Number(db.prepare(`UPDATE ${table} SET ${assignment} WHERE ${which}`).run(id).changes), 1);
  db.close();
};

const damages: readonly Damage[] = [
  [
    'a body file flipped',
    LARGE,
    async (site, id) => {
      const octets = await readFile(bodyOf(site, id));
      octets[70_000] = (octets[70_000] ?? 0) ^ 1;
      await writeFile(bodyOf(site, id), octets);
    },
  ],
  ['a body file cut', LARGE, (site, id) => truncate(bodyOf(site, id), 1000)],
  ['a body file empty', LARGE, (site, id) => truncate(bodyOf(site, id), 0)],
  ['a body file of zeros', LARGE, async (site, id) => writeFile(bodyOf(site, id), Buffer.alloc((await readFile(bodyOf(site, id))).length))],
  ['a body file gone', LARGE, (site, id) => rm(bodyOf(site, id))],
  ['a body in its row of zeros', 1, column('bodies', 'bytes = zeroblob(length(bytes))')],
  ['a body in its row cut', 1, column('bodies', 'bytes = substr(bytes, 1, 16)')],
  ['a header of zeros', 1, column('recipients', 'header = zeroblob(length(header))')],
  ['a header cut', 1, column('recipients', 'header = substr(header, 1, 20)')],
  ['a prefix of zeros', 1, column('recipients', 'prefix = zeroblob(length(prefix))')],
  ['a prefix cut', 1, column('recipients', 'prefix = substr(prefix, 2)')],
  ['an address of somebody else', 1, column('recipients', `address = 'otto@clinic.example'`)],
];

test(
  `damaged items, ${damages.length} of every kind: each is set aside and told of, none is sent, and the rest flows`,
  needs(),
  async (t) => {
    const replies: { greeting: string | undefined } & Replies = { greeting: undefined };
    const upstream = await keepingUpstream(t, replies);
    const site = await tried(t, { upstreamPort: upstream.port, config: quickRetry });
    const first = await site.serve();
    const whole = [await send(first.port, ANNA, mail())];
    const ids: string[] = [];
    for (const [, lines] of damages) ids.push(await send(first.port, ANNA, mail(lines)));
    whole.push(await send(first.port, ANNA, mail(LARGE)));
    await first.stop();
    for (const [index, [, , inflict]] of damages.entries()) await inflict(site, ids[index] ?? '');
    replies.greeting = goodReplies.greeting;
    const relay = await site.serve();
    const setAside = async (): Promise<string[]> => (await site.events('damaged')).map((event) => String(event['queue_id']));
    await until('all of them are set aside', async () => new Set(await setAside()).size >= damages.length, 20_000);
    await until('the rest is delivered', async () => (await site.events('delivered')).length === whole.length, 20_000);
    whole.push(await send(relay.port, ANNA, mail()));
    await until('the next is delivered', async () => (await site.events('delivered')).length === whole.length);
    await relay.stop();
    assert.equal(relay.child.exitCode, 0);
    assert.deepEqual((await setAside()).toSorted(), ids.toSorted());
    for (const id of ids) assert.match(relay.log(), new RegExp(`"level":"error"[^\\n]*${id}`), 'an alarm');
    assert.deepEqual(
      upstream
        .deliveries()
        .map(({ octets }) => whole.findIndex((id) => octets.includes(id)))
        .toSorted((a, b) => a - b),
      [0, 1, 2],
    );
    await site.assertWhole(upstream.deliveries());
    await site.assertSealed(upstream.deliveries());
    await site.sealpost('audit', 'verify');
  },
);

test(
  'damaged page of the known certificates: the relay starts, mail flows, log and audit log say so; under a pin it waits',
  needs(),
  async (t) => {
    const upstream = await keepingUpstream(t);
    for (const pin of [false, true]) {
      const site = await tried(t, { upstreamPort: upstream.port, config: { ...quickRetry, certificates: { pin } } });
      const first = await site.serve();
      await send(first.port, ANNA, mail());
      await first.stop();
      spoilPage(join(site.data, 'queue.sqlite'), 'known_certificates');
      const before = upstream.deliveries().length;
      const relay = await site.serve();
      if (pin) await assert.rejects(send(relay.port, ANNA, mail()), /451 4\.4\.3/);
      else {
        await send(relay.port, ANNA, mail());
        await send(relay.port, ANNA, mail());
        await until('both are delivered', () => upstream.deliveries().length === before + 2);
        await until('the audit log says so', async () => (await site.events('damaged')).length > 0);
      }
      assert.match(relay.log(), /the known certificates cannot be read/);
      await relay.stop();
      assert.equal(relay.child.exitCode, 0);
      await site.sealpost('audit', 'verify');
    }
  },
);
