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
 *
 * A file that is large enough is closed (audit/segments.ts): renamed, a new one made, then the database records that the new one
 * goes on from the head. Whoever dies before that record finds the renamed file at start and gives it its name back.
 */
import type { DatabaseSync } from 'node:sqlite';
import { chainLine, type AuditEvent, type AuditHead } from '../audit.ts';
import { withHashedAddresses, type HashAddress } from '../audit/hashing.ts';
import { closedPath } from '../audit/segments.ts';
import { SealpostError } from '../errors.ts';
import { exchange, mendTail, newestStart, openFile, sweepPruned, timeOfLast, undoRotation, writeAll } from './audit-segment.ts';
import { blob, integer, text } from './columns.ts';
import { isUntrustworthy, resultCode, SQLITE_FULL } from './failure.ts';
import { stillNames } from './identity.ts';
import { readAuditHead, readAuditStarts, type SegmentStart } from './operator.ts';

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
  /** Octets above which the file is closed and a new one goes on. */
  readonly rotate: number;
  /** Where addresses are not to stand in clear. */
  readonly hash: HashAddress | undefined;
  /** Runs `work` in a transaction; throws where it is not committed. */
  readonly transact: (work: () => void) => void;
  /** Called where the file was deleted, moved or replaced: what is appended to it would be seen by nobody. */
  readonly onLost: (error: SealpostError) => void;
  readonly log: (level: 'info' | 'warn' | 'error', message: string, attributes: Record<string, unknown>) => void;
}

export type AuditWriter = Awaited<ReturnType<typeof openAuditFile>>;

/** Opens and mends the file and appends what waits. Throws `audit-broken`, `audit-failed`, `data-folder-unsafe`. */
export async function openAuditFile(options: AuditWriterOptions) {
  const { path, db, backlog, rotate, hash, transact, onLost, log } = options;
  let recorded = readAuditHead(db);
  let start = newestStart(db);
  await undoRotation(path, start, log);
  let handle = await openFile(path, recorded);
  const statements = preparePending(db);
  let tail = statements.tail() ?? recorded;
  let staged = tail;
  let stagedLines: Buffer[] = [];
  let timer: NodeJS.Timeout | undefined;
  let appending = Promise.resolve();
  let sweeping = Promise.resolve();
  /** Why the last append failed: from then on until one succeeds no mail is taken. */
  let failing: string | undefined;
  let rotationFailed = false;
  /** The newest time that was written (ms). */
  let newest = 0;

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
      await writeAll(handle, lines, recorded.bytes - start.bytes);
      await handle.sync();
      const last = rows.at(-1);
      if (last === undefined) return;
      const head: AuditHead = { seq: last.lastSeq, hash: last.lastHash, bytes: recorded.bytes + lines.length };
      transact(() => statements.record(head));
      recorded = head;
      if (recorded.bytes - start.bytes >= rotate) await rotateOrLog(lines);
    }
  };
  const rotateFile = async (at: number): Promise<void> => {
    const closed = closedPath(path, start.seq + 1);
    await assertInPlace();
    const next = await exchange(path, closed);
    const begun = { seq: recorded.seq, hash: recorded.hash, bytes: recorded.bytes, at };
    try {
      transact(() => statements.begin(begun));
    } catch (cause) {
      await next.close();
      // The file goes on under its own name. Where a sync failed the record may hold all the same: the queue ends then, and the next
      // start finds out which.
      if (!isUntrustworthy(cause)) await undoRotation(path, start, log);
      throw cause;
    }
    const before = handle;
    [handle, start] = [next, begun];
    await before.close();
    log('info', 'a segment of the audit log is closed, a new one goes on', { file: closed, lines: recorded.seq });
  };
  /** Where it cannot be closed the file grows on, and the next append tries again. */
  const rotateOrLog = async (lines: Buffer): Promise<void> => {
    try {
      await rotateFile(Math.max(start.at, newest, timeOfLast(lines)));
      rotationFailed = false;
    } catch (error) {
      if (!rotationFailed) log('warn', 'the audit file is full and cannot be closed, it grows on', { file: path, error: String(error) });
      rotationFailed = true;
    }
  };
  const appendOrLog = async (): Promise<boolean> => {
    try {
      await append();
      if (failing !== undefined) log('info', 'the audit file is written again, mail is taken', { file: path });
      failing = undefined;
      return true;
    } catch (error) {
      // The database has no room, and whoever writes to it next is told so. The file is not at fault: the same octets come again.
      if (resultCode(error) === SQLITE_FULL) return false;
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
    if (await mendTail({ handle, path, recorded, start }, statements.all())) {
      log('warn', 'the audit file ended in a torn line, it is mended', { file: path });
    }
    await handle.truncate(recorded.bytes - start.bytes);
    await sweepPruned(path, readAuditStarts(db)[0]?.seq ?? 0, log);
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
      newest = Math.max(newest, at);
      for (const event of events) {
        const chained = chainLine(head, hash === undefined ? event : withHashedAddresses(event, hash), at);
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
    /** The head with all that is committed, appended or not. */
    head: (): AuditHead => tail,
    /** Deletes the files of segments that the database does not keep any more, beside all else. */
    sweep(): void {
      sweeping = sweeping.then(() => sweepPruned(path, readAuditStarts(db)[0]?.seq ?? 0, log));
    },
    /** Appends what waits, where it can, and closes the file. */
    async close(): Promise<void> {
      clearTimeout(timer);
      await appending;
      clearTimeout(timer);
      await appendOrLog();
      await sweeping;
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
  const begin = db.prepare('INSERT INTO audit_segments (seq, hash, bytes, at) VALUES (?, ?, ?, ?)');
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
    begin: ({ seq, hash, bytes, at }: SegmentStart): void => {
      begin.run(seq, hash, bytes, at);
    },
  };
}
