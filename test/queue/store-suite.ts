/** What the relay relies on in every store, whatever keeps the rows. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test, type TestContext } from 'node:test';
import type { NewMessage, QueueStore } from '../../src/queue/queue.ts';
import { heldSuite } from './held-suite.ts';
import { knownSuite } from './known-suite.ts';
import { recordsSuite } from './records-suite.ts';
import { type Asked, claimOne, hasCode, put, readAll, START } from './site.ts';

export interface StoreUnderTest {
  readonly store: QueueStore;
  /** Ends the process that owns the store as a crash would, and opens it anew. */
  reopen(): Promise<QueueStore>;
  /** What the test moves the store's time by. */
  readonly clock: { now: number };
  /** The events of the audit log, once the store is closed. */
  audit(): Record<string, unknown>[];
  /** Nothing of any body is stored. */
  assertNothingLeft(): void;
}

const HOUR = 3_600_000;
const deferred = { kind: 'deferred', dueAt: START + HOUR, reason: '451 later' } as const;
const bounced = { kind: 'bounced', reason: '550 5.1.1 no such user' } as const;

/** A notice: facts, and nothing else. */
export function noticeOf(id: string): NewMessage {
  const empty = Buffer.alloc(0);
  const nothing = { length: 0, sha256: createHash('sha256').digest(), content: { kind: 'inline', bytes: empty } } as const;
  const parts = { body: 0, header: empty, prefix: empty, suffix: empty, needsSmtputf8: false };
  const recipients = [{ address: 'web@clinic.example', sender: '', notify: new Set<never>(), orcpt: null, ...parts }];
  const about = { envid: null, submitter: null, notice: `{"about":"${id}"}` };
  return { id, acceptedAt: START, sender: '', size: 0, ...about, bodies: [nothing], recipients };
}

export function storeSuite(name: string, makeStore: (t: TestContext) => Promise<StoreUnderTest>): void {
  describe(`${name}: a store`, () => {
    movements(makeStore);
    operators(makeStore);
    heldSuite(makeStore);
    knownSuite(makeStore);
    recordsSuite(makeStore);
  });
}

