/**
 * Certificate policies (RFC 5280 §6.1), as far as they can refuse a path: nobody here asks for a policy, so any is good, but a CA
 * may demand that one holds from the top to the end (requireExplicitPolicy).
 *
 * The valid policy tree of the RFC doubles with each certificate that maps every policy to several (CVE-2023-0464). What counts
 * here is only whether its lowest level holds anything. For that no tree is kept: one level is a map from each valid policy to
 * those it may be called below, and the next level follows from it, at a cost linear in the two certificates (as in RFC 9618).
 */
import { contextFields, expectTag, malformed, oidText, tags, UNIVERSAL } from './der.ts';
import type { Tlv } from './der.ts';
import { anyPolicy } from './oids.ts';

/** What one certificate says of policies; undefined where it says nothing. */
export interface Policies {
  /** OIDs of certificatePolicies. */
  readonly valid: readonly string[] | undefined;
  /** policyMappings: of the issuer's domain, and of the subject's. */
  readonly mappings: readonly (readonly [string, string])[];
  /** policyConstraints and inhibitAnyPolicy: after how many certificates each begins. */
  readonly requireExplicit: number | undefined;
  readonly inhibitMapping: number | undefined;
  readonly inhibitAny: number | undefined;
}

/** Most certificates differ in nothing but their policies: the others share this. */
const unconstrained = { mappings: [], requireExplicit: undefined, inhibitMapping: undefined, inhibitAny: undefined } as const;

/** The extensions' values, RFC 5280 §4.2.1.4, §4.2.1.5, §4.2.1.11, §4.2.1.14. Throws `certificate-malformed`. */
export function readPolicies(values: {
  readonly policies: Tlv | undefined;
  readonly mappings: Tlv | undefined;
  readonly constraints: Tlv | undefined;
  readonly inhibitAny: Tlv | undefined;
}): Policies {
  const valid = values.policies && readValid(values.policies);
  const { mappings, constraints, inhibitAny } = values;
  if (mappings === undefined && constraints === undefined && inhibitAny === undefined) return { valid, ...unconstrained };
  const [requireExplicit, inhibitMapping] = constraints === undefined ? [] : readConstraints(constraints);
  return {
    valid,
    mappings: mappings === undefined ? [] : readMappings(mappings),
    requireExplicit,
    inhibitMapping,
    inhibitAny: inhibitAny && smallNumber(expectTag(inhibitAny, UNIVERSAL, tags.integer, 'inhibitAnyPolicy').content, 'inhibitAnyPolicy'),
  };
}

/** SIZE (1..MAX): an empty list is no statement, and OpenSSL takes none either. */
function entriesOf(list: Tlv, field: string): readonly Tlv[] {
  const { children } = expectTag(list, UNIVERSAL, tags.sequence, field);
  if (children.length === 0) throw malformed(`${field} is empty`);
  return children;
}

/** PolicyInformation: the OID, and qualifiers that are for people. */
function readValid(list: Tlv): readonly string[] {
  const valid = expectTag(list, UNIVERSAL, tags.sequence, 'certificatePolicies').children.map((entry) => {
    const [policy, qualifiers, ...more] = expectTag(entry, UNIVERSAL, tags.sequence, 'a certificate policy').children;
    if (qualifiers !== undefined) expectTag(qualifiers, UNIVERSAL, tags.sequence, 'qualifiers of a certificate policy');
    if (more.length > 0) throw malformed('a certificate policy of more than two parts');
    return oidText(policy, 'a certificate policy');
  });
  // RFC 5280 §4.2.1.4; OpenSSL takes none that stands there twice either.
  if (new Set(valid).size < valid.length) throw malformed('a certificate policy stands there twice');
  return valid;
}

function readMappings(list: Tlv): readonly (readonly [string, string])[] {
  return entriesOf(list, 'policyMappings').map((entry) => {
    const [issuer, subject, ...more] = expectTag(entry, UNIVERSAL, tags.sequence, 'a policy mapping').children;
    if (more.length > 0) throw malformed('a policy mapping of more than two parts');
    return [oidText(issuer, 'a policy mapping'), oidText(subject, 'a policy mapping')];
  });
}

function readConstraints(list: Tlv): readonly (number | undefined)[] {
  const counts = contextFields(entriesOf(list, 'policyConstraints'), ['primitive', 'primitive'], 'policyConstraints');
  return counts.map((count) => count && smallNumber(count.content, 'policyConstraints'));
}

