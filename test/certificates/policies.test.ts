/** Certificate policies where a CA demands one (RFC 5280 §6.1). The anchor stands first in these tables, the recipient last. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { policyFault } from '../../src/certificates/policies.ts';
import type { Policies } from '../../src/certificates/policies.ts';
import { anyPolicy } from '../../src/certificates/oids.ts';

const none: Policies = { valid: undefined, mappings: [], requireExplicit: undefined, inhibitMapping: undefined, inhibitAny: undefined };
type Step = Partial<Policies> & { readonly selfIssued?: boolean };
const judge = (...fromAnchor: readonly Step[]): string | undefined =>
  policyFault(
    fromAnchor
      .map(({ selfIssued = false, ...policies }, index) => ({ subject: `#${index}`, selfIssued, policies: { ...none, ...policies } }))
      .toReversed(),
  );
const [A, B, C] = ['1.2.1', '1.2.2', '1.2.3'] as const;
const demands: Step = { requireExplicit: 0 };

describe('certificate policies', () => {
  test('nobody demands one: any will do, and none', () => {
    assert.equal(judge({}, {}, {}), undefined);
    assert.equal(judge({}, { valid: [A] }, { valid: [B] }), undefined);
  });
  test('demanded, one must hold from the top to the end', () => {
    assert.equal(judge({}, { ...demands, valid: [A, B] }, { valid: [B, C] }), undefined);
    assert.match(
      judge({}, { ...demands, valid: [A] }, { valid: [B] }) ?? '',
      /^#1 demands a certificate policy below it \(policyConstraints\), and none that it allows holds as far as #2/,
    );
    assert.match(judge({}, { ...demands, valid: [A] }, {}) ?? '', /as far as #2/);
    assert.match(judge({}, { valid: undefined }, { ...demands, valid: [A] }, { valid: [A] }) ?? '', /^#2 demands/);
  });
  test('the demand begins after as many certificates as it says', () => {
    assert.equal(judge({}, { requireExplicit: 3, valid: [A] }, { valid: [B] }, { valid: [B] }), undefined);
    assert.match(judge({}, { requireExplicit: 1, valid: [A] }, { valid: [B] }, { valid: [B] }) ?? '', /as far as #3/);
    assert.match(judge({}, { requireExplicit: 1 }, {}, {}) ?? '', /as far as #3/);
    assert.match(judge({}, {}, { requireExplicit: 0 }) ?? '', /as far as #2/);
  });
  test("the demand of an anchor holds as a CA's does", () => assert.match(judge(demands, {}) ?? '', /^#0 demands/));
  test('self-issued certificates do not count', () => {
    assert.equal(judge({}, { requireExplicit: 2 }, { selfIssued: true }, { selfIssued: true }, {}), undefined);
    assert.match(judge({}, { requireExplicit: 2 }, {}, {}, {}) ?? '', /demands/);
  });
  test('anyPolicy stands for all, until it is inhibited', () => {
    const any = { valid: [anyPolicy] };
    assert.equal(judge({}, { ...demands, ...any }, any, { valid: [A] }), undefined);
    assert.equal(judge({}, { ...demands, valid: [A] }, any, { valid: [A] }), undefined);
    assert.match(judge({}, { ...demands, valid: [A] }, any, { valid: [B] }) ?? '', /demands/);
    assert.match(judge({}, { ...demands, inhibitAny: 0, ...any }, any, { valid: [A] }) ?? '', /as far as #2/);
    assert.equal(judge({}, { ...demands, inhibitAny: 1, ...any }, any, { valid: [A] }), undefined);
    assert.equal(judge({}, { ...demands, inhibitAny: 0, ...any }, { ...any, selfIssued: true }, { valid: [A] }), undefined);
  });
  test('mappings: another name from there on; inhibited, the policy holds no more', () => {
    const maps = { mappings: [[A, B]] as const };
    assert.equal(judge({}, { ...demands, valid: [A], ...maps }, { valid: [B] }), undefined);
    assert.match(judge({}, { ...demands, valid: [A], ...maps }, { valid: [A] }) ?? '', /demands/);
    assert.equal(judge({}, { ...demands, valid: [anyPolicy], ...maps }, { valid: [B] }), undefined);
    assert.match(judge({}, { ...demands, inhibitMapping: 0 }, { valid: [A], ...maps }, { valid: [B] }) ?? '', /demands/);
    const inhibits = { ...demands, inhibitMapping: 0, valid: [A] };
    for (const valid of [[A], [B]]) assert.match(judge({}, inhibits, { valid: [A], ...maps }, { valid }) ?? '', /as far as #3/);
    assert.match(judge({}, { valid: [A], mappings: [[A, anyPolicy]] }, { valid: [A] }) ?? '', /maps anyPolicy/);
  });
  test('A19: mappings of every policy to every other take time that grows with the certificate, not with the tree', () => {
    const all = Array.from({ length: 60 }, (_, index) => `1.2.${index}`);
    const mappings = all.flatMap((one) => all.slice(0, 10).map((other) => [one, other] as const));
    const begun = performance.now();
    assert.equal(judge({}, ...Array.from({ length: 6 }, () => ({ ...demands, valid: all, mappings })), { valid: all }), undefined);
    assert.ok(performance.now() - begun < 1000);
  });
  test('more demanded never makes a path better', () => {
    const policies = fc.subarray([A, B, C, anyPolicy]);
    const count = fc.option(fc.nat(3), { nil: undefined });
    const step = fc.record({
      valid: fc.option(policies, { nil: undefined }),
      mappings: fc.array(fc.tuple(fc.constantFrom(A, B, C), fc.constantFrom(A, B, C)), { maxLength: 2 }),
      requireExplicit: count,
      inhibitMapping: count,
      inhibitAny: count,
      selfIssued: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 2, maxLength: 5 }), fc.nat(4), (steps, at) => {
        const worse = steps.map((one, index) => (index === at ? { ...one, requireExplicit: 0, inhibitAny: 0 } : one));
        if (judge(...worse) === undefined) assert.equal(judge(...steps), undefined);
      }),
    );
  });
});
