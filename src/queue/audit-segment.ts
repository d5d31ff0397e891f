/** The file that the audit log's writer has open: made, held to what the database records, exchanged for a new one. */
import { constants } from 'node:fs';
import { lstat, open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { EMPTY_HEAD, MAX_LINE, readLink, type AuditHead } from '../audit.ts';
import { closedPath, closedSegments } from '../audit/segments.ts';
import { SealpostError } from '../errors.ts';
import { assertPrivate, syncFolder } from './folder.ts';
import { readAuditStarts, type SegmentStart } from './operator.ts';

/** A missing file is made only where the chain has not begun. */
export async function openFile(path: string, recorded: AuditHead): Promise<FileHandle> {
  const create = recorded.seq === 0 ? constants.O_CREAT : 0;
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW | create, 0o600);
  } catch (cause) {
    if (create === 0 && cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')
      throw brokenLog(path, `it is gone, the database records ${recorded.seq} lines`, cause);
    throw new SealpostError('audit-failed', { detail: path, cause });
  }
  try {
    assertPrivate(await handle.stat(), path, 'file');
    if (create !== 0) await syncFolder(dirname(path));
    return handle;
  } catch (cause) {
    await handle.close();
    throw cause instanceof SealpostError ? cause : new SealpostError('audit-failed', { detail: path, cause });
  }
}

export interface OpenSegment {
  readonly handle: FileHandle;
  readonly path: string;
  readonly recorded: AuditHead;
  /** What the segment goes on from. */
  readonly start: SegmentStart;
}

/** Holds the file to the recorded head. Answers true where what stands behind it is torn; `pending` is what may stand there. */
export async function mendTail({ handle, path, recorded, start }: OpenSegment, pending: Buffer): Promise<boolean> {
  const end = recorded.bytes - start.bytes;
  const { size } = await handle.stat();
  if (size < end) throw brokenLog(path, `it has ${size} octets, the database records ${end}`);
  const last = await lastLine(handle, end);
  const hash = last === undefined ? start.hash : readLink(last)?.hash;
  if (hash !== recorded.hash) throw brokenLog(path, `line ${recorded.seq} is not the one the database records`);
  const behind = await readAt(handle, end, Math.min(size - end, pending.length + MAX_LINE));
  let fits = 0;
  while (fits < behind.length && behind[fits] === pending[fits]) fits++;
  if (fits === behind.length && size - end === fits) return fits > 0 && fits < pending.length;
  // The rest of the line in which they part: readable, it was written by somebody else.
  const parted = behind.lastIndexOf(0x0a, Math.max(fits - 1, 0)) + 1;
  for (let from = parted, end = behind.indexOf(0x0a, from); end >= 0; from = end + 1, end = behind.indexOf(0x0a, from)) {
    if (readLink(behind.subarray(from, end)) !== undefined)
      throw brokenLog(path, `lines stand behind the ${recorded.seq} that the database records`);
  }
  return true;
}

const brokenLog = (path: string, detail: string, cause?: unknown): SealpostError =>
  new SealpostError('audit-broken', {
    detail: `${path}: ${detail}`,
    hint: 'the relay does not start on it: put the right file and database back together, or keep both as evidence and begin with a new data folder',
    cause,
  });

/** The line that ends at `end`, without its line feed; undefined at the start of the file. */
async function lastLine(handle: FileHandle, end: number): Promise<Buffer | undefined> {
  if (end === 0) return undefined;
  const window = await readAt(handle, Math.max(0, end - MAX_LINE), Math.min(end, MAX_LINE));
  const line = window.subarray(0, -1);
  return line.subarray(line.lastIndexOf(0x0a) + 1);
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

export async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
    written += bytesWritten;
  }
}

/** What the segment that is written goes on from. */
export const newestStart = (db: DatabaseSync): SegmentStart => readAuditStarts(db).at(-1) ?? { ...EMPTY_HEAD, at: 0 };

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return false;
    throw new SealpostError('audit-failed', { detail: path, cause });
  }
}

/** Closes the file under its new name and makes an empty one in its place, both durable. On rejection the names are as before. */
export async function exchange(path: string, closed: string): Promise<FileHandle> {
  if (await isThere(closed)) throw new SealpostError('audit-failed', { detail: `${closed} stands where a closed segment is to stand` });
  await rename(path, closed);
  let next: FileHandle | undefined;
  try {
    next = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    await next.sync();
    await syncFolder(dirname(path));
    return next;
  } catch (cause) {
    await next?.close();
    if (next !== undefined) await unlink(path);
    await rename(closed, path);
    throw cause;
  }
}

type Log = (level: 'warn', message: string, attributes: Record<string, unknown>) => void;

/** A segment that was renamed and not recorded as closed has its name back; the new file that may stand there is empty. */
export async function undoRotation(path: string, start: SegmentStart, log: Log): Promise<void> {
  const closed = closedPath(path, start.seq + 1);
  if (!(await isThere(closed))) return;
  try {
    assertPrivate(await lstat(closed), closed, 'file');
    if (await isThere(path)) {
      if ((await lstat(path)).size > 0) throw brokenLog(path, `${closed} stands beside it, and the database knows of no such segment`);
      await unlink(path);
    }
    await rename(closed, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    throw cause instanceof SealpostError ? cause : new SealpostError('audit-failed', { detail: path, cause });
  }
  log('warn', 'the closing of a segment of the audit log was interrupted, it goes on', { file: path });
}

/** Segments that the database does not keep any more, the lines up to `last`. What cannot be deleted now is tried again at each start. */
export async function sweepPruned(path: string, last: number, log: Log): Promise<void> {
  if (last === 0) return;
  try {
    for (const segment of await closedSegments(path)) if (segment.first <= last) await unlink(segment.path);
    await syncFolder(dirname(path));
  } catch (error) {
    log('warn', 'a segment of the audit log that is not kept any more cannot be deleted', { file: path, error: String(error) });
  }
}

/** When the last of these lines was written (ms). */
export function timeOfLast(lines: Buffer): number {
  const text = lines.subarray(lines.lastIndexOf(0x0a, -2) + 1).toString();
  const at = Date.parse(/"time":"([^"]+)"/.exec(text)?.[1] ?? '');
  return Number.isNaN(at) ? 0 : at;
}
