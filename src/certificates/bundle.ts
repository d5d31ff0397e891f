/** The files people keep certificates in: PEM, several in one; DER; PKCS#7 as Windows and CAs hand it out (RFC 7468, RFC 5652). */
import { asSealpostError } from '../errors.ts';
import { parseCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { isContext, malformed, oidText, readDer, tags } from './der.ts';
import type { DerLimits, Tlv } from './der.ts';
import { signedData } from './oids.ts';

/** `faults`: one line for each thing in the file that is no readable certificate, with its place in the file. */
export interface Bundle {
  readonly certificates: readonly Certificate[];
  readonly faults: readonly string[];
}

/** A file of certificates is read whole. A thousand certificates fit. */
export const MAX_BUNDLE_BYTES = 1024 * 1024;
const BUNDLE_LIMITS: DerLimits = { bytes: MAX_BUNDLE_BYTES, nodes: 200_000, depth: 32 };

const SEQUENCE_OCTET = 0x30;
/** Of UTF-8, as Windows editors put it in front. */
const BYTE_ORDER_MARK = /^\xef\xbb\xbf/;
const certificateLabels: ReadonlySet<string> = new Set(['CERTIFICATE', 'X509 CERTIFICATE']);
const pkcs7Labels: ReadonlySet<string> = new Set(['PKCS7', 'PKCS #7 SIGNED DATA', 'CMS']);

/** Never throws; an empty file is a fault. */
export function readCertificates(bytes: Buffer): Bundle {
  const certificates: Certificate[] = [];
  const faults: string[] = [];
  const attempt = (place: string, read: () => readonly Certificate[]): void => {
    try {
      certificates.push(...read());
    } catch (error) {
      const { detail, message } = asSealpostError(error);
      faults.push(`${place}${detail ?? message}`);
    }
  };
  if (bytes.length > MAX_BUNDLE_BYTES) faults.push(`more than ${MAX_BUNDLE_BYTES} octets`);
  else if (bytes[0] === SEQUENCE_OCTET) attempt('', () => readBinary(bytes));
  else readPem(bytes.toString('latin1').replace(BYTE_ORDER_MARK, ''), attempt, faults);
  if (certificates.length === 0 && faults.length === 0) faults.push(bytes.length === 0 ? 'the file is empty' : 'no certificate in it');
  return { certificates, faults };
}

function readBinary(bytes: Buffer): readonly Certificate[] {
  // PKCS#7 begins with an OBJECT IDENTIFIER inside the outer SEQUENCE, PKCS#12 with an INTEGER, a certificate with a SEQUENCE.
  const headerOctets = (bytes[1] ?? 0) & 0x80 ? 2 + ((bytes[1] ?? 0) & 0x7f) : 2;
  if (bytes[headerOctets] === tags.integer) throw malformed('a PKCS#12 or private key, which has no place among certificates');
  return bytes[headerOctets] === tags.oid ? readPkcs7(bytes) : [parseCertificate(bytes)];
}

/** SignedData without signers, "certs-only" (RFC 8551 §3.7): its certificates [0]. */
function readPkcs7(bytes: Buffer): readonly Certificate[] {
  const [type, content] = readDer(bytes, BUNDLE_LIMITS).children;
  if (oidText(type, 'the type of PKCS#7') !== signedData) throw malformed('PKCS#7 of another type than a set of certificates');
  const set = content?.children[0]?.children.find((field) => isContext(field, 0));
  if (set === undefined || set.children.length === 0) throw malformed('PKCS#7 without a certificate');
  // Attribute certificates and other choices of CertificateSet (RFC 5652 §10.2.3) are context-tagged.
  return set.children.filter((entry: Tlv) => entry.tag === tags.sequence).map((entry) => parseCertificate(entry.bytes));
}

const BEGIN = /^[ \t]*-----BEGIN ([A-Z0-9 #]{1,40})-----[ \t]*\r?$/gm;

function readPem(text: string, attempt: (place: string, read: () => readonly Certificate[]) => void, faults: string[]): void {
  let line = 1;
  let counted = 0;
  for (const begin of text.matchAll(BEGIN)) {
    line += newlines(text, counted, begin.index);
    counted = begin.index;
    const label = begin[1] ?? '';
    const place = `line ${line}: `;
    if (label.endsWith('PRIVATE KEY')) {
      faults.push(`${place}a private key, which has no place among certificates`);
      continue;
    }
    if (!certificateLabels.has(label) && !pkcs7Labels.has(label)) continue;
    const start = begin.index + begin[0].length;
    attempt(place, () => {
      const bytes = pemBody(text, start, label);
      return pkcs7Labels.has(label) ? readPkcs7(bytes) : [parseCertificate(bytes)];
    });
  }
}

function pemBody(text: string, start: number, label: string): Buffer {
  const end = text.indexOf('-----', start);
  if (end < 0 || !text.startsWith(`-----END ${label}-----`, end)) throw malformed(`BEGIN ${label} without its END`);
  const body = text.slice(start, end).replace(/\s+/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(body)) throw malformed('what stands between BEGIN and END is not base64');
  return Buffer.from(body, 'base64');
}

function newlines(text: string, from: number, to: number): number {
  let count = 0;
  for (let at = text.indexOf('\n', from); at >= 0 && at < to; at = text.indexOf('\n', at + 1)) count++;
  return count;
}
