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

  const cached = (bounds: Partial<CacheBounds> = {}, patience = 10_000): CertificateSource =>
    makeCachedSource(
      {
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
