/**
 * The octets of a file that was seen to be regular. It may be another by the time it is opened: a pipe, of which an open waits for a
 * writer, or one that grew. So nothing is waited for, and no more is read than a file of certificates may have.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { MAX_BUNDLE_BYTES } from '../bundle.ts';

const AT_ONCE = constants.O_RDONLY | constants.O_NONBLOCK;
/** One more than it may have: whoever reads it says that it is too much. */
const MOST = MAX_BUNDLE_BYTES + 1;

const other = (path: string): Error => new Error(`${path} is no regular file any more`);
/** Of a file that a file server has lent to somebody, and takes back for us: a pipe never says that. */
const isLent = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'EAGAIN';

/** Holds its thread. Throws what the file system does. */
export function readRegularSync(path: string): Buffer {
  const opened = openAtOnce(path);
  try {
    const stats = fstatSync(opened);
    if (!stats.isFile()) throw other(path);
    const bytes = Buffer.allocUnsafe(Math.min(stats.size + 1, MOST));
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(opened, bytes, length, bytes.length - length, null);
    return bytes.subarray(0, length);
  } finally {
    closeSync(opened);
  }
}

function openAtOnce(path: string): number {
  try {
    return openSync(path, AT_ONCE);
  } catch (error) {
    if (isLent(error)) return openSync(path, constants.O_RDONLY);
    throw error;
  }
}

/** The same by the pool of threads. */
export async function readRegular(path: string): Promise<Buffer> {
  const opened = await openSoon(path);
  try {
    const stats = await opened.stat();
    if (!stats.isFile()) throw other(path);
    const bytes = Buffer.allocUnsafe(Math.min(stats.size + 1, MOST));
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = (await opened.read(bytes, length, bytes.length - length, null)).bytesRead;
    return bytes.subarray(0, length);
  } finally {
    await opened.close();
  }
}

async function openSoon(path: string): Promise<FileHandle> {
  try {
    return await open(path, AT_ONCE);
  } catch (error) {
    if (isLent(error)) return await open(path, constants.O_RDONLY);
    throw error;
  }
}
