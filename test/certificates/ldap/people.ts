/** Certificates for a directory full of people, made in this process with few keys: two hundred by openssl(1) take half a minute. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { type Certificate, parseCertificate } from '../../../src/certificates/certificate.ts';
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
import { emailProtection, extensionOids, signedData } from '../../../src/certificates/oids.ts';

const DAY_MS = 86_400_000;
const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));
const data = '1.2.840.113549.1.7.1';

const [authorityKeys, personKeys] = [
  generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  generateKeyPairSync('ec', { namedCurve: 'P-256' }),
];

const nameOf = (text: string): Buffer => sequence(set(sequence(oid('2.5.4.3'), utf8String(text))));
const extension = (type: string, value: Buffer): Buffer => sequence(oid(type), trueValue, octetString(value));

interface Wish {
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly from: number;
  readonly to: number;
  readonly extensions: readonly Buffer[];
}

function signed({ subject, publicKey, from, to, extensions }: Wish): Buffer {
  const tbs = sequence(
    explicit(0, tlv(2, Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([0x41]), randomBytes(8)])),
    ecdsaWithSha256,
    nameOf('Directory test CA'),
    sequence(time(new Date(from)), time(new Date(to))),
    nameOf(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...extensions)),
  );
  return sequence(tbs, ecdsaWithSha256, bitString(sign('sha256', tbs, authorityKeys.privateKey)));
}

export const authority: Certificate = parseCertificate(
  signed({
    subject: 'Directory test CA',
    publicKey: authorityKeys.publicKey,
    from: Date.now() - DAY_MS,
    to: Date.now() + 300 * DAY_MS,
    extensions: [
      extension(extensionOids.basicConstraints, sequence(trueValue)),
      extension(extensionOids.keyUsage, bitString(Buffer.from([6]), 1)),
    ],
  }),
);

export interface PersonWish {
  readonly address: string;
  /** Days from now. */
  readonly from?: number;
  readonly to?: number;
  readonly signingOnly?: boolean;
}

export function certificateFor({ address, from = -10, to = 100, signingOnly = false }: PersonWish): Certificate {
  const usage = bitString(Buffer.from([signingOnly ? 0b1000_0000 : 0b1000_1000]), signingOnly ? 7 : 3);
  return parseCertificate(
    signed({
      subject: address,
      publicKey: personKeys.publicKey,
      from: Date.now() + from * DAY_MS,
      to: Date.now() + to * DAY_MS,
      extensions: [
        extension(extensionOids.subjectAltName, sequence(implicit(1, Buffer.from(address)))),
        extension(extensionOids.keyUsage, usage),
        extension(extensionOids.extKeyUsage, sequence(oid(emailProtection))),
      ],
    }),
  );
}

/** SignedData that carries certificates and signs nothing (RFC 8551 §3.7). */
export const pkcs7 = (...certificates: readonly Certificate[]): Buffer =>
  sequence(
    oid(signedData),
    explicit(0, sequence(integer(Buffer.from([1])), set(), sequence(oid(data)), explicit(0, ...certificates.map(({ der }) => der)), set())),
  );

/** One setting of [MS-OXOABK] 2.2.4.36: tag, length of all three, data. */
export function setting(tag: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(tag, 0);
  head.writeUInt16LE(value.length + head.length, 2);
  return Buffer.concat([head, value]);
}

/** As Outlook publishes: version, encoding, capabilities, what it is for, name, then the two certificates. */
export const outlookValue = (encryption: Certificate, signing: Certificate): Buffer =>
  Buffer.concat([
    setting(0x0001, Buffer.from('01000000', 'hex')),
    setting(0x0006, Buffer.from('01000000', 'hex')),
    setting(0x0020, Buffer.from('07000000', 'hex')),
    setting(0x0002, sequence(sequence(oid('2.16.840.1.101.3.4.1.42')))),
    setting(0x000b, Buffer.from('My S/MIME Settings\0')),
    setting(0x0003, encryption.der),
    setting(0x0008, signing.der),
  ]);
