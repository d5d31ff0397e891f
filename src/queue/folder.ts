/**
 * The files of the queue belong to one user and are closed to all others (A36): whoever could put a link or a file of his own
 * in place of a body would choose what is sent, or make the relay write elsewhere.
 */
import { type Stats } from 'node:fs';
import { lstat, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { getuid } from 'node:process';
import { SealpostError } from '../errors.ts';

const FOLDER_MODE = 0o700;
/** Any right of group or others. */
const OPEN_TO_OTHERS = 0o077;
const WRITTEN_BY_OTHERS = 0o022;
const ROOT = 0;

/** Makes the folder where it is missing, durably, and holds it to what a private folder is. Throws `data-folder-unsafe`, `storage-failed`. */
export async function ensurePrivateFolder(path: string): Promise<void> {
  try {
    const made = await mkdir(path, { recursive: true, mode: FOLDER_MODE });
    if (made !== undefined) await syncParents(path, made);
    assertPrivate(await lstat(path), path, 'folder');
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    throw new SealpostError('storage-failed', { hint: `make the folder ${path} writable for the user the relay runs as`, cause });
  }
}

/** Makes the names of all new folders durable, from `made`, the first of them, down to `path`. */
async function syncParents(path: string, made: string): Promise<void> {
  for (let at = path; at.length >= made.length; at = dirname(at)) await syncFolder(dirname(at));
}

/** Absent is fine; what is there must be a private file. */
export async function assertPrivateFile(path: string): Promise<void> {
  try {
    assertPrivate(await lstat(path), path, 'file');
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return;
    throw new SealpostError('storage-failed', { hint: `look at the permissions of ${path}`, cause });
  }
}

/** Throws `data-folder-unsafe`. `stats` of the thing itself, never through a link. */
export function assertPrivate(stats: Stats, path: string, kind: 'file' | 'folder'): void {
  const fault = privacyFault(stats, kind) ?? (kind === 'file' ? linkFault(stats) : undefined);
  if (fault !== undefined) throw new SealpostError('data-folder-unsafe', { detail: `${path} ${fault}` });
}

/** Why this is not a file or folder of ours alone; undefined where it is. Root may look after another user's queue. */
export function privacyFault(stats: Stats, kind: 'file' | 'folder'): string | undefined {
  if (stats.isSymbolicLink()) return 'is a symbolic link';
  if (kind === 'file' ? !stats.isFile() : !stats.isDirectory()) return `is not a ${kind}`;
  const user = getuid?.();
  if (user !== undefined && user !== ROOT && stats.uid !== user) return `belongs to user ${stats.uid}`;
  if ((stats.mode & OPEN_TO_OTHERS) !== 0) return `is open to others (mode ${(stats.mode & 0o777).toString(8)})`;
  return undefined;
}

/** Why this file is also one of another place, where it may be changed past the queue; undefined where it has one name. */
export const linkFault = ({ nlink }: Pick<Stats, 'nlink'>): string | undefined =>
  nlink > 1 ? `has ${nlink} names (hard links): copy it anew, a link is no copy` : undefined;

/** Why others can put files into this folder, or take some out; undefined where they cannot, though they may look. */
export function othersWriteFault(stats: Stats): string | undefined {
  const user = getuid?.();
  if (user !== undefined && user !== ROOT && stats.uid !== user && stats.uid !== ROOT) return `belongs to user ${stats.uid}`;
  if ((stats.mode & WRITTEN_BY_OTHERS) !== 0) return `can be written by others (mode ${(stats.mode & 0o777).toString(8)})`;
  return undefined;
}

/** Makes names in the folder durable. By FileHandle: fs.fsync is denied under Node's permission model. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
