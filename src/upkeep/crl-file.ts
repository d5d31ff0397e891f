/** A revocation list as it is served: read anew when its file changes, and never believed longer than it says itself. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { readCrlFacts } from '../certificates/authority/crl.ts';

export interface ServedCrl {
  readonly bytes: Buffer;
  /** Quoted, as RFC 9110 §8.8.3 wants it. */
  readonly etag: string;
  /** ms since the epoch, whole seconds: when the file was written. */
  readonly modified: number;
  readonly nextUpdate: number;
}

/** `why` for people. */
export type CrlFileState = { readonly kind: 'list'; readonly list: ServedCrl } | { readonly kind: 'none'; readonly why: string };

export interface CrlFile {
  /** Never throws. `now` in ms. */
  state(now: number): Promise<CrlFileState>;
}

export function makeCrlFile(path: string): CrlFile {
  let [stamp, last]: [string, CrlFileState | undefined] = ['', undefined];
  let looking: Promise<CrlFileState> | undefined;
  const look = async (): Promise<CrlFileState> => {
    try {
      const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
      const found = [dev, ino, size, mtimeNs].join(':');
      if (last === undefined || found !== stamp) [last, stamp] = [await read(path), found];
      return last;
    } catch (error) {
      [last, stamp] = [undefined, ''];
      return { kind: 'none', why: error instanceof Error && 'code' in error ? String(error.code) : 'it cannot be read' };
    }
  };
  return {
    state: async (now) => {
      // However many ask at once: one look at the disk.
      looking ??= look().finally(() => (looking = undefined));
      const state = await looking;
      if (state.kind === 'none' || state.list.nextUpdate > now) return state;
      return { kind: 'none', why: `it has ended on ${new Date(state.list.nextUpdate).toISOString()}` };
    },
  };
}

/** Throws what the file system throws. */
async function read(path: string): Promise<CrlFileState> {
  const bytes = await readFile(path);
  const { mtimeMs } = await stat(path);
  try {
    const facts = readCrlFacts(bytes);
    if (facts === undefined) return { kind: 'none', why: 'it is no list of this CA' };
    const etag = `"${createHash('sha256').update(bytes).digest('hex').slice(0, 32)}"`;
    return { kind: 'list', list: { bytes, etag, modified: Math.floor(mtimeMs / 1000) * 1000, nextUpdate: facts.nextUpdate } };
  } catch {
    return { kind: 'none', why: 'it is no list that can be read' };
  }
}
