/** The extensions of RFC 5280 §4.2 that sealing and trust act upon. */
import { CERTIFICATE_LIMITS, expectTag, isContext, malformed, oidText, readDer, tags, UNIVERSAL } from './der.ts';
import type { Tlv } from './der.ts';
import { addressesOf } from './name.ts';
import { readNameConstraints } from './name-constraints.ts';
import type { NameConstraints } from './name-constraints.ts';
import { extensionOids, ocspAccess } from './oids.ts';
import { readPolicies, smallNumber } from './policies.ts';
import type { Policies } from './policies.ts';

/** In the order of their bits, RFC 5280 §4.2.1.3. */
const keyUsages = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type KeyUsage = (typeof keyUsages)[number];

export interface Extensions {
  /** Undefined where the extension is absent, which allows every use. */
  readonly keyUsage: readonly KeyUsage[] | undefined;
  /** OIDs; undefined where the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly ca: boolean;
  /** RFC 5280 §4.2.1.9: how many CA certificates may stand between this one and the end; undefined is no limit. */
  readonly pathLength: number | undefined;
  readonly nameConstraints: NameConstraints | undefined;
  readonly policies: Policies;
  /** The extension's value as it stands there, for those who compare all names; undefined where it is absent. */
  readonly subjectAltName: Buffer | undefined;
  /** OIDs of critical extensions that nothing here understands: RFC 5280 §4.2 wants the certificate refused. */
  readonly unknownCritical: readonly string[];
  /** Lower-case hex. */
  readonly subjectKeyId: string | undefined;
  readonly authorityKeyId: string | undefined;
  readonly addresses: readonly string[];
  readonly capabilities: readonly string[];
  /** Where lists of revoked certificates are (RFC 5280 §4.2.1.13); empty where none is named. */
  readonly crlPoints: readonly DistributionPoint[];
  /** Where OCSP is asked (RFC 5280 §4.2.2.1): URLs as they stand there, whatever their scheme. */
  readonly ocspUrls: readonly string[];
  /** A responder that is believed for as long as it is valid (RFC 6960 §4.2.2.2.1). */
  readonly ocspNoCheck: boolean;
}

/** One place of a revocation list, as it stands in the certificate: hostile until a guard has looked at the URLs. */
export interface DistributionPoint {
  readonly urls: readonly string[];
  /** It covers some reasons of revocation only. */
  readonly partial: boolean;
  /** Another than the issuer of the certificate signs it: an indirect list. */
  readonly indirect: boolean;
}

/**
 * Critical extensions that are acted upon. cRLDistributionPoints counts, though lists may not be asked for: it says where they
 * are and forbids nothing (RFC 5280 §4.2.1.13).
 */
const understood: ReadonlySet<string> = new Set([
  extensionOids.keyUsage,
  extensionOids.extKeyUsage,
  extensionOids.basicConstraints,
  extensionOids.subjectAltName,
  extensionOids.nameConstraints,
  extensionOids.cRLDistributionPoints,
  extensionOids.certificatePolicies,
  extensionOids.policyMappings,
  extensionOids.policyConstraints,
  extensionOids.inhibitAnyPolicy,
  extensionOids.smimeCapabilities,
  extensionOids.ocspNoCheck,
]);

