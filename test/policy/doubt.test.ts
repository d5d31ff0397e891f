/** The doubt rule by properties: whatever the rules are, and whatever is known of a message. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { ContentFacts } from '../../src/message/facts.ts';
import { parseMailbox } from '../../src/message/envelope.ts';
import { parsePattern } from '../../src/message/pattern.ts';
import type { CertificateState, Condition, DomainUse, Facts, LookedUp, TextPattern } from '../../src/policy/condition.ts';
import { type Answer, decide, domainOf, foresee, makeRuleSet, matchRule, type Rule } from '../../src/policy/decide.ts';

const mailboxes = ['a@x.example', 'b@x.example', 'c@y.example', 'd@sub.y.example'].map((address) => {
  const verdict = parseMailbox(address);
  assert.ok(verdict.kind === 'mailbox');
  return verdict.mailbox;
});
const patterns = ['a@x.example', '*@x.example', '*@*.example', '*@*', 'b*@x.example', '<>', '*@*.y.example', 'A@X.example'].map(
  (source) => {
    const verdict = parsePattern(source);
    assert.ok(verdict.kind === 'pattern');
    return verdict.pattern;
  },
);

/** Texts stand for how they fare: `tally` looks the answer up. */
const texts: readonly TextPattern[] = ['p', 'q'].map((source) => ({ source, matches: () => false }));

const leaf = fc.oneof(
  fc.record({ kind: fc.constantFrom('sender' as const, 'recipient' as const), pattern: fc.constantFrom(...patterns) }),
  fc.record({ kind: fc.constant('subject' as const), pattern: fc.constantFrom(...texts) }),
  fc.record({ kind: fc.constantFrom('calendar' as const, 'signed' as const), is: fc.boolean() }),
  fc.record({ kind: fc.constant('certificate' as const), is: fc.constantFrom<CertificateState>('found', 'absent', 'unavailable') }),
  fc.record({ kind: fc.constant('sealed' as const), is: fc.boolean() }),
);
const { condition } = fc.letrec<{ condition: Condition }>((tie) => ({
  condition: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.record({ kind: fc.constantFrom('all' as const, 'any' as const), of: fc.array(tie('condition'), { minLength: 1, maxLength: 3 }) }),
    fc.record({ kind: fc.constant('not' as const), of: tie('condition') }),
  ),
}));

const rules = fc
  .array(
    fc.record({
      when: condition,
      then: fc.constantFrom('seal' as const, 'pass' as const, 'refuse' as const, 'hold' as const),
      missing: fc.constantFrom('refuse' as const, 'hold' as const),
      unavailable: fc.constantFrom('retry' as const, 'hold' as const),
      domainCertificate: fc.constantFrom('fallback' as const, 'only' as const),
      plain: fc.boolean(),
    }),
    { maxLength: 6 },
  )
  .map((list) =>
    list.map(({ plain, domainCertificate, ...rule }, index): Rule => {
      const others = { name: `r${index}`, ...rule, subject: { kind: 'keep' } as const };
      return plain ? others : { ...others, domainCertificate };
    }),
  );

const maybe = fc.constantFrom<boolean | 'unclear'>(true, false, 'unclear');
const contents = fc
  .record({
    p: fc.constantFrom('all', 'some', 'none'),
    q: fc.constantFrom('all', 'some', 'none'),
    calendar: maybe,
    signed: maybe,
    claimsSealed: fc.boolean(),
  })
  .map(({ p, q, ...kind }): ContentFacts => ({
    ...kind,
    from: null,
    fields: () => [],
    tally: (_, pattern) => (pattern === texts[0] ? p : q),
  }));
const state = fc.constantFrom<CertificateState>('found', 'absent', 'unavailable');
const lookUp = fc
  .record({ state, sealedFor: fc.boolean() })
  .map((one): LookedUp => ({ ...one, sealedFor: one.sealedFor && one.state === 'found' }));
const world = fc.record({ never: lookUp, fallback: lookUp, only: lookUp });
const parties = fc.record({ sender: fc.constantFrom(null, ...mailboxes), recipient: fc.constantFrom(...mailboxes) });

type World = Readonly<Record<DomainUse, LookedUp>>;

/** As decision.ts asks: what is wanted is looked up, and nothing else. */
function asked<Other>(
  ask: (facts: Facts) => Answer | Other,
  facts: Omit<Facts, 'lookedUp'>,
  world: World,
): { readonly facts: Facts; readonly answer: Exclude<Answer, { kind: 'look-up' }> | Other } {
  const lookedUp: Partial<Record<DomainUse, LookedUp>> = {};
  for (;;) {
    const known = { ...facts, lookedUp };
    const answer = ask(known);
    if (!isLookUp(answer)) return { facts: known, answer };
    assert.equal(lookedUp[answer.domain], undefined, 'the same look-up twice');
    lookedUp[answer.domain] = world[answer.domain];
  }
}

function isLookUp(answer: unknown): answer is Extract<Answer, { kind: 'look-up' }> {
  return typeof answer === 'object' && answer !== null && 'kind' in answer && answer.kind === 'look-up';
}

