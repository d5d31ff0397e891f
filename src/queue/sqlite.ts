/**
 * The queue on SQLite: the main thread's face. Rows and audit events belong to a worker (sqlite-worker.ts), bodies are written
 * and read here. Everything the worker is asked at one time shares a commit.
 */
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import type { AuditHead } from '../audit.ts';
import { asSealpostError, SealpostError } from '../errors.ts';
import { claimFiles, makeBodyWriter, readStored, type BodyFolder } from './bodies.ts';
import { asStorageError } from './failure.ts';
import { assertPrivateFile, ensurePrivateFolder } from './folder.ts';
import { watchIdentity } from './identity.ts';
import { makeKnownMemory } from './known-memory.ts';
import { descriptorRefusal, makeRoomCheck, makeTakenBack } from './room.ts';
import { makeHeldQueue } from './sqlite-held.ts';
import type { Lease, QueueStore } from './queue.ts';
import type { LeasedRow, Step } from './requests.ts';
import { asLease, asLeasedRows, asStored, rowOctets, ROW_OVERHEAD } from './stored.ts';
import { startThread } from './thread.ts';
import { makeTurns } from './turns.ts';

/** Above it a file is cheaper: a body in rows is written twice, to the write-ahead log and to the database. */
const INLINE_LIMIT = 128 * 1024;
/** Free octets below which no new mail is taken, so that what is queued can still be delivered and recorded. */
export const RESERVE_BYTES = 64 * 1024 * 1024;
const AUDIT_BACKLOG_BYTES = 32 * 1024 * 1024;
const AUDIT_ROTATE_BYTES = 64 * 1024 * 1024;
/** Octets of enqueues on their way to the worker or in its transaction; rowOctets counts the two copies of each. */
const MAX_POSTED_OCTETS = 64 * 1024 * 1024;

export interface SqliteQueueOptions {
  /** Absolute paths: queuePaths() makes them. */
  readonly database: string;
  readonly bodies: string;
  readonly audit: string;
  /** The file of the key that addresses are hashed with. */
  readonly auditKey?: string | undefined;
  readonly lock: string;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** Octets; bodies above it become files. */
  readonly inlineLimit?: number;
  /** Octets kept free on the file system. */
  readonly reserveBytes?: number;
  /** Octets of audit lines that may wait in the database while their file cannot be written; then no mail is taken. */
  readonly auditBacklog?: number;
  /** Octets above which the audit file is closed and a new one goes on. */
  readonly auditRotate?: number;
  /** Called once when the queue can store nothing any more: the relay must stop taking mail and be started again. */
  readonly onFailure?: (error: SealpostError) => void;
}

export interface SqliteQueue extends QueueStore {
  /** The last line that is committed, appended to the file or not. */
  readonly auditHead: () => Promise<AuditHead>;
  /** Deletes closed segments of the audit log whose newest line is older than `keep` (ms); answers how many. Once a day: audit-retention.ts. */
  readonly pruneAudit: (keep: number) => Promise<number>;
}

/**
 * Takes the lock, opens or makes the database, mends the audit file, frees leases of a relay that died, sweeps orphaned bodies.
 * Throws `queue-in-use`, `queue-newer`, `audit-broken`, `audit-failed`, `data-folder-unsafe`, `storage-failed`, `storage-full`.
 */
