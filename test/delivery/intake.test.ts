/** New mail is sent at once where a place is free and nothing waits; it never overtakes what does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeIntake } from '../../src/delivery/intake.ts';
import type { Scheduler } from '../../src/delivery/scheduler.ts';
import type { NewMessage, QueueStore } from '../../src/queue/queue.ts';
import { eventually } from '../certificates/openssl.ts';
import { MemoryQueue } from './memory-queue.ts';
import { converse, scriptedUpstream } from './peer.ts';
import { running, upstreamAt } from './surroundings.ts';

/** The scheduler alone is asked about; what is queued is a row of the queue in memory for each recipient. */
function intakeOf(
  queue: MemoryQueue,
  scheduler: Scheduler,
): { readonly asked: number[]; readonly take: (recipients: number) => Promise<void> } {
  const asked: number[] = [];
  const enqueueLeased: QueueStore['enqueueLeased'] = async ({ recipients }, _events, _uses, _notices, places) => {
    asked.push(places);
    const rows = recipients.map(() => queue.add());
    for (const row of rows.slice(0, places)) row.state = 'leased';
    return rows.slice(0, places).map(({ lease }) => lease);
  };
  const enqueue = makeIntake({ enqueueLeased }, scheduler);
  const message: Pick<NewMessage, 'recipients'> = { recipients: [] };
  return {
    asked,
    take: (recipients) => enqueue(Object.assign(Object.create(message), { recipients: Array.from({ length: recipients }) }), []),
  };
}

const delivered = (queue: MemoryQueue): number => queue.rows.filter(({ state }) => state === 'delivered').length;

test('an idle scheduler lends its places, and what is leased so goes out without a claim', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  await using relay = running(queue, [upstreamAt(server.port, { concurrency: 4 })]);
  await eventually(async () => queue.calls.nextDue === 1);
  const { asked, take } = intakeOf(queue, relay.scheduler);
  // The first session is opened alone.
  await take(1);
  await eventually(async () => delivered(queue) === 1);
  const { claim } = queue.calls;
  await take(3);
  await eventually(async () => delivered(queue) === 4);
  assert.deepEqual([asked, queue.calls.claim], [[1, 3], claim]);
  // More than there are places: the rest is claimed.
  await take(6);
  await eventually(async () => delivered(queue) === 10);
  assert.deepEqual(asked, [1, 3, 4]);
  assert.ok(queue.rows.every(({ settled, pastDot }) => settled === 1 && pastDot === 1));
});

test('where something waits, where a settle cannot be recorded and where it stops, nothing is lent', async () => {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const queue = new MemoryQueue();
  {
    await using relay = running(queue, [upstreamAt(server.port, { concurrency: 1 })]);
    const places = (): number => {
      const kept = relay.scheduler.keepPlaces(1);
      kept.giveBack();
      return kept.count;
    };
    assert.equal(places(), 0, 'before the first look at what is due');
    await eventually(async () => places() === 1);
    const kept = relay.scheduler.keepPlaces(1);
    assert.equal(places(), 0, 'the one place is kept for somebody');
    kept.giveBack();
    queue.add();
    relay.scheduler.wake();
    assert.equal(places(), 0, 'something may wait');
    await eventually(async () => delivered(queue) === 1 && places() === 1);
    queue.failing.settle = 1;
    queue.add();
    relay.scheduler.wake();
    await eventually(async () => relay.scheduler.counters().unsettled === 1);
    assert.equal(places(), 0, 'the end of an attempt is not recorded');
    await eventually(async () => delivered(queue) === 2 && places() === 1);
    void relay.scheduler.stop(1000);
    assert.equal(places(), 0, 'it stops');
  }
});
