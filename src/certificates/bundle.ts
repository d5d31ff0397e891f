/** The files people keep certificates in: PEM, several in one; DER; PKCS#7 as Windows and CAs hand it out (RFC 7468, RFC 5652). */
import { setImmediate } from 'node:timers/promises';
import { asSealpostError } from '../errors.ts';
import { parseCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { isContext, malformed, oidText, readDer, tags } from './der.ts';
import type { DerLimits, Tlv } from './der.ts';
import { signedData } from './oids.ts';

/** `faults`: one line for each thing in the file that is no readable certificate, with its place in the file. */
export interface Bundle {
  readonly certificates: readonly Certificate[];
  /** For each certificate, what certificateOctets() finds it in again. */
  readonly spans: readonly Span[];
  readonly faults: readonly string[];
}

/** Octets of the file: a PEM block, or all of a binary file. */
export interface Span {
  readonly at: number;
  readonly length: number;
}

/** A file of certificates is read whole. A thousand certificates fit. */
export const MAX_BUNDLE_BYTES = 1024 * 1024;
const BUNDLE_LIMITS: DerLimits = { bytes: MAX_BUNDLE_BYTES, nodes: 200_000, depth: 32 };

/** Ends the fault of a private key, which somebody who means to take certificates may leave out. */
export const PRIVATE_KEY_FAULT = 'a private key, which has no place among certificates';
/** What a file of garbage can have said about it. */
const MAX_FAULTS = 100;
/** ms of work between two turns of the event loop: a full file takes a second, in which no client would be answered. */
const TURN_MS = 8;

const SEQUENCE_OCTET = 0x30;
/** Of UTF-8, as Windows editors put it in front. */
const BYTE_ORDER_MARK = /^\xef\xbb\xbf/;
const certificateLabels: ReadonlySet<string> = new Set(['CERTIFICATE', 'X509 CERTIFICATE']);
const pkcs7Labels: ReadonlySet<string> = new Set(['PKCS7', 'PKCS #7 SIGNED DATA', 'CMS']);

/** Never throws; an empty file is a fault. */
export function readCertificates(bytes: Buffer): Bundle {
  const reading = read(bytes);
  for (;;) {
    const step = reading.next();
    if (step.done === true) return step.value;
  }
}

/**
 * The same, with turns for others: for a process that does more than read. `turn` is called at each block and behind each part that is,
 * or should be, a certificate; what it throws ends the reading.
 */
export async function readCertificatesInTurns(bytes: Buffer, turn: () => Promise<void> | void = makeTurn()): Promise<Bundle> {
  const reading = read(bytes);
  for (;;) {
    const step = reading.next();
    if (step.done === true) return step.value;
    await turn();
  }
}

/** Lets the event loop turn once there was work for a while. */
export function makeTurn(): () => Promise<void> | void {
  let begun = performance.now();
  return async () => {
    if (performance.now() - begun < TURN_MS) return;
    await setImmediate();
    begun = performance.now();
  };
}

/** The certificates of one span of a file, unparsed; none where it is no longer what it was. Never throws. */
export function certificateOctets(span: Buffer): readonly Buffer[] {
  try {
    if (span[0] === SEQUENCE_OCTET) return binaryCertificates(span);
    const text = span.toString('latin1').replace(BYTE_ORDER_MARK, '   ');
    const [begin] = text.matchAll(BEGIN);
    if (begin === undefined) return [];
    const label = begin[1] ?? '';
    const start = begin.index + begin[0].length;
    const bytes = pemBody(text, { start, end: text.indexOf(DASHES, start) }, label);
    return pkcs7Labels.has(label) ? pkcs7Certificates(bytes) : [bytes];
  } catch {
    return [];
  }
}

/** Stops at each block and behind each certificate. */
type Reading<Result> = Generator<undefined, Result, void>;

interface Found {
  readonly certificates: Certificate[];
  readonly spans: Span[];
  readonly faults: string[];
}

function* read(bytes: Buffer): Reading<Bundle> {
  const found: Found = { certificates: [], spans: [], faults: [] };
  if (bytes.length > MAX_BUNDLE_BYTES) found.faults.push(`more than ${MAX_BUNDLE_BYTES} octets`);
  else if (bytes[0] === SEQUENCE_OCTET)
    yield* take(found, { place: '', span: { at: 0, length: bytes.length } }, () => binaryCertificates(bytes));
  // One character an octet; the mark becomes blanks, so that places in the text stay places in the file.
  else yield* readPem(bytes.toString('latin1').replace(BYTE_ORDER_MARK, '   '), found);
  const { certificates, faults } = found;
  if (certificates.length === 0 && faults.length === 0) faults.push(bytes.length === 0 ? 'the file is empty' : 'no certificate in it');
  return found;
}

interface Block {
  /** Stands in front of each fault. */
  readonly place: string;
  readonly span: Span;
}

/** Parses what `locate` finds. */
function* take(found: Found, { place, span }: Block, locate: () => readonly Buffer[]): Reading<void> {
  for (const der of attempt(found, place, locate) ?? []) {
    const certificate = attempt(found, place, () => parseCertificate(der));
    if (certificate !== undefined) {
      found.certificates.push(certificate);
      found.spans.push(span);
    }
    yield;
  }
}

function attempt<Result>(found: Found, place: string, work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    const { detail, message } = asSealpostError(error);
    addFault(found, `${place}${detail ?? message}`);
    return undefined;
  }
}