export async function openSqliteQueue(options: SqliteQueueOptions): Promise<SqliteQueue> {
  const { database, bodies, audit, lock, now, log, auditBacklog = AUDIT_BACKLOG_BYTES, auditRotate = AUDIT_ROTATE_BYTES } = options;
  await ensurePrivateFolder(dirname(database));
  await ensurePrivateFolder(bodies);
  for (const file of [database, `${database}-wal`, `${database}-shm`, lock, audit]) await assertPrivateFile(file);

  const latch = makeLatch(options);
  const thread = startThread(
    { database, bodies, audit, lock, auditBacklog, auditRotate, auditKey: options.auditKey ?? null, at: now() },
    { now, log, stop: (error) => latch.stop(error) },
  );
  await thread.opened;
  const watch = await watchIdentity(bodies, [database, `${database}-wal`, lock]).catch(async (error: unknown) => {
    await thread.close();
    throw asStorageError(error, database);
  });

  const known = makeKnownMemory({ ask: (operation, ask) => thread.ask(operation, ask), now, log });
  const turns = makeTurns(MAX_POSTED_OCTETS);
  const leases = new Map<number, LeasedRow>();
  const folder: BodyFolder = {
    path: bodies,
    inlineLimit: options.inlineLimit ?? INLINE_LIMIT,
    assertRoom: makeRoomCheck({
      path: bodies,
      reserve: options.reserveBytes ?? RESERVE_BYTES,
      now,
      latch,
      assertInPlace: () => watch.assertInPlace(),
    }),
    onSyncFailure: (error) => latch.stop(error),
    onFull: () => disk.met(),
    unclaimed: new Set(),
  };
  const disk = makeTakenBack(() => makeBodyWriter({ ...folder, inlineLimit: 0, onFull: () => {} }));
  const enqueue = async (...[message, events, named = [], notices = [], lease]: EnqueueArguments): Promise<Lease[]> => {
    const uses = known.unwritten(named);
    const octets = [message, ...notices].reduce((sum, one) => sum + rowOctets(one), 2 * uses.length * ROW_OVERHEAD);
    await folder.assertRoom(octets);
    let rows: LeasedRow[];
    try {
      rows = await turns.take(octets, async () => {
        // Copied only when it is its turn: what is posted to the worker lies in memory twice.
        const stored = asStored(message);
        const ask = { message: stored, events, uses, notices: notices.map(asStored), lease };
        const { changes, leased } = await thread.ask('enqueue', ask);
        known.written(uses, changes);
        return asLeasedRows(stored, leased);
      });
    } catch (error) {
      // A commit that failed in its sync may hold all the same after a restart: its files must be there then.
      if (latch.failed()) claimFiles(message.bodies, folder.unclaimed);
      if (error instanceof SealpostError && error.code === 'storage-full') disk.met();
      throw error;
    }
    claimFiles(message.bodies, folder.unclaimed);
    return lent(rows);
  };
  const lent = (rows: readonly LeasedRow[]): Lease[] => {
    for (const row of rows) leases.set(row.row, row);
    return rows.map(asLease);
  };
  return {
    newBody: () => makeBodyWriter(folder),
    enqueue: async (message, events, uses, notices) => void (await enqueue(message, events, uses, notices, 0)),
    enqueueLeased: enqueue,
    async refusals() {
      const thrownBy = (asked: Promise<unknown>): Promise<SealpostError | undefined> => asked.then(() => undefined, asSealpostError);
      const room = await thrownBy(folder.assertRoom(0));
      const found = [
        room,
        await thrownBy(thread.ask('assertTakes', null)),
        await descriptorRefusal(),
        // Where there is no room, a try would only say so again.
        room === undefined ? await disk.refusal() : undefined,
      ].filter((one) => one !== undefined);
      return [...new Map(found.map((one) => [one.code, one])).values()];
    },
    async claim(now, limit) {
      return lent(await thread.ask('claim', { now, limit }));
    },
    async nextDue() {
      return (await thread.ask('nextDue', null)) ?? undefined;
    },
    read: (lease) => readStored(leases.get(lease.row), bodies, (body) => thread.ask('bodyBytes', body)),
    async passDot(lease) {
      await thread.ask('passDot', lease.row);
    },
    async settle(lease, outcome, events, telling) {
      const notice = telling?.notice ?? null;
      const stored = telling === undefined ? null : { ofDelay: telling.ofDelay, notice: notice === null ? null : asStored(notice) };
      // Mail of our own is the only one that is followed; of all other the records are left alone.
      const queueId = lease.originalSender === '' && lease.notice === null ? lease.queueId : null;
      await thread.ask('settle', { row: lease.row, outcome, events, telling: stored, queueId });
      leases.delete(lease.row);
    },
    ...makeHeldQueue({ ask: thread.ask, turns, known, folder, failed: () => latch.failed(), now }),
    async record(events, named = []) {
      const uses = known.unwritten(named);
      known.written(uses, await thread.ask('record', { events, uses }));
    },
    known: known.store,
    records: {
      get: async (kind, key) => (await thread.ask('getRecord', { kind, key })) ?? undefined,
      list: (kind) => thread.ask('records', kind),
      change: (changes, events) => thread.ask('changeRecords', { changes, events }),
    },
    retry: (filter, now, operator) => steps((from) => thread.ask('retry', { filter, now, operator, from })),
    remove: (filter, operator) => steps((from) => thread.ask('remove', { filter, operator, from })),
    prune: (before) => steps((from) => thread.ask('prune', { before, from })),
    list: (filter, limit) => thread.ask('list', { filter, limit }),
    stats: () => thread.ask('stats', null),
    auditHead: () => thread.ask('auditHead', null),
    pruneAudit: (keep) => thread.ask('pruneAudit', { keep }),
    async close() {
      try {
        // Behind every enqueue that waits its turn: they are under way.
        await turns.take(MAX_POSTED_OCTETS, () => thread.close());
      } finally {
        await watch.close();
      }
    },
  };
}

type EnqueueArguments = Parameters<QueueStore['enqueueLeased']>;

/** All steps of an operator's change; answers how many rows they changed. */
async function steps(step: (from: number) => Promise<Step>): Promise<number> {
  let changed = 0;
  for (let from: number | null = 0; from !== null;) {
    const done: Step = await step(from);
    changed += done.changed;
    from = done.next;
  }
  return changed;
}

/** Once something that was to be durable may not be, no later success can be believed: the queue stays stopped. */
function makeLatch(options: SqliteQueueOptions) {
  let failure: SealpostError | undefined;
  return {
    failed: (): boolean => failure !== undefined,
    assertOpen(): void {
      if (failure !== undefined) throw failure;
    },
    stop(error: SealpostError): void {
      if (failure !== undefined) return;
      failure = error;
      options.log.error(
        { code: error.code, detail: error.detail, err: error.cause },
        'the queue cannot be written any more and takes no mail',
      );
      options.onFailure?.(error);
    },
  };
}
