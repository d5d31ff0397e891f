/**
 * Whether a path still names what was opened. Files that were deleted or moved away while the relay runs can be written as
 * before, and nothing of it is there after a restart (P1): whoever is told 250 then is told wrong.
 */
import { lstat, open } from 'node:fs/promises';
import { SealpostError } from '../errors.ts';

interface Identity {
  readonly dev: bigint;
  readonly ino: bigint;
}

export interface Watch {
  /** Throws `storage-failed` where a path names something else than at first, or nothing. */
  assertInPlace(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Takes down what the paths name now. The folder is held open, since the inode of a deleted one could be given to the one that
 * comes in its place. The files are open in SQLite: a second handle of ours on them would, when it is closed, drop SQLite's
 * locks (https://www.sqlite.org/howtocorrupt.html §2.2).
 */
export async function watchIdentity(folder: string, files: readonly string[]): Promise<Watch> {
  const held = await open(folder);
  const opened: { readonly path: string; readonly identity: Identity }[] = [];
  try {
    opened.push({ path: folder, identity: await held.stat({ bigint: true }) });
    for (const path of files) opened.push({ path, identity: await lstat(path, { bigint: true }) });
  } catch (error) {
    await held.close();
    throw error;
  }
  return {
    async assertInPlace() {
      for (const { path, identity } of opened) {
        if (await stillNames(path, identity)) continue;
        throw new SealpostError('storage-failed', {
          detail: `${path} was deleted, moved or replaced while the relay ran`,
          hint: 'put back what was there, if it can be had, and start the relay again',
        });
      }
    },
    close: () => held.close(),
  };
}

/** False where the path names something else, or nothing; other failures of the file system are thrown as they come. */
export async function stillNames(path: string, identity: Identity): Promise<boolean> {
  try {
    const { dev, ino } = await lstat(path, { bigint: true });
    return dev === identity.dev && ino === identity.ino;
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return false;
    throw error;
  }
}
