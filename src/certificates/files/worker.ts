/**
 * The thread of one folder of recipients: it scans, and it answers look-ups, also in the middle of a scan. All its calls of the file system
 * hold the thread and nothing else: that is fast, and a file server that hangs holds this thread, not the pool that all file work of
 * the process shares.
 */
import { opendirSync, statSync } from 'node:fs';
import type { Dirent } from 'node:fs';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { SealpostError } from '../../errors.ts';
import type { BrokenFile } from '../folder.ts';
import { makeBeat } from './beat.ts';
import { type Catalogue, DIGEST } from './catalogue.ts';
import { readRegularSync } from './content.ts';
import { encodeIndex, readIndex, writeIndex } from './index-file.ts';
import type {
  CertificateLocations,
  FindAnswer,
  Operations,
  PagePlace,
  Request,
  ScanAnswer,
  WorkerMessage,
  WorkerStart,
} from './requests.ts';
import { asError, makeScanner } from './scan.ts';
import { makeShelf, MAX_FOR_ADDRESS } from './shelf.ts';

/**
 * So often the index of many files is written at most: it is whole each time. What changed since is read again by the next start. That of a
 * few costs nothing, and is written at each change: the next start then knows what a file held that is cut by then.
 */
const INDEX_REST_MS = 5 * 60_000;
const LISTED_AT_ONCE = 1024;
const PAGE = 200;
/** For people: beyond, the folder is no folder of certificates. */
const MAX_BROKEN = 1000;

const port = parentPort;
if (port === null) throw new SealpostError('internal', { detail: 'the thread of a certificate folder is started as a worker' });
// A port, not a window: there is no origin to name.
type Answer = Operations[keyof Operations]['answer'];
const send = (message: WorkerMessage<Answer>): void => port.postMessage(message, []);

const start: WorkerStart = workerData;
const { path, label, own, delays, index, heldBytes, beat: memory } = start;
const beat = makeBeat(memory);
const shelf = makeShelf(path, heldBytes);
const strike = (at: string): void => beat.strike(at);

const indexed = readIndex(index.file, path);
if (indexed.kind === 'refused') send({ kind: 'news', news: { kind: 'index-refused', reason: indexed.reason } });

const scanner = makeScanner({
  path,
  now: Date.now,
  delays,
  access: {
    list: listing,
    stat: (file) => statSync(file, { bigint: true }),
    read: readRegularSync,
    begin: strike,
    // Look-ups do not wait for the end of a scan. A request to scan never comes in the middle of one.
    turn: () => {
      for (let held = receiveMessageOnPort(port); held !== undefined; held = receiveMessageOnPort(port)) {
        const request: Request = held.message;
        void answer(request);
      }
    },
  },
  hold: (certificate) => shelf.hold(certificate),
  tell: (news) => send({ kind: 'news', news }),
  known: indexed.kind === 'read' ? indexed.catalogue : undefined,
  // A command tells what is there now.
  doubtsFirst: index.writable,
  own,
});

function* listing(folder: string): Iterable<Dirent> {
  const opened = opendirSync(folder, { bufferSize: LISTED_AT_ONCE });
  try {
    for (let entry = opened.readSync(); entry !== null; entry = opened.readSync()) yield entry;
  } finally {
    opened.closeSync();
  }
}

/** As it stands on disk; undefined where it does not. */
let written = indexed.kind === 'read' ? indexed.catalogue : undefined;
let writtenAt = -Infinity;
let failed = false;

function keepIndex({ catalogue }: { readonly catalogue: Catalogue }): void {
  if (!index.writable || catalogue === written) return;
  const isLarge = Math.min(catalogue.files, written?.files ?? Infinity) >= index.manyFiles;
  if ((isLarge || failed) && performance.now() - writtenAt < INDEX_REST_MS) return;
  failed = true;
  try {
    writeIndex(index.file, encodeIndex(catalogue, path));
    written = catalogue;
    failed = false;
  } catch (error) {
    send({ kind: 'news', news: { kind: 'index-unwritable', cause: asError(error) } });
  }
  writtenAt = performance.now();
}