function movements(makeStore: (t: TestContext) => Promise<StoreUnderTest>): void {
  for (const octets of [0, 1, 100_000, 128 * 1024, 128 * 1024 + 1, 3_000_000]) {
    test(`gives back a body of ${octets} octets and every recipient's part as they came`, async (t) => {
      const { store } = await makeStore(t);
      const { message, ciphertext } = await put(store, { id: 'q1', octets, recipients: ['a@x.example', 'b@x.example'] });
      const leases = await store.claim(START, 10);
      assert.deepEqual(
        leases.map(({ recipient, header, prefix, suffix, bodyLength }) => ({ address: recipient, header, prefix, suffix, bodyLength })),
        message.recipients.map(({ address, header, prefix, suffix }) => ({ address, header, prefix, suffix, bodyLength: octets })),
      );
      for (const lease of leases) assert.ok((await readAll(store, lease)).equals(ciphertext));
    });
  }

  test('keeps what the envelope said besides addresses, of the message and of each recipient', async (t) => {
    const { store } = await makeStore(t);
    const asked: Asked = {
      envid: 'E+2B1',
      submitter: 'web@clinic.example',
      sender: '',
      notify: new Set(['failure']),
      orcpt: 'rfc822;A@x',
    };
    await put(store, { id: 'q1', asked, recipients: ['a@x.example', 'b@x.example'] });
    await put(store, { id: 'q2', asked: { notify: new Set() } });
    await put(store, { id: 'q3' });
    const [a, b, never, plain] = await store.claim(START, 10);
    for (const lease of [a, b]) assert.partialDeepStrictEqual(lease, { ...asked, originalSender: 'form@clinic.example', notice: null });
    assert.partialDeepStrictEqual(never, { notify: new Set(), sender: 'form@clinic.example', envid: null });
    assert.partialDeepStrictEqual(plain, { notify: null, orcpt: null, envid: null, submitter: null, delayNoticed: false });
    for (const lease of [a, b, never, plain]) if (lease !== undefined) await readAll(store, lease);
  });

  test('writes a notice with the settle of the row it tells of, or neither', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1', recipients: ['a@x.example', 'b@x.example'] });
    const [a, b] = await store.claim(START, 2);
    assert.ok(a !== undefined && b !== undefined);
    await store.settle(a, bounced, [], { notice: noticeOf('n1'), ofDelay: false });
    await assert.rejects(store.settle(b, bounced, [], { notice: noticeOf('n1'), ofDelay: false }));
    assert.equal((await store.stats()).states.leased, 1, 'an id that is taken: nothing of the settle holds');
    await store.settle(b, deferred, [], { notice: noticeOf('n2'), ofDelay: true });
    const notices = await store.claim(START, 10);
    assert.deepEqual(
      notices.map(({ queueId, sender, originalSender, notice, recipient }) => [queueId, sender, originalSender, notice, recipient]),
      ['n1', 'n2'].map((id) => [id, '', '', `{"about":"${id}"}`, 'web@clinic.example']),
    );
    for (const lease of notices) assert.equal((await readAll(store, lease)).length, 0);
    const late = await claimOne(store, START + HOUR);
    assert.deepEqual([late.recipient, late.delayNoticed], ['b@x.example', true]);
  });

  test('leases a row once, the one due first before the others, and none before its time', async (t) => {
    const { store } = await makeStore(t);
    for (const id of ['q1', 'q2', 'q3']) await put(store, { id });
    const [first] = await store.claim(START, 1);
    assert.ok(first !== undefined);
    assert.equal(first.queueId, 'q1');
    await store.settle(first, deferred, []);
    assert.deepEqual(
      (await store.claim(START + HOUR - 1, 10)).map((lease) => lease.queueId),
      ['q2', 'q3'],
    );
    assert.equal(await store.nextDue(), START + HOUR);
    const again = await claimOne(store, START + HOUR);
    assert.deepEqual([again.queueId, again.attempts], ['q1', 1]);
    assert.equal(await store.nextDue(), undefined);
  });

  for (const octets of [4000, 400_000])
    test(`leases ${octets} octets as they are queued, as many rows as are asked for, and gives them to nobody else`, async (t) => {
      const made = await makeStore(t);
      const { store } = made;
      const addresses = ['a@x.example', 'b@x.example', 'c@x.example'];
      const { message, ciphertext } = await put(store, { id: 'q1', octets, recipients: addresses });
      await settleAll(store);
      const body = store.newBody();
      await body.write(Buffer.from(ciphertext));
      const bodies = [await body.finish()];
      // Held mail is leased to nobody, wherever it stands in the message.
      const [first, ...others] = message.recipients;
      assert.ok(first !== undefined);
      const held = { ...first, address: 'held@x.example', kept: { kind: 'held', facts: '{}' } } as const;
      const recipients = [held, first, held, ...others];
      const leases = await store.enqueueLeased(
        { ...message, id: 'q2', bodies, recipients },
        [{ event: 'accepted', queue_id: 'q2' }],
        [],
        [],
        2,
      );
      assert.deepEqual(
        leases.map(({ queueId, recipient, attempts, header }) => [queueId, recipient, attempts, header]),
        message.recipients.slice(0, 2).map(({ address, header }) => ['q2', address, 0, header]),
      );
      for (const lease of leases) assert.ok((await readAll(store, lease)).equals(ciphertext));
      assert.deepEqual(
        (await store.claim(START, 10)).map(({ recipient }) => recipient),
        ['c@x.example'],
      );
      const [sent, second] = leases;
      assert.ok(sent !== undefined && second !== undefined);
      await store.passDot(sent);
      await store.settle(sent, { kind: 'delivered' }, []);
      // Whose relay dies is made ready at the next start, whole.
      const anew = await made.reopen();
      const [again] = (await anew.claim(START, 10)).filter(({ recipient }) => recipient === 'b@x.example');
      assert.ok(again !== undefined);
      assert.ok((await readAll(anew, again)).equals(ciphertext));
      assert.deepEqual({ ...again, row: 0 }, { ...second, row: 0 }, 'as it was leased at first');
    });

  test('keeps the shared body until the last row that names it is delivered', async (t) => {
    const { store } = await makeStore(t);
    const { ciphertext } = await put(store, { id: 'q1', octets: 500_000, recipients: ['a@x.example', 'b@x.example'] });
    const [a, b] = await store.claim(START, 2);
    assert.ok(a !== undefined && b !== undefined);
    await store.settle(a, { kind: 'delivered' }, []);
    assert.equal((await store.stats()).bodyBytes, 500_000);
    assert.ok((await readAll(store, b)).equals(ciphertext));
    await store.settle(b, { kind: 'delivered' }, []);
    assert.deepEqual(await store.list({}, 10), []);
    const stats = await store.stats();
    assert.deepEqual([stats.bodyBytes, stats.oldestAcceptedAt, stats.totals.delivered], [0, null, 2]);
  });

  test('an attempt that does not count leaves the number of attempts as it was', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1' });
    for (const [counts, attempts] of [
      [undefined, 1],
      [false, 1],
      [false, 1],
      [undefined, 2],
    ] as const) {
      const lease = await claimOne(store);
      await store.settle(lease, { kind: 'deferred', dueAt: START, reason: 'too much', ...(counts === undefined ? {} : { counts }) }, []);
      assert.equal((await store.list({}, 10))[0]?.attempts, attempts);
    }
  });

  test('refuses to settle or mark a row that is not leased', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1' });
    const lease = await claimOne(store);
    await store.settle(lease, deferred, []);
    await assert.rejects(store.settle(lease, { kind: 'delivered' }, []), hasCode('internal'));
    await assert.rejects(store.passDot(lease), hasCode('internal'));
    assert.equal((await store.stats()).states.deferred, 1);
  });

  test('fails one request alone among many that are asked at once', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'taken' });
    const ids = Array.from({ length: 40 }, (_, index) => (index === 20 ? 'taken' : `q${index}`));
    const outcomes = await Promise.allSettled(ids.map((id) => put(store, { id })));
    assert.deepEqual(
      outcomes.flatMap(({ status }, index) => (status === 'rejected' ? [index] : [])),
      [20],
    );
    assert.equal((await store.stats()).totals.accepted, 40);
    assert.equal((await store.claim(START, 100)).length, 40);
  });

  test('makes rows ready again that a dead relay had leased; past the dot they count as ambiguous (P4)', async (t) => {
    const under = await makeStore(t);
    await put(under.store, { id: 'q1', recipients: ['a@x.example', 'b@x.example', 'c@x.example'] });
    const [a, b] = await under.store.claim(START, 2);
    assert.ok(a !== undefined && b !== undefined);
    await under.store.passDot(b);
    const store = await under.reopen();
    assert.equal((await store.stats()).totals.ambiguous, 1);
    const leases = await store.claim(START, 10);
    assert.deepEqual(leases.map((lease) => lease.recipient).sort(), ['a@x.example', 'b@x.example', 'c@x.example']);
  });

  test('keeps what it acknowledged, and nothing of what it was not asked to keep', async (t) => {
    const under = await makeStore(t);
    const { ciphertext } = await put(under.store, { id: 'q1', octets: 400_000 });
    const writer = under.store.newBody();
    await writer.write(Buffer.alloc(400_000));
    await writer.finish();
    await writer.discard();
    const store = await under.reopen();
    assert.equal((await store.stats()).bodyBytes, 400_000);
    assert.ok((await readAll(store, await claimOne(store))).equals(ciphertext));
  });

  test('a client that leaves while its body is written leaves nothing behind', async (t) => {
    const under = await makeStore(t);
    const writer = under.store.newBody();
    await writer.write(Buffer.alloc(100_000));
    const late = writer.write(Buffer.alloc(100_000));
    await Promise.all([writer.discard(), late]);
    await under.store.close();
    under.assertNothingLeft();
  });

  test('takes a discard after the enqueue for nothing', async (t) => {
    const { store } = await makeStore(t);
    const writer = store.newBody();
    await writer.write(Buffer.alloc(300_000, 7));
    const body = await writer.finish();
    const unsaid = { sender: '', notify: null, orcpt: null, envid: null, submitter: null };
    const part = { header: Buffer.from('H'), prefix: Buffer.from('P'), suffix: Buffer.alloc(0), needsSmtputf8: false, ...unsaid };
    const recipients = [{ address: 'a@x.example', body: 0, ...part }];
    await store.enqueue({ id: 'q1', acceptedAt: START, ...unsaid, notice: null, size: 1, bodies: [body], recipients }, []);
    await writer.discard();
    assert.equal((await readAll(store, await claimOne(store))).length, 300_000);
  });
}

