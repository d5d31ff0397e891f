/**
 * Recipient certificates kept as files: a source whose folder is live (files/scan.ts), however large it is. A thread of its own scans
 * the folder, keeps an index of addresses in memory and, for a large folder, on disk, and reads the certificate again from its file when
 * it is asked for; what is found there is compared with the fingerprint of the index. Where the file has changed meanwhile, the folder
 * is scanned first, and the answer is what stands there then, or *unavailable*, never what the index remembers. What was read a second
 * ago is believed.
 */
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import { mailboxKey } from '../message/envelope.ts';
import { makeTurn } from './bundle.ts';
import type { Certificate } from './certificate.ts';
import { parseCertificate } from './certificate.ts';
import { type Beat, makeBeat } from './files/beat.ts';
import { addressHash, DIGEST } from './files/catalogue.ts';
import { indexPath } from './files/index-file.ts';
import { type FolderNews, logOf } from './files/news.ts';
import { startPoll } from './files/poll.ts';
import type { FindAnswer, PagePlace } from './files/requests.ts';
import { asError, type ScanState } from './files/scan.ts';
import type { Shelved } from './files/shelf.ts';
import { makeFolderThread } from './files/thread.ts';
import { type BrokenFile, type FolderDelays, placeOf, type PlacedCertificate, usualDelays } from './folder.ts';
import type { Candidate, CertificateSource, SourceAnswer } from './source.ts';
import { unlessAborted, within } from './time-box.ts';

export interface RecipientFolder {
  readonly path: string;
  /** Of a mailboxKey(): everything that names it, in the order of paths. Waits for the first scan. */
  find(key: string, signal: AbortSignal): Promise<FolderAnswer>;
  /** What is wrong with it, for people; waits for the first scan. At most a thousand files are named. */
  survey(): Promise<FolderSurvey>;
  /** All in the order of paths, or the chosen ones. Throws where the folder cannot be read. */
  entries(which?: Selection): AsyncIterable<PlacedCertificate>;
  /** The file of each certificate, as of the last scan, by its fingerprint in hex. Throws where the folder cannot be read. */
  places(): Promise<Map<string, string>>;
  /** Scans now. */
  refresh(): Promise<void>;
  close(): Promise<void>;
}

/** One of an address as mailboxKey() writes it, or by the beginning of a fingerprint in hex. */
export type Selection = { readonly address: string } | { readonly fingerprint: string };

/**
 * `found` may be empty: that is a fact unless it is `incomplete`, which says why others may stand where they cannot be read. `torn`: a
 * file that named the address is half-written, and nothing from elsewhere may take its place.
 */
export type FolderAnswer =
  | { readonly kind: 'found'; readonly certificates: readonly PlacedCertificate[]; readonly incomplete: Error | undefined }
  | { readonly kind: 'unavailable'; readonly cause: unknown; readonly torn?: boolean };

export type FolderSurvey =
  | { readonly kind: 'read'; readonly broken: readonly BrokenFile[] }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

export interface RecipientFolderOptions {
  readonly path: string;
  /** What its places begin with, for people; else the last part of the path. */
  readonly label?: string;
  /** Whether it is the relay's own: see ScannerOptions. */
  readonly own?: boolean;
  readonly log: Logger;
  readonly cache: { readonly folder: string; readonly writable: boolean };
  readonly delays?: Partial<FolderDelays>;
  /** From so many files on the index on disk is written every few minutes, and not at each change. */
  readonly manyFiles?: number;
  /** Of certificates of late that are held unparsed: also what a half-written file gave before. */
  readonly heldBytes?: number;
  /** Told every second of a long first scan how many files it has seen. */
  readonly progress?: ((files: number) => void) | undefined;
}

