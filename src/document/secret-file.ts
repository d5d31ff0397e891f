/**
 * Files that hold secrets of the operator: passwords, passphrases, private keys (A36). Group may read them, as the table of operations
 * says; a file that every user of the machine reads is no secret, and the start says so. Links are followed: service managers and
 * orchestrators hand secrets over as links.
 */
import { constants, type Stats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { SealpostError } from '../errors.ts';
import { systemCode } from './yaml.ts';

/** Any right of users that are neither owner nor group. */
const OPEN_TO_ALL = 0o007;
/** More is another file. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Why nobody should take a secret from there; undefined where it may be. `stats`: of the file itself, all links followed. */
export function secretFault(stats: Pick<Stats, 'mode' | 'isFile'>): string | undefined {
  if (!stats.isFile()) return 'that is not a file';
  const mode = stats.mode & 0o7777;
  return (mode & OPEN_TO_ALL) === 0 ? undefined : `its mode is ${mode.toString(8).padStart(4, '0')}: open to all users`;
}

/** Throws `file-unreadable`, with the mend. */
export async function readSecretFile(file: string): Promise<Buffer> {
  try {
    // O_NONBLOCK: a FIFO in its place must not hold up the start.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await handle.stat();
    const fault = secretFault(stats);
    const hint = stats.isFile() ? `chmod o= ${file}` : 'name the file that holds the secret';
    if (fault !== undefined) throw new SealpostError('file-unreadable', { detail: `${file}: ${fault}`, hint });
    if (stats.size > MAX_FILE_BYTES) throw new SealpostError('file-unreadable', { detail: `${file} (larger than 1 MiB)` });
    return await handle.readFile();
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    throw new SealpostError('file-unreadable', { detail: `${file} (${systemCode(cause) ?? 'unknown reason'})`, cause });
  }
}

/** True where a folder on the way is closed to this user, so that nobody here can say whether the file is there. */
export const isClosed = (file: string): Promise<boolean> =>
  stat(file).then(
    () => false,
    (error: unknown) => systemCode(error) === 'EACCES',
  );
