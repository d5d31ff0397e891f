/** The daily round: once a day by the wall clock, whatever that clock does, and no step in another's way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { makeRound, ROUND, type Round, type Step } from '../../src/upkeep/round.ts';
import { memoryRecords } from './records-memory.ts';

const START = Date.UTC(2026, 0, 1);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

function makeSetting(names: readonly string[] = ['first', 'second']) {
  const clock = { now: START };
  const records = memoryRecords(() => clock.now);
  const ran: { name: string; at: number }[] = [];
  const broken = new Set<string>();
  const logged: Record<string, unknown>[] = [];
  const log = pino({}, { write: (line: string) => logged.push({ ...JSON.parse(line) }) });
  const steps = names.map((name): Step => ({
    name,
    run: async () => {
      ran.push({ name, at: clock.now });
      if (broken.has(name)) throw new Error(`${name} is broken`);
      return { [name]: 1 };
    },
  }));
  /** As after a start. */
  const open = (): Round => makeRound({ steps, records, now: () => clock.now, log });
  return { clock, records, ran, broken, logged, open };
}

test('a round is due at the first start, and again a day after the last one, over starts too', async () => {
  const { clock, ran, logged, open } = makeSetting();
  await open().turn();
  assert.deepEqual(
    ran.map(({ name }) => name),
    ['first', 'second'],
  );
  assert.partialDeepStrictEqual(logged.at(-1), { msg: 'the daily round is done', first: 1, second: 1, failed: [] });
  clock.now += DAY - 1;
  await open().turn();
  assert.equal(ran.length, 2);
  clock.now += 1;
  const again = open();
  await again.turn();
  await again.turn();
  assert.equal(ran.length, 4);
  assert.deepEqual(again.last(), { at: clock.now, failed: [] });
});

test('a step that fails is told of, keeps no other from its day, and is tried again hourly, over starts too', async () => {
  const { clock, ran, broken, logged, open } = makeSetting();
  broken.add('first');
  const round = open();
  await round.turn();
  assert.deepEqual(round.last()?.failed, ['first']);
  assert.ok(logged.some((line) => line['step'] === 'first' && line['msg'] === 'a step of the daily round failed'));
  clock.now += HOUR - 1;
  await round.turn();
  await open().turn();
  assert.deepEqual(
    ran.map(({ name }) => name),
    ['first', 'second'],
  );
  clock.now += 1;
  broken.clear();
  await open().turn();
  assert.deepEqual(
    ran.map(({ name }) => name),
    ['first', 'second', 'first'],
  );
});

test('a clock that was a year ahead and is set back: not a second time that day, and not a day later than the next', async () => {
  const { clock, ran, open } = makeSetting(['only']);
  clock.now += 365 * DAY;
  await open().turn();
  clock.now = START + HOUR;
  await open().turn();
  assert.equal(ran.length, 1, 'not twice');
  clock.now += DAY - 1;
  await open().turn();
  assert.equal(ran.length, 1);
  clock.now += 1;
  await open().turn();
  assert.equal(ran.length, 2, 'and not skipped');
});

test('whatever the clock does, a day of it has at most one run, and a day that passes has one', async () => {
  const leap = fc.oneof(fc.integer({ min: -400 * DAY, max: 400 * DAY }), fc.integer({ min: 0, max: 2 * DAY }));
  await fc.assert(
    fc.asyncProperty(fc.array(leap, { maxLength: 20 }), async (leaps) => {
      const { clock, ran, open } = makeSetting(['only']);
      clock.now = START + 1000 * DAY;
      await open().turn();
      for (const by of leaps) {
        const before = ran.length;
        clock.now += by;
        await open().turn();
        if (by < 0) assert.equal(ran.length, before, 'set back: nothing runs for it');
        const since = ran.at(-1)?.at ?? 0;
        clock.now += DAY;
        await open().turn();
        assert.ok(ran.length > before, 'a day has passed');
        const [last, previous] = [ran.at(-1)?.at ?? 0, ran.at(-2)?.at ?? 0];
        if (since <= last && previous <= last && by >= 0) assert.ok(last - previous >= DAY);
      }
    }),
    { numRuns: 100 },
  );
});

test('a record that the disk spoilt stops no round; a stop in the middle leaves the rest for the next start', async () => {
  const { clock, records, ran, open } = makeSetting(['only']);
  await records.change([{ kind: ROUND, key: 'only', value: '{"done":tomorrow' }], []);
  await open().turn();
  assert.equal(ran.length, 1);
  const begun = Promise.withResolvers<void>();
  const step: Step = {
    name: 'long',
    run: async (signal) => {
      begun.resolve();
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return {};
    },
  };
  const late = { name: 'late', run: async () => assert.fail('behind the stop') };
  const round = makeRound({ steps: [step, late], records, now: () => clock.now, log: pino({ level: 'silent' }) });
  round.start();
  await begun.promise;
  await round.stop();
  const stored = await records.get(ROUND, 'long');
  assert.deepEqual(JSON.parse(stored?.value ?? ''), { done: 0, tried: clock.now });
});

test('a look is made at each turn, also where no step is due, and one that fails is in nobody’s way', async () => {
  const clock = { now: START };
  const logged: Record<string, unknown>[] = [];
  const log = pino({}, { write: (line: string) => logged.push({ ...JSON.parse(line) }) });
  const did: string[] = [];
  const stepOf = (name: string, look: () => Promise<void>): Step => ({
    name,
    look,
    run: async () => {
      did.push(`run ${name}`);
      return {};
    },
  });
  const steps = [
    stepOf('first', () => Promise.reject(new Error('broken'))),
    stepOf('second', async () => {
      did.push('look');
    }),
  ];
  const round = makeRound({ steps, records: memoryRecords(() => clock.now), now: () => clock.now, log });
  await round.turn();
  await round.turn();
  assert.deepEqual(did, ['look', 'run first', 'run second', 'look']);
  assert.equal(logged.filter(({ msg, step }) => msg === 'a look of the daily round failed' && step === 'first').length, 2);
});

test('nothing is done at the very start, when mail that waited comes in, and a stop before the first look leaves nothing', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { ran, open } = makeSetting();
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const round = open();
  round.start();
  t.mock.timers.tick(1999);
  await settled();
  assert.deepEqual(ran, []);
  await round.stop();
  t.mock.timers.tick(10_000);
  await settled();
  assert.deepEqual(ran, []);
  const other = open();
  other.start();
  t.mock.timers.tick(1999);
  await settled();
  assert.deepEqual(ran, []);
  t.mock.timers.tick(1);
  await other.turn();
  assert.equal(ran.length, 2);
  await other.stop();
});

test('what the steps shared is let go of after each turn, also where only one of them was due, or failed', async () => {
  const clock = { now: START };
  const log = pino({ level: 'silent' });
  let shared: string | undefined;
  let ended = 0;
  const step: Step = {
    name: 'broken',
    run: async () => {
      shared = 'much';
      throw new Error('broken');
    },
  };
  const onEnd = (): void => {
    ended++;
    shared = undefined;
  };
  const round = makeRound({ steps: [step], records: memoryRecords(() => clock.now), now: () => clock.now, log, onEnd });
  await round.turn();
  assert.deepEqual([shared, ended], [undefined, 1]);
});
