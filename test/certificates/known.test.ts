/** The pin in the look-up: what is known goes on being used, another waits, and nothing unknown is ever chosen (A22). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { choose, type Assessed, type Consulted, type Lookup } from '../../src/certificates/choose.ts';
import { type KnownCertificates, makeHold, type Pin } from '../../src/certificates/known.ts';
import { certificateNamed, rsaKey } from './fixtures.ts';

const ANNA = 'anna@example.org';

function assessed(name: string, facts: Partial<Certificate> = {}): Assessed {
  const certificate = certificateNamed(name, facts);
  return { certificate, source: 'files', place: `${name}.pem`, verdict: { kind: 'usable', path: [certificate], revocation: 'off' } };
}

const answer = (...candidates: Assessed[]): Consulted => ({ source: 'files', answer: 'found', candidates, remarks: [] });
const namesOf = (list: readonly { readonly place: string }[]): string[] => list.map(({ place }) => place.replace('.pem', ''));

async function lookup(pin: Pin, consulted: readonly Consulted[]): Promise<{ readonly lookup: Lookup; readonly waits: string[] }> {
  const waits: string[] = [];
  const known: KnownCertificates = {
    remembers: () => false,
    pinOf: async () => pin,
    wait: async (address, candidates) => {
      assert.equal(address, ANNA);
      waits.push(...namesOf(candidates));
    },
  };
  const hold = makeHold(known, ANNA, () => 10_000);
  const held: Consulted[] = [];
  for (const one of consulted) held.push(await hold.apply(one));
  return { lookup: hold.conclude(choose(held)), waits };
}

const pinnedTo = (...names: string[]): Pin => ({
  kind: 'pinned',
  fingerprints: new Set(names.map((name) => certificateNamed(name).fingerprint)),
});
const newer = { notBefore: new Date('2026-06-01T00:00:00Z') };

describe('a pinned look-up', () => {
  test('goes on with the known certificate while a newer one waits, and says how to approve it', async () => {
    const { lookup: found, waits } = await lookup(pinnedTo('old'), [answer(assessed('old'), assessed('new', newer))]);
    assert.deepEqual(found.kind === 'found' && namesOf(found.chosen), ['old']);
    assert.deepEqual(waits, ['new']);
    const { fingerprint } = certificateNamed('new');
    assert.match(found.rejected[0]?.reason ?? '', new RegExp(`waits for approval.*sealpost certs approve ${ANNA} ${fingerprint}$`));
  });

  test('trusts the first certificates of an address that is not known', async () => {
    const { lookup: found, waits } = await lookup({ kind: 'free' }, [answer(assessed('old'), assessed('new', newer))]);
    assert.deepEqual([found.kind === 'found' && namesOf(found.chosen), waits], [['new', 'old'], []]);
  });

  test('what the rule would not choose waits for nothing', async () => {
    const other = assessed('rsa', { key: rsaKey, notBefore: new Date('2020-01-01T00:00:00Z') });
    const spent: Assessed = { ...assessed('spent', newer), verdict: { kind: 'rejected', reason: 'it expired' } };
    const { waits } = await lookup(pinnedTo('old'), [answer(assessed('old'), other, spent)]);
    assert.deepEqual(waits, []);
  });

  test('asks the next source where all of this one wait, and is unavailable where nothing is left (P5)', async () => {
    const later = await lookup(pinnedTo('old'), [answer(assessed('new', newer)), answer(assessed('old'))]);
    assert.deepEqual(later.lookup.kind === 'found' && namesOf(later.lookup.chosen), ['old']);
    const none = await lookup(pinnedTo('old'), [answer(assessed('new', newer))]);
    assert.equal(none.lookup.kind, 'unavailable');
    assert.deepEqual(namesOf(none.lookup.rejected), ['new']);
  });

  test('is unavailable where the pin cannot be read, and absent stays absent', async () => {
    const unread = await lookup({ kind: 'unavailable', cause: new Error('disk') }, [answer(assessed('old'))]);
    assert.equal(unread.lookup.kind, 'unavailable');
    assert.equal((await lookup(pinnedTo('old'), [{ source: 'files', answer: 'absent', remarks: [] }])).lookup.kind, 'absent');
  });

  test('does not wait for what is known for longer than the look-up may take (P6)', async () => {
    const forever = new Promise<never>(() => {});
    const known: KnownCertificates = { remembers: () => false, pinOf: () => forever, wait: () => forever };
    const one = answer(assessed('old'));
    assert.equal(choose([await makeHold(known, ANNA, () => 5).apply(one)]).kind, 'unavailable');
    const slow: KnownCertificates = { ...known, pinOf: async () => pinnedTo('old') };
    const held = await makeHold(slow, ANNA, () => 5).apply(answer(assessed('old'), assessed('new', newer)));
    const found = choose([held]);
    assert.deepEqual(found.kind === 'found' && namesOf(found.chosen), ['old']);
  });

  test('never chooses what is unknown, and keeps every known one that the rule chooses among the known alone (A22)', async () => {
    const one = fc.record({
      name: fc.integer({ min: 0, max: 60 }).map((number) => `c${number}`),
      year: fc.integer({ min: 2000, max: 2025 }),
      rsa: fc.boolean(),
      known: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(one, { selector: ({ name }) => name, maxLength: 50 }), async (list) => {
        const candidates = list.map(({ name, year, rsa }) =>
          assessed(name, { notBefore: new Date(Date.UTC(year, 0, 1)), ...(rsa ? { key: rsaKey } : {}) }),
        );
        const names = new Set(list.filter(({ known }) => known).map(({ name }) => name));
        const { lookup: found, waits } = await lookup(pinnedTo(...names), [answer(...candidates)]);
        const alone = choose([answer(...candidates.filter((candidate) => names.has(candidate.place.replace('.pem', ''))))]);
        assert.deepEqual(found.kind === 'found' && namesOf(found.chosen), alone.kind === 'found' && namesOf(alone.chosen));
        assert.ok(waits.every((name) => !names.has(name)));
        if (found.kind === 'absent') assert.equal(list.length, 0);
      }),
      { numRuns: 200 },
    );
  });
});
