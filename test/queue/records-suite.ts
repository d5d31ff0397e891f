/** What other parts rely on in every store: small records that change with their audit events, or not at all. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { AuditEvent } from '../../src/audit.ts';
import { FOLLOWED, MAX_RECORD } from '../../src/queue/records.ts';
import { put, START } from './site.ts';
import type { StoreUnderTest } from './store-suite.ts';

const KIND = 'issued';
const told = (serial: string): AuditEvent => ({ event: 'certificate-issued', certificate_serial: serial });

export function recordsSuite(makeStore: (t: TestContext) => Promise<StoreUnderTest>): void {
  const serialsTold = async (under: StoreUnderTest): Promise<unknown[]> => {
    await under.store.close();
    return under
      .audit()
      .filter(({ event }) => event === 'certificate-issued')
      .map((entry) => entry['certificate_serial']);
  };

  test('records are kept by kind and key, in the order of keys, with when they were written, over a crash', async (t) => {
    const under = await makeStore(t);
    const { records } = under.store;
    assert.equal(await records.get(KIND, 'a'), undefined);
    assert.deepEqual(await records.list(KIND), []);
    for (const key of ['b', 'a', 'ä\u0000"\'\ud83d\udd11']) await records.change([{ kind: KIND, key, value: `of ${key}` }], []);
    under.clock.now += 5;
    await records.change([{ kind: 'other', key: 'a', value: '' }], []);
    await records.change([{ kind: KIND, key: 'b', value: 'anew' }], []);
    const again = (await under.reopen()).records;
    assert.deepEqual(await again.list(KIND), [
      { key: 'a', value: 'of a', at: START },
      { key: 'b', value: 'anew', at: START + 5 },
      { key: 'ä\u0000"\'\ud83d\udd11', value: 'of ä\u0000"\'\ud83d\udd11', at: START },
    ]);
    assert.deepEqual(await again.get('other', 'a'), { key: 'a', value: '', at: START + 5 });
    assert.equal(await again.change([{ kind: KIND, key: 'b', value: null }], []), true);
    assert.equal(await again.get(KIND, 'b'), undefined);
    assert.equal(await again.change([{ kind: KIND, key: 'never there', value: null }], []), true);
  });

  test('all changes of one call hold with their events, or none: what was taken for granted has to stand there', async (t) => {
    const under = await makeStore(t);
    const { records } = under.store;
    assert.equal(await records.change([{ kind: KIND, key: '1', value: 'one', was: null }], [told('1')]), true);
    const stale = [
      [{ kind: KIND, key: '1', value: 'again', was: null }],
      [{ kind: KIND, key: '1', value: 'again', was: 'another' }],
      [{ kind: KIND, key: '2', value: 'two', was: '' }],
      [
        { kind: KIND, key: '2', value: 'two', was: null },
        { kind: KIND, key: '1', value: null, was: 'another' },
      ],
    ];
    for (const changes of stale) assert.equal(await records.change(changes, [told('never')]), false);
    assert.deepEqual(
      (await records.list(KIND)).map(({ key, value }) => `${key} ${value}`),
      ['1 one'],
    );
    const both = [
      { kind: KIND, key: '1', value: 'uno', was: 'one' },
      { kind: KIND, key: '2', value: 'two' },
    ];
    assert.equal(await records.change(both, [told('2'), told('3')]), true);
    assert.deepEqual(
      (await records.list(KIND)).map(({ value }) => value),
      ['uno', 'two'],
    );
    assert.deepEqual(await serialsTold(under), ['1', '2', '3']);
  });

  test('of many that take the same for granted at one time one holds', async (t) => {
    const under = await makeStore(t);
    const { records } = under.store;
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, one) => records.change([{ kind: KIND, key: 'a', value: `${one}`, was: null }], [told(`${one}`)])),
    );
    assert.equal(answers.filter(Boolean).length, 1);
    const value = (await records.get(KIND, 'a'))?.value;
    assert.equal(value, `${answers.indexOf(true)}`);
    assert.deepEqual(await serialsTold(under), [value]);
  });

  test('a record is as large as is promised; a larger one is refused with all that came with it', async (t) => {
    const under = await makeStore(t);
    const { records } = under.store;
    const largest = 'ü'.repeat(MAX_RECORD);
    await records.change([{ kind: KIND, key: 'a', value: largest }], []);
    const tooLarge = [
      { kind: KIND, key: 'b', value: 'small' },
      { kind: KIND, key: 'a', value: `${largest}x` },
    ];
    await assert.rejects(records.change(tooLarge, [told('never')]));
    const again = await under.reopen();
    assert.equal((await again.records.get(KIND, 'a'))?.value, largest);
    assert.equal(await again.records.get(KIND, 'b'), undefined);
    await put(again, { id: 'q1' });
    assert.equal((await again.claim(START, 10)).length, 1);
    await again.close();
    assert.equal(under.audit().filter(({ event }) => event === 'certificate-issued').length, 0);
  });

  test('mail of the null sender that is followed is marked as it leaves, and no other is', async (t) => {
    const under = await makeStore(t);
    const { store, clock } = under;
    for (const id of ['taken', 'bounced', 'late', 'forms']) await store.records.change([{ kind: FOLLOWED, key: id, value: 'queued' }], []);
    for (const id of ['taken', 'bounced', 'late', 'unfollowed']) await put(store, { id, original: '' });
    await put(store, { id: 'forms' });
    for (const lease of await store.claim(START, 10)) {
      if (lease.queueId === 'bounced') await store.settle(lease, { kind: 'bounced', reason: '550 no' }, []);
      else if (lease.queueId === 'late') await store.settle(lease, { kind: 'deferred', dueAt: clock.now + 1, reason: '451' }, []);
      else await store.settle(lease, { kind: 'delivered' }, []);
    }
    const again = await under.reopen();
    assert.deepEqual(
      (await again.records.list(FOLLOWED)).map(({ key, value }) => [key, value]),
      [
        ['bounced', 'queued'],
        ['forms', 'queued'],
        ['late', 'queued'],
        ['taken', 'delivered'],
      ],
    );
  });
}
