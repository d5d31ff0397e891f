/**
 * Certificates on their way into the folder: gathered by file, since those of one address stand in one, and written in batches by a few
 * threads, each of which syncs file by file. A batch is told of once all of it is durable, and never before.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { readRegularSync } from '../../../certificates/files/content.ts';
import { MAX_BUNDLE_BYTES, readCertificates } from '../../../certificates/bundle.ts';
import type { Certificate } from '../../../certificates/certificate.ts';
import { systemCode } from '../../../document/yaml.ts';
import { SealpostError } from '../../../errors.ts';
import type { FolderLock } from '../folder-lock.ts';
import { annotatedPem, fileNameOf } from '../store.ts';
import type { Origin, Outcome, Refusal } from './outcome.ts';
import { writeFiles, type Writing, type Written } from './write.ts';

export interface Shelving {
  /** It will be told of by `tell`, in its turn. Waits where too much is under way. Gives the path of the file it comes to stand in. */
  put(certificate: Certificate, origin: Origin): Promise<string>;
  /** One that was put before, or was there, is met again at `path`: told behind what becomes of the first, and of that only once it is durable. */
  again(certificate: Certificate, origin: Origin, place: { readonly path: string; readonly first: Origin | undefined }): Promise<void>;
  /** Everything that was put is told of. Throws `file-unwritable` where the folder cannot be written. */
  flush(): Promise<void>;
  /** Ends the threads. Nothing is under way. */
  close(): Promise<void>;
}

/** Of certificates, in a batch. */
const BATCH = 200;
const LINE_FEED = 0x0a;
/** Below that a thread takes longer to start than the work. */
const BY_ITSELF = 50;
const THREADS = 2;
/** MiB of a thread's heap, which holds a batch or two. */
const HEAP = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 };

interface Placed {
  readonly kind: 'taken' | 'already-there';
  readonly certificate: Certificate;
  readonly origin: Origin;
  /** Where it was met first in a dry run, which puts nothing there. */
  readonly first?: Origin | undefined;
}

/** Files by path. */
type Batch = Map<string, Placed[]>;

export interface ShelvingOptions {
  readonly folder: string;
  /** Held while a batch is written; undefined in a dry run, which writes nothing and tells the same. */
  readonly lock: FolderLock | undefined;
  /** Is given what became of each. */
  readonly tell: (outcome: Outcome) => Promise<void>;
}

export function openShelving({ folder, lock, tell }: ShelvingOptions): Shelving {
  const suffix = randomBytes(6).toString('hex');
  const threads: Worker[] = [];
  const idle: Worker[] = [];
  const underWay = new Map<Batch, Promise<void>>();
  let batch: Batch = new Map();
  let size = 0;
  let failed: Error | undefined;

  const write = async (writing: Writing): Promise<Written> => {
    const few = writing.files.length < BY_ITSELF && threads.length === 0;
    if (few) return writeFiles(writing);
    const thread = idle.pop() ?? startThread(threads);
    try {
      return await askThread(thread, writing);
    } finally {
      idle.push(thread);
    }
  };
  /** From the reading of what is there to the writing of what will be, nobody else writes. */
  const shelve = async (all: Batch): Promise<readonly Shelved[]> => {
    const shelved = [...all].map(([path, placed]): Shelved => ({ path, ...contentWith(path, placed) }));
    const files = shelved.flatMap(({ path, content }) => (content === undefined ? [] : [{ path, content }]));
    const written = lock === undefined || files.length === 0 ? [] : await write({ folder, suffix, files });
    const faults = new Map(files.map(({ path }, index) => [path, written[index]]));
    return shelved.map((one) => ({ ...one, fault: faults.get(one.path) }));
  };
  const settle = async (all: Batch): Promise<void> => {
    const shelved = await (lock === undefined ? shelve(all) : lock.hold(() => shelve(all)));
    for (const { path, placed, refusal, fault } of shelved) {
      if (fault !== undefined) failed ??= new SealpostError('file-unwritable', { detail: `${path} (${fault})`, hint: HINT });
      else if (refusal === undefined) for (const one of placed) await tell({ ...one, path });
      else for (const { certificate, origin } of placed) await tell({ kind: 'refused', origin, certificate, refusal });
    }
  };
  const send = (): void => {
    if (size === 0) return;
    const all = batch;
    [batch, size] = [new Map(), 0];
    const work = settle(all)
      .catch((error: unknown) => void (failed ??= error instanceof Error ? error : new Error(String(error))))
      .finally(() => underWay.delete(all));
    underWay.set(all, work);
  };
  const drain = async (): Promise<void> => {
    await Promise.all(underWay.values());
    if (failed !== undefined) throw failed;
  };
  const isUnderWay = (path: string): boolean => [...underWay.keys()].some((one) => one.has(path));
  const add = async (path: string, one: Placed): Promise<void> => {
    const placed = batch.get(path);
    if (placed === undefined) batch.set(path, [one]);
    else placed.push(one);
    if (++size < BATCH) return;
    if (underWay.size >= THREADS) await Promise.race(underWay.values());
    if (failed !== undefined) throw failed;
    send();
  };
  return {
    put: async (certificate, origin) => {
      const path = join(folder, `${fileNameOf(certificate.addresses[0] ?? certificate.fingerprint)}.pem`);
      // What is being written there is not read, and not written twice at once.
      if (isUnderWay(path)) await drain();
      await add(path, { kind: 'taken', certificate, origin });
      return path;
    },
    again: async (certificate, origin, { path, first }) => {
      if (isUnderWay(path)) await drain();
      const one = { kind: 'already-there', certificate, origin, first } as const;
      if (batch.has(path)) await add(path, one);
      else await tell({ ...one, path });
    },
    flush: async () => {
      send();
      await drain();
    },
    close: async () => {
      await Promise.allSettled(underWay.values());
      await Promise.all(threads.map((thread) => thread.terminate()));
    },
  };
}

