/**
 * Random hierarchies of CAs and what they issue, mostly sound with one or two faults in them: the same ones for the same seed.
 * Whatever a path is judged by is varied: depth, CA flags, lengths, usages, names, policies, dates, extensions, signatures, keys,
 * cross-certificates and namesakes.
 */
import { implicit, nullValue, oid, sequence } from '../../src/certificates/encode.ts';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { DAY_MS } from '../../src/certificates/authority/issue.ts';
import { anyExtendedKeyUsage, anyPolicy, extensionOids } from '../../src/certificates/oids.ts';
import {
  authorityKeyId,
  ca,
  CRL_SIGN,
  crlDer,
  directory,
  ecKeys,
  email,
  emailProtection,
  extension,
  host,
  inhibitAnyPolicy,
  issueDer,
  KEY_CERT_SIGN,
  keyIdOf,
  keyUsage,
  mappings,
  name,
  nameConstraints,
  policies,
  policyConstraints,
  rsaKeys,
  san,
  serverAuth,
  subjectKeyId,
  utf8Mailbox,
} from './pki.ts';
import type { KeyPair, Plan } from './pki.ts';

export interface Hierarchy {
  readonly anchors: readonly Buffer[];
  readonly intermediates: readonly Buffer[];
  readonly leaves: readonly Buffer[];
  /** Who issued all this: roots, then the line of CAs below the first. */
  readonly authorities: readonly Authority[];
}

/** 0 to below 1, by mulberry32: good enough to vary, and the same everywhere. */
export type Random = () => number;
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface Keys {
  readonly strong: readonly KeyPair[];
  /** RSA of 1024 bits, and a curve that is not taken. */
  readonly weak: readonly KeyPair[];
}
export const makeKeys = (): Keys => ({
  strong: [...Array.from({ length: 7 }, () => ecKeys()), ecKeys('P-384'), rsaKeys(2048)],
  weak: [rsaKeys(1024), ecKeys('secp256k1')],
});

interface Dice {
  readonly one: <T>(items: readonly T[]) => T;
  readonly chance: (share: number) => boolean;
}

const dice = (random: Random): Dice => ({
  one: (items) => {
    const item = items[Math.floor(random() * items.length)];
    if (item === undefined) throw new Error('nothing to choose from');
    return item;
  },
  chance: (share) => random() < share,
});

const DOMAINS = ['a.example', 'b.example', 'sub.a.example', 'bücher.example'] as const;
const ORGANIZATIONS = ['Clinic', 'CLINIC ', 'Lab'] as const;
const POLICIES = ['1.3.6.1.4.1.99999.1', '1.3.6.1.4.1.99999.2', '1.3.6.1.4.1.99999.3'] as const;
const UNKNOWN = '1.3.6.1.4.1.99999.7';
const PAST = { from: new Date('2019-01-01'), to: new Date('2025-01-01') };
const FUTURE = { from: new Date('2030-01-01'), to: new Date('2040-01-01') };

/** What is written anew into a plan; `basic` and `usage` take the place of the ordinary ones. */
interface Fault extends Partial<Omit<Plan, 'extensions'>> {
  readonly basic?: readonly Buffer[];
  readonly usage?: readonly Buffer[];
  readonly more?: readonly Buffer[];
  readonly keyId?: boolean;
  readonly version1?: boolean;
}

const organizations = ({ one }: Dice): Buffer => name(['O', one(ORGANIZATIONS)]);

function constraints(d: Dice): Buffer {
  const base = (): Buffer =>
    d.one([
      () => email(d.one(['a.example', '.a.example', '.example', 'xn--bcher-kva.example', 'anna@a.example'])),
      () => directory(organizations(d)),
      () => host('a.example'),
    ])();
  const some = (): readonly Buffer[] => Array.from({ length: d.one([1, 1, 2]) }, base);
  return d.one([() => nameConstraints(some()), () => nameConstraints([], some()), () => nameConstraints(some(), some())])();
}

