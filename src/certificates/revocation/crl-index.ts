/**
 * The entries of a list in a compact form: a record for each, one behind the other, and the hashes of all serials in order, so that
 * one is found by halving. 500,000 entries take some 17 MiB instead of hundreds, and go from thread to thread without a copy.
 *
 * The hash only finds the place; the serial itself is compared. A list made so that many hashes are alike is refused.
 */
import { malformed, readDer } from '../der.ts';
import { DerReader, octets } from './crl-reader.ts';
import { CrlRefused, readCrlExtension } from './crl-scan.ts';

export interface CrlIndex {
  /** Sorted. */
  readonly hashes: Uint32Array<ArrayBuffer>;
  /** Where in `records` the entry of the hash at the same place begins. */
  readonly places: Uint32Array<ArrayBuffer>;
  /** Length of the serial (2 octets), serial, seconds since the epoch (4), reason (1). */
  readonly records: Uint8Array<ArrayBuffer>;
}

export interface CrlEntry {
  readonly at: Date;
  /** CRLReason, RFC 5280 §5.3.1. */
  readonly reason: number;
}

/** A hash and the number of its entry fit together into the 53 bits of a double, which the engine sorts fast. */
const NUMBER_BITS = 21;
export const MAX_CRL_ENTRIES = 2 ** NUMBER_BITS;
/** Entries of one hash: two are chance, and a serial may be listed twice. More would make each look-up a walk. */
const MAX_ALIKE = 64;
const LENGTH_OCTETS = 2;
const AFTER_SERIAL = 5;
const MAX_SECONDS = 2 ** 32 - 1;
const ENTRY_LIMITS = { bytes: 16 * 1024, nodes: 200, depth: 16 };

/** RFC 5280 §5.3. */
const entryOids = { reasonCode: '2.5.29.21', invalidityDate: '2.5.29.24', certificateIssuer: '2.5.29.29' } as const;
/** The whole of what nearly every extended entry holds: reasonCode, not critical, one octet of ENUMERATED. */
const REASON_ONLY = Buffer.from('300c300a0603551d1504030a0100', 'hex').subarray(0, -1);

export const indexBytes = ({ hashes, places, records }: CrlIndex): number => hashes.byteLength + places.byteLength + records.byteLength;

/** Walks twice: to know how much there is, and to take it. Throws `certificate-malformed` or CrlRefused. */
export function indexEntries(bytes: Buffer, { from, to }: { readonly from: number; readonly to: number }): CrlIndex {
  const reader = new DerReader(bytes);
  const { count, length } = measure(reader, from, to);
  const records = new Uint8Array(length);
  const starts = new Uint32Array(count);
  const keys = new Float64Array(count);
  let [at, written] = [from, 0];
  for (let number = 0; number < count; number++) {
    reader.read(at, to);
    const end = reader.to;
    const [serialFrom, serialTo] = serialAt(reader, reader.from, end);
    const seconds = Math.min(MAX_SECONDS, Math.max(0, readSeconds(reader, serialTo, end)));
    const reason = reader.to < end ? readReason(reader, reader.to, end) : 0;
    starts[number] = written;
    keys[number] = hashOf(bytes, serialFrom, serialTo) * MAX_CRL_ENTRIES + number;
    written = writeRecord(records, written, bytes.subarray(serialFrom, serialTo), seconds, reason);
    at = end;
  }
  keys.sort();
  const hashes = new Uint32Array(count);
  const places = new Uint32Array(count);
  for (const [index, key] of keys.entries()) {
    hashes[index] = Math.floor(key / MAX_CRL_ENTRIES);
    places[index] = starts[key % MAX_CRL_ENTRIES] ?? 0;
    if (index >= MAX_ALIKE && hashes[index] === hashes[index - MAX_ALIKE]) throw malformed(`more than ${MAX_ALIKE} entries for one serial`);
  }
  return { hashes, places, records };
}

/** `serial` is the content octets of the INTEGER. Every entry of that serial: a careless CA lists one twice. */
export function findEntries({ hashes, places, records }: CrlIndex, serial: Buffer): readonly CrlEntry[] {
  const wanted = serial.subarray(surplus(serial, 0, serial.length));
  const hash = hashOf(wanted, 0, wanted.length);
  let [low, high] = [0, hashes.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((hashes[middle] ?? 0) < hash) low = middle + 1;
    else high = middle;
  }
  const view = Buffer.from(records.buffer, records.byteOffset, records.byteLength);
  const found: CrlEntry[] = [];
  for (let index = low; index < hashes.length && hashes[index] === hash; index++) {
    const place = places[index] ?? 0;
    const from = place + LENGTH_OCTETS;
    const end = from + view.readUInt16BE(place);
    if (view.compare(wanted, 0, wanted.length, from, end) !== 0) continue;
    found.push({ at: new Date(view.readUInt32BE(end) * 1000), reason: view[end + 4] ?? 0 });
  }
  return found;
}

