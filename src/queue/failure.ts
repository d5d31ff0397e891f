/** What the errors of SQLite and the file system mean to the queue: full, broken for good, or a fault in sealpost. */
import { SealpostError } from '../errors.ts';

/** SQLite result codes, https://www.sqlite.org/rescode.html: the low byte is the primary one. */
/** A table that is not there, among others. */
export const SQLITE_ERROR = 1;
export const SQLITE_BUSY = 5;
const SQLITE_NOMEM = 7;
export const SQLITE_FULL = 13;
const SQLITE_CORRUPT = 11;
/** Octets of one row that the database cannot take or give: TOOBIG, CONSTRAINT, MISMATCH beside CORRUPT. */
const ROW_FAULTS: ReadonlySet<number> = new Set([SQLITE_CORRUPT, 18, 19, 20]);
/** PERM, READONLY, IOERR, CORRUPT, CANTOPEN, PROTOCOL, NOTADB: after these nothing it says can be built on. */
const UNTRUSTWORTHY: ReadonlySet<number> = new Set([3, 8, 10, 11, 14, 15, 26]);

/** Undefined where SQLite did not throw it. */
export function resultCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return undefined;
  return error.errcode & 0xff;
}

/** True where SQLite can no longer be believed: an fsync that failed once may "succeed" the next time with the data gone. */
export function isUntrustworthy(error: unknown): boolean {
  const code = resultCode(error instanceof SealpostError ? error.cause : error);
  return code !== undefined && UNTRUSTWORTHY.has(code);
}

/**
 * True where an error met while one row was read or written may be that row's alone: a column of another type, a number beyond
 * all numbers, a page that makes no sense. Where the page is everybody's, what comes next fails too and stops the queue.
 */
export function isRowFault(error: unknown): boolean {
  const code = resultCode(error instanceof SealpostError ? (error.cause ?? error) : error);
  if (code !== undefined) return ROW_FAULTS.has(code);
  return error instanceof SealpostError || (error instanceof Error && 'code' in error && error.code === 'ERR_OUT_OF_RANGE');
}

/** What a failure of SQLite or the file system means to the queue; a SealpostError stays what it is. */
export function asStorageError(error: unknown, path: string): SealpostError {
  if (error instanceof SealpostError) return error;
  const code = resultCode(error);
  const system = error instanceof Error && 'code' in error && code === undefined ? error.code : undefined;
  if (code === SQLITE_FULL || system === 'ENOSPC' || system === 'EDQUOT') return new SealpostError('storage-full', { cause: error });
  if (isUntrustworthy(error) || code === SQLITE_BUSY || code === SQLITE_NOMEM || typeof system === 'string')
    return new SealpostError('storage-failed', {
      cause: error,
      hint: `look at the disk and the permissions of ${path}; the log line holds the cause`,
    });
  return new SealpostError('internal', { cause: error });
}
