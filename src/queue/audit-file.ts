/**
 * The audit log's one writer. An event is chained and kept in the database by the transaction it belongs to; a little later it
 * is appended to the file, the file is synced, the database records the new head and forgets the lines. Whatever dies in
 * between, the lines are in the database, in the file, or in both, and start finds out which:
 *
 *   the file ends at the recorded head      nothing was under way
 *   behind it stand pending lines, or torn  an append the head does not know of: cut back to the head and appended anew,
 *   or unreadable octets                    the same octets
 *   behind it stand other lines, or the     somebody changed it, or put an older database back: `audit-broken`, since
 *   file is shorter, or its head differs    going on would hide that
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { chainLine, EMPTY_HEAD, MAX_LINE, readLink, type AuditEvent, type AuditHead } from '../audit.ts';
import { SealpostError } from '../errors.ts';
import { assertPrivate, syncFolder } from './folder.ts';
import { blob, integer, text } from './columns.ts';
import { stillNames } from './identity.ts';
import { readAuditHead } from './operator.ts';

/** Lines are appended this long after the first of them is committed. */
const APPEND_DELAY_MS = 100;
/** After a failed append; the lines are safe in the database meanwhile. */
const RETRY_DELAY_MS = 2000;
/** Rows of audit_pending in one append. */
const APPEND_ROWS = 256;
export interface AuditWriterOptions {
  readonly path: string;
  readonly db: DatabaseSync;
  /** Octets that may wait in the database while the file cannot be written; beyond it the queue takes no new mail. */
  readonly backlog: number;
  /** Runs `work` in a transaction; throws where it is not committed. */
  readonly transact: (work: () => void) => void;
  /** Called where the file was deleted, moved or replaced: what is appended to it would be seen by nobody. */
  readonly onLost: (error: SealpostError) => void;
  readonly log: (level: 'info' | 'warn' | 'error', message: string, attributes: Record<string, unknown>) => void;
}

export type AuditWriter = Awaited<ReturnType<typeof openAuditFile>>;

/** Opens and mends the file and appends what waits. Throws `audit-broken`, `audit-failed`, `data-folder-unsafe`. */
export async function openAuditFile(options: AuditWriterOptions) {
  const { path, db, backlog, transact, onLost, log } = options;
  let recorded = readAuditHead(db);
  const handle = await openFile(path, recorded);
  const statements = preparePending(db);
  let tail = statements.tail() ?? recorded;
  let staged = tail;
  let stagedLines: Buffer[] = [];
  let timer: NodeJS.Timeout | undefined;
  let appending = Promise.resolve();
  /** Why the last append failed: from then on until one succeeds no mail is taken. */
  let failing: string | undefined;

  const assertInPlace = async (): Promise<void> => {
    if (await stillNames(path, await handle.stat({ bigint: true }))) return;
    const lost = new SealpostError('audit-failed', {
      detail: `${path} was deleted, moved or replaced while the relay ran; the lines since then wait in the queue database`,
      hint: 'put the file back where it was (no log rotation may touch it), and start the relay again',
    });
    onLost(lost);
    throw lost;
  };
  const append = async (): Promise<void> => {
    for (let rows = statements.first(); rows.length > 0; rows = statements.first()) {
      await assertInPlace();
      const lines = Buffer.concat(rows.map((row) => row.lines));
      // After an append that failed half-way, the same octets at the same place.
      await writeAll(handle, lines, recorded.bytes);
      await handle.sync();
      const last = rows.at(-1);
      if (last === undefined) return;
      const head: AuditHead = { seq: last.lastSeq, hash: last.lastHash, bytes: recorded.bytes + lines.length };
      transact(() => statements.record(head));
      recorded = head;
    }
  };
  const appendOrLog = async (): Promise<boolean> => {
    try {
      await append();
      if (failing !== undefined) log('info', 'the audit file is written again, mail is taken', { file: path });
      failing = undefined;
      return true;
    } catch (error) {
      if (failing === undefined)
        log('error', 'audit lines wait in the queue database, the audit file cannot be written, no mail is taken', {
          file: path,
          error: String(error),
        });
      failing = String(error);
      return false;
    }
  };
  const schedule = (delay: number): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      // One behind the other: two appends at once would write over each other.
      appending = appending.then(appendOrLog).then((ok) => (ok ? undefined : schedule(RETRY_DELAY_MS)));
    }, delay);
  };

  try {
    if (await mendTail(handle, path, recorded, statements.all())) {
      log('warn', 'the audit file ended in a torn line, it is mended', { file: path });
    }
    await handle.truncate(recorded.bytes);
    await append();
  } catch (cause) {
    await handle.close();
    throw cause instanceof SealpostError ? cause : new SealpostError('audit-failed', { detail: path, cause });
  }

  return {
    /** Chains the events of one request, all or none; `keep` writes what the whole transaction staged. */
    stage(events: readonly AuditEvent[], at: number): void {
      const lines: Buffer[] = [];
      let head = staged;
      for (const event of events) {
        const chained = chainLine(head, event, at);
        lines.push(chained.line);
        head = chained.head;
      }
      staged = head;
      stagedLines.push(...lines);
    },
    keep(): void {
      if (stagedLines.length > 0) statements.keep(staged, Buffer.concat(stagedLines));
    },
    /** After the transaction: what it staged holds, or never was. */
    settle(committed: boolean): void {
      stagedLines = [];
      if (committed && staged !== tail) schedule(APPEND_DELAY_MS);
      if (committed) tail = staged;
      else staged = tail;
    },
    /** Why no mail may be taken now; undefined where it may. What is in the queue goes on: its lines wait in the database. */
    refusal(): SealpostError | undefined {
      if (failing !== undefined) return new SealpostError('audit-failed', { detail: `${path}: ${failing}` });
      if (tail.bytes - recorded.bytes < backlog) return undefined;
      return new SealpostError('audit-failed', { detail: `${path}: more lines than may wait for it are not written yet` });
    },
    /** Appends what waits, where it can, and closes the file. */
    async close(): Promise<void> {
      clearTimeout(timer);
      await appending;
      clearTimeout(timer);
      await appendOrLog();
      await handle.close();
    },
  };
}