/** The index of fewer is written in a few milliseconds. */
const MANY_FILES = 1000;
/** Five thousand certificates or more: a folder of that size costs no reads. */
const HELD_BYTES = 8 * 1024 * 1024;
/** Parsed certificates of late: sealing keeps what it derives from one beside it. */
const MAX_PARSED = 500;
/** How often an answer may be overtaken by changes before it is given up. */
const MAX_TRIES = 3;
const SLOW_MS = 1000;
/** How long an answer is used again: RCPT and DATA of a message, and the next ones to the same reader, ask once. */
const RECENT_MS = 1000;
/** Answers of late; of more certificates than a person has none is kept. */
const MAX_RECENT = 1000;
const MAX_RECENT_FOUND = 4;

export function openRecipientFolder(options: RecipientFolderOptions): RecipientFolder {
  const { path, log, cache, progress, own = false, label = basename(path) } = options;
  const delays = { ...usualDelays, ...options.delays };
  const beat = makeBeat();
  const watched = watch(beat);
  const news = logOf(path, log);
  let state: ScanState | undefined;
  let closed = false;
  const thread = makeFolderThread(
    {
      path,
      label,
      own,
      delays,
      index: { file: indexPath(cache.folder, path), writable: cache.writable, manyFiles: options.manyFiles ?? MANY_FILES },
      heldBytes: options.heldBytes ?? HELD_BYTES,
      beat: beat.memory,
    },
    (told: FolderNews) => {
      if (told.kind === 'progress') progress?.(told.files);
      news(told);
    },
  );
  const parsed = makeParsed(MAX_PARSED);
  // Whoever goes over all of them asks for each once.
  const passing = makeParsed(0);
  const recent = makeRecent();
  const scan = async (): Promise<void> => {
    const begun = performance.now();
    const first = state === undefined;
    watched.begin();
    recent.clear();
    try {
      const { state: seen, files, certificates } = await thread.ask('scan', {});
      const seconds = Math.round((performance.now() - begun) / 100) / 10;
      if (first && seconds * 1000 >= SLOW_MS) log.info({ path, files, certificates, seconds }, 'certificate folder is read');
      state = seen;
      // Whoever asked meanwhile was told of what stood there before.
      recent.clear();
    } catch (error) {
      const cause = asError(error);
      if (state?.kind !== 'unavailable' && !closed) log.error({ path, err: cause }, 'thread of the certificate folder has failed');
      state = { kind: 'unavailable', cause };
    }
  };
  const poll = startPoll({
    path,
    log,
    answer: delays.answer,
    scan,
    progress: () => watched.progress(),
    stuck: (cause) => (state = { kind: 'unavailable', cause }),
  });
  /** As of the last scan; waits for the first one, and for no longer than anybody does. */
  const current = async (signal?: AbortSignal): Promise<ScanState> => {
    await waited(signal, () => poll.first);
    return state ?? { kind: 'unavailable', cause: new Error(`${path} is not read yet`) };
  };
  /** Asks until the answer is of what stands in the files. */
  const settled = async (ask: () => Promise<FindAnswer>, signal?: AbortSignal): Promise<readonly Shelved[]> => {
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      const known = await current(signal);
      if (known.kind === 'unavailable') throw known.cause;
      const answer = await waited(signal, () => within(delays.answer, ask));
      if (answer.kind === 'shelved') return answer.found;
      if (answer.kind === 'too-many') throw new Error('more than a thousand certificates for one address or fingerprint');
      await waited(signal, () => poll.refresh());
    }
    throw new Error(`${path} changes while it is read`);
  };
  const find = async (key: string, signal?: AbortSignal): Promise<FolderAnswer> => {
    try {
      const shelved = recent.get(key) ?? (await settled(() => thread.ask('find', { hash: addressHash(key) }), signal));
      recent.keep(key, shelved);
      const { certificates, lost } = await parsed.all({ path, label }, shelved);
      const gone = lost === undefined ? undefined : new Error(`${lost.place} held a certificate that cannot be read now`);
      // It named this address a moment ago, and may be the newest: nothing of half a file is taken in its place. A whole one is a renewal.
      if (gone !== undefined && lost?.faulty === true) return { kind: 'unavailable', cause: gone, torn: true };
      const named = certificates.filter(({ certificate }) => certificate.addresses.includes(key));
      const unread = state?.kind === 'read' ? state.unread : state?.cause;
      return { kind: 'found', certificates: named, incomplete: unread ?? brokenOf(path, shelved) ?? gone };
    } catch (cause) {
      return { kind: 'unavailable', cause };
    }
  };
  return {
    path,
    find,
    survey: async () => {
      const known = await current();
      if (known.kind === 'unavailable') return known;
      try {
        return { kind: 'read', broken: await within(delays.answer, () => thread.ask('broken', {})) };
      } catch (cause) {
        return { kind: 'unavailable', cause };
      }
    },
    entries: async function* (which) {
      if (which !== undefined) {
        const ask = (): Promise<FindAnswer> =>
          'address' in which ? thread.ask('find', { hash: addressHash(which.address) }) : thread.ask('begun', which);
        const { certificates } = await parsed.all({ path, label }, await settled(ask));
        yield* certificates.filter(({ certificate }) => !('address' in which) || certificate.addresses.includes(which.address));
        return;
      }
      for (let after: PagePlace | undefined; ;) {
        const ask = (): Promise<FindAnswer> => thread.ask('page', { after });
        const page = await settled(ask);
        const last = page.at(-1);
        if (last === undefined) return;
        yield* (await passing.all({ path, label }, page)).certificates;
        after = { path: last.path, index: last.index };
      }
    },
    places: async () => {
      const known = await current();
      if (known.kind === 'unavailable') throw known.cause;
      const { fingerprints, files, paths } = await within(delays.answer, () => thread.ask('places', {}));
      const all = Buffer.from(fingerprints.buffer, fingerprints.byteOffset, fingerprints.length);
      const fileOf = (one: number): string => join(path, paths[files[one] ?? 0] ?? '');
      return new Map(Array.from(files.keys(), (one) => [all.toString('hex', one * DIGEST, (one + 1) * DIGEST), fileOf(one)]));
    },
    refresh: () => poll.refresh(),
    close: async () => {
      closed = true;
      poll.close();
      await thread.close();
    },
  };
}

