/** The written rule of choice, docs/certificates.md, step 4, on values alone. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { type Assessed, type Assessment, choose, type Consulted, type Lookup } from '../../src/certificates/choose.ts';
import { certificateNamed, rsaKey } from './fixtures.ts';

interface Wish {
  readonly name: string;
  readonly year?: number;
  readonly rsa?: boolean;
  readonly place?: string;
  /** A reason makes it rejected; null makes it unknown. */
  readonly against?: string | null;
}

function assessed({ name, year = 2026, rsa = false, place = `${name}.pem`, against }: Wish): Assessed {
  const certificate = certificateNamed(name, { notBefore: new Date(Date.UTC(year, 0)), ...(rsa ? { key: rsaKey } : {}) });
  const verdict: Assessment =
    against === undefined
      ? { kind: 'usable', path: [certificate], revocation: `good: ${name}` }
      : against === null
        ? { kind: 'unknown', cause: new Error('down') }
        : { kind: 'rejected', reason: against };
  return { certificate, source: 'files', place, verdict };
}

const found = (source: string, ...wishes: readonly Wish[]): Consulted & { readonly answer: 'found' } => ({
  source,
  answer: 'found',
  remarks: [],
  candidates: wishes.map((wish) => ({ ...assessed(wish), source })),
});
const absent: Consulted = { source: 'nothing', answer: 'absent', remarks: ['asked in vain'] };
const down: Consulted = { source: 'ldap', answer: 'unavailable', remarks: [], cause: new Error('down') };

const used = (lookup: Lookup): string[] => (lookup.kind === 'found' ? lookup.chosen.map(({ certificate }) => certificate.subject) : []);
const others = (lookup: Lookup): string[] => lookup.rejected.map(({ place, reason }) => `${place}: ${reason}`);

