/** Whom a sealed message names as its readers (RFC 5652 §6.2), and whether somebody's certificates are among them. */
import { createHash } from 'node:crypto';
import type { Certificate } from '../../certificates/certificate.ts';
import { isContext, oidText, readDer, tags, type Tlv, UNIVERSAL } from '../../certificates/der.ts';
import { derOfBer } from '../../certificates/harvest/ber.ts';
import { fault } from './ber.ts';

/** More than any mail client takes in one message. */
const MOST_READERS = 2000;
/** Of one RecipientInfo: an RSA key of 16384 bits takes 3 KiB, one of key agreement may name many readers. */
export const RECIPIENT_OCTETS = 64 * 1024;
const LIMITS = { bytes: RECIPIENT_OCTETS, nodes: 5000, depth: 16 };

export interface Readers {
  /** One RecipientInfo as it stands there. Throws Fault. */
  add(ber: Buffer): void;
  readonly count: number;
  /** True where one of these certificates is named. */
  include(certificates: readonly Certificate[]): boolean;
}

export function makeReaders(): Readers {
  const named = new Set<string>();
  let count = 0;
  const name = (rid: Tlv | undefined): void => {
    if (++count > MOST_READERS) throw fault('too many readers');
    const key = nameOf(rid);
    if (key !== undefined) named.add(key);
  };
  return {
    add(ber) {
      for (const rid of ridsOf(readDer(derOfBer(ber, LIMITS), LIMITS))) name(rid);
    },
    get count() {
      return count;
    },
    include: (certificates) => certificates.some((certificate) => namesOf(certificate).some((key) => named.has(key))),
  };
}

/** RFC 5652 §6.2: key transport is a SEQUENCE, key agreement [1]. Others need no certificate: whoever has a password reads them too. */
function ridsOf(info: Tlv): readonly (Tlv | undefined)[] {
  if (info.tagClass === UNIVERSAL && info.tag === tags.sequence) return [info.children[1]];
  if (!isContext(info, 1)) throw fault('a reader without a certificate');
  const keys = info.children.at(-1);
  if (keys === undefined || keys.children.length === 0) throw fault('key agreement with nobody');
  return keys.children.map((one) => one.children[0]);
}

/** IssuerAndSerialNumber, or [0] with a SubjectKeyIdentifier: plain for key transport, in a SEQUENCE for key agreement. */
function nameOf(rid: Tlv | undefined): string | undefined {
  if (rid === undefined) throw fault('a reader without a name');
  if (rid.tagClass === UNIVERSAL && rid.tag === tags.sequence) {
    const [issuer, serial] = rid.children;
    return issuer === undefined || serial === undefined ? undefined : bothOf(issuer.bytes, serial.bytes);
  }
  if (!isContext(rid, 0)) return undefined;
  const keyId = rid.children[0] ?? rid;
  return `key ${digest(keyId.content)}`;
}

/** As sealpost and all others write it: the issuer's octets as they stand in the certificate. */
const bothOf = (issuer: Buffer, serial: Buffer): string => `serial ${digest(serial)} of ${digest(issuer)}`;

/** Names are kept, and whoever wrote the message chose how long they are. */
const digest = (octets: Buffer): string => createHash('sha256').update(octets).digest('base64');

const namesOf = ({ issuerDer, serialDer, subjectKeyId }: Certificate): string[] => [
  bothOf(issuerDer, serialDer),
  ...(subjectKeyId === undefined ? [] : [`key ${digest(Buffer.from(subjectKeyId, 'hex'))}`]),
];

/** The OID of a small part. */
export const oidOf = (ber: Buffer): string => oidText(readDer(ber, LIMITS), 'a type');

/** The OID that an AlgorithmIdentifier begins with. */
export const algorithmOf = (ber: Buffer): string => oidText(readDer(derOfBer(ber, LIMITS), LIMITS).children[0], 'an algorithm');