interface Watched {
  /** It has something to do from now on. */
  begin(): void;
  progress(): { readonly at: string; readonly since: number };
}

/** Since when the thread stands where it is. Until its first beat it is being started, which is no fault of the folder. */
function watch(beat: Beat): Watched {
  let [count, since] = [0, performance.now()];
  return {
    begin: () => (since = performance.now()),
    progress: () => {
      const { count: beats, at } = beat.read();
      if (beats !== count || beats === 0) [count, since] = [beats, performance.now()];
      return { at, since };
    },
  };
}

/** What `act` answers; where there is a signal, not once nobody waits any more. */
async function waited<Result>(signal: AbortSignal | undefined, act: () => Promise<Result>): Promise<Result> {
  return signal === undefined ? act() : unlessAborted(signal, act);
}

/** Of a file that names the address: the part of it that is no certificate may have been one. */
function brokenOf(root: string, shelved: readonly Shelved[]): Error | undefined {
  const broken = shelved.find(({ faults }) => faults.length > 0);
  return broken === undefined ? undefined : new Error(`${join(root, broken.path)} is broken: ${broken.faults[0]}`);
}

/** One that stood there, cannot be read now, and stands nowhere else; `faulty`: what stands there now is no whole file. */
interface Lost {
  readonly place: string;
  readonly faulty: boolean;
}

/** A folder, and what its places begin with. */
interface Root {
  readonly path: string;
  readonly label: string;
}

interface Parsed {
  all(root: Root, shelved: readonly Shelved[]): Promise<{ certificates: PlacedCertificate[]; lost: Lost | undefined }>;
}

