/** A CA with lists made octet for octet, for what openssl(1) does not write. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { parseCertificate } from '../../../src/certificates/certificate.ts';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import {
  bitString,
  explicit,
  implicit,
  integer,
  octetString,
  oid,
  sequence,
  set,
  time,
  tlv,
  trueValue,
  utf8String,
} from '../../../src/certificates/encode.ts';
import type { CrlIssuer } from '../../../src/certificates/revocation/crl-read.ts';

export const NOW = Date.parse('2026-06-01T12:00:00Z');
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

const SHA256_ECDSA = sequence(oid('1.2.840.10045.4.3.2'));
const nameOf = (text: string): Buffer => sequence(set(sequence(oid('2.5.4.3'), utf8String(text))));
const extension = (type: string, value: Buffer, critical = false): Buffer =>
  sequence(oid(type), ...(critical ? [trueValue] : []), octetString(value));
const uri = (url: string): Buffer => implicit(6, Buffer.from(url));
const fullName = (...urls: readonly string[]): Buffer => explicit(0, explicit(0, ...urls.map(uri)));

/** A DistributionPoint of a certificate. */
export const point = (...urls: readonly string[]): Buffer => sequence(fullName(...urls));
export const partialPoint = (url: string): Buffer => sequence(fullName(url), implicit(1, Buffer.from([6, 0x40])));
export const indirectPoint = (url: string): Buffer => sequence(fullName(url), explicit(2, explicit(4, nameOf('another'))));

export interface Ca {
  readonly name: Buffer;
  readonly certificate: Certificate;
  readonly issuer: CrlIssuer;
  readonly key: KeyObject;
  /** An end entity with these points, or a CA below. */
  issue(wish: { readonly serial?: Buffer; readonly points?: readonly Buffer[]; readonly ca?: boolean }): Certificate;
  list(wish?: ListWish): Buffer;
}

export interface ListWish {
  readonly entries?: readonly Buffer[];
  readonly extensions?: readonly Buffer[];
  /** ms since the epoch; the first is an hour ago, the other in a day. */
  readonly from?: number;
  readonly until?: number | null;
  readonly key?: KeyObject;
  readonly issuer?: Buffer;
  readonly algorithm?: Buffer;
}

/** cRLSign (bit 6) and keyCertSign (bit 5). */
const SIGNS_BOTH = bitString(Buffer.from([0x06]), 1);
const SIGNS_CERTIFICATES = bitString(Buffer.from([0x04]), 2);

export function makeCa(text: string, options: { readonly signsLists?: boolean } = {}): Ca {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = nameOf(text);
  const certify = (subject: Buffer, spki: Buffer, serial: Buffer, extensions: readonly Buffer[]): Certificate => {
    const tbs = sequence(
      explicit(0, integer(Buffer.from([2]))),
      tlv(0x02, serial),
      SHA256_ECDSA,
      name,
      sequence(time(new Date('2020-01-01')), time(new Date('2040-01-01'))),
      subject,
      spki,
      explicit(3, sequence(...extensions)),
    );
    return parseCertificate(sequence(tbs, SHA256_ECDSA, bitString(sign('sha256', tbs, privateKey))));
  };
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const basic = extension('2.5.29.19', sequence(trueValue), true);
  const usage = extension('2.5.29.15', options.signsLists === false ? SIGNS_CERTIFICATES : SIGNS_BOTH, true);
  return {
    name,
    issuer: { name: Uint8Array.from(name), spki: Uint8Array.from(spki), id: spki.toString('hex') },
    key: privateKey,
    certificate: certify(name, spki, Buffer.from([1]), [basic, usage]),
    issue: ({ serial = Buffer.concat([Buffer.from([0x11]), randomBytes(8)]), points = [], ca = false }) => {
      const named = points.length === 0 ? [] : [extension('2.5.29.31', sequence(...points))];
      return certify(nameOf('anna'), spki, serial, [...(ca ? [basic] : []), ...named]);
    },
    list: (wish = {}) => listOf({ key: privateKey, issuer: name, ...wish }),
  };
}

function listOf({ entries = [], extensions = [], from = NOW - HOUR, until = NOW + DAY, key, issuer, algorithm }: ListWish): Buffer {
  if (key === undefined || issuer === undefined) throw new Error('nobody signs');
  const named = algorithm ?? SHA256_ECDSA;
  const tbs = sequence(
    integer(Buffer.from([1])),
    named,
    issuer,
    time(new Date(from)),
    ...(until === null ? [] : [time(new Date(until))]),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    ...(extensions.length === 0 ? [] : [explicit(0, sequence(...extensions))]),
  );
  return sequence(tbs, named, bitString(sign('sha256', tbs, key)));
}

export const REVOKED_AT = new Date('2026-05-01T08:00:00Z');

/** `serial`: the content octets of the INTEGER. */
export const entry = (serial: Buffer, ...extensions: readonly Buffer[]): Buffer =>
  sequence(tlv(0x02, serial), time(REVOKED_AT), ...(extensions.length === 0 ? [] : [sequence(...extensions)]));
export const reason = (code: number): Buffer => extension('2.5.29.21', tlv(0x0a, Buffer.from([code])));
export const certificateIssuer = extension('2.5.29.29', sequence(explicit(4, nameOf('another'))), true);
export const oddExtension = (critical: boolean): Buffer => extension('1.3.6.1.4.1.99999.1', Buffer.from('0500', 'hex'), critical);
export const deltaIndicator = extension('2.5.29.27', integer(Buffer.from([1])), true);
export const crlNumber = (number: number): Buffer => extension('2.5.29.20', integer(Buffer.from([number])));

/** An issuingDistributionPoint. */
export function scope(wish: {
  urls?: readonly string[];
  users?: boolean;
  cas?: boolean;
  partial?: boolean;
  indirect?: boolean;
  attributes?: boolean;
}): Buffer {
  const flag = (tag: number, set = false): readonly Buffer[] => (set ? [implicit(tag, Buffer.from([0xff]))] : []);
  return extension(
    '2.5.29.28',
    sequence(
      ...(wish.urls === undefined ? [] : [fullName(...wish.urls)]),
      ...flag(1, wish.users),
      ...flag(2, wish.cas),
      ...(wish.partial === true ? [implicit(3, Buffer.from([6, 0x40]))] : []),
      ...flag(4, wish.indirect),
      ...flag(5, wish.attributes),
    ),
    true,
  );
}

export const contentOf = (certificate: Certificate): Buffer => certificate.serialDer.subarray(2);
