/**
 * The audit log as files. Lines are appended to the one that the configuration names; when that is large enough it is renamed for
 * the number of its first line, `audit-000000000001.jsonl`, and a new one goes on with the chain. A reader sees all of them as one.
 */
import { constants } from 'node:fs';
import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { MAX_LINE } from '../audit.ts';
import { SealpostError } from '../errors.ts';

const DIGITS = 12;
const LINE_FEED = 0x0a;

/** What the segment of `file` that begins with line `first` is called once it is closed. Names sort as the lines do. */
export function closedPath(file: string, first: number): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}-${String(first).padStart(DIGITS, '0')}${ext}`);
}

export interface ClosedSegment {
  readonly path: string;
  /** The number of its first line, as its name says. */
  readonly first: number;
}

/** The closed segments beside `file`, oldest first. Throws `file-unreadable`. */
export async function closedSegments(file: string): Promise<ClosedSegment[]> {
  const { dir, name, ext } = path.parse(file);
  try {
    return (await readdir(dir))
      .filter((entry) => entry.startsWith(`${name}-`) && entry.endsWith(ext))
      .map((entry) => entry.slice(name.length + 1, ext === '' ? undefined : -ext.length))
      .filter((digits) => /^\d{12,15}$/.test(digits))
      .map((digits) => ({ path: path.join(dir, `${name}-${digits}${ext}`), first: Number(digits) }))
      .sort((one, other) => one.first - other.first);
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: dir, cause });
  }
}

export interface RawLine {
  /** Without the line feed. */
  readonly bytes: Buffer;
  /** False for a last line that has no line feed, and for one above MAX_LINE. */
  readonly whole: boolean;
  /** The segment it stands in. */
  readonly file: string;
}

/**
 * The lines of all segments in order, a line in memory at a time; those of closed ones that begin before line `from` are passed over.
 * Throws `file-unreadable`. The file that is written is opened first: one that is closed meanwhile is read once, under the handle.
 */
export async function* auditLines(file: string, from = 1): AsyncGenerator<RawLine> {
  const last = await openLast(file);
  try {
    const segments = await olderThan(file, last);
    if (last === undefined && segments.length === 0) throw new SealpostError('file-unreadable', { detail: `${file} is not there` });
    for (const segment of segments) {
      if (segment.first < from) continue;
      const handle = await open(segment.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((cause: unknown) => {
        throw new SealpostError('file-unreadable', { detail: segment.path, cause });
      });
      try {
        yield* linesOf(segment.path, handle);
      } finally {
        await handle.close();
      }
    }
    if (last !== undefined) yield* linesOf(file, last);
  } finally {
    await last?.close();
  }
}

/** Octets of all segments that begin at line `from` or behind it. Throws `file-unreadable`. */
export async function auditSize(file: string, from = 1): Promise<number> {
  const last = await openLast(file);
  try {
    const segments = (await olderThan(file, last)).filter(({ first }) => first >= from);
    if (last === undefined && segments.length === 0) throw new SealpostError('file-unreadable', { detail: `${file} is not there` });
    const sizes = await Promise.all(segments.map(async (segment) => (await stat(segment.path)).size));
    return sizes.reduce((sum, size) => sum + size, (await last?.stat())?.size ?? 0);
  } catch (cause) {
    throw cause instanceof SealpostError ? cause : new SealpostError('file-unreadable', { detail: file, cause });
  } finally {
    await last?.close();
  }
}

/** Undefined where there is none at this moment. */
async function openLast(file: string): Promise<FileHandle | undefined> {
  try {
    return await open(file);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
}

/** The closed segments but the one that `last` is by now. */
async function olderThan(file: string, last: FileHandle | undefined): Promise<ClosedSegment[]> {
  const segments = await closedSegments(file).catch((error: unknown) => {
    if (last === undefined) throw error;
    return [];
  });
  const newest = segments.at(-1);
  if (last === undefined || newest === undefined) return segments;
  try {
    const [one, other] = [await last.stat({ bigint: true }), await stat(newest.path, { bigint: true })];
    return one.ino === other.ino && one.dev === other.dev ? segments.slice(0, -1) : segments;
  } catch {
    // Gone since it was listed: whoever opens it says so.
    return segments;
  }
}

async function* linesOf(file: string, handle: FileHandle): AsyncGenerator<RawLine> {
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of handle.createReadStream({ autoClose: false, start: 0 }) as AsyncIterable<Buffer>) {
      let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED)) {
        yield { bytes: bytes.subarray(0, end), whole: true, file };
        bytes = bytes.subarray(end + 1);
      }
      rest = bytes;
      if (rest.length > MAX_LINE) break;
    }
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
  if (rest.length > 0) yield { bytes: rest, whole: false, file };
}
