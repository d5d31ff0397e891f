/**
 * A folder of certificate files that is live: what is dropped into it, changed or taken away counts within seconds, without a
 * signal or a restart. It is polled, since change notices are lost on network file systems and in containers.
 *
 * A scan looks at every file's inode, size and times and reads only those that changed. Between scans it rests at least a
 * second and nineteen times as long as the scan took, so that a huge folder costs 5 % of the time and not more.
 *
 * A file that cannot be read in full, for instance because it is caught half-written, keeps the certificates it gave before and
 * adds what it gives now, until it is whole or gone. Half of a bundle may end with a whole certificate: so one that vanishes from
 * a file that is still there is kept for some seconds more, until the file rests. A folder that held certificates and is empty
 * now may be a mount that is gone, and counts as unavailable for a minute before it is believed. A file that is gone from among
 * others is believed at once: so certificates are taken away.
 *
 * A file or sub-folder that the system does not let us read is not empty but
 * unknown: `unread` tells it, so that a look-up does not take it for absence (P5).
 *
 * A scan that stands still, for instance at a file server that answers no more, makes the folder unavailable until it ends: what
 * was read long ago may have been taken away since. No other scan is begun meanwhile, since each would take one more of the
 * threads that all file work of the process shares.
 */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import { MAX_BUNDLE_BYTES, readCertificatesInTurns } from './bundle.ts';
import type { Certificate } from './certificate.ts';

/** `place` is for people: `recipients/anna.pem`, with `#2` for the second of several. `file` is the path on disk. */
export interface PlacedCertificate {
  readonly certificate: Certificate;
  readonly place: string;
  readonly file: string;
}

export interface BrokenFile {
  readonly place: string;
  readonly faults: readonly string[];
}

export type FolderContents =
  | {
      readonly kind: 'read';
      /** Grows with every change of what follows. */
      readonly version: number;
      readonly certificates: readonly PlacedCertificate[];
      readonly broken: readonly BrokenFile[];
      /** Why a part of the folder could not be looked into; undefined where all of it was. */
      readonly unread: unknown;
    }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

export interface CertificateFolder {
  readonly path: string;
  /** As of the last scan; waits for the first one. */
  contents(): Promise<FolderContents>;
  /** Scans now. */
  refresh(): Promise<void>;
  /** Ends the polling. */
  close(): void;
}

export interface FolderOptions {
  readonly path: string;
  readonly log: Logger;
  /** ms */
  readonly now: () => number;
  readonly delays?: Partial<FolderDelays>;
}

/** How long what looks like a loss may be something else; ms. */
export interface FolderDelays {
  /** For one call of the file system, before the folder counts as unavailable. */
  readonly answer: number;
  /** For a file to rest before what vanished from it is given up. */
  readonly loss: number;
  /** For a folder that became empty to be believed. */
  readonly emptiness: number;
}

const usualDelays: FolderDelays = { answer: 10_000, loss: 5000, emptiness: 60_000 };
/** So many times the delay of one answer may a whole scan take: a server that answers each call just in time is of no use either. */
const ANSWERS_FOR_SCAN = 12;
const SHORTEST_REST_MS = 1000;
/** 19 parts of rest to one of scanning are 5 %. */
const REST_TO_SCAN = 19;
const MEASURED_SCANS = 3;
/** A file this young may change again within the same tick of the file system's clock: it is read once more. */
const SETTLED_AFTER_MS = 2000;
const MAX_FILES = 100_000;
const MAX_DEPTH = 8;

/** Hidden files (editors, `..data` of Kubernetes, our own temporaries), backups and notes are no certificates. */
const PASSED_OVER = /^\.|~$|\.(?:md|txt|bak|tmp|swp)$/i;

interface KnownFile {
  /** Undefined where the file is too young to be believed unchanged. */
  readonly stamp: string | undefined;
  readonly digest: string;
  /** When this content was first seen, by performance.now(). */
  readonly seen: number;
  /** What stands in it. */
  readonly own: readonly Certificate[];
  /** And what it gave before, where that may stand in it again. */
  readonly certificates: readonly Certificate[];
  readonly faults: readonly string[];
}

/** What one scan saw, by path below the folder. */
interface Sight {
  readonly files: Map<string, KnownFile>;
  /** Files and sub-folders that the system did not let us read, with its error. */
  readonly troubles: Map<string, unknown>;
}

/** Where a scan stands, for whoever waits for it. Times of performance.now(). */
interface Progress {
  readonly begun: number;
  /** Below the folder; empty for the folder itself. */
  at: string;
  since: number;
}

