/** What the relay relies on of held mail in every store: it waits, is released or given up once, and is never sent as it is. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import type { HeldRow, Kept, QueueStore, Release, StoredBody } from '../../src/queue/queue.ts';
import { claimOne, hasCode, heldOne, put, readAll, START } from './site.ts';
import { noticeOf, type StoreUnderTest } from './store-suite.ts';

const HOUR = 3_600_000;
const held: Kept = { kind: 'held', facts: '{"rule":"patients"}' };
const tooLong = { kind: 'bounced', reason: '4.4.7 held for too long' } as const;

const sealedAnew = (more: Partial<Release> = {}): Release => ({
  header: Buffer.from('To: <anna@clinic.example>\r\nX: released\r\n\r\n'),
  prefix: randomBytes(280),
  suffix: randomBytes(16),
  sender: 'form@clinic.example',
  needsSmtputf8: false,
  ...more,
});

const releasedEvent = ({ queueId, recipient }: HeldRow) => ({ event: 'released', queue_id: queueId, recipient }) as const;

async function ciphertextOf(store: QueueStore, row: HeldRow): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of store.readHeld(row)) parts.push(part);
  return Buffer.concat(parts);
}

async function writeBody(store: QueueStore, octets: number): Promise<{ readonly bytes: Buffer; readonly body: StoredBody }> {
  const bytes = randomBytes(octets);
  const writer = store.newBody();
  // What is handed over belongs to the writer.
  await writer.write(Buffer.from(bytes));
  return { bytes, body: await writer.finish() };
}

type MakeStore = (t: TestContext) => Promise<StoreUnderTest>;

export function heldSuite(makeStore: MakeStore): void {
  waiting(makeStore);
  releasing(makeStore);
  ending(makeStore);
  settingAside(makeStore);
  paging(makeStore);
  adding(makeStore);
}

function waiting(makeStore: MakeStore): void {
  test('held mail waits: it is not due, not claimed, not retried, not pruned, and is there after a crash', async (t) => {
    const under = await makeStore(t);
    await put(under.store, { id: 'q1', kept: held });
    assert.equal(await under.store.retry({}, START, 'anna'), 0);
    assert.equal(await under.store.prune(START + 365 * 24 * HOUR), 0);
    const store = await under.reopen();
    assert.equal(await store.nextDue(), undefined);
    assert.deepEqual(await store.claim(START + 365 * 24 * HOUR, 10), []);
    assert.partialDeepStrictEqual(await store.list({ state: 'held' }, 10), [{ queueId: 'q1', state: 'held', dueAt: null, kept: held }]);
    const { states, oldestHeldAt } = await store.stats();
    assert.deepEqual([states.held, oldestHeldAt], [1, START]);
  });

  test('held mail can be removed, and its body goes with it', async (t) => {
    const under = await makeStore(t);
    await put(under.store, { id: 'q1', octets: 300_000, kept: held });
    assert.equal(await under.store.remove({ queueId: 'q1' }, 'anna'), 1);
    const { states, totals, bodyBytes, oldestHeldAt } = await under.store.stats();
    assert.deepEqual([states.held, totals.removed, bodyBytes, oldestHeldAt], [0, 1, 0, null]);
    await under.store.close();
    under.assertNothingLeft();
  });

  test('mail of the spool is due like any other, and its lease tells what it is', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1', kept: { kind: 'spooled', facts: '{"size":7}' } });
    await put(store, { id: 'q2', kept: held });
    assert.deepEqual(
      (await store.list({ kept: 'spooled' }, 10)).map(({ queueId }) => queueId),
      ['q1'],
    );
    assert.deepEqual(
      (await store.heldRows({}, 0, 10)).map(({ queueId }) => queueId),
      ['q2'],
    );
    const lease = await claimOne(store);
    assert.deepEqual([lease.spooled, lease.waitsSince], ['{"size":7}', START]);
  });

  test('notices that tell of a message come with it, or neither does', async (t) => {
    const { store } = await makeStore(t);
    const writer = store.newBody();
    const body = await writer.finish();
    const message = { ...noticeOf('q1'), sender: 'form@clinic.example', notice: null, bodies: [body] };
    await store.enqueue(message, [], [], [noticeOf('n1')]);
    assert.deepEqual((await store.list({}, 10)).map(({ queueId }) => queueId).toSorted(), ['n1', 'q1']);
    await assert.rejects(store.enqueue({ ...message, id: 'q2' }, [], [], [noticeOf('n1')]));
    assert.equal((await store.stats()).totals.accepted, 2);
  });
}

function releasing(makeStore: MakeStore): void {
  for (const octets of [100, 300_000]) {
    test(`a held row is released over the ciphertext that is stored, of ${octets} octets, and goes out as it was sealed anew`, async (t) => {
      const under = await makeStore(t);
      const { store } = under;
      const { ciphertext, message } = await put(store, { id: 'q1', octets, kept: held });
      const row = await heldOne(store);
      assert.deepEqual([row.prefix, row.facts, row.size, row.bodyLength], [message.recipients[0]?.prefix, held.facts, octets, octets]);
      assert.ok((await ciphertextOf(store, row)).equals(ciphertext));
      under.clock.now = START + HOUR;
      const as = sealedAnew({ sender: 'bounce@clinic.example', needsSmtputf8: true });
      assert.equal(await store.release(row, as, [releasedEvent(row)]), true);
      assert.equal(await store.release(row, as, [releasedEvent(row)]), false, 'released once');
      const lease = await claimOne(store, START + HOUR);
      const { header, prefix, suffix, sender, originalSender, needsSmtputf8, waitsSince, acceptedAt } = lease;
      assert.deepEqual({ header, prefix, suffix, sender, needsSmtputf8 }, as);
      assert.deepEqual([originalSender, acceptedAt, waitsSince], ['form@clinic.example', START, START + HOUR]);
      assert.ok((await readAll(store, lease)).equals(ciphertext));
      await store.settle(lease, { kind: 'delivered' }, []);
      await store.close();
      assert.equal(under.audit().filter(({ event }) => event === 'released').length, 1);
      under.assertNothingLeft();
    });

    test(`a held row is released with another ciphertext, of ${octets} octets; the one before stays while others need it`, async (t) => {
      const under = await makeStore(t);
      const { store } = under;
      const { ciphertext } = await put(store, { id: 'q1', octets: 200_000, kept: held, recipients: ['a@x.example', 'b@x.example'] });
      const [a, b] = await store.heldRows({}, 0, 10);
      assert.ok(a !== undefined && b !== undefined);
      const anew = await writeBody(store, octets);
      assert.equal(await store.release(a, sealedAnew({ body: anew.body }), []), true);
      assert.equal((await store.stats()).bodyBytes, 200_000 + octets);
      const lease = await claimOne(store);
      assert.equal(lease.recipient, 'a@x.example');
      assert.ok((await readAll(store, lease)).equals(anew.bytes));
      assert.ok((await ciphertextOf(store, b)).equals(ciphertext));
      const last = await writeBody(store, octets);
      assert.equal(await store.release(b, sealedAnew({ body: last.body }), []), true);
      assert.equal((await store.stats()).bodyBytes, 2 * octets);
      const reopened = await under.reopen();
      for (const one of await reopened.claim(START, 10)) {
        await readAll(reopened, one);
        await reopened.settle(one, { kind: 'delivered' }, []);
      }
      await reopened.close();
      under.assertNothingLeft();
    });
  }

  test('a release that comes too late changes nothing, and its ciphertext is the caller’s to discard', async (t) => {
    const under = await makeStore(t);
    const { store } = under;
    await put(store, { id: 'q1', octets: 10, kept: held });
    const row = await heldOne(store);
    await store.remove({ queueId: 'q1' }, 'anna');
    const writer = store.newBody();
    await writer.write(randomBytes(300_000));
    const body = await writer.finish();
    assert.equal(await store.release(row, sealedAnew({ body }), [releasedEvent(row)]), false);
    await writer.discard();
    assert.equal(await store.endHeld(row, tooLong, [{ event: 'bounced', queue_id: 'q1' }]), false);
    await store.close();
    under.assertNothingLeft();
    assert.deepEqual(
      under.audit().filter(({ event }) => event === 'released' || event === 'bounced'),
      [],
    );
  });

  test('a row that is released and given up at once ends one way, whoever comes first', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1', kept: held });
    const [one, other] = [await heldOne(store), await heldOne(store)];
    const ways = await Promise.all([
      store.release(one, sealedAnew(), []),
      store.endHeld(other, tooLong, []),
      store.release(other, sealedAnew(), []),
    ]);
    assert.equal(ways.filter(Boolean).length, 1);
    const { states } = await store.stats();
    assert.deepEqual([states.held, states.ready + states.bounced], [0, 1]);
  });

  test('a held row that the queue has not given cannot be released', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1', kept: held });
    await assert.rejects(store.release({ ...(await heldOne(store)) }, sealedAnew(), []), hasCode('internal'));
  });
}

function ending(makeStore: MakeStore): void {
  test('held for too long it bounces with its notice, or neither; a retry holds it again, and it is never sent as it is', async (t) => {
    const under = await makeStore(t);
    const { store } = under;
    await put(store, { id: 'q1', kept: held });
    await put(store, { id: 'n0' });
    const row = await heldOne(store);
    const ended = { event: 'bounced', queue_id: 'q1', recipient: row.recipient } as const;
    await assert.rejects(store.endHeld(row, tooLong, [ended], { notice: noticeOf('n0'), ofDelay: false }), 'an id that is taken');
    assert.equal((await store.stats()).states.held, 1);
    assert.equal(await store.endHeld(row, tooLong, [ended], { notice: noticeOf('n1'), ofDelay: false }), true);
    const [bounced] = await store.list({ state: 'bounced' }, 10);
    assert.deepEqual([bounced?.queueId, bounced?.reason, bounced?.kept], ['q1', tooLong.reason, held]);
    assert.equal((await store.stats()).totals.bounced, 1);
    assert.deepEqual((await store.claim(START + HOUR, 10)).map(({ queueId }) => queueId).toSorted(), ['n0', 'n1']);
    under.clock.now = START + HOUR;
    assert.equal(await store.retry({ queueId: 'q1' }, START + HOUR, 'anna'), 1);
    assert.deepEqual(await store.claim(START + HOUR, 10), []);
    assert.deepEqual([row.heldSince, (await heldOne(store)).heldSince], [START, START + HOUR], 'and counts from there');
    assert.partialDeepStrictEqual(await store.list({ state: 'held' }, 10), [{ queueId: 'q1', reason: null }]);
    assert.equal(await store.release(await heldOne(store), sealedAnew(), []), true);
    assert.equal((await claimOne(store, START + HOUR)).queueId, 'q1');
    await store.close();
    assert.equal(under.audit().filter(({ event }) => event === 'bounced').length, 1);
  });
}

function settingAside(makeStore: MakeStore): void {
  test('found damaged it is set aside as it was read, told of once; then it is neither released, given up nor retried (P10)', async (t) => {
    const under = await makeStore(t);
    const { store } = under;
    await put(store, { id: 'q1', kept: held, recipients: ['a@x.example', 'b@x.example', 'c@x.example'] });
    const [a, b, c] = await store.heldRows({}, 0, 10);
    assert.ok(a && b && c);
    assert.equal(await store.damageHeld(a, 'its body is gone'), true);
    assert.equal(await store.damageHeld(a, 'its body is gone'), false, 'once');
    assert.equal(await store.release(a, sealedAnew(), [releasedEvent(a)]), false);
    assert.equal(await store.endHeld(a, tooLong, []), false);
    assert.equal(await store.release(b, sealedAnew(), [releasedEvent(b)]), true);
    assert.equal(await store.damageHeld(b, 'its body is gone'), false, 'what was released meanwhile is left alone');
    assert.equal(await store.endHeld(c, tooLong, []), true);
    assert.equal(await store.damageHeld(c, 'its body is gone'), false);
    assert.equal(await store.retry({ recipient: 'a@x.example' }, START, 'anna'), 0);
    const again = await under.reopen();
    const [entry, ...others] = await again.list({ state: 'damaged' }, 10);
    assert.deepEqual([entry?.recipient, entry?.reason, others.length], ['a@x.example', 'its body is gone', 0]);
    assert.equal(await again.remove({ recipient: 'a@x.example' }, 'anna'), 1);
    await again.close();
    assert.deepEqual(
      under.audit().flatMap(({ event, recipient, reason }) => (event === 'damaged' ? [[recipient, reason]] : [])),
      [['a@x.example', 'its body is gone']],
    );
  });
}

function paging(makeStore: MakeStore): void {
  test('held rows come in pages, of one message, one recipient or all', async (t) => {
    const { store } = await makeStore(t);
    const recipients = Array.from({ length: 1200 }, (_, index) => `r${index}@x.example`);
    await put(store, { id: 'many', recipients, kept: held });
    await put(store, { id: 'ready' });
    await put(store, { id: 'one', recipients: ['r7@x.example'], kept: held });
    const all = async (filter: object, limit: number): Promise<string[]> => {
      const found: string[] = [];
      for (
        let page = await store.heldRows(filter, 0, limit);
        page.length > 0;
        page = await store.heldRows(filter, page.at(-1)?.row ?? 0, limit)
      ) {
        assert.ok(page.length <= limit);
        found.push(...page.map(({ queueId, recipient }) => `${queueId} ${recipient}`));
      }
      return found;
    };
    assert.deepEqual(await all({}, 700), [...recipients.map((recipient) => `many ${recipient}`), 'one r7@x.example']);
    assert.deepEqual(await all({ recipient: 'r7@x.example' }, 1), ['many r7@x.example', 'one r7@x.example']);
    assert.deepEqual(await all({ recipient: 'r1199@x.example' }, 10), ['many r1199@x.example']);
    assert.deepEqual(await all({ queueId: 'one' }, 10), ['one r7@x.example']);
    assert.deepEqual(await all({ queueId: 'ready' }, 10), []);
  });
}

/** What an operator, the relay and a crash may do, in any order. */
const steps = fc.array(
  fc.constantFrom('put', 'hold', 'spool', 'deliver', 'defer', 'bounce', 'release', 'exchange', 'end', 'damage', 'retry', 'remove', 'prune'),
  { minLength: 5, maxLength: 25 },
);
type Step = ReturnType<typeof steps.generate>['value'][number];

