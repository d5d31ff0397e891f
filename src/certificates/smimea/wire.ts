/**
 * DNS messages (RFC 1035 §4, RFC 6891), as much as one question and its answer need. The reader is our own since the one at hand
 * takes half a second for 64 KiB of compression pointers, and hands out the data of a record that is cut off as if it were whole.
 */
import { SealpostError } from '../../errors.ts';

/** RFC 1035 §3.2.2, RFC 8162 §2. */
export const recordTypes = { cname: 5, soa: 6, opt: 41, smimea: 53 } as const;
/** RFC 1035 §4.1.1. */
export const responseCodes = { noError: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4, refused: 5 } as const;

export interface DnsRecord {
  /** Lower case, as `readName` writes it. */
  readonly owner: string;
  readonly type: number;
  /** Seconds. */
  readonly ttl: number;
  readonly data: Buffer;
  /** Where a CNAME leads. */
  readonly target: string | undefined;
}

export interface DnsResponse {
  /** With the upper bits of EDNS (RFC 6891 §6.1.3): BADVERS is not NOERROR. */
  readonly code: number;
  /** AD: the resolver has validated all of answer and authority (RFC 4035 §3.2.3). */
  readonly authenticated: boolean;
  readonly answers: readonly DnsRecord[];
  /** Seconds that an absence may be believed (RFC 2308 §5); undefined where no SOA says so. */
  readonly absentFor: number | undefined;
  /** INFO-CODE of the first Extended DNS Error (RFC 8914 §2): why it is so, where the resolver says more than a code. */
  readonly extendedError?: number | undefined;
}

const HEADER = 12;
const INTERNET = 1;
const flags = { response: 0x8000, truncated: 0x0200, recursionDesired: 0x0100, authenticated: 0x0020 } as const;
/** What passes every path unfragmented; on loopback more would do, but a resolver may be told to believe it. */
const UDP_OCTETS = 1232;
/** DO (RFC 3225): without it some resolvers never say AD. */
const DNSSEC_OK = 0x8000;
const OPT_OCTETS = 11;

/** Records that are read; ten of ours with their signatures and proofs are far below it. */
const MAX_RECORDS = 256;
/** A name has no more labels than this, so honest compression has no more pointers. */
const MAX_POINTERS = 127;
const MAX_NAME_OCTETS = 255;

const unreadable = (detail: string): SealpostError => new SealpostError('lookup-unavailable', { detail: `an answer of DNS: ${detail}` });

/** `name` is one that foldDomain took: labels of 1 to 63 octets in ASCII; `.` is the root. */
export function writeQuery({ id, name, type }: { readonly id: number; readonly name: string; readonly type: number }): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  const question = Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), Buffer.from(label, 'latin1')]), Buffer.alloc(5)]);
  question.writeUInt16BE(type, question.length - 4);
  question.writeUInt16BE(INTERNET, question.length - 2);
  const header = Buffer.alloc(HEADER);
  header.writeUInt16BE(id, 0);
  // RFC 6840 §5.7: AD in a question says that its answer is looked at.
  header.writeUInt16BE(flags.recursionDesired | flags.authenticated, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(1, 10);
  const opt = Buffer.alloc(OPT_OCTETS);
  opt.writeUInt16BE(recordTypes.opt, 1);
  opt.writeUInt16BE(UDP_OCTETS, 3);
  opt.writeUInt16BE(DNSSEC_OK, 7);
  return Buffer.concat([header, question, opt]);
}

/** Whether `octets` answer this very query: same ID, and the same question octet for octet (RFC 5452 §9.1). */
export function isAnswerTo(query: Buffer, octets: Buffer): boolean {
  const question = query.subarray(HEADER, -OPT_OCTETS);
  return (
    octets.length >= HEADER + question.length &&
    octets.readUInt16BE(0) === query.readUInt16BE(0) &&
    (octets.readUInt16BE(2) & flags.response) !== 0 &&
    octets.readUInt16BE(4) === 1 &&
    octets.subarray(HEADER, HEADER + question.length).equals(question)
  );
}

/** Of octets that `isAnswerTo` took. */
export const isTruncated = (octets: Buffer): boolean => (octets.readUInt16BE(2) & flags.truncated) !== 0;

