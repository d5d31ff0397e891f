/**
 * A folder of certificate files that is live: what is dropped into it, changed or taken away counts within seconds, without a
 * signal or a restart. It is polled (files/poll.ts), since change notices are lost on network file systems and in containers.
 * How it is read, and what counts when a file is half-written, gone or unreadable, stands in files/scan.ts.
 *
 * This is the form for small folders, such as those of anchors: everything in it is held, parsed. Folders of recipients may be large
 * and are asked by address: files.ts.
 */
import { opendir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import { makeTurn } from './bundle.ts';
import type { Certificate } from './certificate.ts';
import { readRegular } from './files/content.ts';
import { logOf } from './files/news.ts';
import { startPoll } from './files/poll.ts';
import { type FileAccess, makeScanner, type Scanner, type ScanState } from './files/scan.ts';

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
      readonly unread: Error | undefined;
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

export const usualDelays: FolderDelays = { answer: 10_000, loss: 5000, emptiness: 60_000 };

export function makeCertificateFolder({ path, log, now, delays: wished }: FolderOptions): CertificateFolder {
  const delays = { ...usualDelays, ...wished };
  let contents: FolderContents | undefined;
  const held = new Map<string, Certificate>();
  const progress = { at: '', since: performance.now() };
  const hold = (certificate: Certificate): void => {
    if (!held.has(certificate.fingerprint)) held.set(certificate.fingerprint, certificate);
  };
  const scanner = makeScanner({ path, now, delays, access: poolAccess(progress), hold, tell: logOf(path, log) });
  const take = (state: ScanState): void => {
    if (state.kind === 'unavailable') contents = state;
    else if (contents?.kind !== 'read' || contents.version !== state.version) {
      const { certificates, broken } = listed(path, scanner, held);
      contents = { ...state, certificates, broken };
      held.clear();
      for (const { certificate } of certificates) hold(certificate);
    }
  };
  const poll = startPoll({
    path,
    log,
    answer: delays.answer,
    scan: async () => {
      progress.since = performance.now();
      take(await scanner.scan());
    },
    progress: () => progress,
    stuck: (cause) => (contents = { kind: 'unavailable', cause }),
  });
  return {
    path,
    contents: async () => {
      await poll.first;
      return contents ?? { kind: 'unavailable', cause: undefined };
    },
    refresh: () => poll.refresh(),
    close: () => poll.close(),
  };
}

/** Each call takes a thread of the pool that all file work of the process shares, one at a time. */
function poolAccess(progress: { at: string; since: number }): FileAccess {
  return {
    list: async function* (path) {
      yield* await opendir(path);
    },
    stat: (path) => stat(path, { bigint: true }),
    read: readRegular,
    begin: (at) => {
      progress.at = at;
      progress.since = performance.now();
    },
    turn: makeTurn(),
  };
}

type Listing = Pick<FolderContents & { kind: 'read' }, 'certificates' | 'broken'>;

function listed(root: string, { catalogue, troubles }: Scanner, held: ReadonlyMap<string, Certificate>): Listing {
  const certificates: PlacedCertificate[] = [];
  const broken: BrokenFile[] = [];
  const rows = catalogue.paths.map((path, row) => ({ path, row })).sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const { path, row } of rows) {
    const [start, end] = catalogue.certificatesOf(row);
    for (let one = start; one < end; one++) {
      const certificate = held.get(catalogue.fingerprint(one).toString('hex'));
      if (certificate !== undefined) certificates.push({ certificate, ...placeOf(root, path, one - start, end - start) });
    }
    const faults = catalogue.faults.get(row);
    if (faults !== undefined) broken.push({ place: `${basename(root)}/${path}`, faults });
  }
  for (const [path, { message }] of troubles) broken.push({ place: `${basename(root)}/${path}`, faults: [message] });
  return { certificates, broken };
}

/** `index` counts from 0 among all of the file. */
export function placeOf(
  root: string,
  path: string,
  index: number,
  all: number,
  label = basename(root),
): Omit<PlacedCertificate, 'certificate'> {
  const place = `${label}/${path}`;
  return { place: all > 1 ? `${place}#${index + 1}` : place, file: join(root, path) };
}