/** `list` is the SEQUENCE OF Extension; undefined where the certificate has none. */
export function readExtensions(list: Tlv | undefined): Extensions {
  const values = new Map<string, Tlv>();
  const unknownCritical: string[] = [];
  for (const extension of list?.children ?? []) {
    const { oid, critical, value } = readExtension(extension);
    // RFC 5280 §4.2: not more than one of a kind. Two would let each reader choose its own.
    if (values.has(oid)) throw malformed(`the extension ${oid} stands there twice`);
    const known = Object.values<string>(extensionOids).includes(oid);
    values.set(oid, known ? readDer(value, CERTIFICATE_LIMITS) : extension);
    if (critical && !understood.has(oid)) unknownCritical.push(oid);
  }
  const basic = values.get(extensionOids.basicConstraints);
  const san = values.get(extensionOids.subjectAltName);
  const purposes = values.get(extensionOids.extKeyUsage);
  return {
    keyUsage: readKeyUsage(values.get(extensionOids.keyUsage)),
    extendedKeyUsage: purposes?.children.map((purpose) => oidText(purpose, 'extKeyUsage')),
    ...readBasicConstraints(basic),
    nameConstraints: readNameConstraints(values.get(extensionOids.nameConstraints)),
    policies: readPolicies({
      policies: values.get(extensionOids.certificatePolicies),
      mappings: values.get(extensionOids.policyMappings),
      constraints: values.get(extensionOids.policyConstraints),
      inhibitAny: values.get(extensionOids.inhibitAnyPolicy),
    }),
    subjectAltName: san?.bytes,
    unknownCritical,
    subjectKeyId: values.get(extensionOids.subjectKeyIdentifier)?.content.toString('hex'),
    authorityKeyId: values
      .get(extensionOids.authorityKeyIdentifier)
      ?.children.find((child) => isContext(child, 0))
      ?.content.toString('hex'),
    addresses: san === undefined ? [] : addressesOf(san),
    capabilities: (values.get(extensionOids.smimeCapabilities)?.children ?? []).map((entry) =>
      oidText(entry.children[0], 'smimeCapabilities'),
    ),
    crlPoints: readCrlPoints(values.get(extensionOids.cRLDistributionPoints)),
    ocspUrls: readOcspUrls(values.get(extensionOids.authorityInfoAccess)),
    ocspNoCheck: values.has(extensionOids.ocspNoCheck),
  };
}

/** GeneralName, RFC 5280 §4.2.1.6. */
const URI_NAME = 6;
const uris = (names: readonly Tlv[]): readonly string[] =>
  names.filter((name) => isContext(name, URI_NAME)).map(({ content }) => content.toString('latin1'));

/** DistributionPoint: [0] name ([0] fullName), [1] reasons, [2] cRLIssuer. A name relative to the issuer has no URL. */
function readCrlPoints(list: Tlv | undefined): readonly DistributionPoint[] {
  return (list?.children ?? []).map((point) => {
    const name = point.children.find((child) => isContext(child, 0))?.children.find((child) => isContext(child, 0));
    return {
      urls: uris(name?.children ?? []),
      partial: point.children.some((child) => isContext(child, 1)),
      indirect: point.children.some((child) => isContext(child, 2)),
    };
  });
}

function readOcspUrls(list: Tlv | undefined): readonly string[] {
  return (list?.children ?? []).flatMap(({ children: [method, ...location] }) =>
    oidText(method, 'an access method') === ocspAccess ? uris(location) : [],
  );
}

function readExtension(extension: Tlv): { oid: string; critical: boolean; value: Buffer } {
  const [type, ...rest] = expectTag(extension, UNIVERSAL, tags.sequence, 'an extension').children;
  const oid = oidText(type, 'the type of an extension');
  const flag = rest.length > 1 ? expectTag(rest[0], UNIVERSAL, tags.boolean, `criticality of ${oid}`) : undefined;
  return {
    oid,
    critical: flag !== undefined && flag.content[0] !== 0,
    value: expectTag(rest.at(-1), UNIVERSAL, tags.octetString, `the extension ${oid}`).content,
  };
}

function readKeyUsage(tlv: Tlv | undefined): readonly KeyUsage[] | undefined {
  if (tlv === undefined) return undefined;
  const bits = expectTag(tlv, UNIVERSAL, tags.bitString, 'keyUsage').content.subarray(1);
  return keyUsages.filter((_, bit) => ((bits[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0);
}

function readBasicConstraints(tlv: Tlv | undefined): Pick<Extensions, 'ca' | 'pathLength'> {
  if (tlv === undefined) return { ca: false, pathLength: undefined };
  const fields = expectTag(tlv, UNIVERSAL, tags.sequence, 'basicConstraints').children;
  const ca = fields[0]?.tag === tags.boolean && fields[0].content[0] !== 0;
  const length = fields.find((field) => field.tag === tags.integer)?.content;
  return { ca, pathLength: length === undefined ? undefined : smallNumber(length, 'pathLenConstraint') };
}