export function makeCertificateFolder({ path, log, now, delays: wished }: FolderOptions): CertificateFolder {
  const delays = { ...usualDelays, ...wished };
  let sight: Sight = { files: new Map(), troubles: new Map() };
  let contents: FolderContents | undefined;
  let version = 0;
  let running: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let stuck = false;
  let emptySince: number | undefined;

  /** Whether all files are gone and that is not believed yet; told once. */
  const doubtful = (next: Sight): boolean => {
    const empty = next.files.size === 0 && next.troubles.size === 0;
    if (!empty || ![...sight.files.values()].some(({ certificates }) => certificates.length > 0)) emptySince = undefined;
    else emptySince ??= performance.now();
    return emptySince !== undefined && performance.now() - emptySince < delays.emptiness;
  };

  const scan = async (progress: Progress): Promise<void> => {
    const next: Sight = { files: new Map(), troubles: new Map() };
    try {
      await walk({ root: path, known: sight, next, now, progress, loss: delays.loss }, '', 0);
    } catch (cause) {
      if (contents?.kind !== 'unavailable') log.warn({ path, err: cause }, 'certificate folder cannot be read');
      contents = { kind: 'unavailable', cause };
      return;
    }
    if (doubtful(next)) {
      if (contents?.kind !== 'unavailable')
        log.warn({ path, seconds: delays.emptiness / 1000 }, 'certificate folder is empty all at once: unavailable, until it is believed');
      contents = { kind: 'unavailable', cause: new Error(`${path} is empty all at once`) };
      return;
    }
    warnOfNews(path, sight, next, log);
    if (contents?.kind !== 'read' || differs(sight, next)) contents = { kind: 'read', version: ++version, ...listed(path, next) };
    sight = next;
  };
  // ms of the last scans but the first, which reads every file and is no measure of the others.
  const durations: number[] = [];
  let scans = 0;
  const rest = (): void => {
    if (closed) return;
    timer = setTimeout(() => void poll(), restAfter(durations));
    timer.unref();
  };
  const recover = async (ending: Promise<void>): Promise<void> => {
    await ending;
    stuck = false;
    log.info({ path }, 'certificate folder is answered again');
    rest();
  };
  const attempt = async (): Promise<void> => {
    clearTimeout(timer);
    const begun = performance.now();
    const progress: Progress = { begun, at: '', since: begun };
    const ending = scan(progress);
    if (await endsInTime(ending, progress, delays.answer)) {
      if (scans++ > 0) durations.push(performance.now() - begun);
      if (durations.length > MEASURED_SCANS) durations.shift();
      return rest();
    }
    const cause = new Error(`${join(path, progress.at)} is not answered by the file system`);
    log.warn({ path, err: cause }, 'certificate folder cannot be read');
    contents = { kind: 'unavailable', cause };
    stuck = true;
    void recover(ending);
  };
  const poll = async (): Promise<void> => {
    if (stuck) return;
    running ??= attempt().finally(() => (running = undefined));
    await running;
  };
  const first = poll();
  return {
    path,
    contents: async () => {
      await first;
      return contents ?? { kind: 'unavailable', cause: undefined };
    },
    refresh: async () => {
      // A scan that is under way may have passed what the caller has just changed.
      await running;
      await poll();
    },
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** From the shortest of the last scans: a long one may only have waited for the rest of the process. */
const restAfter = (durations: readonly number[]): number =>
  durations.length === 0 ? SHORTEST_REST_MS : Math.max(SHORTEST_REST_MS, REST_TO_SCAN * Math.min(...durations));

/** False where the scan stands still before it ends. It goes on, since nothing takes back a call of the file system. */
async function endsInTime(ending: Promise<void>, progress: Progress, patience: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setInterval(() => {
    const time = performance.now();
    if (time - progress.since > patience || time - progress.begun > patience * ANSWERS_FOR_SCAN) resolve(false);
  }, patience / 4);
  timer.unref();
  try {
    return await Promise.race([ending.then(() => true), late]);
  } finally {
    clearInterval(timer);
  }
}

interface Walk {
  readonly root: string;
  readonly known: Sight;
  readonly next: Sight;
  readonly now: () => number;
  readonly progress: Progress;
  readonly loss: number;
}

function begin(progress: Progress, at: string): void {
  progress.at = at;
  progress.since = performance.now();
}

/** Throws only where `below` itself cannot be listed; trouble further down is noted and what was known there is kept. */
async function walk(scan: Walk, below: string, depth: number): Promise<void> {
  if (depth > MAX_DEPTH) throw new Error(`sub-folders deeper than ${MAX_DEPTH}`);
  begin(scan.progress, below);
  const entries = await readdir(join(scan.root, below), { withFileTypes: true });
  // In the order of names, so that places and limits are the same on every machine.
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (PASSED_OVER.test(entry.name)) continue;
    const relative = below === '' ? entry.name : `${below}/${entry.name}`;
    try {
      if (entry.isDirectory()) await walk(scan, relative, depth + 1);
      else await look(scan, relative);
    } catch (cause) {
      // Taken away between the listing and the look, or a link to nothing.
      if (isGone(cause)) continue;
      scan.next.troubles.set(relative, cause);
      for (const [path, file] of scan.known.files) {
        if (path === relative || path.startsWith(`${relative}/`)) scan.next.files.set(path, file);
      }
    }
  }
}

/** Reads one file where it changed. Links are followed to regular files only: a link to a folder could lead in a circle. */
async function look({ root, known, next, now, progress, loss }: Walk, relative: string): Promise<void> {
  const path = join(root, relative);
  begin(progress, relative);
  const stats = await stat(path, { bigint: true });
  if (!stats.isFile()) return;
  if (next.files.size >= MAX_FILES) throw new Error(`more than ${MAX_FILES} files`);
  const before = known.files.get(relative);
  const stamp = stampOf(stats, now());
  if (before !== undefined && stamp !== undefined && before.stamp === stamp) {
    next.files.set(relative, settled(before, loss));
    return;
  }
  const tooBig = stats.size > BigInt(MAX_BUNDLE_BYTES);
  const bytes = tooBig ? Buffer.from(stats.size.toString()) : await contentOf(path, stats);
  const digest = createHash('sha256').update(bytes).digest('hex');
  if (before?.digest === digest) {
    next.files.set(relative, { ...settled(before, loss), stamp });
    return;
  }
  const { certificates, faults } = tooBig
    ? { certificates: [], faults: [`more than ${MAX_BUNDLE_BYTES} octets`] }
    : await readCertificatesInTurns(bytes);
  next.files.set(relative, {
    stamp,
    digest,
    seen: performance.now(),
    own: certificates,
    certificates: union(certificates, before?.certificates ?? []),
    faults,
  });
}

/** Without what stood in it before, once it is whole and rests. */
const settled = (file: KnownFile, loss: number): KnownFile =>
  file.faults.length > 0 || performance.now() - file.seen < loss ? file : { ...file, certificates: file.own };

/** Files of /proc call themselves regular and empty, and some never end a read: what says it is empty is taken at its word. */
const contentOf = (path: string, { size }: BigIntStats): Promise<Buffer> =>
  size === 0n ? Promise.resolve(Buffer.alloc(0)) : readFile(path);

function stampOf(stats: BigIntStats, now: number): string | undefined {
  const youngest = Number(stats.mtimeMs > stats.ctimeMs ? stats.mtimeMs : stats.ctimeMs);
  if (Math.abs(now - youngest) < SETTLED_AFTER_MS) return undefined;
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(':');
}

function union(now: readonly Certificate[], before: readonly Certificate[]): readonly Certificate[] {
  const there = new Set(now.map(({ fingerprint }) => fingerprint));
  const lost = before.filter(({ fingerprint }) => !there.has(fingerprint));
  return lost.length === 0 ? now : [...now, ...lost];
}

const isGone = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

const differs = (a: Sight, b: Sight): boolean =>
  a.files.size !== b.files.size ||
  a.troubles.size !== b.troubles.size ||
  [...b.files].some(([path, { digest, certificates }]) => {
    const before = a.files.get(path);
    return before?.digest !== digest || before.certificates !== certificates;
  }) ||
  [...b.troubles.keys()].some((path) => !a.troubles.has(path));

/** Once for each change of a file, however often it is scanned. */
function warnOfNews(root: string, before: Sight, next: Sight, log: Logger): void {
  for (const [relative, { digest, faults, certificates }] of next.files) {
    if (faults.length === 0 || before.files.get(relative)?.digest === digest) continue;
    log.warn({ path: join(root, relative), faults: faults.slice(0, 10), certificates: certificates.length }, 'certificate file is broken');
  }
  for (const [relative, cause] of next.troubles) {
    if (!before.troubles.has(relative)) log.warn({ path: join(root, relative), err: cause }, 'certificate file cannot be read');
  }
}

function listed(root: string, { files, troubles }: Sight): Omit<FolderContents & { kind: 'read' }, 'kind' | 'version'> {
  const certificates: PlacedCertificate[] = [];
  const broken: BrokenFile[] = [];
  for (const [relative, file] of files) {
    const place = `${basename(root)}/${relative}`;
    for (const [index, certificate] of file.certificates.entries()) {
      const several = file.certificates.length > 1;
      certificates.push({ certificate, place: several ? `${place}#${index + 1}` : place, file: join(root, relative) });
    }
    if (file.faults.length > 0) broken.push({ place, faults: file.faults });
  }
  for (const [relative, cause] of troubles) {
    broken.push({ place: `${basename(root)}/${relative}`, faults: [cause instanceof Error ? cause.message : 'cannot be read'] });
  }
  return { certificates, broken, unread: [...troubles.values()][0] };
}