/** Parses, and remembers some: the same octets are the same object while they are asked for often. */
function makeParsed(most: number): Parsed {
  const known = new Map<string, Certificate>();
  const certificateOf = (fingerprint: string, der: Uint8Array): Certificate => {
    const certificate = known.get(fingerprint) ?? parseCertificate(Buffer.from(der.buffer, der.byteOffset, der.length));
    known.delete(fingerprint);
    known.set(fingerprint, certificate);
    const [oldest] = known.keys();
    if (known.size > most && oldest !== undefined) known.delete(oldest);
    return certificate;
  };
  return {
    all: async (root, shelved) => {
      const turn = makeTurn();
      const certificates: PlacedCertificate[] = [];
      const lost = new Map<string, Lost>();
      for (const { der, fingerprint, path, index, all, faults } of shelved) {
        const place = placeOf(root.path, path, index, all, root.label);
        if (der === undefined) lost.set(fingerprint, { place: place.place, faulty: faults.length > 0 });
        else certificates.push({ certificate: certificateOf(fingerprint, der), ...place });
        await turn();
      }
      for (const { certificate } of certificates) lost.delete(certificate.fingerprint);
      const gone = [...lost.values()];
      return { certificates, lost: gone.find(({ faulty }) => faulty) ?? gone[0] };
    },
  };
}

interface Recent {
  get(key: string): readonly Shelved[] | undefined;
  /** For a second from when it was asked for first; not where one could not be read. */
  keep(key: string, found: readonly Shelved[]): void;
  clear(): void;
}

function makeRecent(): Recent {
  const answers = new Map<string, { readonly found: readonly Shelved[]; readonly until: number }>();
  return {
    get: (key) => {
      const answer = answers.get(key);
      if (answer === undefined || performance.now() < answer.until) return answer?.found;
      answers.delete(key);
      return undefined;
    },
    keep: (key, found) => {
      if (answers.has(key) || found.length > MAX_RECENT_FOUND || found.some(({ der }) => der === undefined)) return;
      if (answers.size >= MAX_RECENT) answers.clear();
      answers.set(key, { found, until: performance.now() + RECENT_MS });
    },
    clear: () => answers.clear(),
  };
}

type Findable = Pick<RecipientFolder, 'path' | 'find' | 'close'>;

/**
 * Certificates count for every address they name. Several folders are one source, as if they stood below one: what one of them cannot
 * read hides nothing that another has, and is no absence.
 */
export function makeFileSource(...folders: readonly [Findable, ...Findable[]]): CertificateSource {
  const name = `files ${folders.map(({ path }) => path).join(', ')}`;
  return {
    name,
    close: async () => {
      for (const folder of folders) await folder.close();
    },
    lookup: async (mailbox, signal): Promise<SourceAnswer> => {
      const key = mailboxKey(mailbox);
      const candidates: Candidate[] = [];
      const unread: Error[] = [];
      const answers = await Promise.all(folders.map(async ({ path, find }) => ({ path, answer: await find(key, signal) })));
      for (const { path, answer } of answers) {
        if (answer.kind === 'unavailable' && answer.torn === true) return { kind: 'unavailable', cause: answer.cause };
        const missed = answer.kind === 'unavailable' ? asError(answer.cause) : answer.incomplete;
        if (missed !== undefined) unread.push(missed);
        if (answer.kind === 'unavailable') continue;
        candidates.push(...answer.certificates.map(({ certificate, place }) => ({ certificate, source: `files ${path}`, place })));
      }
      const [incomplete] = unread;
      if (incomplete === undefined) return candidates.length > 0 ? { kind: 'found', candidates } : { kind: 'absent' };
      if (candidates.length === 0) return { kind: 'unavailable', cause: incomplete };
      return { kind: 'found', candidates, incomplete, remarks: unread.map(({ message }) => `not all could be read: ${message}`) };
    },
  };
}
