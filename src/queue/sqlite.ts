/**
 * The queue on SQLite: the main thread's face. Rows and audit events belong to a worker (sqlite-worker.ts), bodies are written
 * and read here. Everything the worker is asked at one time shares a commit.
 */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { SealpostError } from '../errors.ts';
import { notifyText, parseNotify } from '../message/notify.ts';
import { checkInlineBody, makeBodyWriter, readBodyFile, type BodyFolder } from './bodies.ts';
import { sealedHash } from './checksum.ts';
import { asStorageError } from './failure.ts';
import { assertPrivateFile, ensurePrivateFolder } from './folder.ts';
import { watchIdentity } from './identity.ts';
import { makeKnownMemory } from './known-memory.ts';
import type { Lease, NewMessage, QueueStore } from './queue.ts';
import type { LeasedRow, Step, StoredMessage } from './requests.ts';
import { startThread } from './thread.ts';
import { makeTurns } from './turns.ts';

/** Above it a file is cheaper: a body in rows is written twice, to the write-ahead log and to the database. */
const INLINE_LIMIT = 128 * 1024;
/** Free octets below which no new mail is taken, so that what is queued can still be delivered and recorded. */
const RESERVE_BYTES = 64 * 1024 * 1024;
const AUDIT_BACKLOG_BYTES = 32 * 1024 * 1024;
/** Octets of a recipient's row beside its blobs: address, indexes, audit line. */
const ROW_OVERHEAD = 1024;
/** Octets of enqueues on their way to the worker or in its transaction; rowOctets counts the two copies of each. */
const MAX_POSTED_OCTETS = 64 * 1024 * 1024;
/** How long an answer about free room is believed. */
const ROOM_ASKED_EVERY_MS = 1000;

export interface SqliteQueueOptions {
  /** Absolute paths: queuePaths() makes them. */
  readonly database: string;
  readonly bodies: string;
  readonly audit: string;
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
  /** Called once when the queue can store nothing any more: the relay must stop taking mail and be started again. */
  readonly onFailure?: (error: SealpostError) => void;
}

/**
 * Takes the lock, opens or makes the database, mends the audit file, frees leases of a relay that died, sweeps orphaned bodies.
 * Throws `queue-in-use`, `queue-newer`, `audit-broken`, `audit-failed`, `data-folder-unsafe`, `storage-failed`, `storage-full`.
 */