function operators(makeStore: (t: TestContext) => Promise<StoreUnderTest>): void {
  test('brings a bounced row back whole when an operator asks', async (t) => {
    const { store } = await makeStore(t);
    const { ciphertext, message } = await put(store, { id: 'q1' });
    await store.settle(await claimOne(store), bounced, []);
    assert.deepEqual(await store.claim(START + HOUR, 10), []);
    assert.equal(await store.retry({ queueId: 'q1' }, START, 'anna'), 1);
    const lease = await claimOne(store);
    assert.deepEqual(lease.prefix, message.recipients[0]?.prefix);
    assert.ok((await readAll(store, lease)).equals(ciphertext));
  });

  test('retries and removes what the filter names, in any number, and never what is leased', async (t) => {
    const { store } = await makeStore(t);
    const recipients = Array.from({ length: 1200 }, (_, index) => `r${index}@x.example`);
    await put(store, { id: 'many', recipients });
    await Promise.all((await store.claim(START, 1199)).map((lease) => store.settle(lease, deferred, [])));
    await store.claim(START, 1);
    assert.equal(await store.retry({ recipient: 'r7@x.example' }, START, 'anna'), 1);
    assert.equal(await store.retry({}, START, 'anna'), 1198);
    assert.equal(await store.remove({ queueId: 'other' }, 'anna'), 0);
    assert.equal(await store.remove({ queueId: 'many' }, 'anna'), 1199);
    const { states, totals } = await store.stats();
    assert.deepEqual([states.leased, states.ready, totals.removed], [1, 0, 1199]);
  });

  test('lists by id, recipient and state, oldest first', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1', octets: 10, recipients: ['a@x.example', 'b@x.example'] });
    await put(store, { id: 'q2', octets: 20 });
    await store.settle((await store.claim(START, 1))[0] ?? assert.fail(), bounced, []);
    assert.deepEqual(await store.list({ state: 'bounced' }, 10), [
      {
        queueId: 'q1',
        recipient: 'a@x.example',
        sender: 'form@clinic.example',
        state: 'bounced',
        acceptedAt: START,
        dueAt: null,
        changedAt: START,
        attempts: 1,
        size: 10,
        reason: bounced.reason,
        notice: null,
        kept: null,
      },
    ]);
    const ids = async (filter: object, limit = 10) => (await store.list(filter, limit)).map((entry) => entry.queueId);
    assert.deepEqual(await ids({}), ['q1', 'q1', 'q2']);
    assert.deepEqual(await ids({}, 1), ['q1']);
    assert.deepEqual(await ids({ recipient: 'anna@clinic.example', state: 'ready' }), ['q2']);
  });

  test('sets a damaged row aside: it is not claimed and not retried, only removed (P10)', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1' });
    await store.settle(await claimOne(store), { kind: 'damaged', reason: 'its body does not fit its checksum' }, []);
    assert.equal(await store.retry({}, START, 'anna'), 0);
    assert.deepEqual(await store.claim(START + HOUR, 10), []);
    assert.equal(await store.remove({ queueId: 'q1' }, 'anna'), 1);
  });

  test('prunes bounces that are old enough, and only those', async (t) => {
    const { store } = await makeStore(t);
    await put(store, { id: 'q1' });
    await store.settle(await claimOne(store), bounced, []);
    await put(store, { id: 'q2' });
    assert.equal(await store.prune(START), 0);
    assert.equal(await store.prune(START + 1), 1);
    assert.deepEqual(
      (await store.list({}, 10)).map((entry) => entry.queueId),
      ['q2'],
    );
  });
}

async function settleAll(store: QueueStore): Promise<void> {
  for (const lease of await store.claim(START, 10)) await store.settle(lease, { kind: 'delivered' }, []);
}