const HINT = 'what was told as added is whole: run it again once the folder can be written';
const inTheWay = (reason: string): Refusal => ({ class: 'in-the-way', reason });

interface Content {
  readonly placed: readonly Placed[];
  /** What the file of an address will hold: what is there, and these behind it. Undefined where it stays as it is. */
  readonly content?: Buffer;
  /** Why nothing is put there. */
  readonly refusal?: Refusal;
}

interface Shelved extends Content {
  readonly path: string;
  /** Why it could not be written. */
  readonly fault?: string | undefined;
}

/** Whatever stands there is in the way of this address alone. */
function contentWith(path: string, placed: readonly Placed[]): Content {
  const pems = (fresh: readonly Placed[]): Buffer => Buffer.from(fresh.map(({ certificate }) => annotatedPem(certificate)).join(''));
  const isFresh = ({ kind }: Placed): boolean => kind === 'taken';
  if (!existsSync(path)) return { placed, content: pems(placed.filter(isFresh)) };
  let before: Buffer;
  try {
    before = readRegularSync(path);
  } catch (error) {
    const code = systemCode(error);
    const what = code === undefined ? 'something that is no file' : `a file that cannot be read (${code})`;
    return { placed, refusal: inTheWay(`${what} stands in the place of the file of its address: move it away`) };
  }
  const { certificates, faults } = readCertificates(before);
  if (before.length > 0 && (faults.length > 0 || !before.includes('-----BEGIN')))
    return { placed, refusal: inTheWay('the file of its address is no PEM file of certificates in good order: move it away or mend it') };
  // Another command may have put one there since the folder was read.
  const there = new Set(certificates.map(({ fingerprint }) => fingerprint));
  const now = placed.map((one): Placed => (there.has(one.certificate.fingerprint) ? { ...one, kind: 'already-there' } : one));
  const fresh = now.filter(isFresh);
  if (fresh.length === 0) return { placed: now };
  const end = before.length === 0 || before.at(-1) === LINE_FEED ? '' : '\n';
  const content = Buffer.concat([before, Buffer.from(end), pems(fresh)]);
  if (content.length <= MAX_BUNDLE_BYTES) return { placed: now, content };
  return { placed, refusal: inTheWay('the file of its address has no room: take old certificates out of it') };
}

function startThread(threads: Worker[]): Worker {
  // From source it is a .ts file, from dist a .js one.
  const file = import.meta.url.endsWith('.ts') ? './writer.ts' : './writer.js';
  const thread = new Worker(new URL(file, import.meta.url), { resourceLimits: HEAP });
  threads.push(thread);
  return thread;
}

function askThread(thread: Worker, writing: Writing): Promise<Written> {
  return new Promise((resolve, reject) => {
    const ended = (): void => reject(new Error('the thread that writes certificates has ended'));
    thread.once('error', reject).once('exit', ended);
    thread.once('message', (written: Written) => {
      thread.off('error', reject).off('exit', ended);
      resolve(written);
    });
    thread.postMessage(writing, []);
  });
}
