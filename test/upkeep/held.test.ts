/** Held mail goes out by itself when a certificate appears, is given up after its time, and is no burden meanwhile. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { before, describe, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import type { AddressBook } from '../../src/certificates/address-book.ts';
import { makeHoldPair } from '../../src/certificates/hold.ts';
import type { HeldNotices } from '../../src/delivery/of-held.ts';
import { SealpostError } from '../../src/errors.ts';
import { unwrap } from '../../src/release/unwrap.ts';
import { makeHeldUpkeep } from '../../src/upkeep/held.ts';
import { makeHeldTeller } from '../../src/upkeep/held-teller.ts';
import { makeWorld, type Pair, rule, type World } from '../hold/world.ts';
import { codeOf } from '../ingress/front.ts';
import { noticeOf } from '../queue/store-suite.ts';

const DAY = 86_400_000;
const FORM = 'From: forms@clinic.example\r\nSubject: x\r\n\r\nhello\r\n';

/** One bit in the ciphertext of each of these messages, as a disk does it. */
function spoilBodies({ site }: World, ...ids: readonly string[]): void {
  const db = new DatabaseSync(site.paths.database, { timeout: 5000 });
  const found = db.prepare('SELECT b.id, b.bytes, b.file FROM bodies b JOIN recipients r ON r.body = b.id WHERE r.message = ?');
  for (const queueId of ids) {
    const { id = null, bytes = null, file = null } = found.get(queueId) ?? {};
    const path = join(site.paths.bodies, String(file));
    const octets = bytes instanceof Uint8Array ? bytes : readFileSync(path);
    octets[20] = (octets[20] ?? 0) ^ 1;
    if (bytes === null) writeFileSync(path, octets);
    else db.prepare('UPDATE bodies SET bytes = ? WHERE id = ?').run(octets, id);
  }
  db.close();
}

