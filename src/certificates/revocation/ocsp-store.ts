/**
 * OCSP answers on disk, one small file each, so that a restart asks nobody anew. A file is believed no more than an answer from the
 * network: it is judged each time it is read. What cannot be written is not remembered, and nothing else happens.
 */
import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AnswerStore } from './ocsp.ts';
import { OCSP_LIMITS } from './ocsp-response.ts';

export interface AnswerStoreOptions {
  /** Absolute; it need not exist. */
  readonly folder: string;
  readonly writable: boolean;
  /** Answers that are kept; the oldest go first. */
  readonly most?: number;
}

const USUAL_MOST = 10_000;
/** Answers are counted once for so many that are written. */
const COUNTED_EVERY = 100;

export function makeAnswerStore({ folder, writable, most = USUAL_MOST }: AnswerStoreOptions): AnswerStore {
  const pathOf = (name: string): string => join(folder, `${name}.ocsp`);
  let written = 0;

  const prune = async (): Promise<void> => {
    const names = (await readdir(folder)).filter((name) => name.endsWith('.ocsp'));
    if (names.length <= most) return;
    const files = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(folder, name))).mtimeMs })));
    for (const { name } of files.sort((a, b) => b.at - a.at).slice(most)) await rm(join(folder, name), { force: true });
  };
  return {
    read: async (name) => {
      try {
        return await readUpTo(pathOf(name), OCSP_LIMITS.bytes);
      } catch {
        return undefined;
      }
    },
    write: async (name, octets) => {
      if (!writable) return;
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        // One name for each answer: there is one request under way for it at a time.
        await writeFile(`${pathOf(name)}.part`, octets, { mode: 0o600 });
        await rename(`${pathOf(name)}.part`, pathOf(name));
        if (written++ % COUNTED_EVERY === 0) await prune();
      } catch {
        // A cache that cannot be written is no cache; the relay goes on.
      }
    },
  };
}

/** What is larger is not ours. */
async function readUpTo(path: string, most: number): Promise<Buffer | undefined> {
  const file = await open(path);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(most + 1), 0, most + 1, 0);
    return bytesRead > most ? undefined : Buffer.from(buffer.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}
