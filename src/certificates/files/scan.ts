/**
 * One look at all files of a folder, the same for a small folder in this process (../folder.ts) and for a large one in a thread
 * (worker.ts): which files there are, which of them changed, what stands in those. What a scan finds becomes a catalogue, and the
 * catalogue of the scan before stays in use until then.
 *
 * A scan looks at every file's inode, size and times and reads only those that changed.
 *
 * A file that cannot be read in full, for instance because it is caught half-written, keeps the certificates it gave before and
 * adds what it gives now, until it is whole or gone. Half of a bundle may end with a whole certificate: so one that vanishes from
 * a file that is still there is kept for some seconds more, until the file rests. A folder that held certificates and is empty
 * now may be a mount that is gone, and counts as unavailable for a minute before it is believed; so does one that is empty at the
 * first look, unless an earlier process knew it so or the relay itself makes the folder. A file that is gone from among
 * others is believed at once: so certificates are taken away. But one that is moved may be looked for where it is not any more
 * and not yet where it is: where files are gone and a folder changed during the scan, the scan is made once more.
 *
 * A file or sub-folder that the system does not let us read is not empty but unknown: `unread` tells it, so that a look-up does not
 * take it for absence (P5).
 */
import { createHash } from 'node:crypto';
import type { BigIntStats, Dirent } from 'node:fs';
import { join } from 'node:path';
import { MAX_BUNDLE_BYTES, readCertificatesInTurns } from '../bundle.ts';
import type { Certificate } from '../certificate.ts';
import { addressHash, Catalogue } from './catalogue.ts';
import type { Entry, FileRow, Stamp } from './catalogue.ts';

type Awaitable<T> = T | Promise<T>;

/** The file system: by the pool of the process, or with calls that hold their thread. */
export interface FileAccess {
  list(path: string): AsyncIterable<Dirent> | Iterable<Dirent>;
  stat(path: string): Awaitable<BigIntStats>;
  read(path: string): Awaitable<Buffer>;
  /** Told in front of each call, with the path below the folder: where a scan stands that does not go on. */
  begin(at: string): void;
  /** Called between two files and two certificates, for whatever else there is to do. */
  turn(): Awaitable<void>;
}

export type ScanState =
  | {
      readonly kind: 'read';
      /** Grows with every change of what the folder holds. */
      readonly version: number;
      /** Why a part of the folder could not be looked into; undefined where all of it was. */
      readonly unread: Error | undefined;
    }
  | { readonly kind: 'unavailable'; readonly cause: Error };

/** What people should know, once for each change. */
export type ScanNews =
  | { readonly kind: 'broken'; readonly path: string; readonly faults: readonly string[]; readonly certificates: number }
  | { readonly kind: 'unreadable'; readonly path: string; readonly cause: Error }
  | { readonly kind: 'no-folder'; readonly cause: Error }
  | { readonly kind: 'emptied'; readonly seconds: number }
  | { readonly kind: 'empty-at-first'; readonly seconds: number }
  /** Every second of a scan that reads many files. */
  | { readonly kind: 'progress'; readonly files: number; readonly certificates: number };

export interface ScannerOptions {
  readonly path: string;
  /** ms */
  readonly now: () => number;
  /** ms, see FolderDelays. */
  readonly delays: { readonly loss: number; readonly emptiness: number };
  readonly access: FileAccess;
  /** Given every certificate that is read. */
  readonly hold: (certificate: Certificate) => void;
  readonly tell: (news: ScanNews) => void;
  /** What an earlier process knew. */
  readonly known?: Catalogue | undefined;
  /** Whether a folder that is empty at the first look may be a mount that comes late. */
  readonly doubtsFirst?: boolean;
  /** Files that are looked at; MAX_FILES. */
  readonly most?: number | undefined;
  /** Whether it is the relay's own folder: where nothing is known of it, missing or empty it holds nothing. */
  readonly own?: boolean;
}

export interface Scanner {
  /** As of the last scan that could read the folder. */
  readonly catalogue: Catalogue;
  /** Files and sub-folders that the system did not let us read, with its error. */
  readonly troubles: ReadonlyMap<string, Error>;
  scan(): Promise<ScanState>;
}

