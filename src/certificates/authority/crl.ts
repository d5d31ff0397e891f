/**
 * The revocation list of the in-house CA (RFC 5280 §5): written from the ledger, and the facts of one that lies in a file. A list
 * speaks for everything that its issuer has signed, so that it needs no distribution point in the certificates to count.
 */
import { expectTag, readDer, tags, UNIVERSAL } from '../der.ts';
import { explicit, implicit, integer, sequence, time, tlv, wholeNumber } from '../encode.ts';
import { extensionOids } from '../oids.ts';
import { indexEntries, listEntries } from '../revocation/crl-index.ts';
import { crlDer } from '../revocation/crl-read.ts';
import { readCrlExtension, readCrlFrame } from '../revocation/crl-scan.ts';
import type { Authority } from './issue.ts';
import { type IssuedRecord, isRevocationReason, type RevocationReason, revocationReasons } from './ledger.ts';
import { extension, keyIdOf, signatureAlgorithm, signTbs } from './x509.ts';

export interface RevokedCertificate {
  /** Lower-case hex. */
  readonly serial: string;
  /** ms since the epoch */
  readonly at: number;
  readonly reason: RevocationReason;
}

export interface CrlContent {
  readonly issuer: Authority;
  /** RFC 5280 §5.2.3: higher than that of every list of this issuer before; below 2³². */
  readonly number: number;
  /** ms since the epoch */
  readonly from: number;
  readonly to: number;
  readonly revoked: readonly RevokedCertificate[];
}

/** RFC 5280 §5.2.3, §5.3.1. */
const cRLNumber = '2.5.29.20';
const reasonCode = '2.5.29.21';
const ENUMERATED = 10;
const V2 = tlv(tags.integer, Buffer.from([1]));
const NUMBER_LIMITS = { bytes: 32, nodes: 1, depth: 1 };

/** One CertificateList, in DER. */
export function writeCrl({ issuer, number, from, to, revoked }: CrlContent): Buffer {
  const { certificate, key } = issuer;
  const keyId = certificate.subjectKeyId === undefined ? keyIdOf(certificate.publicKey) : Buffer.from(certificate.subjectKeyId, 'hex');
  const entries = [...revoked].sort((a, b) => compareSerials(a.serial, b.serial)).map(entryOf);
  const tbs = sequence(
    V2,
    signatureAlgorithm(key),
    certificate.subjectDer,
    time(new Date(from)),
    time(new Date(to)),
    // RFC 5280 §5.1.2.6: where nothing is revoked the field is absent, not empty.
    ...(entries.length === 0 ? [] : [sequence(Buffer.concat(entries))]),
    explicit(
      0,
      sequence(extension(extensionOids.authorityKeyIdentifier, sequence(implicit(0, keyId))), extension(cRLNumber, wholeNumber(number))),
    ),
  );
  return signTbs(tbs, key);
}

/** As numbers: the longer one is greater, since none has zeros before it. */
const compareSerials = (a: string, b: string): number => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);

/** RFC 5280 §5.3.1: the reason is left out instead of `unspecified`. Written once each, since a list may have very many entries. */
const reasonsDer: ReadonlyMap<RevocationReason, readonly Buffer[]> = new Map(
  Object.entries(revocationReasons).flatMap(([reason, code]) => {
    const written = sequence(extension(reasonCode, tlv(ENUMERATED, Buffer.from([code]))));
    return isRevocationReason(reason) ? [[reason, reason === 'unspecified' ? [] : [written]]] : [];
  }),
);

const entryOf = ({ serial, at, reason }: RevokedCertificate): Buffer =>
  sequence(integer(Buffer.from(serial, 'hex')), time(new Date(at)), ...(reasonsDer.get(reason) ?? []));

export interface CrlFacts {
  readonly number: number;
  /** ms since the epoch */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

/** Of a list that writeCrl() made; its signature is not looked at. Throws `certificate-malformed`. Undefined where it is another's. */
export function readCrlFacts(octets: Buffer): CrlFacts | undefined {
  const { thisUpdate, nextUpdate, extensions } = readCrlFrame(crlDer(octets));
  const found = extensions?.children.map(readCrlExtension).find(({ oid: type }) => type === cRLNumber);
  if (found === undefined || nextUpdate === undefined) return undefined;
  const { content } = expectTag(readDer(found.value, NUMBER_LIMITS), UNIVERSAL, tags.integer, 'cRLNumber');
  const number = Number(`0x${content.toString('hex')}`);
  return Number.isSafeInteger(number) ? { number, thisUpdate, nextUpdate } : undefined;
}

/**
 * What the list of an issuer names, after the ledger. RFC 5280 §3.3: what has expired stays until one list has been written since it
 * did. `since`: thisUpdate of the list that lies there now, in ms; undefined where there is none.
 */
export function revokedOf(records: readonly IssuedRecord[], issuer: string, since: number | undefined): RevokedCertificate[] {
  return records.flatMap(({ serial, revoked, notAfter, issuer: by }) =>
    revoked === null || by !== issuer || (since !== undefined && notAfter < since)
      ? []
      : [{ serial, at: revoked.at, reason: revoked.reason }],
  );
}

/** What a list of ours names, whatever the ledger says. Throws `certificate-malformed`. */
export function namedIn(octets: Buffer): RevokedCertificate[] {
  const { bytes, entries } = readCrlFrame(crlDer(octets));
  return [...listEntries(indexEntries(bytes, entries))].map(({ serial, at, reason }) => ({
    serial: serial.toString('hex').replace(/^00(?=.)/, ''),
    at: at.getTime(),
    reason: reasonNamed(reason),
  }));
}

function reasonNamed(code: number): RevocationReason {
  const [name] = Object.entries(revocationReasons).find(([, value]) => value === code) ?? [];
  return name !== undefined && isRevocationReason(name) ? name : 'unspecified';
}
