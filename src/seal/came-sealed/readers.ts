/** Whom a sealed message names as its readers (RFC 5652 §6.2), and whether somebody's certificates are among them. */
import { createHash } from 'node:crypto';
import type { Certificate } from '../../certificates/certificate.ts';
import { oidText, readDer, type Tlv } from '../../certificates/der.ts';
import { derOfBer } from '../../certificates/harvest/ber.ts';
import { fault } from './ber.ts';
import { type Rid, ridsOf } from './recipient.ts';

/** More than any mail client takes in one message. */
const MOST_READERS = 2000;
/** Of one RecipientInfo: an RSA key of 16384 bits takes 3 KiB, one of key agreement may name many readers. */
export const RECIPIENT_OCTETS = 64 * 1024;
/** Of the names of all CAs together: whoever wrote the message chose them, and they are in clear. */
const MOST_ISSUER_OCTETS = 16 * 1024;
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
  const issuers = new Set<string>();
  let count = 0;
  let issuerOctets = 0;
  const name = (rid: Rid): void => {
    if (++count > MOST_READERS) throw fault('too many readers');
    named.add(rid.kind === 'key' ? byKey(rid.keyId) : bySerial(rid.issuer, rid.serial));
    if (rid.kind === 'key' || issuers.has(digest(rid.issuer))) return;
    issuers.add(digest(rid.issuer));
    issuerOctets += rid.issuer.length;
    if (issuerOctets > MOST_ISSUER_OCTETS) throw fault('readers of too many CAs');
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

/** As sealpost and all others write it: the issuer's octets as they stand in the certificate. */
const bySerial = (issuer: Buffer, serial: Buffer): string => `serial ${digest(serial)} of ${digest(issuer)}`;

const byKey = (keyId: Buffer): string => `key ${digest(keyId)}`;

/** Names are kept, and whoever wrote the message chose how long they are. */
const digest = (octets: Buffer): string => createHash('sha256').update(octets).digest('base64');

const namesOf = ({ issuerDer, serialDer, subjectKeyId }: Certificate): string[] => [
  bySerial(issuerDer, serialDer),
  ...(subjectKeyId === undefined ? [] : [byKey(Buffer.from(subjectKeyId, 'hex'))]),
];

/** The OID of a small part. */
export const oidOf = (ber: Buffer): string => oidText(readDer(ber, LIMITS), 'a type');

/** The OID that an AlgorithmIdentifier begins with. */
export const algorithmOf = (ber: Buffer): string => oidText(readDer(derOfBer(ber, LIMITS), LIMITS).children[0], 'an algorithm');

/** What stands behind it; undefined where nothing does. Throws Fault where more does. */
export function parametersOf(ber: Buffer): Tlv | undefined {
  const [, parameters, ...more] = readDer(derOfBer(ber, LIMITS), LIMITS).children;
  if (more.length > 0) throw fault('an algorithm of another form');
  return parameters;
}