/** A file this young may change again within the same tick of the file system's clock: it is read once more. */
const SETTLED_AFTER_MS = 2000;
export const MAX_FILES = 250_000;
export const MAX_DEPTH = 8;
const MAX_SCANS_FOR_MOVES = 3;
/** Of one file. */
const MAX_FAULTS = 3;
/** Of one scan: a folder of garbage fills no log. */
const MAX_NEWS = 100;
const PROGRESS_MS = 1000;

/** Hidden files (editors, `..data` of Kubernetes, our own temporaries), backups and notes are no certificates. */
export const PASSED_OVER = /^\.|~$|\.(?:md|txt|bak|tmp|swp)$/i;

export function makeScanner(options: ScannerOptions): Scanner {
  const { path, now, delays, access, hold, tell, known, most = MAX_FILES, doubtsFirst = false, own = false } = options;
  let catalogue = known ?? new Catalogue().finish();
  let troubles: ReadonlyMap<string, Error> = new Map();
  let state: ScanState | undefined;
  let version = 0;
  let emptySince: number | undefined;
  /** Nobody has seen what the folder holds yet. */
  let fresh = doubtsFirst && !own && known === undefined;
  const seconds = delays.emptiness / 1000;

  /** Whether there is no file and that is not believed yet. */
  const doubtful = (sight: Sight): boolean => {
    const empty = sight.next.files === 0 && sight.troubles.size === 0;
    if (!empty || (catalogue.certificates === 0 && !fresh)) emptySince = undefined;
    else emptySince ??= performance.now();
    return emptySince !== undefined && performance.now() - emptySince < delays.emptiness;
  };
  /** Nothing is known that could be kept from anybody: only a look-up has to wait. */
  const wait = (sight: Sight): ScanState => {
    if (state?.kind !== 'read') tell({ kind: 'empty-at-first', seconds });
    return { ...take(sight), unread: new Error(`${path} is empty, and may be a mount that is not there yet`) };
  };
  const fail = (cause: Error, news: ScanNews): ScanState => {
    if (state?.kind !== 'unavailable') tell(news);
    return { kind: 'unavailable', cause };
  };
  const take = (sight: Sight): ScanState & { readonly kind: 'read' } => {
    warnOfNews(path, { catalogue, troubles }, sight, tell);
    const changed = sight.changed || gone(catalogue, sight) || differ(troubles, sight.troubles);
    if (changed || sight.restamped) catalogue = sight.next.finish();
    troubles = sight.troubles;
    return { kind: 'read', version: changed || state?.kind !== 'read' ? ++version : version, unread: [...troubles.values()][0] };
  };
  return {
    get catalogue() {
      return catalogue;
    },
    get troubles() {
      return troubles;
    },
    scan: async () => {
      try {
        const sight = await see({ root: path, known: catalogue, now, access, hold, tell, loss: delays.loss, most });
        const doubt = doubtful(sight);
        if (!doubt) fresh = false;
        const look = fresh ? wait : (): ScanState => fail(new Error(`${path} is empty all at once`), { kind: 'emptied', seconds });
        state = doubt ? look(sight) : take(sight);
      } catch (error) {
        const cause = asError(error);
        const notMade = own && isGone(error) && catalogue.certificates === 0;
        state = notMade ? take(noSight()) : fail(cause, { kind: 'no-folder', cause });
      }
      return state;
    },
  };
}

/** What one scan saw. */
interface Sight {
  readonly next: Catalogue;
  readonly troubles: Map<string, Error>;
  /** Sub-folders that could not be listed: what was known below them is kept. */
  readonly closed: Set<string>;
  /** Files that were read and hold faults. */
  readonly broken: FileRow[];
  /** The folder holds other things than before. */
  changed: boolean;
  /** A file was touched, and holds what it held. */
  restamped: boolean;
}

interface Look {
  readonly root: string;
  readonly known: Catalogue;
  readonly now: () => number;
  readonly access: FileAccess;
  readonly hold: (certificate: Certificate) => void;
  readonly tell: (news: ScanNews) => void;
  readonly loss: number;
  readonly most: number;
}

