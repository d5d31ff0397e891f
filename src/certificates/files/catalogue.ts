/**
 * What is known of the files of one folder, in columns of numbers instead of objects: 100,000 certificates take 20 MB so, and ten
 * times that when each is held parsed. It holds no certificate. An address leads, by a hash, to places in files, where the
 * certificate is read again when it is asked for and compared with its fingerprint; so a hash that meets another, or a file that
 * has changed, costs a look and never gives a wrong certificate.
 *
 * A catalogue is filled once, by one scan, and is not changed once `finish` was called.
 */
import { hash } from 'node:crypto';

/** Device, inode, size, and the times of change of content and of inode, as unsigned 64-bit numbers. */
export type Stamp = readonly [bigint, bigint, bigint, bigint, bigint];

/** Octets of SHA-256. */
export const DIGEST = 32;
export const STAMP_PARTS = 5;

/** One certificate of a file. `length` 0: it stood there before and does not now (`since`). */
export interface Entry {
  readonly fingerprint: Buffer;
  /** Where the PEM block, or the whole of a binary file, begins, and its octets. */
  readonly at: number;
  readonly length: number;
  /** addressHash() of each address. */
  readonly hashes: readonly number[];
}

export interface FileRow {
  /** Below the folder, with slashes. */
  readonly path: string;
  /** Undefined where the file is too young to be believed unchanged. */
  readonly stamp: Stamp | undefined;
  /** SHA-256 of its content. */
  readonly digest: Uint8Array;
  /** Those that stand in it, then those that stood in it. */
  readonly entries: readonly Entry[];
  readonly faults: readonly string[];
  /** When it was first seen without one that stood in it before, by performance.now(); undefined where it lost none. */
  readonly since: number | undefined;
}

type Numbers = Uint8Array | Uint32Array | Float64Array | BigUint64Array;

/** Numbers side by side, `width` to a row. */
export class Column<Kind extends Numbers> {
  readonly width: number;
  readonly make: (length: number) => Kind;
  array: Kind;
  /** The same memory. */
  #octets: Uint8Array;

  constructor(make: (length: number) => Kind, width = 1) {
    this.make = make;
    this.width = width;
    this.array = make(0);
    this.#octets = octetsOf(this.array);
  }

  /** Room for so many rows. */
  grow(rows: number): void {
    const needed = rows * this.width;
    if (needed <= this.array.length) return;
    const larger = this.make(Math.max(needed, 2 * this.array.length, 64));
    const all = octetsOf(larger);
    all.set(this.#octets);
    this.array = larger;
    this.#octets = all;
  }

  copy(from: Column<Kind>, start: number, end: number, to: number): void {
    const row = this.width * this.array.BYTES_PER_ELEMENT;
    this.#octets.set(from.#octets.subarray(start * row, end * row), to * row);
  }
}

const octetsOf = ({ buffer, byteOffset, byteLength }: Numbers): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength);
const octets = (length: number): Uint8Array => new Uint8Array(length);
const words = (length: number): Uint32Array => new Uint32Array(length);
const NOTHING = 0xffff_ffff;

/** A stable number of 48 bits for a mailboxKey(). It need not be secret: two addresses that share it cost one more look. */
export const addressHash = (mailboxKey: string): number => hash('sha256', mailboxKey, 'buffer').readUIntBE(0, 6);

export class Catalogue {
  files = 0;
  certificates = 0;
  addresses = 0;
  readonly paths: string[] = [];
  readonly stamps = new Column((length) => new BigUint64Array(length), STAMP_PARTS);
  /** 1 where the stamp counts. */
  readonly stamped = new Column(octets);
  readonly digests = new Column(octets, DIGEST);
  /** Of each file; one more than there are files. */
  readonly firstCertificate = new Column(words);
  readonly fingerprints = new Column(octets, DIGEST);
  readonly at = new Column(words);
  readonly lengths = new Column(words);
  readonly fileOf = new Column(words);
  /** Of each certificate; one more than there are certificates. */
  readonly firstAddress = new Column(words);
  readonly hashes = new Column((length) => new Float64Array(length));
  readonly certificateOf = new Column(words);
  readonly faults = new Map<number, readonly string[]>();
  readonly since = new Map<number, number>();
  readonly #rows = new Map<string, number>();
  /** Addresses by hash: the first of each bucket, and behind each the next of its bucket. */
  #heads = words(1).fill(NOTHING);
  #next = words(0);

  constructor() {
    this.firstCertificate.grow(1);
    this.firstAddress.grow(1);
  }

  add({ path, stamp, digest, entries, faults, since }: FileRow): void {
    const row = this.#open(path);
    this.restamp(row, stamp);
    this.digests.array.set(digest, row * DIGEST);
    if (faults.length > 0) this.faults.set(row, faults);
    if (since !== undefined) this.since.set(row, since);
    for (const entry of entries) this.#addEntry(row, entry);
    this.firstCertificate.array[row + 1] = this.certificates;
  }