/** A count of certificates, of four octets at most, the shortest that hold it. Throws `certificate-malformed`. */
export function smallNumber(content: Buffer, field: string): number {
  const [first = 0, second = 0x80] = content;
  if (content.length === 0 || content.length > 4 || first & 0x80 || (first === 0 && !(second & 0x80)))
    throw malformed(`${field} is not a small number`);
  return content.readUIntBE(0, content.length);
}

/** One certificate of a path, as far as policies go. */
export interface PolicyStep {
  readonly subject: string;
  readonly policies: Policies;
  readonly selfIssued: boolean;
}

/** Each valid policy, and what it may be called in the next certificate (expected_policy_set). */
type Level = Map<string, Set<string>>;

/** Why no policy holds though one is demanded; undefined where all is well. `path` is from the end to the anchor, as paths are. */
export function policyFault(path: readonly PolicyStep[]): string | undefined {
  const [anchor, ...below] = path.toReversed();
  if (anchor === undefined || below.length === 0) return undefined;
  // RFC 5937 §3.2: an anchor's own constraints count, which RFC 5280 §6.2 leaves open. What it does not say stays without limit.
  const limit = {
    explicit: anchor.policies.requireExplicit ?? Infinity,
    mapping: anchor.policies.inhibitMapping ?? Infinity,
    any: anchor.policies.inhibitAny ?? Infinity,
  };
  let demandedBy = anchor.subject;
  let level: Level = new Map([[anyPolicy, new Set([anyPolicy])]]);
  for (const [index, { subject, policies, selfIssued }] of below.entries()) {
    const last = index === below.length - 1;
    const anyCounts = limit.any > 0 || (selfIssued && !last);
    level = policies.valid === undefined ? new Map() : nextLevel(level, policies.valid, anyCounts);
    if (last) {
      // §6.1.5 (a), (b): the demand may begin right below the last CA, or with the last certificate itself.
      if (limit.explicit > 0) limit.explicit--;
      if (policies.requireExplicit === 0) limit.explicit = 0;
    }
    if (limit.explicit === 0 && level.size === 0) return lacksPolicy(demandedBy, subject);
    if (last) return undefined;
    if (policies.mappings.some((pair) => pair.includes(anyPolicy))) return `${subject} maps anyPolicy, which RFC 5280 §6.1.4 forbids`;
    applyMappings(level, policies.mappings, limit.mapping > 0);
    if (!selfIssued) {
      // §6.1.4 (h)
      limit.explicit = Math.max(0, limit.explicit - 1);
      limit.mapping = Math.max(0, limit.mapping - 1);
      limit.any = Math.max(0, limit.any - 1);
    }
    // §6.1.4 (i), (j)
    if ((policies.requireExplicit ?? Infinity) < limit.explicit) demandedBy = subject;
    limit.explicit = Math.min(limit.explicit, policies.requireExplicit ?? Infinity);
    limit.mapping = Math.min(limit.mapping, policies.inhibitMapping ?? Infinity);
    limit.any = Math.min(limit.any, policies.inhibitAny ?? Infinity);
  }
  return undefined;
}

const lacksPolicy = (demanding: string, lacking: string): string =>
  `${demanding} demands a certificate policy below it (policyConstraints), and none that it allows holds as far as ${lacking}`;

/** §6.1.3 (d). `anyCounts`: anyPolicy may still stand for all others. */
function nextLevel(above: Level, valid: readonly string[], anyCounts: boolean): Level {
  const expected = new Set<string>();
  for (const names of above.values()) for (const name of names) expected.add(name);
  const level: Level = new Map();
  for (const policy of valid) {
    if (policy !== anyPolicy && (expected.has(policy) || above.has(anyPolicy))) level.set(policy, new Set([policy]));
  }
  if (valid.includes(anyPolicy) && anyCounts) {
    for (const name of expected) if (!level.has(name)) level.set(name, new Set([name]));
  }
  return level;
}

/** §6.1.4 (b): a mapped policy goes by the subject's names from here on; where mapping is inhibited, it holds no more. */
function applyMappings(level: Level, mappings: readonly (readonly [string, string])[], allowed: boolean): void {
  const bySource = Map.groupBy(mappings, ([issuer]) => issuer);
  for (const [issuer, pairs] of bySource) {
    if (!allowed) level.delete(issuer);
    else if (level.has(issuer) || level.has(anyPolicy)) level.set(issuer, new Set(pairs.map(([, subject]) => subject)));
  }
}
