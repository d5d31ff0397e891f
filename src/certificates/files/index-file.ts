/**
 * The catalogue of one large folder on disk, so that a second start reads what has changed and nothing else. It lies in the data folder,
 * one for each folder, and is written whole, beside its place, and renamed.
 *
 * It is a memory and no proof. Every start looks at each file's inode, size and times before it answers, and whatever certificate a
 * look-up finds is read from its file and judged. So an index that somebody else wrote brings in no certificate; it can make one
 * be overlooked, as one who may write into the data folder can do in other ways. What is damaged, of another folder or release, or open
 * to others is thrown away, and the folder is read anew.
 *
 * The form: a line of text; a table of numbers; the columns of the catalogue, in the octet order of this machine; paths and faults as
 * JSON; SHA-256 of all that.
 */
import { hash } from 'node:crypto';
import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { endianness } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { Catalogue, DIGEST } from './catalogue.ts';
import type { Column } from './catalogue.ts';

/** Grows with every change of the form or of what a scan notes. */
const FORM = `sealpost certificates 1 ${endianness()}\n`;
/** files, certificates, addresses, octets of JSON: 8 octets each. */
const COUNTS = 4;
/** Ten times what the largest folder takes. */
const MAX_INDEX_BYTES = 1024 ** 3;
/** Of a certificate in its file: MAX_BUNDLE_BYTES and the line ends around it. */
const MAX_PLACE = 2 * 1024 * 1024;

export const indexPath = (cache: string, folder: string): string =>
  join(cache, `certificates-${hash('sha256', folder, 'hex').slice(0, 16)}.index`);

interface Words {
  readonly folder: string;
  readonly paths: readonly string[];
  readonly faults: readonly (readonly [number, readonly string[]])[];
  /** Rows of files that lost a certificate. */
  readonly since: readonly number[];
}

type AnyColumn = Pick<Column<Uint8Array | Uint32Array | Float64Array | BigUint64Array>, 'array' | 'width' | 'grow'>;

/** In this order on disk, with how many rows each has. */
function columnsOf(
  catalogue: Catalogue,
  files: number,
  certificates: number,
  addresses: number,
): readonly (readonly [AnyColumn, number])[] {
  return [
    [catalogue.stamps, files],
    [catalogue.hashes, addresses],
    [catalogue.firstCertificate, files + 1],
    [catalogue.at, certificates],
    [catalogue.lengths, certificates],
    [catalogue.firstAddress, certificates + 1],
    [catalogue.digests, files],
    [catalogue.fingerprints, certificates],
    [catalogue.stamped, files],
  ];
}

export function encodeIndex(catalogue: Catalogue, folder: string): readonly Buffer[] {
  const { files, certificates, addresses, paths } = catalogue;
  const words: Words = { folder, paths, faults: [...catalogue.faults], since: [...catalogue.since.keys()] };
  const json = Buffer.from(JSON.stringify(words));
  const counts = Float64Array.of(files, certificates, addresses, json.length);
  const parts: Buffer[] = [Buffer.from(FORM), Buffer.from(counts.buffer)];
  for (const [{ array, width }, rows] of columnsOf(catalogue, files, certificates, addresses))
    parts.push(Buffer.from(array.buffer, array.byteOffset, rows * width * array.BYTES_PER_ELEMENT));
  parts.push(json);
  return parts;
}

/** Undefined where it is not believed. Never throws, whatever the octets. */
export function decodeIndex(bytes: Buffer, folder: string): Catalogue | undefined {
  try {
    const end = bytes.length - DIGEST;
    if (end < FORM.length || bytes.toString('latin1', 0, FORM.length) !== FORM) return undefined;
    if (!hash('sha256', bytes.subarray(0, end), 'buffer').equals(bytes.subarray(end))) return undefined;
    return read(bytes.subarray(0, end), folder);
  } catch {
    // JSON that is none, a count beyond the file: it is no index.
    return undefined;
  }
}