interface Walk extends Look {
  readonly sight: Sight;
  /** Each folder as it was before it was listed. */
  readonly folders: { readonly path: string; readonly changed: bigint }[];
  told: number;
}

const gone = (known: Catalogue, { next }: Sight): boolean => known.paths.some((path) => next.rowOf(path) === undefined);

const noSight = (): Sight => ({
  next: new Catalogue(),
  troubles: new Map(),
  closed: new Set(),
  broken: [],
  changed: false,
  restamped: false,
});

async function see(look: Look): Promise<Sight> {
  for (let scans = 1; ; scans++) {
    const sight = noSight();
    const walk: Walk = { ...look, sight, folders: [], told: performance.now() };
    await walkInto(walk, '', 0);
    keepClosed(walk);
    if (scans >= MAX_SCANS_FOR_MOVES || !gone(look.known, sight) || !(await anyChanged(walk))) return sight;
  }
}

/** Throws only where `below` itself cannot be listed; trouble further down is noted and what was known there is kept. */
async function walkInto(walk: Walk, below: string, depth: number): Promise<void> {
  const { root, access, sight, folders, most } = walk;
  if (depth > MAX_DEPTH) throw new Error(`sub-folders deeper than ${MAX_DEPTH}`);
  access.begin(below);
  const folder = join(root, below);
  folders.push({ path: below, changed: (await access.stat(folder)).mtimeNs });
  for await (const entry of access.list(folder)) {
    if (PASSED_OVER.test(entry.name)) continue;
    const relative = below === '' ? entry.name : `${below}/${entry.name}`;
    try {
      if (entry.isDirectory()) await walkInto(walk, relative, depth + 1);
      else if (sight.next.files < most) await lookAt(walk, relative);
      else {
        // Told once, and not for each file that is too much.
        sight.troubles.set('', new Error(`more than ${most} files`));
        sight.closed.add('');
        return;
      }
    } catch (error) {
      // A link that leads nowhere may lead into a mount that is gone. What was known there is not kept: it may be taken away, too.
      if (isGone(error) && entry.isSymbolicLink()) sight.troubles.set(relative, new Error(`${join(root, relative)} is a link to nothing`));
      // Taken away between the listing and the look.
      if (isGone(error)) continue;
      sight.troubles.set(relative, asError(error));
      sight.closed.add(relative);
    }
  }
}

/** Reads one file where it changed. Links are followed to regular files only: a link to a folder could lead in a circle. */
async function lookAt(walk: Walk, relative: string): Promise<void> {
  const { root, known, access, sight, now, hold } = walk;
  await access.turn();
  const path = join(root, relative);
  access.begin(relative);
  const stats = await access.stat(path);
  if (!stats.isFile()) return;
  const before = known.rowOf(relative);
  const stamp = stampOf(stats, now());
  if (before !== undefined && stamp !== undefined && known.hasStamp(before, stamp)) return keep(walk, before);
  const tooBig = stats.size > BigInt(MAX_BUNDLE_BYTES);
  const bytes = tooBig ? Buffer.from(stats.size.toString()) : await contentOf(access, path, stats);
  const digest = createHash('sha256').update(bytes).digest();
  if (before !== undefined && digest.equals(known.digest(before))) {
    sight.restamped = true;
    return keep(walk, before, { stamp });
  }
  const { certificates, spans, faults } = tooBig
    ? { certificates: [], spans: [], faults: [`more than ${MAX_BUNDLE_BYTES} octets`] }
    : await readCertificatesInTurns(bytes, () => access.turn());
  for (const certificate of certificates) hold(certificate);
  const own = certificates.map((certificate, index) => entryOf(certificate, spans[index]));
  const lost = before === undefined ? [] : lostOf(own, known.entries(before));
  const row: FileRow = {
    path: relative,
    stamp,
    digest,
    entries: [...own, ...lost],
    faults: faults.slice(0, MAX_FAULTS),
    since: lost.length > 0 ? performance.now() : undefined,
  };
  sight.next.add(row);
  sight.changed = true;
  if (faults.length > 0) sight.broken.push(row);
  const time = performance.now();
  if (time - walk.told < PROGRESS_MS) return;
  walk.told = time;
  walk.tell({ kind: 'progress', files: sight.next.files, certificates: sight.next.certificates });
}

