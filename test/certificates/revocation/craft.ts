/** OCSP answers of our own making, for what no honest responder says. */
import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import {
  bitString,
  explicit,
  implicit,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
  tlv,
  trueValue,
} from '../../../src/certificates/encode.ts';
import { idSha1, keyHashOf } from '../../../src/certificates/revocation/ocsp-request.ts';
import type { CertId } from '../../../src/certificates/revocation/ocsp-request.ts';

const at = (ms: number): Buffer => tlv(24, Buffer.from(new Date(ms).toISOString().replace(/\.\d+|[-:T]/g, '')));

export const good = implicit(0, Buffer.alloc(0));
export const notKnown = implicit(2, Buffer.alloc(0));
export const revoked = (ms: number, reason: number): Buffer => explicit(1, at(ms), explicit(0, tlv(10, Buffer.from([reason]))));

export interface Single {
  readonly id: CertId;
  readonly status?: Buffer;
  /** ms */
  readonly from: number;
  readonly to?: number;
  readonly extensions?: readonly Buffer[];
}

export function single({ id, status = good, from, to, extensions }: Single): Buffer {
  const certId = sequence(sequence(oid(idSha1), nullValue), octetString(id.nameHash), octetString(id.keyHash), id.serialDer);
  const optional = [
    ...(to === undefined ? [] : [explicit(0, at(to))]),
    ...(extensions === undefined ? [] : [explicit(1, sequence(...extensions))]),
  ];
  return sequence(certId, status, at(from), ...optional);
}

export interface Answer {
  readonly folder: string;
  /** The certificate whose key signs, named by `name` in the folder. */
  readonly signer: Certificate;
  readonly name: string;
  readonly singles: readonly Buffer[];
  readonly producedAt: number;
  readonly byName?: boolean;
  readonly certificates?: readonly Certificate[];
  readonly extensions?: readonly Buffer[];
}

export const extension = (type: string, value: Buffer, critical = false): Buffer =>
  sequence(oid(type), ...(critical ? [trueValue] : []), octetString(value));

/** BasicOCSPResponse in an OCSPResponse, signed with ECDSA and SHA-256. */
export function craftAnswer({ folder, signer, name, singles, producedAt, byName, certificates = [], extensions }: Answer): Buffer {
  const responder = byName === true ? explicit(1, signer.subjectDer) : explicit(2, octetString(keyHashOf(signer)));
  const listed = extensions === undefined ? [] : [explicit(1, sequence(...extensions))];
  const data = sequence(responder, at(producedAt), sequence(...singles), ...listed);
  const key = createPrivateKey(readFileSync(join(folder, `${name}.key`)));
  const certs = certificates.length === 0 ? [] : [explicit(0, sequence(...certificates.map(({ der }) => der)))];
  const basic = sequence(data, sequence(oid('1.2.840.10045.4.3.2')), bitString(sign('sha256', data, key)), ...certs);
  const basicType = oid('1.3.6.1.5.5.7.48.1.1');
  return sequence(tlv(10, Buffer.from([0])), explicit(0, sequence(basicType, octetString(basic))));
}

/** An OCSPResponse that is nothing but its status. */
export const refusal = (status: number): Buffer => sequence(tlv(10, Buffer.from([status])));

export const nonce = extension('1.3.6.1.5.5.7.48.1.2', octetString(integer(Buffer.from([7]))));