async function scan(): Promise<ScanAnswer> {
  const state = await scanner.scan();
  const { catalogue } = scanner;
  // An emptiness that is not believed is nothing to remember.
  if (state.kind === 'read' && (catalogue.files > 0 || state.unread === undefined)) keepIndex({ catalogue });
  return { state, files: catalogue.files, certificates: catalogue.certificates };
}

const find = (hash: number): FindAnswer => shelf.take(scanner.catalogue, scanner.catalogue.named(hash, MAX_FOR_ADDRESS + 1), strike);

function begun(fingerprint: string): FindAnswer {
  const { catalogue } = scanner;
  const found: number[] = [];
  for (let one = 0; one < catalogue.certificates && found.length <= MAX_FOR_ADDRESS; one++) {
    if (catalogue.fingerprint(one).toString('hex').startsWith(fingerprint)) found.push(one);
  }
  return shelf.take(catalogue, found, strike);
}

/** Rows in the order of their paths, made for the first page of a catalogue. */
let sorted: { readonly of: Catalogue; readonly rows: Uint32Array } | undefined;

function page(after: PagePlace | undefined): FindAnswer {
  const { catalogue } = scanner;
  const { paths } = catalogue;
  const pathOf = (row: number): string => paths[row] ?? '';
  if (sorted?.of !== catalogue) {
    const rows = Uint32Array.from(paths.keys()).sort((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1));
    sorted = { of: catalogue, rows };
  }
  const found: number[] = [];
  for (
    let at = after === undefined ? 0 : firstFrom(sorted.rows, pathOf, after.path);
    at < sorted.rows.length && found.length < PAGE;
    at++
  ) {
    const row = sorted.rows[at] ?? 0;
    const [start, end] = catalogue.certificatesOf(row);
    const passed = after !== undefined && pathOf(row) === after.path ? after.index + 1 : 0;
    for (let one = start + passed; one < end && found.length < PAGE; one++) found.push(one);
  }
  return shelf.take(catalogue, found, strike);
}

/** The first place whose path is not before `wanted`. */
function firstFrom(rows: Uint32Array, pathOf: (row: number) => string, wanted: string): number {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (pathOf(rows[middle] ?? 0) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Without those that a file held before and may hold again. */
function places(): CertificateLocations {
  const { catalogue } = scanner;
  const there = Uint32Array.from({ length: catalogue.certificates }, (_, one) => one).filter(
    (one) => (catalogue.lengths.array[one] ?? 0) > 0,
  );
  const fingerprints = new Uint8Array(there.length * DIGEST);
  for (const [place, one] of there.entries()) fingerprints.set(catalogue.fingerprint(one), place * DIGEST);
  return { fingerprints, files: there.map((one) => catalogue.fileOf.array[one] ?? 0), paths: catalogue.paths };
}

function broken(): BrokenFile[] {
  const { catalogue, troubles } = scanner;
  const found: BrokenFile[] = [];
  const place = (below: string): string => (below === '' ? label : `${label}/${below}`);
  for (const [row, faults] of catalogue.faults) {
    if (found.length >= MAX_BROKEN) break;
    found.push({ place: place(catalogue.paths[row] ?? ''), faults });
  }
  for (const [below, { message }] of troubles) {
    if (found.length >= MAX_BROKEN) break;
    found.push({ place: place(below), faults: [message] });
  }
  return found.sort((a, b) => (a.place < b.place ? -1 : 1));
}

function work(request: Request): Answer | Promise<Answer> {
  switch (request.kind) {
    case 'scan':
      return scan();
    case 'find':
      return find(request.hash);
    case 'begun':
      return begun(request.fingerprint);
    case 'page':
      return page(request.after);
    case 'places':
      return places();
    case 'broken':
      return broken();
  }
}

async function answer(request: Request): Promise<void> {
  const { id } = request;
  try {
    send({ kind: 'answer', id, answer: await work(request) });
  } catch (error) {
    send({ kind: 'failure', id, cause: asError(error) });
  }
}

port.on('message', (request: Request) => void answer(request));
