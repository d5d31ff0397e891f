/**
 * Fetched lists on disk, so that a restart does not fetch them all anew and a CA that is down for a day is not missed. A file is
 * believed no more than an answer from the network: its signature and dates are checked each time it is read, and what does not
 * hold is thrown away. The thread for lists writes them (crl-worker.ts).
 */
import { createHash } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CrlIssuer } from './crl-read.ts';

export interface CrlStore {
  /** Where the list of that place and issuer is written to; undefined where nothing is written. */
  keep(place: string, issuer: CrlIssuer): string | undefined;
  /** The file and when it was written, ms since the epoch; undefined where there is none. */
  find(place: string, issuer: CrlIssuer): Promise<{ readonly path: string; readonly written: number } | undefined>;
  discard(path: string): Promise<void>;
  /** Takes away the oldest until what is left keeps within the bound. */
  prune(): Promise<void>;
}

export interface CrlStoreOptions {
  /** Absolute; it need not exist. */
  readonly folder: string;
  readonly writable: boolean;
  /** Octets of all files; usually 512 MiB. */
  readonly bound?: number;
}

const USUAL_BOUND = 512 * 1024 * 1024;
const OURS = /^[0-9a-f]{64}\.crl(?:\.part)?$/;

export function makeCrlStore({ folder, writable, bound = USUAL_BOUND }: CrlStoreOptions): CrlStore {
  // The issuer too: two CAs may name the same URL, and each has its own list there.
  const pathOf = (place: string, { id }: CrlIssuer): string =>
    join(folder, `${createHash('sha256').update(`${id} ${place}`).digest('hex')}.crl`);
  return {
    keep: (place, issuer) => (writable ? pathOf(place, issuer) : undefined),
    find: async (place, issuer) => {
      const path = pathOf(place, issuer);
      const stats = await stat(path).catch(() => undefined);
      return stats?.isFile() ? { path, written: stats.mtimeMs } : undefined;
    },
    discard: async (path) => {
      if (writable) await rm(path, { force: true }).catch(() => {});
    },
    prune: async () => {
      if (!writable) return;
      const names = (await readdir(folder).catch(() => [])).filter((name) => OURS.test(name));
      const files = await Promise.all(
        names.map(async (name) => {
          const path = join(folder, name);
          const stats = await stat(path).catch(() => undefined);
          return { path, size: stats?.size ?? 0, written: stats?.mtimeMs ?? 0 };
        }),
      );
      let total = 0;
      for (const { path, size } of files.sort((a, b) => b.written - a.written)) {
        total += size;
        if (total > bound) await rm(path, { force: true }).catch(() => {});
      }
    },
  };
}
