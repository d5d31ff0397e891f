/** What the source makes of each answer a resolver can give; smimea.test.ts does the same with real programs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import { makeCachedSource } from '../../../src/certificates/cache.ts';
import { ownerNames } from '../../../src/certificates/smimea/owner.ts';
import type { Resolver } from '../../../src/certificates/smimea/resolver.ts';
import { makeSmimeaSource } from '../../../src/certificates/smimea/source.ts';
import { type DnsRecord, type DnsResponse, recordTypes } from '../../../src/certificates/smimea/wire.ts';
import { SealpostError } from '../../../src/errors.ts';
import type { SourceAnswer } from '../../../src/certificates/source.ts';
import { mailboxOf, make, noOpenssl, temporaryFolder } from '../openssl.ts';

const NOW = 1_800_000_000_000;
const [NAME = ''] = ownerNames(mailboxOf('anna@clinic.example'));
const record = (data: Buffer, part: Partial<DnsRecord> = {}): DnsRecord => ({
  owner: NAME,
  type: recordTypes.smimea,
  ttl: 300,
  data,
  target: undefined,
  ...part,
});
const alias = (owner: string, target: string): DnsRecord => record(Buffer.alloc(0), { owner, target, type: recordTypes.cname });
const nothing: DnsResponse = { code: 0, authenticated: true, answers: [], absentFor: 300 };
const noSuchName: DnsResponse = { ...nothing, code: 3 };

describe('reading the answers of the resolver', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const der = make(folder, { name: 'anna' });
  const found = record(Buffer.concat([Buffer.of(3, 0, 0), der]));

  /** `root` is what the resolver says of the root. */
  function asked(answers: Readonly<Record<string, DnsResponse | Error>>, root: DnsResponse = nothing) {
    const log: string[] = [];
    const resolver: Resolver = {
      name: 'fake',
      ask: async (name) => {
        log.push(name);
        const answer = name === '.' ? root : (answers[name] ?? noSuchName);
        if (answer instanceof Error) throw answer;
        return answer;
      },
    };
    const source = makeSmimeaSource({ resolver, trust: 'anchors', now: () => NOW });
    return {
      log,
      source,
      lookup: (address = 'anna@clinic.example'): Promise<SourceAnswer> => source.lookup(mailboxOf(address), AbortSignal.timeout(10_000)),
    };
  }
  const once = (response: DnsResponse | Error, root?: DnsResponse): Promise<SourceAnswer> => asked({ [NAME]: response }, root).lookup();
  const secondsOf = (answer: SourceAnswer): number => (answer.kind === 'unavailable' ? NaN : ((answer.until ?? NaN) - NOW) / 1000);
  const remarks = (answer: SourceAnswer): readonly string[] => (answer.kind === 'unavailable' ? [] : (answer.remarks ?? []));

  test('authenticated records are candidates, in one order whatever theirs', async () => {
    const other = record(Buffer.concat([Buffer.of(1, 0, 0), make(folder, { name: 'other' })]));
    for (const answers of [
      [found, other],
      [other, found],
    ]) {
      const answer = await once({ ...nothing, answers });
      assert.ok(answer.kind === 'found');
      assert.deepEqual(
        answer.candidates.map(({ certificate, place, source }) => [certificate.subject, place, source]),
        [
          ['CN=other', `${NAME}#1`, 'smimea fake'],
          ['CN=anna', `${NAME}#2`, 'smimea fake'],
        ],
      );
    }
  });

  test('why a resolver fails is told where it says so, by the meaning of the number alone', async () => {
    const cause = async (extendedError: number | undefined): Promise<string> => {
      const answer = await once({ ...nothing, authenticated: false, code: 2, extendedError });
      return answer.kind === 'unavailable' && answer.cause instanceof Error ? answer.cause.message : answer.kind;
    };
    assert.match(await cause(undefined), /answers SERVFAIL$/);
    assert.match(await cause(6), /answers SERVFAIL \(DNSSEC bogus: its signatures do not fit\)$/);
    assert.match(await cause(22), /answers SERVFAIL \(none of its servers can be reached\)$/);
    assert.match(await cause(999), /answers SERVFAIL \(extended error 999\)$/);
  });

  test('aliases are followed within the one answer, in any order; circles and records of other names give nothing', async () => {
    const far = { ...found, owner: 'z.example' };
    const answers = [far, alias('y.example', 'z.example'), alias(NAME, 'y.example')];
    assert.equal((await once({ ...nothing, answers })).kind, 'found');
    assert.equal((await once({ ...nothing, answers: [far, alias(NAME, 'y.example')] })).kind, 'absent');
    assert.equal((await once({ ...nothing, answers: [far] })).kind, 'absent');
    assert.equal((await once({ ...nothing, answers: [alias(NAME, 'y.example'), alias('y.example', NAME)] })).kind, 'absent');
  });

  test('P5: eight aliases are followed; what stands behind a ninth is not called absent', async () => {
    const chain = (aliases: number): DnsResponse => {
      const names = [NAME, ...Array.from({ length: aliases }, (_, hop) => `hop${hop}.example`)];
      const hops = names.slice(1).map((target, hop) => alias(names[hop] ?? '', target));
      return { ...nothing, answers: [...hops, { ...found, owner: names.at(-1) ?? '' }] };
    };
    assert.equal((await once(chain(8))).kind, 'found');
    const answer = await once(chain(9));
    assert.match(answer.kind === 'unavailable' ? String(answer.cause) : answer.kind, /more than 8 aliases/);
  });

  test('authenticated absence is a fact, for as long as the zone says and within bounds', async () => {
    assert.deepEqual(await once(noSuchName), { kind: 'absent', until: NOW + 300_000 });
    assert.deepEqual(await once(nothing), { kind: 'absent', until: NOW + 300_000 });
    assert.equal(secondsOf(await once({ ...nothing, absentFor: 1e9 })), 3_600);
    assert.equal(secondsOf(await once({ ...nothing, absentFor: 0 })), 60);
    assert.equal(secondsOf(await once({ ...nothing, absentFor: undefined })), 60);
  });

  test('records hold as long as the shortest TTL on the way to them, within bounds', async () => {
    const life = async (...answers: readonly DnsRecord[]): Promise<number> => secondsOf(await once({ ...nothing, answers }));
    assert.equal(await life({ ...found, ttl: 900 }), 900);
    assert.equal(await life({ ...found, owner: 'z.example', ttl: 900 }, alias(NAME, 'z.example')), 300);
    assert.equal(await life({ ...found, ttl: 0 }), 60);
    assert.equal(await life({ ...found, ttl: 2 ** 31 }), 86_400);
  });

  test('A27: what is not authenticated is not used and says so, where the resolver validates', async () => {
    for (const response of [{ ...nothing, answers: [found] }, nothing, noSuchName]) {
      const answer = await once({ ...response, authenticated: false });
      assert.equal(answer.kind, 'absent');
      assert.match(remarks(answer).join(), /not used: the zone is not signed with DNSSEC$/);
    }
  });

  test('A27, P5: a resolver that does not validate proves nothing, and is asked again for the root', async () => {
    const unsigned = { ...nothing, authenticated: false };
    const { lookup, log } = asked({ [NAME]: unsigned }, unsigned);
    const answer = await lookup();
    assert.ok(answer.kind === 'unavailable' && answer.cause instanceof SealpostError);
    assert.match(answer.cause.message, /does not validate/);
    await lookup();
    assert.equal(log.filter((name) => name === '.').length, 2);
  });

  test('P5: a resolver that validated a moment ago may do so no more: each answer without AD asks for the root', async () => {
    const [ben = ''] = ownerNames(mailboxOf('ben@clinic.example'));
    const [signed, unsigned] = [
      { ...nothing, answers: [found] },
      { ...nothing, authenticated: false },
    ];
    const root = { ...nothing, authenticated: true };
    const { lookup, log } = asked({ [NAME]: signed, [ben]: unsigned }, root);
    assert.equal((await lookup()).kind, 'found');
    assert.deepEqual(log, [NAME]);
    assert.equal((await lookup('ben@clinic.example')).kind, 'absent');
    root.authenticated = false;
    assert.equal((await lookup('ben@clinic.example')).kind, 'unavailable');
    assert.deepEqual(log, [NAME, ben, '.', ben, '.']);
    // What is authenticated needs no root.
    assert.equal((await lookup()).kind, 'found');
  });

  test('P5: SERVFAIL, REFUSED, any other code and silence are unavailable', async () => {
    for (const code of [1, 2, 4, 5, 6, 16])
      assert.equal((await once({ ...nothing, code, authenticated: false })).kind, 'unavailable', `${code}`);
    assert.equal((await once(new SealpostError('lookup-unavailable'))).kind, 'unavailable');
  });

  test('the lower-case name is asked where the one that is written is proved not to be there, and only then', async () => {
    const [written = '', folded = ''] = ownerNames(mailboxOf('Anna@clinic.example'));
    const other = { ...found, owner: written };
    const asks = async (first: DnsResponse | Error): Promise<readonly [string, number]> => {
      const { lookup, log } = asked({ [written]: first, [folded]: { ...nothing, answers: [found] } });
      return [(await lookup('Anna@clinic.example')).kind, log.filter((name) => name !== '.').length];
    };
    assert.equal(folded, NAME);
    assert.deepEqual(await asks(noSuchName), ['found', 2]);
    assert.deepEqual(await asks({ ...nothing, answers: [other] }), ['found', 1]);
    assert.deepEqual(await asks({ ...nothing, authenticated: false }), ['absent', 1]);
    assert.deepEqual(await asks({ ...nothing, code: 2 }), ['unavailable', 1]);
    const { lookup } = asked({ [written]: { ...noSuchName, absentFor: 100 }, [folded]: new SealpostError('lookup-unavailable') });
    assert.equal((await lookup('Anna@clinic.example')).kind, 'unavailable');
  });

  test('behind a memory each spelling has its own answer, also where the other was asked for first', async () => {
    const [written = ''] = ownerNames(mailboxOf('Anna@clinic.example'));
    const { source } = asked({ [written]: { ...nothing, answers: [{ ...found, owner: written }] } });
    const ages = { found: 60_000, absent: 60_000, stale: 60_000 };
    const remembered = makeCachedSource(source, { ages, now: () => NOW, log: pino({ level: 'silent' }), patience: 10_000 });
    const kindOf = async (address: string): Promise<string> =>
      (await remembered.lookup(mailboxOf(address), AbortSignal.timeout(10_000))).kind;
    assert.equal(await kindOf('anna@clinic.example'), 'absent');
    assert.equal(await kindOf('Anna@clinic.example'), 'found');
    assert.equal(await kindOf('anna@CLINIC.example'), 'absent');
  });

  test('records that hold no certificate are passed over, each with its reason; of many only ten are read', async () => {
    const hash = record(Buffer.concat([Buffer.of(3, 0, 1), Buffer.alloc(32)]));
    const answer = await once({ ...nothing, answers: [hash] });
    assert.equal(answer.kind, 'absent');
    assert.deepEqual(remarks(answer), [`${NAME}#1: the SMIMEA record is not used: it holds a hash and no certificate (matching type 1)`]);
    const many = Array.from({ length: 200 }, (_, index) => record(Buffer.concat([Buffer.of(3, 0, 0), Buffer.of(index)])));
    const lot = await once({ ...nothing, answers: [...many, found] });
    assert.equal(remarks(lot).length, 11);
    assert.match(remarks(lot)[0] ?? '', /of 201 SMIMEA records 10 are looked at/);
  });

  test('an address literal is absent without a question', async () => {
    const { lookup, log } = asked({});
    assert.deepEqual(await lookup('anna@[192.0.2.1]'), { kind: 'absent' });
    assert.deepEqual(log, []);
  });
});