describe('held mail is looked after', () => {
  let hold: Pair;
  let reader: Pair;
  before(async () => {
    [hold, reader] = await Promise.all([makeHoldPair('Clinic', Date.now()), makeHoldPair('Anna', Date.now())]);
  });

  async function keep(
    t: TestContext,
    { key = true, other, earlier }: { key?: boolean; other?: Pair; earlier?: (world: World) => Promise<unknown> } = {},
  ) {
    const world = await makeWorld(t, hold);
    await earlier?.(world);
    const clock = { elapsed: 0 };
    /** Addresses that no source answers about. */
    const unheard = new Set<string>();
    const addressBook: AddressBook = {
      async resolve(mailbox, how) {
        if (!unheard.has(mailbox.address)) return world.addressBook.resolve(mailbox, how);
        world.asked.push(mailbox.address);
        return { way: 'address', parts: [], lacking: [], kind: 'unavailable', source: 'smimea', cause: new Error('SERVFAIL') };
      },
    };
    const logged: string[] = [];
    const told: { queueId: string; rule: string }[] = [];
    /** What the queue counts each time the scheduler is woken. */
    const woken: ReturnType<typeof states>[] = [];
    const notices: Pick<HeldNotices, 'heldTooLong'> = {
      heldTooLong: ({ queueId, recipient }, { rule }) => {
        told.push({ queueId, rule });
        return {
          outcome: { kind: 'bounced', reason: 'held for too long' },
          events: [{ event: 'bounced', queue_id: queueId, recipient }],
          telling: { notice: noticeOf(`n${told.length}`), ofDelay: false },
        };
      },
    };
    const held = makeHeldUpkeep({
      ...world,
      queue: world.store,
      addressBook,
      hold: {
        certificate: () => (other ?? hold).certificate,
        privateKey: () => (key ? (other ?? hold).key : undefined),
        look: async () => {},
      },
      notices,
      maxAge: 14 * DAY,
      now: () => world.site.clock.now,
      elapsed: () => clock.elapsed,
      log: pino({}, { write: (line: string) => void logged.push(line) }),
      onQueued: () => void woken.push(states(world)),
      every: DAY,
    });
    t.after(() => held.stop());
    /** Time passes on all clocks. */
    const pass = (ms: number): void => {
      world.site.clock.now += ms;
      clock.elapsed += ms;
    };
    return { world, held, told, logged, pass, clock, unheard, woken };
  }
  const know = ({ today }: World, ...addresses: readonly string[]): void => {
    for (const address of addresses) today.certificates.set(address, reader.certificate);
  };
  const states = async ({ store }: World) => (await store.stats()).states;

  test('a certificate appears: what waits for it goes out, and nothing else does', async (t) => {
    const { world, held } = await keep(t);
    world.today.rules = [
      rule({ name: 'letters', when: { kind: 'subject', pattern: { source: 'wait', matches: (text) => text === 'wait' } }, then: 'hold' }),
      rule({ name: 'forms' }),
    ];
    await world.accept(FORM, ['anna@clinic.example', 'ben@clinic.example']);
    await world.accept(FORM.replace(': x', ': wait'), ['anna@clinic.example']);
    await held.turn();
    assert.equal((await states(world)).held, 3);
    know(world, 'anna@clinic.example');
    await held.turn();
    assert.partialDeepStrictEqual(await states(world), { held: 2, ready: 1 });
    const sent = await world.delivered(reader);
    assert.equal(sent.recipient, 'anna@clinic.example');
    assert.deepEqual(
      (await world.held()).map(({ recipient }) => recipient),
      ['ben@clinic.example', 'anna@clinic.example'],
    );
    const released = (await world.audit()).filter(({ event }) => event === 'released');
    assert.deepEqual(
      released.map(({ operator }) => operator),
      ['relay'],
    );
  });

  test('each address is asked for once a round, however much waits for it; a source that is down is not asked on and on', async (t) => {
    const { world, held } = await keep(t);
    const people = Array.from({ length: 30 }, (_, index) => `p${index}@clinic.example`);
    for (let message = 0; message < 4; message++) await world.accept(FORM, people);
    world.asked.length = 0;
    await held.turn();
    assert.deepEqual(world.asked.toSorted(), people.toSorted());
    world.today.down = true;
    world.asked.length = 0;
    await held.turn();
    assert.equal(world.asked.length, 5);
    assert.equal((await states(world)).held, 120);
    world.today.down = false;
    know(world, ...people);
    await held.turn();
    assert.partialDeepStrictEqual(await states(world), { held: 0, ready: 120 });
  });

  test('addresses that are never answered keep nobody behind them from a certificate, and are asked again', async (t) => {
    const { world, held, unheard } = await keep(t);
    const people = Array.from({ length: 14 }, (_, index) => `p${index}@clinic.example`);
    // Each twice: what is put off is an address, not a row.
    for (let message = 0; message < 2; message++) for (const one of people) await world.accept(FORM, [one]);
    for (const one of people.slice(0, 12)) unheard.add(one);
    know(world, ...people);
    const asked = async (): Promise<string[]> => {
      world.asked.length = 0;
      await held.turn();
      return world.asked.filter((one) => unheard.has(one)).map((one) => one.slice(0, one.indexOf('@')));
    };
    assert.deepEqual(await asked(), ['p0', 'p1', 'p2', 'p3', 'p4']);
    assert.deepEqual(await asked(), ['p5', 'p6', 'p7', 'p8', 'p9']);
    assert.deepEqual(await asked(), ['p10', 'p11', 'p0', 'p1', 'p2', 'p3', 'p4'], 'somebody was found between them');
    assert.partialDeepStrictEqual(await states(world), { held: 24, ready: 4 });
    unheard.clear();
    await held.turn();
    assert.partialDeepStrictEqual(await states(world), { held: 0, ready: 28 });
  });

  test('what stays although there is a certificate is opened again after an hour, or when a command changed something', async (t) => {
    const { world, held, logged, pass } = await keep(t);
    await world.accept(FORM);
    know(world, 'anna@clinic.example');
    world.today.rules = [rule({ name: 'no', then: 'refuse' })];
    const opened = () => logged.filter((line) => line.includes('mail stays held')).length;
    await held.turn();
    await held.turn();
    assert.equal(opened(), 1);
    pass(3_600_001);
    await held.turn();
    assert.equal(opened(), 2);
    const handlers = held.handlersWith({ 'certs-approve': async () => 'done' });
    assert.equal(await handlers['certs-approve']?.({ command: 'certs-approve' }), 'done');
    await held.turn();
    assert.equal(opened(), 3);
  });

  test('a ciphertext that the disk changed, in the database or in a file: set aside at the first try, not given up later (P10)', async (t) => {
    const { world, held, told, logged, pass } = await keep(t);
    const ids = [await world.accept(FORM), await world.accept(FORM.replace('hello', 'x'.repeat(100_000))), await world.accept(FORM)];
    spoilBodies(world, ...ids.slice(0, 2));
    know(world, 'anna@clinic.example');
    const { store } = world;
    const damageHeld = store.damageHeld.bind(store);
    Object.assign(store, { damageHeld: () => Promise.reject(new SealpostError('storage-full')) });
    await held.turn();
    assert.partialDeepStrictEqual(await states(world), { held: 2, ready: 1 }, 'a full disk: the others go out');
    Object.assign(store, { damageHeld });
    held.soon();
    await held.turn();
    assert.partialDeepStrictEqual(await states(world), { held: 0, ready: 1, damaged: 2 });
    assert.equal(logged.filter((line) => line.includes('held mail is damaged, and set aside')).length, 2);
    pass(15 * DAY);
    await held.turn();
    assert.partialDeepStrictEqual([told, await states(world)], [[], { damaged: 2 }]);
    const [first] = await world.store.list({ state: 'damaged' }, 10);
    assert.deepEqual([first?.queueId, first?.reason], [ids[0], 'its body does not fit its checksum']);
    const events = (await world.audit()).filter(({ event }) => event === 'damaged');
    assert.deepEqual(
      events.map(({ queue_id }) => queue_id),
      ids.slice(0, 2),
    );
  });

  test('held for too long: given up with its notice; a clock that is set ahead ends nothing', async (t) => {
    const { world, held, told, pass, woken } = await keep(t, { key: false });
    const queueId = await world.accept(FORM);
    pass(13 * DAY);
    await held.turn();
    assert.deepEqual(told, []);
    world.site.clock.now += 400 * DAY; // somebody sets the clock
    await held.turn();
    assert.deepEqual(told, []);
    pass(2 * DAY);
    await held.turn();
    assert.deepEqual(told, [{ queueId, rule: 'forms' }]);
    assert.partialDeepStrictEqual(await states(world), { held: 0, bounced: 1 });
    assert.partialDeepStrictEqual(await Promise.all(woken), [{ bounced: 1, ready: 1 }], 'for the notice, which is in the queue');
    assert.equal((await world.audit()).filter(({ event }) => event === 'bounced').length, 1);
  });

  test('given up and held again by an operator: it waits as long once more, and nobody is told a second time before', async (t) => {
    const { world, held, told, pass } = await keep(t, { key: false });
    const queueId = await world.accept(FORM);
    pass(15 * DAY);
    await held.turn();
    assert.equal(told.length, 1);
    assert.equal(await world.store.retry({ queueId }, world.site.clock.now, 'tester'), 1);
    await held.turn();
    pass(13 * DAY);
    await held.turn();
    assert.equal(told.length, 1);
    assert.partialDeepStrictEqual(await states(world), { held: 1, bounced: 0 });
    pass(2 * DAY);
    await held.turn();
    assert.equal(told.length, 2);
  });

  test('a clock that is ahead at the start gives nothing up in the first hour, and says so; what is over then ends', async (t) => {
    const earlier = async (world: World): Promise<void> => {
      await world.accept(FORM, ['anna@clinic.example', 'ben@clinic.example']);
      world.site.clock.now += 30 * DAY;
    };
    const { world, held, told, logged, pass } = await keep(t, { earlier });
    const HOUR = DAY / 24;
    await held.turn();
    pass(HOUR - 60_000);
    know(world, 'ben@clinic.example');
    await held.turn();
    assert.deepEqual(told, []);
    assert.partialDeepStrictEqual(await states(world), { held: 1, ready: 1 }, 'and what can be released is');
    const said = logged.map((line): Record<string, unknown> => Object.assign({}, JSON.parse(line))).filter(({ level }) => level === 50);
    assert.partialDeepStrictEqual(said, [{ msg: 'held mail is given up soon if the clock is right', days_over: 16, minutes_left: 60 }]);
    assert.equal(said.length, 1, 'once');
    world.site.clock.now -= 30 * DAY; // somebody sets it right
    pass(DAY);
    await held.turn();
    assert.deepEqual(told, []);
    world.site.clock.now += 30 * DAY; // seen by the relay, it counts for nothing
    await held.turn();
    assert.deepEqual(told, []);
    pass(13 * DAY);
    await held.turn();
    assert.equal(told.length, 1);
  });

  test('a relay that was off for weeks gives up what is over its time after an hour', async (t) => {
    const earlier = async (world: World): Promise<void> => {
      await world.accept(FORM);
      world.site.clock.now += 30 * DAY;
    };
    const { world, held, told, pass } = await keep(t, { earlier });
    await held.turn();
    assert.equal(told.length, 0);
    pass(DAY / 24);
    await held.turn();
    assert.equal(told.length, 1);
    assert.partialDeepStrictEqual(await states(world), { held: 0, bounced: 1 });
  });

  test('without the key nothing is released, and nothing looked up', async (t) => {
    const { world, held } = await keep(t, { key: false });
    await world.accept(FORM);
    know(world, 'anna@clinic.example');
    world.asked.length = 0;
    await held.turn();
    assert.deepEqual([world.asked.length, (await states(world)).held], [0, 1]);
  });

  test('the control socket: own key, a content key, another pair, and what is no request', async (t) => {
    const { world, held } = await keep(t);
    const release = async (rows: unknown, by = held): Promise<unknown> =>
      by.handlersWith({})['queue-release']?.({ command: 'queue-release', operator: 'tester', rows });
    const queueId = await world.accept(FORM, ['anna@clinic.example', 'ben@clinic.example', 'eva@clinic.example']);
    const [anna, ben, eva] = await world.held(queueId);
    assert.ok(anna && ben && eva);
    know(world, 'anna@clinic.example', 'ben@clinic.example');
    const key = unwrap(ben, [hold])?.toString('base64');
    assert.deepEqual(
      await release([
        { row: anna.row, queueId },
        { row: ben.row, queueId, key: Buffer.alloc(32).toString('base64') },
        { row: ben.row, queueId, key: Buffer.alloc(16).toString('base64') },
        { row: ben.row, queueId, key },
        { row: eva.row, queueId },
        { row: anna.row, queueId },
        { row: 4711, queueId: 'another' },
      ]),
      [
        { kind: 'released', rule: 'forms', reencrypted: false },
        { kind: 'wrong-key' },
        { kind: 'wrong-key' },
        { kind: 'released', rule: 'forms', reencrypted: false },
        { kind: 'stays', why: 'missing', rule: 'forms' },
        { kind: 'gone' },
        { kind: 'gone' },
      ],
    );
    // Unreadable where its key is, and whole here: nothing is set aside on somebody's word.
    assert.deepEqual(
      await release([
        { row: eva.row, queueId, unreadable: true },
        { row: anna.row, queueId, unreadable: true },
      ]),
      [{ kind: 'failed', code: 'internal' }, { kind: 'gone' }],
    );
    const elsewhere = await keep(t, { key: false });
    await assert.rejects(release([{ row: 1, queueId }], elsewhere.held), (error: unknown) => codeOf(error) === 'hold-key-elsewhere');
    const exchanged = await keep(t, { other: reader });
    const id = await exchanged.world.accept(FORM);
    const [row] = await exchanged.world.held(id);
    assert.ok(row);
    assert.deepEqual(await release([{ row: row.row, queueId: id }], exchanged.held), [{ kind: 'other-key' }]);
    for (const rows of [
      undefined,
      {},
      [{}],
      [{ row: -1, queueId }],
      [{ row: 1 }],
      [{ row: 1, queueId, key: 'short' }],
      Array.from({ length: 21 }, () => ({ row: 1, queueId })),
    ])
      await assert.rejects(release(rows), (error: unknown) => codeOf(error) === 'usage');
  });

  test('the summary says how much is held, and once more before it is given up', async (t) => {
    const { world, pass } = await keep(t);
    const tell = makeHeldTeller(world.store, 14 * DAY, () => world.site.clock.now);
    assert.deepEqual(await tell(), []);
    await world.accept(FORM, ['anna@clinic.example', 'ben@clinic.example']);
    const line = '2, the oldest since 2026-01-01, given up on 2026-01-15: sealpost queue list --held';
    assert.deepEqual(await tell(), [{ key: 'held 2026-01-01', section: 'held', line }]);
    pass(12 * DAY);
    assert.deepEqual(await tell(), [{ key: 'held last call 2026-01-01', section: 'held', line }]);
  });
});