interface PendingRow {
  readonly lastSeq: number;
  readonly lastHash: string;
  readonly lines: Uint8Array;
}

/** audit_pending: a row for each committed transaction, with all its lines. */
function preparePending(db: DatabaseSync) {
  const columns = 'last_seq AS lastSeq, last_hash AS lastHash, lines';
  const first = db.prepare(`SELECT ${columns} FROM audit_pending ORDER BY last_seq LIMIT ${APPEND_ROWS}`);
  const all = db.prepare(`SELECT ${columns} FROM audit_pending ORDER BY last_seq`);
  const last = db.prepare('SELECT last_seq AS seq, last_hash AS hash FROM audit_pending ORDER BY last_seq DESC LIMIT 1');
  const size = db.prepare('SELECT sum(length(lines)) AS bytes FROM audit_pending');
  const insert = db.prepare('INSERT INTO audit_pending (last_seq, last_hash, lines) VALUES (?, ?, ?)');
  const forget = db.prepare('DELETE FROM audit_pending WHERE last_seq <= ?');
  const advance = db.prepare('UPDATE audit_head SET seq = ?, hash = ?, bytes = ?');
  return {
    first: (): PendingRow[] =>
      first.all().map((row) => ({ lastSeq: integer(row, 'lastSeq'), lastHash: text(row, 'lastHash'), lines: blob(row, 'lines') })),
    all: (): Buffer => Buffer.concat(all.all().map((row) => blob(row, 'lines'))),
    /** The head once everything that waits is appended; undefined where nothing waits. */
    tail(): AuditHead | undefined {
      const row = last.get();
      if (row === undefined) return undefined;
      const bytes = readAuditHead(db).bytes + Number(size.get()?.['bytes']);
      return { seq: integer(row, 'seq'), hash: text(row, 'hash'), bytes };
    },
    keep: (head: AuditHead, lines: Buffer): void => {
      insert.run(head.seq, head.hash, lines);
    },
    record: (head: AuditHead): void => {
      advance.run(head.seq, head.hash, head.bytes);
      forget.run(head.seq);
    },
  };
}

/** A missing file is made only where the chain has not begun. */
async function openFile(path: string, recorded: AuditHead): Promise<FileHandle> {
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

/** Holds the file to the recorded head. Answers true where what stands behind it is torn; `pending` is what may stand there. */
async function mendTail(handle: FileHandle, path: string, recorded: AuditHead, pending: Buffer): Promise<boolean> {
  const { size } = await handle.stat();
  if (size < recorded.bytes) throw brokenLog(path, `it has ${size} octets, the database records ${recorded.bytes}`);
  const last = await lastLine(handle, recorded.bytes);
  const hash = last === undefined ? EMPTY_HEAD.hash : readLink(last)?.hash;
  if (hash !== recorded.hash) throw brokenLog(path, `line ${recorded.seq} is not the one the database records`);
  const behind = await readAt(handle, recorded.bytes, Math.min(size - recorded.bytes, pending.length + MAX_LINE));
  let fits = 0;
  while (fits < behind.length && behind[fits] === pending[fits]) fits++;
  if (fits === behind.length && size - recorded.bytes === fits) return fits > 0 && fits < pending.length;
  // The rest of the line in which they part: readable, it was written by somebody else.
  const start = behind.lastIndexOf(0x0a, Math.max(fits - 1, 0)) + 1;
  for (let from = start, end = behind.indexOf(0x0a, from); end >= 0; from = end + 1, end = behind.indexOf(0x0a, from)) {
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

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
    written += bytesWritten;
  }
}