/** Octets that `isAnswerTo` took. Throws `lookup-unavailable`, whatever they hold; its work is bounded by their number. */
export function readResponse(query: Buffer, octets: Buffer): DnsResponse {
  const counts = [6, 8, 10].map((at) => octets.readUInt16BE(at));
  if (counts.reduce((sum, count) => sum + count, 0) > MAX_RECORDS) throw unreadable('too many records');
  let at = query.length - OPT_OCTETS;
  const [answers = [], authority = [], additional = []] = counts.map((count) =>
    Array.from({ length: count }, () => {
      const { record, end } = readRecord(octets, at);
      at = end;
      return record;
    }),
  );
  const edns = additional.find(({ type }) => type === recordTypes.opt);
  const soa = authority.find(({ type }) => type === recordTypes.soa);
  const bits = octets.readUInt16BE(2);
  return {
    // RFC 6891 §6.1.3: the first octet of what is the TTL elsewhere.
    code: (bits & 0xf) | (((edns?.ttl ?? 0) >>> 24) << 4),
    authenticated: (bits & flags.authenticated) !== 0,
    answers: answers.filter(({ inClass }) => inClass === INTERNET),
    extendedError: edns === undefined ? undefined : extendedErrorOf(edns.data),
    absentFor: soa === undefined ? undefined : Math.min(soa.ttl, minimumOf(soa.data)),
  };
}

/** RFC 8914 §2. */
const EXTENDED_ERROR = 15;

/** Of the options of EDNS (RFC 6891 §6.1.2): code and length, two octets each. What does not fit its length is passed over: it only explains. */
function extendedErrorOf(options: Buffer): number | undefined {
  for (let at = 0; at + 4 <= options.length;) {
    const [code, length] = [options.readUInt16BE(at), options.readUInt16BE(at + 2)];
    at += 4;
    if (code === EXTENDED_ERROR && length >= 2 && at + length <= options.length) return options.readUInt16BE(at);
    at += length;
  }
  return undefined;
}

/** MINIMUM is the last field of an SOA (RFC 1035 §3.3.13). */
const minimumOf = (data: Buffer): number => (data.length < 22 ? 0 : data.readUInt32BE(data.length - 4));

interface Read {
  readonly record: DnsRecord & { readonly inClass: number };
  readonly end: number;
}

/** RFC 1035 §4.1.3. */
function readRecord(octets: Buffer, start: number): Read {
  const { name: owner, end: at } = readName(octets, start);
  const from = at + 10;
  if (from > octets.length) throw unreadable('it is cut off');
  const end = from + octets.readUInt16BE(at + 8);
  if (end > octets.length) throw unreadable('it is cut off');
  const type = octets.readUInt16BE(at);
  const target = type === recordTypes.cname ? readName(octets, from) : undefined;
  if (target !== undefined && target.end !== end) throw unreadable('an alias that is not one name');
  const fields = { inClass: octets.readUInt16BE(at + 2), ttl: octets.readUInt32BE(at + 4), data: octets.subarray(from, end) };
  return { record: { owner, type, ...fields, target: target?.name }, end };
}

/**
 * RFC 1035 §4.1.4: labels, then the root or a pointer to what stands before. In lower case, joined with dots; an octet that would
 * not stand in a host name is written `\DDD`, so that a dot within a label never makes two of it.
 */
function readName(octets: Buffer, start: number): { readonly name: string; readonly end: number } {
  const labels: string[] = [];
  let [at, lowest, pointers, length] = [start, start, 0, 1];
  let end: number | undefined;
  for (;;) {
    const octet = octets[at];
    if (octet === undefined) throw unreadable('it is cut off');
    if (octet === 0) return { name: labels.join('.'), end: end ?? at + 1 };
    if (octet >= 0xc0) {
      if (at + 2 > octets.length) throw unreadable('it is cut off');
      end ??= at + 2;
      at = octets.readUInt16BE(at) & 0x3fff;
      // Each leads further towards the beginning: no circle.
      if (at >= lowest || ++pointers > MAX_POINTERS) throw unreadable('a name that leads nowhere');
      lowest = at;
      continue;
    }
    length += octet + 1;
    if (octet > 63 || length > MAX_NAME_OCTETS) throw unreadable('a name that is too long');
    if (at + 1 + octet > octets.length) throw unreadable('it is cut off');
    labels.push(labelText(octets.subarray(at + 1, at + 1 + octet)));
    at += 1 + octet;
  }
}

const labelText = (label: Buffer): string =>
  label
    .toString('latin1')
    .replaceAll(/[^A-Za-z0-9_-]/g, (octet) => `\\${octet.charCodeAt(0).toString().padStart(3, '0')}`)
    .toLowerCase();
