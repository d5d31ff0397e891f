/** The two places of lists: a file that the operator laid, and a URL with its copy on disk. */
import type { Crl, CrlHeld, CrlIssuer, CrlReading } from './crl-read.ts';
import { MAX_CRL_BYTES } from './crl-scan.ts';
import { type CrlSubjects, subjectsKey } from './crl-scope.ts';
import type { CrlPlace, Loaded } from './crl-shelf.ts';
import type { CrlStore } from './crl-store.ts';
import type { CrlThread } from './crl-thread.ts';
import { FetchRefused } from './fetch.ts';
import type { FetchDocument } from './revocation.ts';
import type { Seats } from './seats.ts';

export interface CrlLoads {
  readonly thread: CrlThread;
  readonly store: CrlStore;
  /** For fetching and reading together: the octets of a list are in memory meanwhile. */
  readonly seats: Seats;
  readonly fetch: FetchDocument;
  /** ms */
  readonly now: () => number;
}

/** Below this a copy costs nothing, and what is small may share its memory with others. */
const COPIED_BELOW = 1024 * 1024;

export function filePlace(path: string, stamp: string, { thread, now }: CrlLoads): CrlPlace {
  return {
    id: `file ${path}`,
    stamp,
    refreshed: false,
    load: async (issuer) => ({ reading: await thread.read(path, issuer), got: now() }),
  };
}

/**
 * `url` has been parsed by parseFetchUrl(). A place for each kind of certificates that name it: an authentic list of the same CA that
 * speaks for others is none here, else whoever sits on the way could put it in the place of one that revokes.
 */
export function urlPlace(url: URL, subjects: CrlSubjects, loads: CrlLoads): CrlPlace {
  const id = `url ${url.href} ${subjectsKey(subjects)}`;
  return {
    id,
    stamp: '',
    refreshed: true,
    load: async (issuer, held, signal) => {
      const copy = held === undefined ? await readCopy({ id, url, issuer, subjects }, loads) : undefined;
      if (copy !== undefined) return copy;
      const reading = await fetchList({ id, url, issuer, subjects }, held, loads, signal);
      return { reading, got: loads.now() };
    },
  };
}

interface Wanted {
  /** Of the place. */
  readonly id: string;
  readonly url: URL;
  readonly issuer: CrlIssuer;
  readonly subjects: CrlSubjects;
}

async function readCopy({ id, issuer, subjects }: Wanted, { thread, store }: CrlLoads): Promise<Loaded | undefined> {
  const file = await store.find(id, issuer);
  if (file === undefined) return undefined;
  const reading = await thread.read(file.path, issuer, { subjects });
  if (reading.kind === 'list') return { reading, got: file.written };
  await store.discard(file.path);
  return undefined;
}

async function fetchList(
  { id, url, issuer, subjects }: Wanted,
  held: Crl | undefined,
  { thread, store, seats, fetch }: CrlLoads,
  signal: AbortSignal,
): Promise<CrlReading> {
  try {
    const free = await seats.take(url.origin, signal, issuer.id);
    try {
      const octets = transferable(await fetch({ url: url.href, of: issuer.id, maxBytes: MAX_CRL_BYTES }, signal));
      const path = store.keep(id, issuer);
      const reading = await thread.read(octets, issuer, {
        subjects,
        keep: path === undefined ? undefined : { path, held: held && heldOf(held) },
      });
      // Whoever sits on the way chooses what comes: that is no fact about what comes next (P5).
      if (reading.kind === 'refused') return { ...reading, lasting: false };
      await store.prune();
      return reading;
    } finally {
      free();
    }
  } catch (error) {
    return {
      kind: 'refused',
      why: error instanceof Error ? error.message : 'it cannot be fetched',
      lasting: error instanceof FetchRefused,
    };
  }
}

/** Without its index, which would be copied on its way to the thread. */
const heldOf = ({ thisUpdate, scope }: Crl): CrlHeld => ({ thisUpdate, scope });

function transferable(octets: Buffer): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = octets;
  if (byteLength < COPIED_BELOW || !(buffer instanceof ArrayBuffer)) return Uint8Array.from(octets);
  return new Uint8Array(buffer, byteOffset, byteLength);
}