function adding(makeStore: MakeStore): void {
  test('every accepted recipient is waiting, held, ended or removed, whatever happens (P7)', async (t) => {
    await fc.assert(
      fc.asyncProperty(steps, async (walk) => {
        const under = await makeStore(t);
        const tally = { pruned: 0, next: 0 };
        for (const step of walk) {
          await take(step, under.store, tally);
          await assertAddsUp(under.store, tally.pruned, `after ${step} of ${walk.join(' ')}`);
        }
        const again = await under.reopen();
        await assertAddsUp(again, tally.pruned, `after a crash behind ${walk.join(' ')}`);
        await again.close();
      }),
      { numRuns: 8 },
    );
  });
}

async function assertAddsUp(store: QueueStore, pruned: number, when: string): Promise<void> {
  const { states, totals } = await store.stats();
  const now = Object.values(states).reduce((sum, rows) => sum + rows, 0);
  assert.equal(totals.accepted, now + totals.delivered + totals.removed + pruned, when);
}

async function take(step: Step, store: QueueStore, tally: { pruned: number; next: number }): Promise<void> {
  const [row] = await store.heldRows({}, 0, 1);
  switch (step) {
    case 'put':
    case 'hold':
    case 'spool': {
      const kept = { put: undefined, hold: held, spool: { kind: 'spooled', facts: '{}' } as const }[step];
      await put(store, {
        id: `q${tally.next++}`,
        octets: 50,
        recipients: ['a@x.example', 'b@x.example'],
        ...(kept === undefined ? {} : { kept }),
      });
      return;
    }
    case 'deliver':
    case 'defer':
    case 'bounce': {
      const outcome = {
        deliver: { kind: 'delivered' },
        defer: { kind: 'deferred', dueAt: START, reason: '451' },
        bounce: tooLong,
      } as const;
      for (const lease of await store.claim(START, 1)) await store.settle(lease, outcome[step], []);
      return;
    }
    case 'release':
    case 'exchange': {
      const more = step === 'exchange' ? { body: (await writeBody(store, 60)).body } : {};
      if (row !== undefined) assert.equal(await store.release(row, sealedAnew(more), []), true);
      return;
    }
    case 'end':
      if (row !== undefined) assert.equal(await store.endHeld(row, tooLong, []), true);
      return;
    case 'damage':
      if (row !== undefined) assert.equal(await store.damageHeld(row, 'its body is gone'), true);
      return;
    case 'retry':
      await store.retry({}, START, 'anna');
      return;
    case 'remove':
      await store.remove({ recipient: 'b@x.example' }, 'anna');
      return;
    case 'prune':
      tally.pruned += await store.prune(START + HOUR);
  }
}