/** One thing that may be odd about a CA; not all are faults. */
const oddities: readonly ((d: Dice, keys: Keys) => Fault)[] = [
  (d) => ({ basic: [ca(d.one([0, 0, 1, 2, 3]))] }),
  (d) => ({ basic: [ca(d.one([0, 1, 2]))] }),
  () => ({ basic: [] }),
  () => ({ basic: [extension(extensionOids.basicConstraints, sequence(), true)] }),
  () => ({ usage: [keyUsage(CRL_SIGN)] }),
  () => ({ usage: [] }),
  (d) => ({ more: [extension(extensionOids.extKeyUsage, purposesOf(d))] }),
  (d) => ({ more: [constraints(d)] }),
  (d) => ({ more: [constraints(d)] }),
  (d) => ({ more: [constraints(d)] }),
  (d) => d.one([PAST, FUTURE]),
  () => ({ more: [extension(UNKNOWN, nullValue, true)] }),
  () => ({ more: [extension(UNKNOWN, nullValue)] }),
  (d) => ({ more: [policyConstraints(d.one([0, 0, 1, 2, 3]), d.chance(0.4) ? undefined : d.one([0, 1]))] }),
  (d) => ({ more: [policyConstraints(d.one([0, 1])), inhibitAnyPolicy(d.one([0, 1, 2]))] }),
  (d) => ({ more: [policyConstraints(d.one([0, 1, 2])), mappings([d.one(POLICIES), d.one(POLICIES)])] }),
  (d) => ({ more: [mappings([d.one(POLICIES), d.one(POLICIES)], [d.one(POLICIES), d.one(POLICIES)])] }),
  () => ({ forged: true }),
  () => ({ issuer: name(['CN', 'Somebody Else']) }),
  () => ({ keyId: false }),
  () => ({ more: [authorityKeyId(Buffer.alloc(20, 7))] }),
  () => ({ more: [extension(extensionOids.authorityKeyIdentifier, sequence(implicit(2, Buffer.from([9, 9]))))] }),
  (d, keys) => ({ keys: d.one(keys.weak) }),
  () => ({ hash: 'sha1' }),
  () => ({ hash: 'sha384' }),
  () => ({ version1: true }),
];

const purposesOf = (d: Dice): Buffer =>
  d.one([
    sequence(oid(emailProtection)),
    sequence(oid(emailProtection), oid(serverAuth)),
    sequence(oid(serverAuth)),
    sequence(oid(anyExtendedKeyUsage)),
  ]);

export interface Authority {
  readonly name: Buffer;
  readonly keys: KeyPair;
}

function certificateOf(subject: Authority, issuer: Authority, fault: Fault, ordinary: readonly Buffer[]): Buffer {
  const { basic = [ca()], usage = [keyUsage(KEY_CERT_SIGN, CRL_SIGN)], more = [], keyId = true, version1 = false, ...plan } = fault;
  const identifiers = keyId ? [subjectKeyId(keyIdOf((plan.keys ?? subject.keys).publicKey))] : [];
  const extensions = distinct([...more, ...basic, ...usage, ...identifiers, ...ordinary, authorityKeyId(keyIdOf(issuer.keys.publicKey))]);
  return issueDer({
    subject: subject.name,
    keys: subject.keys,
    issuer: issuer.name,
    signer: issuer.keys,
    ...plan,
    extensions: version1 ? undefined : extensions,
  });
}

/** The first of a kind stays: a fault goes before what is ordinary. */
function distinct(extensions: readonly Buffer[]): readonly Buffer[] {
  const kinds = new Set<string>();
  // An OID of id-ce is five octets behind the header of the SEQUENCE; longer ones differ within eight.
  return extensions.filter((one) => {
    const kind = one
      .subarray(2, 9)
      .toString('hex')
      .replace(/^(0603......).*/, '$1');
    return !kinds.has(kind) && kinds.add(kind);
  });
}

/** Lists of all its CAs, most of them fresh: some revoke what was issued, are stale, from the future, by another key, or missing. */
export function makeLists(random: Random, { authorities, intermediates, leaves }: Hierarchy, now: number): readonly Buffer[] {
  const d = dice(random);
  const issued = [...intermediates, ...leaves].map(parseCertificate);
  return authorities.flatMap(({ name, keys }) => {
    const revoked = d.chance(0.25) ? [d.one(issued).serialDer] : [];
    const list = { issuer: name, signer: keys, from: new Date(now - DAY_MS), until: new Date(now + DAY_MS), revoked };
    if (d.chance(0.8)) return [crlDer(list)];
    return d.one([
      () => [],
      () => [crlDer({ ...list, until: new Date(now - DAY_MS / 2) })],
      () => [crlDer({ ...list, from: new Date(now + DAY_MS / 2) })],
      () => [crlDer({ ...list, signer: d.one(authorities).keys })],
      () => [crlDer({ ...list, critical: true })],
      () => [crlDer({ ...list, delta: true })],
      () => [crlDer({ ...list, until: undefined })],
    ])();
  });
}

