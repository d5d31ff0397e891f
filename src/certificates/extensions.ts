/** The extensions of RFC 5280 §4.2 that sealing and trust act upon. */
import { CERTIFICATE_LIMITS, contextFields, expectTag, isContext, malformed, oidText, readDer, tags, UNIVERSAL } from './der.ts';
import type { Tlv } from './der.ts';
import { addressesOf, expectGeneralName, generalNames } from './name.ts';
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

/**
 * `list` is the SEQUENCE OF Extension; undefined where the certificate has none. Every part of what is read is accounted for: one that
 * is out of place is a fault, since a restriction in it would count as none. Throws `certificate-malformed`.
 */
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
  return {
    keyUsage: readKeyUsage(values.get(extensionOids.keyUsage)),
    extendedKeyUsage: listOf(values.get(extensionOids.extKeyUsage), 'extKeyUsage')?.map((purpose) => oidText(purpose, 'extKeyUsage')),
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
    subjectKeyId: readSubjectKeyId(values.get(extensionOids.subjectKeyIdentifier)),
    authorityKeyId: readAuthorityKeyId(values.get(extensionOids.authorityKeyIdentifier)),
    addresses: san === undefined ? [] : addressesOf(san),
    capabilities: readCapabilities(values.get(extensionOids.smimeCapabilities)),
    crlPoints: readCrlPoints(values.get(extensionOids.cRLDistributionPoints)),
    ocspUrls: readOcspUrls(values.get(extensionOids.authorityInfoAccess)),
    ocspNoCheck: readNoCheck(values.get(extensionOids.ocspNoCheck)),
  };
}

const listOf = (list: Tlv | undefined, field: string): readonly Tlv[] | undefined =>
  list && expectTag(list, UNIVERSAL, tags.sequence, field).children;

const readSubjectKeyId = (tlv: Tlv | undefined): string | undefined =>
  tlv && expectTag(tlv, UNIVERSAL, tags.octetString, 'subjectKeyIdentifier').content.toString('hex');

/** AuthorityKeyIdentifier: [0] keyIdentifier, [1] authorityCertIssuer, [2] authorityCertSerialNumber. */
function readAuthorityKeyId(tlv: Tlv | undefined): string | undefined {
  const fields = listOf(tlv, 'authorityKeyIdentifier') ?? [];
  const [keyId] = contextFields(fields, ['primitive', 'constructed', 'primitive'], 'authorityKeyIdentifier');
  return keyId?.content.toString('hex');
}

const readCapabilities = (list: Tlv | undefined): readonly string[] =>
  (listOf(list, 'smimeCapabilities') ?? []).map((entry) =>
    oidText(expectTag(entry, UNIVERSAL, tags.sequence, 'smimeCapabilities').children[0], 'smimeCapabilities'),
  );

/** It loosens, so it counts only where it is what it should be. */
function readNoCheck(tlv: Tlv | undefined): boolean {
  return tlv !== undefined && expectTag(tlv, UNIVERSAL, tags.null, 'ocsp-nocheck').content.length === 0;
}

/** GeneralName, RFC 5280 §4.2.1.6. */
const URI_NAME = 6;
const uris = (names: readonly Tlv[]): readonly string[] =>
  names.filter((name) => isContext(name, URI_NAME)).map(({ content }) => content.toString('latin1'));

/**
 * DistributionPoint: [0] name, [1] reasons, [2] cRLIssuer. The name is a choice of [0] fullName and [1] a name relative to the
 * issuer, which has no URL.
 */
function readCrlPoints(list: Tlv | undefined): readonly DistributionPoint[] {
  const field = 'cRLDistributionPoints';
  return (listOf(list, field) ?? []).map((point) => {
    const { children } = expectTag(point, UNIVERSAL, tags.sequence, field);
    const [name, reasons, issuer] = contextFields(children, ['constructed', 'primitive', 'constructed'], field);
    const [full, relative] = contextFields(name?.children ?? [], ['constructed', 'constructed'], field);
    if (name !== undefined && (full === undefined) === (relative === undefined)) throw malformed(`${field} holds a point of no one name`);
    return {
      urls: full === undefined ? [] : uris(generalNames(full, field)),
      partial: reasons !== undefined,
      indirect: issuer !== undefined,
    };
  });
}

function readOcspUrls(list: Tlv | undefined): readonly string[] {
  const field = 'authorityInfoAccess';
  return (listOf(list, field) ?? []).flatMap((access) => {
    const [method, location, ...more] = expectTag(access, UNIVERSAL, tags.sequence, field).children;
    if (more.length > 0) throw malformed(`${field} names an access in more than two parts`);
    const at = expectGeneralName(location, field);
    return oidText(method, 'an access method') === ocspAccess ? uris([at]) : [];
  });
}

function readExtension(extension: Tlv): { oid: string; critical: boolean; value: Buffer } {
  const [type, ...rest] = expectTag(extension, UNIVERSAL, tags.sequence, 'an extension').children;
  const oid = oidText(type, 'the type of an extension');
  if (rest.length > 2) throw malformed(`the extension ${oid} is of more than three parts`);
  return {
    oid,
    critical: rest.length > 1 && readFlag(rest[0], `criticality of ${oid}`),
    value: expectTag(rest.at(-1), UNIVERSAL, tags.octetString, `the extension ${oid}`).content,
  };
}

/** Any octet but 0 is true, and FALSE may be written out: neither is DER, and CAs have done both. */
function readFlag(tlv: Tlv | undefined, field: string): boolean {
  const { content } = expectTag(tlv, UNIVERSAL, tags.boolean, field);
  if (content.length !== 1) throw malformed(`${field} is neither true nor false`);
  return content[0] !== 0;
}

function readKeyUsage(tlv: Tlv | undefined): readonly KeyUsage[] | undefined {
  if (tlv === undefined) return undefined;
  const [unused, ...bits] = expectTag(tlv, UNIVERSAL, tags.bitString, 'keyUsage').content;
  if (unused === undefined || unused > 7 || (bits.length === 0 && unused > 0)) throw malformed('keyUsage is not a string of bits');
  // What is said to be unused allows nothing.
  const length = bits.length * 8 - unused;
  return keyUsages.filter((_, bit) => bit < length && ((bits[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0);
}

function readBasicConstraints(tlv: Tlv | undefined): Pick<Extensions, 'ca' | 'pathLength'> {
  if (tlv === undefined) return { ca: false, pathLength: undefined };
  const fields = [...expectTag(tlv, UNIVERSAL, tags.sequence, 'basicConstraints').children];
  const ca = fields[0]?.tagClass === UNIVERSAL && fields[0].tag === tags.boolean && readFlag(fields.shift(), 'cA');
  const [length, ...more] = fields;
  if (more.length > 0) throw malformed('basicConstraints holds what does not belong there');
  const pathLength = length && smallNumber(expectTag(length, UNIVERSAL, tags.integer, 'pathLenConstraint').content, 'pathLenConstraint');
  return { ca, pathLength };
}