  /** Takes a row over as it is; returns its place here. */
  copy(from: Catalogue, row: number): number {
    const path = from.paths[row] ?? '';
    const to = this.#open(path);
    this.stamps.copy(from.stamps, row, row + 1, to);
    this.stamped.copy(from.stamped, row, row + 1, to);
    this.digests.copy(from.digests, row, row + 1, to);
    const [faults, since] = [from.faults.get(row), from.since.get(row)];
    if (faults !== undefined) this.faults.set(to, faults);
    if (since !== undefined) this.since.set(to, since);
    const [start, end] = from.certificatesOf(row);
    for (let one = start; one < end; one++) {
      const certificate = this.#openCertificate(to);
      this.fingerprints.copy(from.fingerprints, one, one + 1, certificate);
      this.at.array[certificate] = from.at.array[one] ?? 0;
      this.lengths.array[certificate] = from.lengths.array[one] ?? 0;
      const [first, last] = from.addressesOf(one);
      for (let address = first; address < last; address++) this.#addAddress(certificate, from.hashes.array[address] ?? 0);
      this.firstAddress.array[certificate + 1] = this.addresses;
    }
    this.firstCertificate.array[to + 1] = this.certificates;
    return to;
  }

  /** Makes it ready for look-ups. */
  finish(): this {
    let buckets = 1;
    while (buckets < this.addresses) buckets *= 2;
    this.#heads = words(buckets).fill(NOTHING);
    this.#next = words(this.addresses);
    // Backwards, so that each bucket leads to the first address first.
    for (let address = this.addresses - 1; address >= 0; address--) {
      const bucket = (this.hashes.array[address] ?? 0) % buckets;
      this.#next[address] = this.#heads[bucket] ?? NOTHING;
      this.#heads[bucket] = address;
    }
    return this;
  }

  /** Certificates that name an address of that hash; at most `most`. */
  named(wanted: number, most: number): number[] {
    const found: number[] = [];
    let address = this.#heads[wanted % this.#heads.length] ?? NOTHING;
    for (; address !== NOTHING && found.length < most; address = this.#next[address] ?? NOTHING) {
      if (this.hashes.array[address] === wanted) found.push(this.certificateOf.array[address] ?? 0);
    }
    return found;
  }

  rowOf(path: string): number | undefined {
    return this.#rows.get(path);
  }

  hasStamp(row: number, stamp: Stamp): boolean {
    return this.stamped.array[row] === 1 && stamp.every((part, index) => this.stamps.array[row * STAMP_PARTS + index] === part);
  }

  restamp(row: number, stamp: Stamp | undefined): void {
    this.stamped.array[row] = stamp === undefined ? 0 : 1;
    if (stamp !== undefined) this.stamps.array.set(stamp, row * STAMP_PARTS);
  }

  digest(row: number): Uint8Array {
    return this.digests.array.subarray(row * DIGEST, (row + 1) * DIGEST);
  }

  fingerprint(certificate: number): Buffer {
    return Buffer.from(this.fingerprints.array.subarray(certificate * DIGEST, (certificate + 1) * DIGEST));
  }

  /** From the first to behind the last. */
  certificatesOf(row: number): readonly [number, number] {
    return [this.firstCertificate.array[row] ?? 0, this.firstCertificate.array[row + 1] ?? 0];
  }

  addressesOf(certificate: number): readonly [number, number] {
    return [this.firstAddress.array[certificate] ?? 0, this.firstAddress.array[certificate + 1] ?? 0];
  }

  entries(row: number): Entry[] {
    const [start, end] = this.certificatesOf(row);
    return Array.from({ length: end - start }, (_, index) => {
      const certificate = start + index;
      return {
        fingerprint: this.fingerprint(certificate),
        at: this.at.array[certificate] ?? 0,
        length: this.lengths.array[certificate] ?? 0,
        hashes: [...this.hashes.array.subarray(...this.addressesOf(certificate))],
      };
    });
  }

  /** Notes the paths of a catalogue whose columns were read from a file. */
  nameRows(paths: readonly string[]): void {
    for (const path of paths) this.#rows.set(path, this.paths.push(path) - 1);
  }

  #open(path: string): number {
    const row = this.files++;
    this.paths.push(path);
    this.#rows.set(path, row);
    for (const column of [this.stamps, this.stamped, this.digests]) column.grow(this.files);
    this.firstCertificate.grow(this.files + 1);
    return row;
  }

  #openCertificate(row: number): number {
    const certificate = this.certificates++;
    for (const column of [this.fingerprints, this.at, this.lengths, this.fileOf]) column.grow(this.certificates);
    this.firstAddress.grow(this.certificates + 1);
    this.fileOf.array[certificate] = row;
    return certificate;
  }

  #addEntry(row: number, { fingerprint, at, length, hashes }: Entry): void {
    const certificate = this.#openCertificate(row);
    this.fingerprints.array.set(fingerprint, certificate * DIGEST);
    this.at.array[certificate] = at;
    this.lengths.array[certificate] = length;
    for (const one of hashes) this.#addAddress(certificate, one);
    this.firstAddress.array[certificate + 1] = this.addresses;
  }

  #addAddress(certificate: number, wanted: number): void {
    const address = this.addresses++;
    this.hashes.grow(this.addresses);
    this.certificateOf.grow(this.addresses);
    this.hashes.array[address] = wanted;
    this.certificateOf.array[address] = certificate;
  }
}