describe('the choice', () => {
  test('the newest and two others of its key type; the rest says why it is not used', () => {
    const lookup = choose([
      found(
        'files',
        { name: 'a', year: 2020 },
        { name: 'b', year: 2024 },
        { name: 'c', year: 2022 },
        { name: 'd', year: 2021 },
        { name: 'e', year: 2023, rsa: true },
        { name: 'f', year: 2025, against: 'it expired on 2026-01-01' },
      ),
    ]);
    assert.deepEqual(used(lookup), ['CN=b', 'CN=c', 'CN=d']);
    assert.deepEqual(others(lookup), [
      'e.pem: the newest has a key of another type',
      'a.pem: newer ones are used',
      'f.pem: it expired on 2026-01-01',
    ]);
    assert.deepEqual(
      lookup.rejected.map(({ verdict, revocation }) => [verdict, revocation]),
      [
        ['usable', 'good: e'],
        ['usable', 'good: a'],
        ['rejected', undefined],
      ],
    );
    assert.equal(lookup.kind === 'found' && lookup.chosen[1]?.revocation, 'good: c');
  });

  test('the same certificate in two places is one candidate, by the first place of the alphabet', () => {
    const twice = [
      { name: 'a', place: 'z.pem' },
      { name: 'a', place: 'b.pem' },
    ];
    for (const order of [twice, twice.toReversed()]) {
      const lookup = choose([found('files', ...order)]);
      assert.equal(lookup.kind === 'found' && lookup.chosen.map(({ place }) => place).join(), 'b.pem');
      assert.deepEqual(others(lookup), ['z.pem: it is the same certificate as b.pem']);
    }
  });

  test('the same certificate with unequal verdicts counts by the best: what one place lacks hides nothing of another', () => {
    const [worst, middle, best] = [
      { name: 'a', place: 'a', against: 'no path to an anchor' },
      { name: 'a', place: 'b', against: null },
      { name: 'a', place: 'c' },
    ];
    const later = found('files', { name: 'later' });
    for (const order of [
      [worst, middle, best],
      [best, middle, worst],
    ]) {
      const lookup = choose([found('smimea', ...order), later]);
      assert.equal(lookup.kind === 'found' && lookup.chosen.map(({ place }) => place).join(), 'c');
      assert.deepEqual(others(lookup), [
        'later.pem: smimea is asked first and has a usable one',
        'b: it is the same certificate as c',
        'a: it is the same certificate as c',
      ]);
    }
    assert.equal(choose([found('smimea', worst, middle), later]).kind, 'unavailable');
  });

  test('sources in order: the first with a usable one decides, whatever later ones have or fail at', () => {
    const first = found('files', { name: 'old', year: 2000 }, { name: 'bad', against: 'it is for signing only' });
    const lookup = choose([absent, first, found('ldap', { name: 'new', year: 2026 }), down]);
    assert.deepEqual(used(lookup), ['CN=old']);
    assert.deepEqual(others(lookup), ['new.pem: files is asked first and has a usable one', 'bad.pem: it is for signing only']);
    assert.deepEqual(
      lookup.asked.map(({ source, answer, remarks }) => [source, answer, ...remarks]),
      [
        ['nothing', 'absent', 'asked in vain'],
        ['files', 'found'],
        ['ldap', 'found'],
        ['ldap', 'unavailable'],
      ],
    );
  });

  test('P5: what does not answer in front of a usable one, or cannot be judged beside it, makes the answer unavailable', () => {
    const good = found('files', { name: 'good' });
    const behind = choose([down, good]);
    assert.equal(behind.kind === 'unavailable' && behind.source, 'ldap');
    assert.deepEqual(others(behind), ['good.pem: ldap is asked first and gives no answer']);
    assert.equal(choose([absent, down]).kind, 'unavailable');
    const beside = choose([found('files', { name: 'good' }, { name: 'murky', against: null })]);
    assert.equal(beside.kind === 'unavailable' && beside.source, 'trust');
    assert.deepEqual(others(beside), [
      'good.pem: another one of its source could not be judged now',
      'murky.pem: it could not be judged now: down',
    ]);
    assert.equal(choose([found('files', { name: 'bad', against: 'no' }), down]).kind, 'unavailable');
    assert.equal(choose([good, down]).kind, 'found');
    assert.equal(choose([absent, found('files', { name: 'bad', against: 'no' })]).kind, 'absent');
    assert.equal(choose([]).kind, 'absent');
  });

  test('P5: a source that could not read all it has is no proof of absence; what it found is used', () => {
    const half = (...wishes: readonly Wish[]): Consulted => ({ ...found('files', ...wishes), incomplete: new Error('cut') });
    const lookup = choose([half({ name: 'old', against: 'it expired' }), found('ldap', { name: 'good' })]);
    assert.ok(lookup.kind === 'unavailable');
    assert.equal(`${lookup.source}: ${String(lookup.cause)}`, 'files: Error: cut');
    assert.deepEqual(others(lookup), ['good.pem: files is asked first and gives no answer', 'old.pem: it expired']);
    assert.deepEqual(used(choose([half({ name: 'old', against: 'it expired' }, { name: 'good' })])), ['CN=good']);
  });

  const wishes = fc.array(
    fc.record(
      {
        name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
        year: fc.integer({ min: 2020, max: 2023 }),
        rsa: fc.boolean(),
        place: fc.constantFrom('1', '2', '3'),
        against: fc.constantFrom('expired', 'untrusted'),
      },
      { requiredKeys: ['name'] },
    ),
    { maxLength: 50 },
  );
  // One certificate is one certificate: its facts follow from its name; what is said of it may follow from its place.
  const consistent = (list: readonly Partial<Wish>[]): Wish[] => {
    const facts = new Map<string, Partial<Wish>>();
    const said = new Map<string, Pick<Wish, 'against'>>();
    return list.map(({ name = '', place = '1', against, ...rest }) => {
      facts.set(name, facts.get(name) ?? rest);
      const here = `${name} ${place}`;
      said.set(here, said.get(here) ?? (against === undefined ? {} : { against }));
      return { ...facts.get(name), name, place, ...said.get(here) };
    });
  };

  test('A22: the order within an answer changes nothing, no candidate is lost, and only what is usable is chosen', () => {
    fc.assert(
      fc.property(wishes, fc.infiniteStream(fc.nat()), (list, numbers) => {
        const whole = consistent(list);
        const shuffled = whole
          .map((wish) => ({ wish, at: numbers.next().value ?? 0 }))
          .sort((a, b) => a.at - b.at)
          .map(({ wish }) => wish);
        const [one, other] = [choose([found('files', ...whole)]), choose([found('files', ...shuffled)])];
        assert.deepEqual([used(one), others(one)], [used(other), others(other)]);
        assert.equal(used(one).length + one.rejected.length, whole.length);
        const usable = new Set(whole.filter(({ against }) => against === undefined).map(({ name }) => `CN=${name}`));
        assert.ok(used(one).every((subject) => usable.has(subject)));
        assert.equal(used(one).length > 0, usable.size > 0);
      }),
    );
  });
});
