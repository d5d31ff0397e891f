/** Certificates with one odd part each, and ASN.1 made to cost much. */
import { generateKeyPairSync, sign } from 'node:crypto';
import {
  bitString,
  explicit,
  implicit,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
  set,
  time,
  utf8String,
} from '../../src/certificates/encode.ts';

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spki = publicKey.export({ type: 'spki', format: 'der' });

interface Parts {
  /** Without one there is no subjectAltName. */
  readonly names?: readonly Buffer[];
  readonly key?: Buffer;
  readonly extensions?: readonly Buffer[];
  readonly subject?: Buffer;
}

/** A certificate with the given parts; nothing of it but those is odd. */
export function craft({ names = [rfc822('anna@example.org')], key = spki, extensions = [], subject }: Parts): Buffer {
  const algorithm = sequence(oid('1.2.840.10045.4.3.2'));
  const name = sequence(set(sequence(oid('2.5.4.3'), utf8String('anna'))));
  const san = sequence(oid('2.5.29.17'), octetString(sequence(...names)));
  const tbs = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(Buffer.from([1])),
    algorithm,
    name,
    sequence(time(new Date('2020-01-01')), time(new Date('2040-01-01'))),
    subject ?? name,
    key,
    explicit(3, sequence(...(names.length === 0 ? [] : [san]), ...extensions)),
  );
  return sequence(tbs, algorithm, bitString(sign('sha256', tbs, privateKey)));
}
export const rfc822 = (address: string | Buffer): Buffer => implicit(1, Buffer.from(address));
export const utf8Name = (address: string): Buffer => explicit(0, oid('1.3.6.1.5.5.7.8.9'), explicit(0, utf8String(address)));

/** Sequences in sequences. */
export const nest = (depth: number): Buffer => {
  // From the inside out, headers only, so that depth costs no copying here either.
  const headers: Buffer[] = [];
  for (let level = 0, length = 0; level < depth; level++) {
    const octets = length < 0x80 ? 0 : Math.ceil(Math.log2(length + 1) / 8);
    const header = Buffer.alloc(2 + octets, 0x30);
    header[1] = octets === 0 ? length : 0x80 | octets;
    if (octets > 0) header.writeUIntBE(length, 2, octets);
    headers.push(header);
    length += header.length;
  }
  return Buffer.concat(headers.toReversed());
};

/** A subjectPublicKeyInfo. */
export const point = (octets: Buffer, curve = '1.2.840.10045.3.1.7'): Buffer =>
  sequence(sequence(oid('1.2.840.10045.2.1'), oid(curve)), bitString(octets));
export const rsaKey = (modulus: Buffer, exponent: Buffer): Buffer =>
  sequence(sequence(oid('1.2.840.113549.1.1.1'), nullValue), bitString(sequence(integer(modulus), integer(exponent))));