const base = { client: '127.0.0.1', user: null, size: null };
const RUNS = { numRuns: 2000 };

function decisionOf(list: readonly Rule[], parties: Pick<Facts, 'sender' | 'recipient'>, content: ContentFacts, world: World) {
  const { answer } = asked((facts) => decide(makeRuleSet(list), facts), { ...base, ...parties, content }, world);
  assert.ok(answer.kind === 'decided');
  return answer.decision;
}

test('A13: nothing passes but by a rule that surely matches, behind none that may', () => {
  fc.assert(
    fc.property(rules, parties, contents, world, (list, parties, content, world) => {
      const decision = decisionOf(list, parties, content, world);
      if (decision.kind !== 'pass') return;
      const facts = { ...base, ...parties, content, lookedUp: world };
      const at = list.findIndex(({ name }) => name === decision.rule);
      const rule = list[at];
      assert.ok(rule?.then === 'pass' && matchRule(rule, facts) === 'yes');
      for (const earlier of list.slice(0, at)) assert.equal(matchRule(earlier, facts), 'no');
    }),
    RUNS,
  );
});

test('A12: what passes without a look at its end would pass by the same rule if its end showed that it is not sealed', () => {
  fc.assert(
    fc.property(rules, parties, contents, world, (list, parties, content, world) => {
      const decision = decisionOf(list, parties, content, world);
      if (decision.kind !== 'pass' || decision.sealed) return;
      const unsealed = (one: LookedUp): LookedUp => ({ ...one, sealedFor: false });
      const behind = { never: unsealed(world.never), fallback: unsealed(world.fallback), only: unsealed(world.only) };
      assert.deepEqual(decisionOf(list, parties, content, behind), decision);
    }),
    RUNS,
  );
});

test('P3: nothing is sealed without a certificate, and what is in doubt is sealed or held', () => {
  fc.assert(
    fc.property(rules, parties, contents, world, (list, parties, content, world) => {
      const decision = decisionOf(list, parties, content, world);
      const facts = { ...base, ...parties, content, lookedUp: world };
      const rule = list.find(({ name }) => name === decision.rule);
      if (decision.kind === 'seal') assert.ok(rule !== undefined && world[domainOf(rule)].state === 'found');
      const first = list.find((one) => matchRule(one, facts) !== 'no');
      if (first?.then === 'hold') assert.equal(decision.kind, 'hold');
    }),
    RUNS,
  );
});

/** All that the sources which are down may say once they are up. */
function* onceUp(world: World): Generator<World> {
  const down = (['never', 'fallback', 'only'] as const).find((domain) => world[domain].state === 'unavailable');
  if (down === undefined) return yield world;
  for (const state of ['found', 'absent'] as const)
    for (const sealedFor of state === 'found' ? [true, false] : [false]) yield* onceUp({ ...world, [down]: { state, sealedFor } });
}

/** A rule that asks whether a source is down means to say something about just that. */
function asksForDown(when: Condition): boolean {
  if (when.kind === 'not') return asksForDown(when.of);
  if (when.kind === 'all' || when.kind === 'any') return when.of.some(asksForDown);
  return when.kind === 'certificate' && when.is === 'unavailable';
}

test('P5: what a source that is down might have let pass in clear is not refused for good', () => {
  fc.assert(
    fc.property(rules, parties, contents, world, (list, parties, content, world) => {
      fc.pre(!list.some(({ when }) => asksForDown(when)));
      if (decisionOf(list, parties, content, world).kind !== 'refuse') return;
      for (const later of onceUp(world)) assert.notEqual(decisionOf(list, parties, content, later).kind, 'pass');
    }),
    RUNS,
  );
});

test('RCPT never refuses for good, nor puts off without need, what DATA would take', () => {
  fc.assert(
    fc.property(rules, parties, contents, world, (list, parties, content, world) => {
      const { answer } = asked((facts) => foresee(makeRuleSet(list), facts), { ...base, ...parties }, world);
      const decision = decisionOf(list, parties, content, world);
      if (answer.kind === 'taken') return;
      if (answer.decision.kind === 'refuse') assert.equal(decision.kind, 'refuse');
      if (answer.decision.kind === 'retry') {
        assert.ok(decision.kind === 'retry' || decision.kind === 'refuse');
        assert.ok(Object.values(world).some(({ state }) => state === 'unavailable'));
      }
    }),
    RUNS,
  );
});

test('the rules that are asked are those that may match, in their order', () => {
  fc.assert(
    fc.property(rules, parties, contents, world, (list, parties, content, world) => {
      const candidates = [...makeRuleSet(list).candidates(parties)];
      const facts = { ...base, ...parties, content, lookedUp: world };
      assert.deepEqual(
        list.filter((rule) => candidates.includes(rule)),
        candidates,
      );
      for (const rule of list) assert.ok(candidates.includes(rule) || matchRule(rule, facts) === 'no', rule.name);
    }),
    RUNS,
  );
});