function read(bytes: Buffer, folder: string): Catalogue | undefined {
  let at = FORM.length;
  const take = (length: number): Buffer => {
    if (!Number.isSafeInteger(length) || length < 0 || at + length > bytes.length) throw new RangeError('cut off');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const counts = new Float64Array(new Uint8Array(take(COUNTS * 8)).buffer);
  const [files = 0, certificates = 0, addresses = 0, json = 0] = counts;
  if (![files, certificates, addresses].every((count) => Number.isSafeInteger(count) && count >= 0 && count <= bytes.length))
    return undefined;
  const catalogue = new Catalogue();
  for (const [column, rows] of columnsOf(catalogue, files, certificates, addresses)) {
    const length = rows * column.width;
    const octets = take(length * column.array.BYTES_PER_ELEMENT);
    column.grow(rows);
    new Uint8Array(column.array.buffer, 0, octets.length).set(octets);
  }
  const words = JSON.parse(take(json).toString()) as unknown;
  if (at !== bytes.length || !isWords(words, files) || words.folder !== folder) return undefined;
  Object.assign(catalogue, { files, certificates, addresses });
  if (!rises(catalogue.firstCertificate, files, certificates) || !rises(catalogue.firstAddress, certificates, addresses)) return undefined;
  if (!placesHold(catalogue)) return undefined;
  catalogue.nameRows(words.paths);
  if (words.paths.some((path, row) => catalogue.rowOf(path) !== row)) return undefined;
  for (const [row, faults] of words.faults) catalogue.faults.set(row, faults);
  for (const row of words.since) catalogue.since.set(row, performance.now());
  linkUp(catalogue);
  return catalogue.finish();
}

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every((one) => typeof one === 'string');

function isWords(value: unknown, files: number): value is Words {
  if (typeof value !== 'object' || value === null) return false;
  if (!('folder' in value && 'paths' in value && 'faults' in value && 'since' in value)) return false;
  const isRow = (row: unknown): boolean => Number.isSafeInteger(row) && Number(row) >= 0 && Number(row) < files;
  const { paths, faults, since } = value;
  if (!isTexts(paths) || paths.length !== files || paths.some(leadsAway)) return false;
  if (!Array.isArray(since) || !since.every(isRow) || !Array.isArray(faults)) return false;
  return faults.every((one: unknown) => Array.isArray(one) && one.length === 2 && isRow(one[0]) && isTexts(one[1]));
}

/** A path of an index is read below its folder: it has to stay there. */
const leadsAway = (path: string): boolean =>
  path.includes('\0') || path.split('/').some((part) => part === '' || part === '.' || part === '..');

/** From 0 to `end` without a step back. */
function rises({ array }: Column<Uint32Array>, rows: number, end: number): boolean {
  if (array[0] !== 0 || array[rows] !== end) return false;
  for (let row = 0; row < rows; row++) if ((array[row] ?? 0) > (array[row + 1] ?? 0)) return false;
  return true;
}

function placesHold({ at, lengths, certificates, hashes, addresses }: Catalogue): boolean {
  for (let one = 0; one < certificates; one++) {
    if ((at.array[one] ?? 0) > MAX_PLACE || (lengths.array[one] ?? 0) > MAX_PLACE) return false;
  }
  for (let one = 0; one < addresses; one++) {
    const wanted = hashes.array[one];
    if (!Number.isSafeInteger(wanted) || Number(wanted) < 0) return false;
  }
  return true;
}

/** What leads from an address to its certificate and from that to its file follows from the counts. */
function linkUp(catalogue: Catalogue): void {
  catalogue.fileOf.grow(catalogue.certificates);
  catalogue.certificateOf.grow(catalogue.addresses);
  for (let row = 0; row < catalogue.files; row++) catalogue.fileOf.array.fill(row, ...catalogue.certificatesOf(row));
  for (let one = 0; one < catalogue.certificates; one++) catalogue.certificateOf.array.fill(one, ...catalogue.addressesOf(one));
}

export type IndexAnswer =
  | { readonly kind: 'read'; readonly catalogue: Catalogue }
  | { readonly kind: 'none' }
  /** Damaged, foreign, of another release, or not ours to read. */
  | { readonly kind: 'refused'; readonly reason: string };

/** Never throws. */
export function readIndex(file: string, folder: string): IndexAnswer {
  let opened: number | undefined;
  try {
    opened = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { mode, uid, size } = fstatSync(opened);
    const own = process.getuid?.();
    if (own !== undefined && own !== 0 && uid !== own) return { kind: 'refused', reason: 'it belongs to another user' };
    if ((mode & constants.S_IFMT) !== constants.S_IFREG || (mode & 0o077) !== 0) return { kind: 'refused', reason: 'it is open to others' };
    if (size > MAX_INDEX_BYTES) return { kind: 'refused', reason: 'it is too large' };
    const catalogue = decodeIndex(readFileSync(opened), folder);
    return catalogue === undefined ? { kind: 'refused', reason: 'it is damaged, or of another release' } : { kind: 'read', catalogue };
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return missing ? { kind: 'none' } : { kind: 'refused', reason: 'it cannot be read' };
  } finally {
    if (opened !== undefined) closeSync(opened);
  }
}

/** Throws what the file system does. Not synced: what a crash leaves of it is refused by its checksum. */
export function writeIndex(file: string, parts: readonly Buffer[]): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.tmp`;
  rmSync(temporary, { force: true });
  const opened = openSync(temporary, 'wx', 0o600);
  try {
    const whole = Buffer.concat(parts);
    for (const part of [whole, hash('sha256', whole, 'buffer')]) for (let at = 0; at < part.length;) at += writeSync(opened, part, at);
  } finally {
    closeSync(opened);
  }
  renameSync(temporary, file);
}
