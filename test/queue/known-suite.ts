/** What change control relies on in every store: which certificates mail to an address was sealed to. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import type { CertificateUse } from '../../src/queue/known.ts';
import { hasCode, put, START } from './site.ts';
import type { StoreUnderTest } from './store-suite.ts';

export const ANNA = 'anna@clinic.example';

export function useOf(name: string, more: Partial<CertificateUse> = {}): CertificateUse {
  return {
    address: ANNA,
    fingerprint: createHash('sha256').update(name).digest('hex'),
    subject: `CN=${name}`,
    issuer: 'CN=clinic CA',
    serial: '01',
    notAfter: START + 86_400_000,
    source: `recipients/${name}.pem`,
    pinned: false,
    queueId: null,
    ...more,
  };
}

const printOf = (name: string): string => useOf(name).fingerprint;

export function knownSuite(makeStore: (t: TestContext) => Promise<StoreUnderTest>): void {
  /** Fingerprints and states of one address, sorted. */
  const known = async ({ store }: Pick<StoreUnderTest, 'store'>, address = ANNA): Promise<string[]> =>
    (await store.known.of(address)).map(({ subject, state }) => `${subject} ${state}`).toSorted();

  /** Ends the store and reads its events of one kind. */
  const told = async (under: StoreUnderTest, event: string): Promise<Record<string, unknown>[]> => {
    await under.store.close();
    return under.audit().filter((entry) => entry['event'] === event);
  };

  test('the first certificate of an address is known and no change; the next is one, once', async (t) => {
    const under = await makeStore(t);
    await put(under.store, { id: 'q1', uses: [useOf('old'), useOf('device')] });
    await put(under.store, { id: 'q2', uses: [useOf('old', { queueId: 'q2' })] });
    await put(under.store, { id: 'q3', uses: [useOf('new', { queueId: 'q3', issuer: 'CN=other CA', serial: '7f' })] });
    await put(under.store, { id: 'q4', uses: [useOf('new'), useOf('old')] });
    await put(under.store, { id: 'q5', uses: [useOf('ben', { address: 'ben@clinic.example' })] });
    assert.deepEqual(await known(under), ['CN=device used', 'CN=new used', 'CN=old used']);
    const changes = await told(under, 'certificate-changed');
    assert.equal(changes.length, 1);
    assert.partialDeepStrictEqual(changes[0], {
      queue_id: 'q3',
      recipient: ANNA,
      certificate_sha256: printOf('new'),
      certificate_issuer: 'CN=other CA',
      certificate_serial: '7f',
      certificate_source: 'recipients/new.pem',
      same_issuer: false,
      waits: false,
    });
    assert.ok([printOf('old'), printOf('device')].includes(String(changes[0]?.['old_sha256'])));
  });

  test('a certificate and its event are there if the message is: a refused one leaves neither', async (t) => {
    const under = await makeStore(t);
    await put(under.store, { id: 'q1', uses: [useOf('old')] });
    await assert.rejects(put(under.store, { id: 'q1', uses: [useOf('new')] }), hasCode('internal'));
    assert.deepEqual(await known(under), ['CN=old used']);
    await put(under.store, { id: 'q2', uses: [useOf('new')] });
    const store = await under.reopen();
    assert.deepEqual(await known({ store }), ['CN=new used', 'CN=old used']);
    assert.equal((await told({ ...under, store }, 'certificate-changed')).length, 1);
  });

  test('messages at one time tell of one change once', async (t) => {
    const under = await makeStore(t);
    await put(under.store, { id: 'q', uses: [useOf('old')] });
    const ids = Array.from({ length: 20 }, (_, index) => `q${index}`);
    await Promise.all(ids.map((id) => put(under.store, { id, uses: [useOf('new', { queueId: id })] })));
    assert.equal((await told(under, 'certificate-changed')).length, 1);
  });

  test('a notice that is sealed while it is sent counts as mail does', async (t) => {
    const under = await makeStore(t);
    await under.store.record([{ event: 'sealed', queue_id: 'n1' }], [useOf('old')]);
    await under.store.record([{ event: 'sealed', queue_id: 'n2' }], [useOf('new', { queueId: 'n2' })]);
    assert.equal((await told(under, 'certificate-changed'))[0]?.['queue_id'], 'n2');
  });

  test('under a pin the first certificate is trusted, another is refused with all of its message, until it is approved', async (t) => {
    const under = await makeStore(t);
    const { store } = under;
    const pinned = (name: string): CertificateUse => useOf(name, { pinned: true });
    await put(store, { id: 'q1', uses: [pinned('old')] });
    await assert.rejects(put(store, { id: 'q2', uses: [pinned('new')] }), hasCode('lookup-unavailable'));
    assert.deepEqual(
      (await store.list({}, 10)).map(({ queueId }) => queueId),
      ['q1'],
    );
    await store.known.wait(pinned('new'));
    await store.known.wait(pinned('new'));
    await assert.rejects(put(store, { id: 'q3', uses: [pinned('new')] }), hasCode('lookup-unavailable'));
    assert.deepEqual(await known(under), ['CN=new waiting', 'CN=old used']);
    assert.equal(store.known.remembers(ANNA, printOf('new')), false);
    const all = { address: ANNA, fingerprint: null };
    assert.deepEqual(await store.known.approve(all, 'otto'), { kind: 'approved', fingerprint: printOf('new') });
    assert.deepEqual(await store.known.approve(all, 'otto'), { kind: 'none' });
    await put(store, { id: 'q4', uses: [pinned('new')] });
    assert.deepEqual(await known(under), ['CN=new used', 'CN=old used']);
    const changes = await told(under, 'certificate-changed');
    assert.deepEqual(
      changes.map(({ certificate_sha256, waits }) => [certificate_sha256, waits]),
      [[printOf('new'), true]],
      'what was approved is told of as a change once',
    );
    const approved = under.audit().filter(({ event }) => event === 'certificate-approved');
    assert.equal(approved.length, 1);
    assert.partialDeepStrictEqual(approved[0], {
      recipient: ANNA,
      old_sha256: printOf('old'),
      certificate_sha256: printOf('new'),
      operator: 'otto',
    });
  });

  test('nothing waits for an address that is not known; where several wait, one has to be named', async (t) => {
    const { store } = await makeStore(t);
    await store.known.wait(useOf('early'));
    assert.deepEqual(await store.known.of(ANNA), []);
    await put(store, { id: 'q1', uses: [useOf('old')] });
    for (const name of ['one', 'two']) await store.known.wait(useOf(name));
    const several = await store.known.approve({ address: ANNA, fingerprint: null }, 'otto');
    assert.deepEqual(several.kind === 'several' ? several.fingerprints.toSorted() : several, [printOf('one'), printOf('two')].toSorted());
    const two = { address: ANNA, fingerprint: printOf('two').slice(0, 16) };
    assert.deepEqual(await store.known.approve(two, 'otto'), { kind: 'approved', fingerprint: printOf('two') });
    assert.deepEqual(await known({ store }), ['CN=old used', 'CN=one waiting', 'CN=two approved']);
    assert.equal(store.known.remembers(ANNA, printOf('two')), true);
  });

  test('an address that was forgotten is trusted at its next use, and told of by whom', async (t) => {
    const under = await makeStore(t);
    const { store } = under;
    await put(store, { id: 'q1', uses: [useOf('old')] });
    assert.equal(await store.known.forget({ address: ANNA, fingerprint: printOf('other') }, 'otto'), 0);
    assert.equal(await store.known.forget({ address: ANNA, fingerprint: null }, 'otto'), 1);
    assert.equal(store.known.remembers(ANNA, printOf('old')), false);
    await put(store, { id: 'q2', uses: [useOf('new', { pinned: true })] });
    assert.deepEqual(await known(under), ['CN=new used']);
    const [forgotten] = await told(under, 'certificate-forgotten');
    assert.partialDeepStrictEqual(forgotten, { recipient: ANNA, certificate_sha256: printOf('old'), was: 'used', operator: 'otto' });
    assert.deepEqual(
      under.audit().filter(({ event }) => event === 'certificate-changed'),
      [],
    );
  });

  test('what is kept of one address is bounded, in use and waiting (A22)', async (t) => {
    const under = await makeStore(t);
    const { store } = under;
    for (let index = 0; index < 30; index++) {
      under.clock.now += 1000;
      await put(store, { id: `q${index}`, uses: [useOf(`used${index}`)] });
    }
    for (let index = 0; index < 50; index++) await store.known.wait(useOf(`poison${index}`));
    const rows = await store.known.of(ANNA);
    assert.deepEqual(
      [rows.filter(({ state }) => state === 'used').length, rows.filter(({ state }) => state === 'waiting').length],
      [16, 8],
    );
    assert.ok(
      rows.some(({ subject }) => subject === 'CN=used29'),
      'the latest are kept',
    );
    assert.ok(!rows.some(({ subject }) => subject === 'CN=used0'));
  });

  test('strangers that fill the list lock nobody out: it is told of, and the whole fingerprint is approved (A22)', async (t) => {
    const under = await makeStore(t);
    const { store } = under;
    await put(store, { id: 'q1', uses: [useOf('old')] });
    const approve = (fingerprint: string, address = ANNA) => store.known.approve({ address, fingerprint }, 'otto');
    for (let index = 0; index < 8; index++) {
      assert.deepEqual(await approve(printOf('renewed')), { kind: 'none' }, 'nothing is approved before it was seen while there is room');
      await store.known.wait(useOf(`poison${index}`));
    }
    await store.known.wait(useOf('renewed'));
    for (let index = 8; index < 50; index++) await store.known.wait(useOf(`poison${index}`));
    assert.deepEqual(await approve(printOf('renewed').slice(0, 16)), { kind: 'unlisted' });
    assert.deepEqual(await approve(printOf('renewed'), 'ben@clinic.example'), { kind: 'none' });
    assert.deepEqual(await approve(printOf('old')), { kind: 'none' });
    assert.equal(store.known.remembers(ANNA, printOf('renewed')), false);
    assert.deepEqual(await approve(printOf('renewed')), { kind: 'approved', fingerprint: printOf('renewed') });
    assert.deepEqual(await approve(printOf('renewed')), { kind: 'none' });
    assert.ok((await known(under)).includes('CN=old used'));
    await put(store, { id: 'q2', uses: [useOf('renewed', { pinned: true })] });
    assert.ok((await known(under)).includes('CN=renewed used'), 'its texts are known once it was used');
    under.clock.now += 86_400_000;
    await store.known.wait(useOf('late'));
    const full = await told(under, 'certificate-unlisted');
    assert.deepEqual(
      full.map(({ certificate_sha256: print, recipient, listed }) => [print, recipient, listed]),
      [
        [printOf('renewed'), ANNA, 8],
        [printOf('late'), ANNA, 8],
      ],
      'once a day',
    );
    const [approved, ...others] = under.audit().filter(({ event }) => event === 'certificate-approved');
    assert.partialDeepStrictEqual(approved, {
      recipient: ANNA,
      certificate_sha256: printOf('renewed'),
      old_sha256: printOf('old'),
      operator: 'otto',
    });
    assert.equal(others.length, 0);
  });

  test('what was not used for years is forgotten, by the time of the mail and not of a clock that is ahead', async (t) => {
    const under = await makeStore(t);
    const { store, clock } = under;
    const DAY = 86_400_000;
    for (let index = 0; index < 600; index++) await store.record([], [useOf(`gone${index}`, { address: `${index}@x.example` })]);
    await put(store, { id: 'q1', uses: [useOf('old')] });
    await store.known.wait(useOf('waits'));
    clock.now = START + 4000 * DAY;
    assert.equal(await store.known.prune(), 0, 'no mail was sealed so late');
    await put(store, { id: 'q2', uses: [useOf('new')] });
    assert.equal(await store.known.prune(), 602);
    assert.deepEqual(await known(under), ['CN=new used']);
  });
}