export async function openSqliteQueue(options: SqliteQueueOptions): Promise<QueueStore> {
  const { database, bodies, audit, lock, now, log, auditBacklog = AUDIT_BACKLOG_BYTES } = options;
  await ensurePrivateFolder(dirname(database));
  await ensurePrivateFolder(bodies);
  for (const file of [database, `${database}-wal`, `${database}-shm`, lock, audit]) await assertPrivateFile(file);

  const latch = makeLatch(options);
  const thread = startThread({ database, bodies, audit, lock, auditBacklog, at: now() }, { now, log, stop: (error) => latch.stop(error) });
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
    unclaimed: new Set(),
  };
  return {
    newBody: () => makeBodyWriter(folder),
    async enqueue(message, events, named = []) {
      const uses = known.unwritten(named);
      const octets = rowOctets(message) + 2 * uses.length * ROW_OVERHEAD;
      await folder.assertRoom(octets);
      try {
        // Copied only when it is its turn: what is posted to the worker lies in memory twice.
        known.written(uses, await turns.take(octets, () => thread.ask('enqueue', { message: asStored(message), events, uses })));
      } catch (error) {
        // A commit that failed in its sync may hold all the same after a restart: its files must be there then.
        if (latch.failed()) claimFiles(message, folder.unclaimed);
        throw error;
      }
      claimFiles(message, folder.unclaimed);
    },
    async claim(now, limit) {
      const rows = await thread.ask('claim', { now, limit });
      for (const row of rows) leases.set(row.row, row);
      return rows.map(asLease);
    },
    async nextDue() {
      return (await thread.ask('nextDue', null)) ?? undefined;
    },
    read: (lease) => readLeased(leases.get(lease.row), bodies, (body) => thread.ask('bodyBytes', body)),
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

interface RoomCheck {
  readonly path: string;
  /** Octets. */
  readonly reserve: number;
  readonly now: () => number;
  readonly latch: ReturnType<typeof makeLatch>;
  /** Throws where the queue's paths name other files than were opened. */
  readonly assertInPlace: () => Promise<void>;
}

/** Asks the file system now and then, and in between counts what is written: a burst must not eat the reserve unseen. */
function makeRoomCheck({ path, reserve, now, latch, assertInPlace }: RoomCheck): (octets: number) => Promise<void> {
  let askedAt = -Infinity;
  let free = 0;
  return async (octets) => {
    latch.assertOpen();
    free -= octets;
    const asking = now();
    if (free < reserve || Math.abs(asking - askedAt) >= ROOM_ASKED_EVERY_MS) {
      try {
        await assertInPlace();
        const { bavail, bsize } = await statfs(path);
        free = bavail * bsize - octets;
        // Only now: an answer that failed must not let the next ones through.
        askedAt = asking;
      } catch (cause) {
        const failure = cause instanceof SealpostError ? cause : new SealpostError('storage-failed', { cause });
        if (cause === failure) latch.stop(failure);
        throw failure;
      }
    }
    if (free < reserve) throw new SealpostError('storage-full', { detail: `less than ${Math.ceil(reserve / 1024 / 1024)} MiB are free` });
  };
}

/** Octets that the row of a message takes: what is in it is written twice, to the write-ahead log and to the database. */
function rowOctets(message: NewMessage): number {
  const inline = message.bodies.map(({ content }) => (content.kind === 'inline' ? content.bytes.length : 0));
  const sealed = message.recipients.map(({ header, prefix, suffix }) => header.length + prefix.length + suffix.length + ROW_OVERHEAD);
  return 2 * [...inline, ...sealed].reduce((sum, octets) => sum + octets, 0);
}

function asStored(message: NewMessage): StoredMessage {
  const { id, acceptedAt, sender, size, envid, submitter, notice } = message;
  return {
    id,
    acceptedAt,
    sender,
    size,
    envid,
    submitter,
    notice,
    bodies: message.bodies.map(({ length, sha256, content }) => ({
      length,
      sha256: alone(sha256),
      bytes: content.kind === 'inline' ? alone(content.bytes) : null,
      file: content.kind === 'file' ? content.name : null,
    })),
    recipients: message.recipients.map((one) => {
      const body = message.bodies[one.body];
      if (body === undefined) throw new SealpostError('internal', { detail: 'a recipient names a body that is not there' });
      const notify = notifyText(one.notify);
      const about = {
        queueId: id,
        acceptedAt,
        originalSender: sender,
        envid,
        submitter,
        notice,
        bodyLength: body.length,
        bodySha256: body.sha256,
      };
      return {
        address: one.address,
        sender: one.sender,
        notify,
        orcpt: one.orcpt,
        body: one.body,
        header: alone(one.header),
        prefix: alone(one.prefix),
        suffix: alone(one.suffix),
        sha256: alone(sealedHash({ ...one, ...about, notify })),
        needsSmtputf8: one.needsSmtputf8,
      };
    }),
  };
}

/** In an array of its own: to clone a Buffer is to clone the pool behind it. */
const alone = (bytes: Buffer): Uint8Array => (bytes.length === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes));

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

function asLease(row: LeasedRow): Lease {
  return {
    row: row.row,
    queueId: row.queueId,
    acceptedAt: row.acceptedAt,
    sender: row.sender,
    originalSender: row.originalSender,
    recipient: row.address,
    // A claimed row fits its checksum, so this is what was written.
    notify: row.notify === null ? null : (parseNotify(row.notify) ?? null),
    orcpt: row.orcpt,
    envid: row.envid,
    submitter: row.submitter,
    notice: row.notice,
    spooled: null,
    delayNoticed: row.delayNoticed,
    needsSmtputf8: row.needsSmtputf8,
    attempts: row.attempts,
    header: view(row.header),
    prefix: view(row.prefix),
    suffix: view(row.suffix),
    bodyLength: row.bodyLength,
  };
}

function claimFiles(message: NewMessage, unclaimed: Set<string>): void {
  for (const { content } of message.bodies) if (content.kind === 'file') unclaimed.delete(content.name);
}

async function* readLeased(
  row: LeasedRow | undefined,
  bodies: string,
  inlineBytes: (body: number) => Promise<Uint8Array | null>,
): AsyncGenerator<Buffer> {
  if (row === undefined) throw new SealpostError('internal', { detail: 'a row that is not leased cannot be read' });
  const expected = { length: row.bodyLength, sha256: row.bodySha256 };
  if (row.bodyFile !== null) yield* readBodyFile(bodies, row.bodyFile, expected);
  else yield checkInlineBody(await inlineBytes(row.body), expected);
}