export function makeHierarchy(random: Random, keys: Keys, share = 0.4): Hierarchy {
  const d = dice(random);
  const oddity = (share: number): Fault => (d.chance(share) ? d.one(oddities)(d, keys) : {});
  const withPolicies = d.chance(0.35);
  const somePolicies = (): readonly Buffer[] => {
    if (!withPolicies || d.chance(0.1)) return [];
    return [policies(...new Set(d.chance(0.3) ? [anyPolicy] : [d.one(POLICIES), d.one(POLICIES)]))];
  };
  const spread = [...keys.strong].sort(() => random() - 0.5);
  const fresh = (common: string): Authority => ({
    name: d.chance(0.4) ? name(['O', d.one(ORGANIZATIONS)], ['CN', common]) : name(['CN', common]),
    keys: spread.pop() ?? d.one(keys.strong),
  });
  const anchors: Buffer[] = [];
  const intermediates: Buffer[] = [];
  const roots = ['Root', 'Other Root'].slice(0, d.one([1, 1, 2])).map(fresh);
  for (const [index, root] of roots.entries()) {
    const fault = oddity(0.15);
    const own = { ...root, keys: fault.keys ?? root.keys };
    roots[index] = own;
    anchors.push(certificateOf(own, own, { ...fault, issuer: root.name }, somePolicies()));
  }
  const [top] = roots;
  if (top === undefined) throw new Error('no root');
  const line: Authority[] = [top];
  for (let depth = d.one([0, 1, 1, 2, 2, 3, 4]); depth > 0; depth--) {
    const above = line.at(-1) ?? top;
    // Now and then a CA's change of key: the same name above and below.
    const next = { ...fresh(`Sub ${depth}`), ...(d.chance(0.12) ? { name: above.name } : {}) };
    const fault = oddity(share);
    const made = { ...next, keys: fault.keys ?? next.keys };
    const placed = certificateOf(made, above, fault, somePolicies());
    (d.chance(0.04) ? anchors : intermediates).push(placed);
    // A namesake: renewed, certified by another, of another key.
    if (d.chance(0.15)) intermediates.push(certificateOf(made, above, oddity(0.7), somePolicies()));
    if (d.chance(0.12)) intermediates.push(certificateOf(made, d.one(roots), oddity(0.3), somePolicies()));
    if (d.chance(0.06)) intermediates.push(certificateOf({ ...made, keys: d.one(keys.strong) }, above, {}, somePolicies()));
    line.push(made);
  }
  const issuer = line.at(-1) ?? top;
  const leaves = Array.from({ length: 4 }, () => leafOf(d, keys, d.chance(0.85) ? issuer : d.one(line), somePolicies()));
  return { anchors, intermediates: intermediates.sort(() => random() - 0.5), leaves, authorities: [...roots, ...line.slice(1)] };
}

function leafOf(d: Dice, keys: Keys, issuer: Authority, ordinary: readonly Buffer[]): Buffer {
  const address = (): Buffer => {
    const local = d.one(['anna', 'Anna', 'ben']);
    const domain = d.one(DOMAINS);
    return domain === 'bücher.example' ? utf8Mailbox(`jürgen@${domain}`) : email(`${local}@${domain}`);
  };
  const subject = name(
    ...(d.chance(0.6) ? [['O', d.one(ORGANIZATIONS), d.one(['utf8', 'printable'] as const)] as const] : []),
    ['CN', 'leaf'],
    ...(d.chance(0.15) ? [['emailAddress', `anna@${d.one(['a.example', 'b.example'])}`] as const] : []),
  );
  const names = [address(), ...(d.chance(0.2) ? [address()] : []), ...(d.chance(0.1) ? [host(d.one(['a.example', 'b.example']))] : [])];
  const fault = d.chance(0.12)
    ? d.one<Fault>([
        { forged: true },
        PAST,
        { hash: 'sha1' },
        { more: [extension(UNKNOWN, nullValue, true)] },
        { more: [authorityKeyId(Buffer.alloc(20, 7))] },
        { more: [policyConstraints(0)] },
        { more: [extension(extensionOids.extKeyUsage, purposesOf(d))] },
      ])
    : {};
  const [own] = keys.strong;
  if (own === undefined) throw new Error('no key');
  const usage = d.chance(0.7) ? [keyUsage(0, 4)] : [];
  const basic = d.chance(0.5) ? [extension(extensionOids.basicConstraints, sequence(), true)] : [];
  return certificateOf({ name: subject, keys: own }, issuer, { basic, usage, ...fault }, [san(...names), ...ordinary]);
}
