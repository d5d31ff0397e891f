/**
 * Lists that the operator, or a job of his, lays into a folder: for a CA that publishes none, and for a relay that reaches nobody;
 * and those that the in-house CA writes, which lie in a folder of the relay's own. Such a folder is live: what is laid there counts within seconds. Only the beginning of each file is read here, to know whose list
 * it is and from when; the list itself is read when a certificate of that issuer is asked about.
 */
import { open, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type CrlBeginning, readCrlBeginning } from './crl-scan.ts';

export interface LocalCrl {
  readonly path: string;
  /** For people: `crls/ca.crl`. */
  readonly name: string;
  /** Changes with the file. */
  readonly stamp: string;
  /** Undefined where the file is none that can be read. */
  readonly beginning: CrlBeginning | undefined;
}

export type LocalCrls =
  | { readonly kind: 'read'; readonly lists: readonly LocalCrl[] }
  /** The folder, or a part of it, could not be looked into: the list may be there (P5). */
  | { readonly kind: 'unavailable'; readonly why: string };

export interface CrlFolder {
  /** As of at most some seconds ago. */
  lists(): Promise<LocalCrls>;
}

/** Lists of the in-house CA, below the data folder: what is fetched stands in `crls` there, and is believed less. */
export const OWN_LISTS = 'own-crls';

const FRESH_MS = 2000;
/** For a file system that stands still. */
const PATIENCE_MS = 2000;
const MAX_FILES = 1000;
const BEGINNING = 16 * 1024;
const DASH = 0x2d;
const PEM_BEGINNING = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)/;
/** As in folders of certificates: hidden files, backups and notes. */
const PASSED_OVER = /^\.|~$|\.(?:md|txt|bak|tmp|swp|part)$/i;

/** `optional`: that the folder is not there means that it holds no list. */
export function makeCrlFolder(folder: string, { optional = false }: { readonly optional?: boolean } = {}): CrlFolder {
  let known = new Map<string, LocalCrl>();
  let scanned = -Infinity;
  let scanning: Promise<LocalCrls> | undefined;
  let last: LocalCrls = { kind: 'read', lists: [] };

  const scan = async (): Promise<LocalCrls> => {
    try {
      const next = new Map<string, LocalCrl>();
      for (const name of (await readdir(folder)).sort()) {
        if (PASSED_OVER.test(name)) continue;
        const list = await look(folder, name, known.get(name));
        if (list === undefined) continue;
        if (next.size >= MAX_FILES) return unavailable(folder, `it holds more than ${MAX_FILES} files`);
        next.set(name, list);
      }
      known = next;
      return { kind: 'read', lists: [...next.values()] };
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'it cannot be read';
      if (optional && code === 'ENOENT') return { kind: 'read', lists: [] };
      return unavailable(folder, code);
    }
  };

  return {
    lists: async () => {
      if (performance.now() - scanned < FRESH_MS) return last;
      scanning ??= scan().then((found) => {
        scanned = performance.now();
        scanning = undefined;
        return (last = found);
      });
      const { promise: late, resolve } = Promise.withResolvers<LocalCrls>();
      const timer = setTimeout(() => resolve(unavailable(folder, 'it does not answer')), PATIENCE_MS);
      try {
        return await Promise.race([scanning, late]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

const unavailable = (folder: string, why: string): LocalCrls => ({ kind: 'unavailable', why: `the folder ${basename(folder)}: ${why}` });

/** Throws where the system does not let us look. */
async function look(folder: string, name: string, before: LocalCrl | undefined): Promise<LocalCrl | undefined> {
  const path = join(folder, name);
  try {
    const stats = await stat(path, { bigint: true });
    if (!stats.isFile()) return undefined;
    const stamp = [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(':');
    if (before?.stamp === stamp) return before;
    return { path, name: `${basename(folder)}/${name}`, stamp, beginning: (await beginningOf(path)) ?? before?.beginning };
  } catch (error) {
    // Taken away between the listing and the look, or a link to nothing.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

async function beginningOf(path: string): Promise<CrlBeginning | undefined> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(BEGINNING), 0, BEGINNING, 0);
    const beginning = buffer.subarray(0, bytesRead);
    const [, base64] = beginning[0] === DASH ? (PEM_BEGINNING.exec(beginning.toString('latin1')) ?? []) : [];
    const der = base64 === undefined ? beginning : Buffer.from(base64, 'base64');
    return readBeginning(der);
  } finally {
    await file.close();
  }
}

function readBeginning(der: Buffer): CrlBeginning | undefined {
  try {
    return readCrlBeginning(der, der.length);
  } catch {
    // No list, or one that is being written: its stamp changes once it is whole.
    return undefined;
  }
}