/** What a file held before stands there still; without what stood in it even earlier, once it is whole and rests. */
function keep({ known, sight, loss }: Walk, row: number, restamp?: { readonly stamp: Stamp | undefined }): void {
  const since = known.since.get(row);
  const faults = known.faults.get(row);
  const rests = since !== undefined && faults === undefined && performance.now() - since >= loss;
  const to = rests ? sight.next.files : sight.next.copy(known, row);
  if (rests) {
    const entries = known.entries(row).filter(({ length }) => length > 0);
    sight.next.add({ path: known.paths[row] ?? '', stamp: undefined, digest: known.digest(row), entries, faults: [], since: undefined });
    sight.changed = true;
  }
  if (restamp !== undefined) sight.next.restamp(to, restamp.stamp);
}

/** Files that were known where nothing could be listed or read now. */
function keepClosed({ known, sight, most }: Walk): void {
  if (sight.closed.size === 0) return;
  for (const [row, path] of known.paths.entries()) {
    if (sight.next.rowOf(path) === undefined && isBelow(path, sight.closed) && sight.next.files < most) sight.next.copy(known, row);
  }
}

function isBelow(path: string, closed: ReadonlySet<string>): boolean {
  if (closed.has('')) return true;
  for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) if (closed.has(path.slice(0, end))) return true;
  return false;
}

async function anyChanged({ root, access, folders }: Walk): Promise<boolean> {
  for (const { path, changed } of folders) {
    access.begin(path);
    try {
      if ((await access.stat(join(root, path))).mtimeNs !== changed) return true;
    } catch {
      return true;
    }
  }
  return false;
}

/** Files of /proc call themselves regular and empty, and some never end a read: what says it is empty is taken at its word. */
const contentOf = (access: FileAccess, path: string, { size }: BigIntStats): Awaitable<Buffer> =>
  size === 0n ? Buffer.alloc(0) : access.read(path);

function stampOf(stats: BigIntStats, now: number): Stamp | undefined {
  const youngest = Number(stats.mtimeMs > stats.ctimeMs ? stats.mtimeMs : stats.ctimeMs);
  if (Math.abs(now - youngest) < SETTLED_AFTER_MS) return undefined;
  const word = (value: bigint): bigint => BigInt.asUintN(64, value);
  return [word(stats.dev), word(stats.ino), word(stats.size), word(stats.mtimeNs), word(stats.ctimeNs)];
}

const entryOf = ({ fingerprint, addresses }: Certificate, span: { readonly at: number; readonly length: number } | undefined): Entry => ({
  fingerprint: Buffer.from(fingerprint, 'hex'),
  at: span?.at ?? 0,
  length: span?.length ?? 0,
  hashes: addresses.map(addressHash),
});

function lostOf(own: readonly Entry[], before: readonly Entry[]): readonly Entry[] {
  const there = new Set(own.map(({ fingerprint }) => fingerprint.toString('latin1')));
  return before.filter(({ fingerprint }) => !there.has(fingerprint.toString('latin1'))).map((entry) => ({ ...entry, at: 0, length: 0 }));
}

const isGone = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

export const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

const differ = (a: ReadonlyMap<string, Error>, b: ReadonlyMap<string, Error>): boolean =>
  a.size !== b.size || [...b.keys()].some((path) => !a.has(path));

/** Once for each change of a file, however often it is scanned. */
function warnOfNews(
  root: string,
  before: { readonly catalogue: Catalogue; readonly troubles: ReadonlyMap<string, Error> },
  sight: Sight,
  tell: (news: ScanNews) => void,
): void {
  for (const { path, faults, entries } of sight.broken.slice(0, MAX_NEWS))
    tell({ kind: 'broken', path: join(root, path), faults, certificates: entries.length });
  let told = 0;
  for (const [relative, cause] of sight.troubles) {
    if (before.troubles.has(relative) || ++told > MAX_NEWS) continue;
    tell({ kind: 'unreadable', path: join(root, relative), cause });
  }
}