/** All of them, in the order of the list; `serial` as findEntries() takes it. */
export function* listEntries({ records }: CrlIndex): Generator<CrlEntry & { readonly serial: Buffer }> {
  const view = Buffer.from(records.buffer, records.byteOffset, records.byteLength);
  for (let place = 0; place < view.length;) {
    const from = place + LENGTH_OCTETS;
    const end = from + view.readUInt16BE(place);
    yield { serial: view.subarray(from, end), at: new Date(view.readUInt32BE(end) * 1000), reason: view[end + 4] ?? 0 };
    place = end + AFTER_SERIAL;
  }
}

function measure(reader: DerReader, from: number, to: number): { count: number; length: number } {
  let [count, length] = [0, 0];
  for (let at = from; at < to; count++) {
    if (count >= MAX_CRL_ENTRIES) throw malformed(`more than ${MAX_CRL_ENTRIES} entries`);
    reader.expect(octets.sequence, at, to, 'an entry');
    at = reader.to;
    const [serialFrom, serialTo] = serialAt(reader, reader.from, at);
    length += LENGTH_OCTETS + serialTo - serialFrom + AFTER_SERIAL;
  }
  return { count, length };
}

/** Without octets that the number does not need: some CAs write a serial in two ways. */
function serialAt(reader: DerReader, at: number, end: number): [number, number] {
  reader.expect(octets.integer, at, end, 'userCertificate');
  const { from, to, bytes } = reader;
  // A certificate is not as long as that.
  if (to === from || to - from > 0xffff) throw malformed('userCertificate is not a serial number');
  return [from + surplus(bytes, from, to), to];
}

/** How many octets of an INTEGER only repeat its sign (X.690 §8.3.2). */
function surplus(bytes: Buffer, from: number, to: number): number {
  let at = from;
  while (at + 1 < to) {
    const negative = ((bytes[at + 1] ?? 0) & 0x80) !== 0;
    if (bytes[at] !== (negative ? 0xff : 0)) break;
    at++;
  }
  return at - from;
}

function readSeconds(reader: DerReader, at: number, end: number): number {
  if (at >= end) throw malformed('revocationDate is missing');
  reader.read(at, end);
  return reader.seconds('revocationDate');
}

function readReason(reader: DerReader, at: number, end: number): number {
  const { bytes } = reader;
  if (end - at === REASON_ONLY.length + 1 && bytes.compare(REASON_ONLY, 0, REASON_ONLY.length, at, end - 1) === 0)
    return bytes[end - 1] ?? 0;
  reader.expect(octets.sequence, at, end, 'crlEntryExtensions');
  if (reader.to !== end) throw malformed('an entry has more than three fields');
  let reason = 0;
  const seen = new Set<string>();
  for (const extension of readDer(reader.whole(), ENTRY_LIMITS).children) {
    const { oid, critical, value } = readCrlExtension(extension);
    if (seen.has(oid)) throw malformed(`the extension ${oid} stands in an entry twice`);
    seen.add(oid);
    // RFC 5280 §5.3.3: from here on the entries are of another CA.
    if (oid === entryOids.certificateIssuer) throw new CrlRefused('it is an indirect list, which is not taken', true);
    if (oid === entryOids.reasonCode) {
      if (value.length !== 3 || value[0] !== octets.enumerated || value[1] !== 1) throw malformed('reasonCode is not a reason');
      reason = value[2] ?? 0;
    } else if (critical && oid !== entryOids.invalidityDate) {
      throw new CrlRefused(`an entry carries a critical extension that is not understood: ${oid}`, true);
    }
  }
  return reason;
}

function writeRecord(records: Uint8Array, at: number, serial: Buffer, seconds: number, reason: number): number {
  records[at] = serial.length >> 8;
  records[at + 1] = serial.length & 0xff;
  records.set(serial, at + LENGTH_OCTETS);
  const end = at + LENGTH_OCTETS + serial.length;
  for (let octet = 0; octet < 4; octet++) records[end + octet] = Math.floor(seconds / 2 ** (24 - 8 * octet)) & 0xff;
  records[end + 4] = reason;
  return end + AFTER_SERIAL;
}

/** FNV-1a, 32 bits. */
function hashOf(bytes: Buffer, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  return hash >>> 0;
}
