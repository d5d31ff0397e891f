/**
 * Walking DER by positions. A list of 500,000 entries has four million parts, for which der.ts would build as many objects; here
 * one reader moves over the octets and holds nothing. The rules of DER are those of der.ts: X.690 §8.1 with §10.1.
 */
import { malformed } from '../der.ts';

const HIGH_TAG = 0x1f;
const LONG_LENGTH = 0x80;

/** Identifier octets, tag class and form included. */
export const octets = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  /** [0] EXPLICIT. */
  context0: 0xa0,
} as const;

export class DerReader {
  readonly bytes: Buffer;
  /** Of the TLV that was read last: its identifier octet, where it begins, where its value begins and ends. */
  octet = 0;
  start = 0;
  from = 0;
  to = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Reads the header at `at`; the value must end by `end`. */
  read(at: number, end: number): void {
    const { bytes } = this;
    if (at + 2 > end) throw malformed('it is cut off');
    const octet = bytes[at] ?? 0;
    if ((octet & HIGH_TAG) === HIGH_TAG) throw malformed('a tag that X.509 does not know');
    let length = bytes[at + 1] ?? 0;
    let from = at + 2;
    if (length >= LONG_LENGTH) {
      const count = length & 0x7f;
      if (count === 0) throw malformed('an indefinite length, which is not DER');
      if (count > 4 || from + count > end) throw malformed('a length that goes beyond its end');
      length = bytes.readUIntBE(from, count);
      if (length < LONG_LENGTH || length < 2 ** (8 * (count - 1)))
        throw malformed('a length that is longer than it need be, which is not DER');
      from += count;
    }
    if (from + length > end) throw malformed('a length that goes beyond its end');
    this.octet = octet;
    this.start = at;
    this.from = from;
    this.to = from + length;
  }

  expect(octet: number, at: number, end: number, field: string): void {
    if (at >= end) throw malformed(`${field} is missing`);
    this.read(at, end);
    if (this.octet !== octet) throw malformed(`${field} is of the wrong type`);
  }

  /** Whether a TLV with that identifier octet stands at `at`; read where it does. */
  peek(octet: number, at: number, end: number): boolean {
    if (at >= end || this.bytes[at] !== octet) return false;
    this.read(at, end);
    return true;
  }

  /** The whole TLV that was read last. */
  whole(): Buffer {
    return this.bytes.subarray(this.start, this.to);
  }

  value(): Buffer {
    return this.bytes.subarray(this.from, this.to);
  }

  /** Seconds since the epoch of the UTCTime or GeneralizedTime that was read last (RFC 5280 §5.1.2.4), nothing but `…SSZ`. */
  seconds(field: string): number {
    const { octet, from, to, bytes } = this;
    const years = octet === octets.utcTime ? 2 : octet === octets.generalizedTime ? 4 : 0;
    if (years === 0 || to - from !== years + 11 || bytes[to - 1] !== 0x5a) throw malformed(`${field} is not a time in UTC`);
    const digits = (at: number, count: number): number => {
      let number = 0;
      for (let index = at; index < at + count; index++) {
        const digit = (bytes[index] ?? 0) - 0x30;
        if (digit < 0 || digit > 9) throw malformed(`${field} is not a time in UTC`);
        number = number * 10 + digit;
      }
      return number;
    };
    let year = digits(from, years);
    // RFC 5280 §4.1.2.5.1: two digits from 50 on are the last century.
    if (years === 2) year += year < 50 ? 2000 : 1900;
    const at = from + years;
    const [month, day, hour, minute, second] = [digits(at, 2), digits(at + 2, 2), digits(at + 4, 2), digits(at + 6, 2), digits(at + 8, 2)];
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59)
      throw malformed(`${field} is not a time in UTC`);
    return Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
  }
}
