/** What remote sources answered is kept for its age, and no address is asked for twice at once. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { type CacheBounds, makeCachedSource } from '../../src/certificates/cache.ts';
import type { CertificateSource, SourceAnswer } from '../../src/certificates/source.ts';
import { certificateNamed } from './fixtures.ts';
import { eventually, mailboxOf } from './openssl.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = Date.parse('2026-06-01T00:00:00Z');
const FOREVER = new AbortController().signal;
const anna = mailboxOf('anna@example.org');

const foundOne = (name = 'anna', until?: number): SourceAnswer => ({
  kind: 'found',
  candidates: [{ certificate: certificateNamed(name), source: 'ldap', place: name }],
  ...(until === undefined ? {} : { until }),
});
const down: SourceAnswer = { kind: 'unavailable', cause: new Error('refused') };

describe('the cache of a remote source', () => {
  let now = START;
  let asked: string[] = [];
  let logged: Record<string, unknown>[] = [];
  let reply: (address: string, signal: AbortSignal) => Promise<SourceAnswer> = async () => down;
  beforeEach(() => {
    [now, asked, logged] = [START, [], []];
  });

  const cached = (bounds: Partial<CacheBounds> = {}, patience = 10_000, more: Partial<CertificateSource> = {}): CertificateSource =>
    makeCachedSource(
      {
        ...more,
        name: 'ldap dir.example',
        close: () => {},
        lookup: (mailbox, signal) => {
          asked.push(mailbox.address);
          return reply(mailbox.address, signal);
        },
      },
      {
        ages: { found: HOUR, absent: 5 * MINUTE, stale: 24 * HOUR },
        now: () => now,
        log: pino({}, { write: (line: string) => logged.push(JSON.parse(line)) }),
        patience,
        bounds,
      },
    );
  const says = (answer: SourceAnswer): void => {
    reply = async () => answer;
  };
  const kinds = async (source: CertificateSource, times: readonly number[]): Promise<string[]> => {
    const out: string[] = [];
    for (const time of times) {
      now = START + time;
      out.push(`${(await source.lookup(anna, FOREVER)).kind} ${asked.length}`);
    }
    return out;
  };

  test('a found answer is used for its age, an absent one for its own, an unavailable one not at all', async () => {
    says(foundOne());
    assert.deepEqual(await kinds(cached(), [0, HOUR - 1, HOUR]), ['found 1', 'found 1', 'found 2']);
    says({ kind: 'absent' });
    asked = [];
    assert.deepEqual(await kinds(cached(), [0, 5 * MINUTE - 1, 5 * MINUTE]), ['absent 1', 'absent 1', 'absent 2']);
    says(down);
    asked = [];
    assert.deepEqual(await kinds(cached(), [0, 0, 1]), ['unavailable 1', 'unavailable 2', 'unavailable 3']);
  });

  test('the address counts as it is compared, and a source may shorten the age', async () => {
    says(foundOne('anna', START + MINUTE));
    const source = cached();
    await source.lookup(mailboxOf('Anna@EXAMPLE.org'), FOREVER);
    assert.deepEqual(await kinds(source, [MINUTE - 1, MINUTE]), ['found 1', 'found 2']);
    says({ kind: 'absent', until: START + 2 * MINUTE });
    const other = cached();
    asked = [];
    assert.deepEqual(await kinds(other, [0, 2 * MINUTE - 1, 2 * MINUTE]), ['absent 1', 'absent 1', 'absent 2']);
  });

  test('a source that tells two spellings apart names what its answer depends on', async () => {
    const source = cached({}, 10_000, { keyOf: ({ address }) => address });
    reply = async (address) => (address.startsWith('Ben') ? foundOne('Ben') : { kind: 'absent' });
    const ask = async (address: string): Promise<string> => (await source.lookup(mailboxOf(address), FOREVER)).kind;
    assert.deepEqual(
      [await ask('ben@example.org'), await ask('Ben@example.org'), await ask('ben@example.org')],
      ['absent', 'found', 'absent'],
    );
    assert.deepEqual(asked, ['ben@example.org', 'Ben@example.org']);
  });

  test('while the source does not answer, what it found is used up to its last age; what it says anew counts at once', async () => {
    const source = cached();
    says(foundOne());
    await kinds(source, [0]);
    says(down);
    assert.deepEqual(await kinds(source, [2 * HOUR, 24 * HOUR - 1, 24 * HOUR]), ['found 2', 'found 3', 'unavailable 4']);
    now = START + 2 * HOUR;
    const old = await source.lookup(anna, FOREVER);
    assert.deepEqual(old.kind === 'found' && old.remarks, ['answered at 2026-06-01T00:00:00Z; it does not answer now']);
    says({ kind: 'absent' });
    assert.deepEqual(await kinds(source, [3 * HOUR]), ['absent 6']);
    says(down);
    // P5: absence has no second life, and what was found before it has none either.
    assert.deepEqual(await kinds(source, [4 * HOUR]), ['unavailable 7']);
  });

  test('an address whose old answer is used is not asked for again at once: a source that hangs holds no mail', async () => {
    const source = cached();
    says(foundOne());
    await kinds(source, [0]);
    says(down);
    const times = [2 * HOUR, 2 * HOUR + 29_999, 2 * HOUR + 30_000];
    assert.deepEqual(await kinds(source, times), ['found 2', 'found 2', 'found 3']);
    says({ kind: 'absent' });
    assert.deepEqual(await kinds(source, [2 * HOUR + MINUTE]), ['absent 4']);
  });

  /** As the directory asks for one whose remembered certificates are all useless. */
  const beyond = async (source: CertificateSource): Promise<string> => {
    const answer = await source.lookup(anna, FOREVER);
    if (answer.kind !== 'found' || answer.again === undefined) return `${answer.kind} at once ${asked.length}`;
    return `${(await answer.again(FOREVER)).kind} ${asked.length}`;
  };

  test('P5: a remembered answer of which nothing is of use asks the source, once in the age of an absence', async () => {
    const source = cached();
    says(foundOne());
    assert.equal(await beyond(source), 'found at once 1', 'what the source says now is first-hand');
    assert.deepEqual([await beyond(source), await beyond(source)], ['found 2', 'found at once 2']);
    now = START + 5 * MINUTE - 1;
    assert.equal(await beyond(source), 'found at once 2');
    now = START + 5 * MINUTE;
    says({ kind: 'absent' });
    assert.deepEqual([await beyond(source), await beyond(source)], ['absent 3', 'absent at once 3']);
  });

  test('P5: where the source gives no answer then, there is none, and for half a minute it is not asked again', async () => {
    const source = cached();
    says(foundOne());
    await kinds(source, [0]);
    says(down);
    now = START + MINUTE;
    assert.deepEqual([await beyond(source), await beyond(source)], ['unavailable 2', 'unavailable 2']);
    assert.deepEqual(await kinds(source, [MINUTE]), ['found 2'], 'for whom it is of use, it still is');
    now = START + MINUTE + 30_000;
    assert.equal(await beyond(source), 'unavailable 3');
    // Past its age the look-up itself has asked.
    now = START + 2 * HOUR;
    assert.deepEqual([await beyond(source), await beyond(source)], ['unavailable 4', 'unavailable 4']);
    says(foundOne('next'));
    now += 30_000;
    assert.equal(await beyond(source), 'found at once 5');
  });

  test('P6: ten thousand for whom a remembered answer is of no use are one query, those who come late too', async () => {
    const source = cached();
    says(foundOne());
    await kinds(source, [0]);
    let answer: (answer: SourceAnswer) => void = () => {};
    reply = () => new Promise((resolve) => (answer = resolve));
    const held = await Promise.all(Array.from({ length: 10_000 }, () => source.lookup(anna, FOREVER)));
    const again = held.flatMap((one) => (one.kind === 'found' && one.again !== undefined ? [one.again] : []));
    assert.equal(again.length, 10_000);
    const half = Promise.all(again.slice(5_000).map((ask) => ask(FOREVER)));
    answer(foundOne());
    assert.ok((await half).every(({ kind }) => kind === 'found'));
    assert.ok((await Promise.all(again.map((ask) => ask(FOREVER)))).every(({ kind }) => kind === 'found'));
    assert.equal(asked.length, 2);
  });

  test('a source that is slow with an answer is waited for where the remembered one is of no use', async () => {
    const source = cached({}, 1000);
    says(foundOne());
    await kinds(source, [0]);
    let answer: (answer: SourceAnswer) => void = () => {};
    reply = () => new Promise((resolve) => (answer = resolve));
    now = START + 2 * HOUR;
    const old = await source.lookup(anna, FOREVER);
    assert.ok(old.kind === 'found' && old.again !== undefined);
    const waiting = old.again(FOREVER);
    answer({ kind: 'absent' });
    assert.deepEqual([(await waiting).kind, asked.length], ['absent', 2]);
  });

  test('old answers are logged once a minute, with their age and without the address', async () => {
    const source = cached();
    says(foundOne());
    await kinds(source, [0]);
    says(down);
    await kinds(source, [2 * HOUR, 2 * HOUR + 1, 2 * HOUR + MINUTE - 1, 2 * HOUR + MINUTE]);
    assert.deepEqual(
      logged.map(({ msg, source: name, age_seconds }) => [msg, name, age_seconds]),
      [
        ['certificate source is unavailable: what it found before is used', 'ldap dir.example', 7200],
        ['certificate source is unavailable: what it found before is used', 'ldap dir.example', 7260],
      ],
    );
    assert.ok(!JSON.stringify(logged).includes('anna'));
  });

  test('a clock that was set back makes no answer last longer', async () => {
    const source = cached();
    says({ kind: 'absent' });
    assert.deepEqual(await kinds(source, [0, -HOUR]), ['absent 1', 'absent 2']);
  });

  test('ten thousand who ask for one address at once are one query', async () => {
    let answer: (answer: SourceAnswer) => void = () => {};
    reply = () => new Promise((resolve) => (answer = resolve));
    const source = cached();
    const all = Promise.all(Array.from({ length: 10_000 }, () => source.lookup(anna, FOREVER)));
    answer({ kind: 'absent' });
    assert.ok((await all).every(({ kind }) => kind === 'absent'));
    assert.deepEqual(asked, ['anna@example.org']);
    // A failure is shared by those who waited for it, and by nobody after them.
    now += HOUR;
    const failing = Promise.all([source.lookup(anna, FOREVER), source.lookup(anna, FOREVER)]);
    answer(down);
    assert.ok((await failing).every(({ kind }) => kind === 'unavailable'));
    assert.equal(asked.length, 2);
  });

  test('whoever asked first and goes away takes the flight from nobody', async () => {
    let answer: (answer: SourceAnswer) => void = () => {};
    let aborted = false;
    reply = (_, signal) => {
      signal.addEventListener('abort', () => (aborted = true));
      return new Promise((resolve) => (answer = resolve));
    };
    const source = cached();
    const leaver = new AbortController();
    const [first, second] = [source.lookup(anna, leaver.signal), source.lookup(anna, FOREVER)];
    leaver.abort(new Error('gone'));
    assert.equal((await first).kind, 'unavailable');
    answer(foundOne());
    assert.equal((await second).kind, 'found');
    assert.deepEqual([aborted, asked.length], [false, 1]);
  });

  test('P6: a flight ends in its own time, also where the source heeds no signal; an old answer is used before', async () => {
    const source = cached({}, 300);
    says(foundOne());
    await kinds(source, [0]);
    reply = () => new Promise(() => {});
    now = START + 2 * HOUR;
    const [stale, cold] = [source.lookup(anna, FOREVER), source.lookup(mailboxOf('ben@example.org'), FOREVER)];
    assert.equal(await Promise.race([stale.then(() => 'the old answer'), cold.then(() => 'none')]), 'the old answer');
    assert.equal(await Promise.race([stale, sleep(5000)]).then((one) => one?.kind), 'found');
    assert.equal(await Promise.race([cold, sleep(5000)]).then((one) => one?.kind), 'unavailable');
    says(foundOne());
    await eventually(async () => (await source.lookup(mailboxOf('ben@example.org'), FOREVER)).kind === 'found');
  });

  test('a source that throws is unavailable', async () => {
    reply = async () => {
      throw new Error('a fault');
    };
    assert.equal((await cached().lookup(anna, FOREVER)).kind, 'unavailable');
  });

  test('P6: what is kept has bounds; what was used last stays, and made-up addresses drive no certificate out', async () => {
    const source = cached({ entries: 3, octets: 1_000_000 });
    const ask = async (...names: readonly string[]): Promise<string[]> => {
      asked = [];
      for (const name of names) await source.lookup(mailboxOf(`${name}@example.org`), FOREVER);
      return asked.map((address) => address.replace(/@.*/, ''));
    };
    reply = async (address) => (address.startsWith('no') ? { kind: 'absent' } : foundOne(address));
    await ask('a', 'b', 'c');
    assert.deepEqual(await ask('a', 'd', 'a', 'c', 'd'), ['d']);
    assert.deepEqual(await ask('b'), ['b']);
    await ask('no1', 'no2', 'no3', 'no4', 'no5');
    assert.deepEqual(await ask('c', 'd', 'b', 'no5', 'no1'), ['no1']);
    const small = cached({ octets: 700 });
    says(foundOne());
    await small.lookup(anna, FOREVER);
    await small.lookup(anna, FOREVER);
    assert.equal(asked.filter((address) => address === 'anna@example.org').length, 2, 'an answer beyond all room is not kept');
    // What the source remarks is as long as it makes it.
    const remarking = cached({ octets: 4096 });
    for (const [length, questions] of [
      [100, 1],
      [2000, 2],
    ] as const) {
      says({ kind: 'absent', remarks: ['x'.repeat(length)] });
      const name = `x${length}`;
      asked = [];
      for (let index = 0; index < 2; index++) await remarking.lookup(mailboxOf(`${name}@example.org`), FOREVER);
      assert.equal(asked.length, questions);
    }
  });
});