function addFault({ faults }: Found, fault: string): void {
  if (faults.length < MAX_FAULTS) faults.push(fault);
  else if (faults.length === MAX_FAULTS) faults.push('and more, which are not listed');
}

function binaryCertificates(bytes: Buffer): readonly Buffer[] {
  // PKCS#7 begins with an OBJECT IDENTIFIER inside the outer SEQUENCE, PKCS#12 with an INTEGER, a certificate with a SEQUENCE.
  const headerOctets = (bytes[1] ?? 0) & 0x80 ? 2 + ((bytes[1] ?? 0) & 0x7f) : 2;
  if (bytes[headerOctets] === tags.integer) throw malformed('a PKCS#12 or private key, which has no place among certificates');
  return bytes[headerOctets] === tags.oid ? pkcs7Certificates(bytes) : [bytes];
}

/** SignedData without signers, "certs-only" (RFC 8551 §3.7): its certificates [0]. */
function pkcs7Certificates(bytes: Buffer): readonly Buffer[] {
  const [type, content] = readDer(bytes, BUNDLE_LIMITS).children;
  if (oidText(type, 'the type of PKCS#7') !== signedData) throw malformed('PKCS#7 of another type than a set of certificates');
  const set = content?.children[0]?.children.find((field) => isContext(field, 0));
  if (set === undefined || set.children.length === 0) throw malformed('PKCS#7 without a certificate');
  // Attribute certificates and other choices of CertificateSet (RFC 5652 §10.2.3) are context-tagged.
  return set.children.filter((entry: Tlv) => entry.tag === tags.sequence).map((entry) => entry.bytes);
}

const DASHES = '-----';
const END = '-----END ';
const BEGIN = /^[ \t]*-----BEGIN ([A-Z0-9 #]{1,40})-----[ \t]*\r?$/gm;

function* readPem(text: string, found: Found): Reading<void> {
  let line = 1;
  let counted = 0;
  for (const begin of text.matchAll(BEGIN)) {
    yield;
    line += newlines(text, counted, begin.index);
    counted = begin.index;
    const label = begin[1] ?? '';
    const place = `line ${line}: `;
    if (label.endsWith('PRIVATE KEY')) {
      addFault(found, `${place}${PRIVATE_KEY_FAULT}`);
      continue;
    }
    if (!certificateLabels.has(label) && !pkcs7Labels.has(label)) continue;
    const start = begin.index + begin[0].length;
    // No further than to the dashes of whatever comes next: a file of nothing but BEGIN is gone through once.
    const end = text.indexOf(DASHES, start);
    const length = end + END.length + label.length + DASHES.length - begin.index;
    yield* take(found, { place, span: { at: begin.index, length } }, () => {
      const bytes = pemBody(text, { start, end }, label);
      return pkcs7Labels.has(label) ? pkcs7Certificates(bytes) : [bytes];
    });
  }
}

/** `end`: of the first dashes behind `start`; -1 where there are none. */
function pemBody(text: string, { start, end }: { readonly start: number; readonly end: number }, label: string): Buffer {
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
