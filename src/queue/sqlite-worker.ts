/**
 * The thread that owns the database: an fsync takes as long as the disk likes, and SMTP sessions must not wait for it.
 *
 * Group commit: while one transaction is being synced, requests gather; the next takes all of them, each under a savepoint,
 * so that one that fails fails alone; the records apart. Nobody is answered before COMMIT. Where COMMIT fails, all of them fail.
 */
import { readdirSync, unlinkSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { inspect } from 'node:util';
import { parentPort, receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads';
import type { AuditEvent } from '../audit.ts';
import { makeHashAddress } from '../audit/hashing.ts';
import { SealpostError } from '../errors.ts';
import { openAuditFile, type AuditWriter } from './audit-file.ts';
import { readAuditKey } from './audit-key.ts';
import { pruneAudit } from './audit-retention.ts';
import { BODY_NAME } from './bodies.ts';
import { asStorageError, isUntrustworthy } from './failure.ts';
import { prepareKnown, type Known, type Recorded } from './known-rows.ts';
import { listEntries, pruneStep, readStats, removeStep, retryStep } from './operator.ts';
import { octetsOf, type CloseRequest, type Failure, type Posted, type Request, type WorkerMessage, type WorkerStart } from './requests.ts';
import { prepareRecords, type Records } from './record-rows.ts';
import { prepareRows, type Done, type Rows } from './rows.ts';
import { openDatabase, takeLock } from './schema.ts';

/** Requests in one transaction: enough that its sync costs each of them little, few enough that none waits long. */
const MAX_BATCH = 256;
/** Octets of enqueues in one transaction: the last may go over it by itself. */
const MAX_BATCH_OCTETS = 16 * 1024 * 1024;

interface OpenQueue {
  readonly db: DatabaseSync;
  readonly lock: DatabaseSync;
  readonly rows: Rows;
  readonly known: Known;
  readonly records: Records;
  readonly audit: AuditWriter;
  readonly transactions: Transactions;
}

async function serveQueue(port: MessagePort, start: WorkerStart): Promise<void> {
  const post = (message: WorkerMessage<unknown>, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
  let queue: OpenQueue;
  try {
    queue = await openQueue(start, post);
  } catch (error) {
    post({ kind: 'failure', id: 0, failure: asFailure(asStorageError(error, start.database)) });
    return;
  }
  const unlinking = new Set<Promise<void>>();
  const forget = (name: string): void => {
    const done = unlink(join(start.bodies, name))
      .catch((error: unknown) =>
        post({ kind: 'log', level: 'warn', message: 'a body file stays until the next start', attributes: { name, error: String(error) } }),
      )
      .finally(() => unlinking.delete(done));
    unlinking.add(done);
  };
  const close = async (id: number): Promise<void> => {
    await queue.audit.close();
    await Promise.all(unlinking);
    queue.db.close();
    queue.lock.close();
    post({ kind: 'answer', id, answer: null });
    port.close();
  };
  port.on('message', (posted: Posted) => {
    const asked = [...posted];
    const more = (): Request | CloseRequest | undefined => {
      if (asked.length === 0) asked.push(...(receiveMessageOnPort(port)?.message ?? []));
      return asked.shift();
    };
    // What was posted is done before anything else, in as many batches as it takes.
    do {
      const batch: Request[] = [];
      let octets = 0;
      let next: Request | CloseRequest | undefined;
      while (batch.length < MAX_BATCH && octets < MAX_BATCH_OCTETS) {
        next = more();
        if (next === undefined || next.operation === 'close') break;
        batch.push(next);
        if (next.operation === 'enqueue') octets += octetsOf(next.ask.message);
        if (next.operation === 'release') octets += next.ask.as.body?.bytes?.length ?? 0;
      }
      for (const part of inTransactions(batch)) runBatch(queue, part, post, forget);
      if (next?.operation === 'close') void close(next.id);
    } while (asked.length > 0);
  });
  post({ kind: 'answer', id: 0, answer: null });
}

async function openQueue(start: WorkerStart, post: (message: WorkerMessage<unknown>) => void): Promise<OpenQueue> {
  const lock = takeLock(start.lock);
  let db: DatabaseSync | undefined;
  try {
    db = openDatabase(start.database);
    const transactions = makeTransactions(db, (error) => {
      const failure = asFailure(asStorageError(error, start.database));
      post({ kind: 'stopped', failure });
    });
    const audit = await openAuditFile({
      path: start.audit,
      db,
      backlog: start.auditBacklog,
      rotate: start.auditRotate,
      hash: start.auditKey === null ? undefined : makeHashAddress(readAuditKey(start.auditKey)),
      transact: (work) => transactions.run(work),
      onLost: (error) => post({ kind: 'stopped', failure: asFailure(error) }),
      log: (level, message, attributes) => post({ kind: 'log', level, message, attributes }),
    });
    const rows = prepareRows(db);
    let recovered: readonly AuditEvent[] = [];
    transactions.run(() => {
      recovered = rows.recover(start.at).events ?? [];
      audit.stage(recovered, start.at);
      audit.keep();
    });
    audit.settle(true);
    tellDamage(recovered, post);
    sweep(start.bodies, rows, post);
    const known = prepareKnown(db);
    if (known.spoilt)
      post({ kind: 'log', level: 'error', message: 'the known certificates cannot be read: a backup mends it', attributes: {} });
    return { db, lock, rows, known, records: prepareRecords(db), audit, transactions };
  } catch (error) {
    db?.close();
    lock.close();
    throw error;
  }
}

/** What nobody but this thread has seen: damage met while sending is told of by whoever sends. */
function tellDamage(events: readonly AuditEvent[], post: (message: WorkerMessage<unknown>) => void): void {
  for (const { event, queue_id: id = null, row = null, reason = null } of events)
    if (event === 'damaged')
      post({ kind: 'log', level: 'error', message: 'damaged, and set aside', attributes: { queue_id: id, row, reason } });
}

/** A body whose message never came, or whose last row went just before a crash. Other names are not ours to delete. */
function sweep(bodies: string, rows: Rows, post: (message: WorkerMessage<unknown>) => void): void {
  let swept = 0;
  for (const entry of readdirSync(bodies, { withFileTypes: true })) {
    if (!BODY_NAME.test(entry.name) || entry.isDirectory()) {
      post({
        kind: 'log',
        level: 'warn',
        message: 'something that is not a body lies in the folder of bodies',
        attributes: { name: entry.name },
      });
    } else if (!rows.namesFile(entry.name)) {
      unlinkSync(join(bodies, entry.name));
      swept++;
    }
  }
  if (swept > 0) post({ kind: 'log', level: 'info', message: 'body files without a message swept', attributes: { files: swept } });
}

type Transactions = ReturnType<typeof makeTransactions>;

/** `onStop` is called once, with the failure after which nothing more is written (an fsync that failed cannot be repeated). */
function makeTransactions(db: DatabaseSync, onStop: (error: unknown) => void) {
  const begin = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  const rollback = db.prepare('ROLLBACK');
  const savepoint = db.prepare('SAVEPOINT request');
  const release = db.prepare('RELEASE request');
  const undo = db.prepare('ROLLBACK TO request');
  let stopped: unknown;
  return {
    /** Throws where `work` or the commit failed; then nothing of it holds. */
    run(work: () => void): void {
      if (stopped !== undefined) throw stopped;
      try {
        begin.run();
        work();
        commit.run();
      } catch (error) {
        if (isUntrustworthy(error)) {
          stopped = error;
          onStop(error);
        }
        // SQLite has rolled back by itself after some failures.
        if (db.isTransaction) rollback.run();
        throw error;
      }
    },
    /** Inside `run`: `work` alone, or nothing of it. Answers the error; throws where the whole transaction is lost. */
    alone<T>(work: () => T): { readonly done: T } | { readonly error: unknown } {
      savepoint.run();
      try {
        const done = work();
        release.run();
        return { done };
      } catch (error) {
        if (isUntrustworthy(error) || !db.isTransaction) throw error;
        undo.run();
        release.run();
        return { error };
      }
    },
  };
}

const isOfRecords = ({ operation }: Request): boolean =>
  operation === 'records' || operation === 'getRecord' || operation === 'changeRecords';

/**
 * Requests of the records have a transaction each. After a page that makes no sense SQLite takes no further write in the same
 * transaction, whatever savepoint it is in: what else is in it would be lost with the records, and mail stop for them (P10).
 */
function inTransactions(batch: readonly Request[]): readonly (readonly Request[])[] {
  const parts: Request[][] = [];
  for (const request of batch) {
    const last = parts.at(-1);
    if (last === undefined || isOfRecords(request) || last.slice(0, 1).some(isOfRecords)) parts.push([request]);
    else last.push(request);
  }
  return parts;
}

type Post = (message: WorkerMessage<unknown>, transfer?: ArrayBuffer[]) => void;

function runBatch(queue: OpenQueue, batch: readonly Request[], post: Post, forget: (name: string) => void): void {
  const { audit, transactions } = queue;
  const outcomes: ({ readonly done: Done<unknown> } | { readonly error: unknown })[] = [];
  try {
    transactions.run(() => {
      for (const request of batch) {
        const work = (): Done<unknown> => {
          const done = execute(queue, request);
          if (done.events !== undefined) audit.stage(done.events, request.at);
          return done;
        };
        outcomes.push(isOfRecords(request) ? { done: work() } : transactions.alone(work));
      }
      audit.keep();
    });
  } catch (error) {
    audit.settle(false);
    const failure = asFailure(asStorageError(error, 'the data folder'));
    post({ kind: 'answers', answers: batch.map(({ id }) => ({ kind: 'failure', id, failure })) });
    return;
  }
  audit.settle(true);
  const answers: WorkerMessage<unknown>[] = [];
  const buffers: ArrayBuffer[] = [];
  for (const [index, { id, operation }] of batch.entries()) {
    const outcome = outcomes[index];
    if (outcome === undefined || 'error' in outcome) {
      answers.push({ kind: 'failure', id, failure: asFailure(asStorageError(outcome?.error, 'the data folder')) });
    } else {
      answers.push({ kind: 'answer', id, answer: outcome.done.answer });
      buffers.push(...buffersOf(outcome.done.answer));
      outcome.done.gone?.forEach(forget);
      if (operation === 'pruneAudit') audit.sweep();
      if (operation === 'claim' || operation === 'heldPage') tellDamage(outcome.done.events ?? [], post);
    }
  }
  post({ kind: 'answers', answers }, buffers);
}

/** What every enqueue must pass, whatever its message is. A database that failed refuses all before this is reached. */
function assertTakes({ audit }: OpenQueue): void {
  const refusal = audit.refusal();
  if (refusal !== undefined) throw refusal;
}

function execute(queue: OpenQueue, request: Request): Done<unknown> {
  const { db, rows, known, records } = queue;
  const { at } = request;
  rows.wrote(at);
  switch (request.operation) {
    case 'enqueue': {
      assertTakes(queue);
      const { message, events, uses, notices, lease } = request.ask;
      const { answer: leased } = rows.enqueue(message, events, lease);
      for (const notice of notices) rows.enqueue(notice, []);
      const used = withUses(events, known.use(uses, at));
      return { ...used, answer: { changes: used.answer, leased } };
    }
    case 'assertTakes':
      assertTakes(queue);
      return { answer: null };
    case 'claim':
      return rows.claim(request.ask.now, request.ask.limit, at);
    case 'nextDue':
      return rows.nextDue();
    case 'bodyBytes':
      return rows.bodyBytes(request.ask);
    case 'passDot':
      return rows.passDot(request.ask);
    case 'settle': {
      const { row, outcome, events, telling, queueId } = request.ask;
      const settled = rows.settle(row, outcome, events, telling, at);
      if (outcome.kind === 'delivered' && queueId !== null) records.delivered(queueId, at);
      return settled;
    }
    case 'heldPage':
      return rows.held.page(request.ask.filter, request.ask.after, request.ask.limit, at);
    case 'release': {
      const released = rows.held.release(request.ask, at);
      return released.answer
        ? { ...released, ...withUses(request.ask.events, known.use(request.ask.uses, at)) }
        : { ...released, answer: null };
    }
    case 'endHeld':
      return rows.held.end(request.ask, at);
    case 'damageHeld':
      return rows.held.damage(request.ask, at);
    case 'record':
      return withUses(request.ask.events, known.use(request.ask.uses, at));
    case 'retry':
      return retryStep(db, request.ask, at);
    case 'remove':
      return removeStep(db, rows, request.ask);
    case 'prune':
      return pruneStep(db, rows, request.ask);
    case 'known':
      return known.of(request.ask);
    case 'knownPage':
      return known.page(request.ask.since, request.ask.after);
    case 'wait':
      return known.wait(request.ask, at);
    case 'approve':
      return known.approve(request.ask.filter, request.ask.operator, at);
    case 'forget':
      return known.forget(request.ask.filter, request.ask.operator);
    case 'pruneKnown':
      return known.prune(at);
    case 'records':
      return records.list(request.ask);
    case 'getRecord':
      return records.get(request.ask.kind, request.ask.key);
    case 'changeRecords':
      return records.change(request.ask.changes, request.ask.events, at);
    case 'list':
      return { answer: listEntries(db, request.ask.filter, request.ask.limit) };
    case 'auditHead':
      return { answer: queue.audit.head() };
    case 'pruneAudit':
      return pruneAudit(db, request.ask.keep, at);
    case 'stats':
      return { answer: readStats(db) };
    default:
      return unknownOperation(request);
  }
}

const withUses = (events: readonly AuditEvent[], recorded: Recorded): Done<readonly AuditEvent[]> => ({
  answer: recorded.changes,
  events: [...events, ...recorded.events],
});

function unknownOperation(request: never): never {
  throw new SealpostError('internal', { detail: 'the queue was asked what it does not know', cause: request });
}

/** The octets of claimed rows move to the other thread, they are not copied. */
function buffersOf(answer: unknown): ArrayBuffer[] {
  const page: unknown = typeof answer === 'object' && answer !== null && 'rows' in answer ? answer.rows : answer;
  const rows: readonly unknown[] = Array.isArray(page) ? page : [{ bytes: page }];
  return rows
    .flatMap((row): unknown[] => (typeof row === 'object' && row !== null ? Object.values(row) : []))
    .filter((value) => value instanceof Uint8Array)
    .map((bytes) => bytes.buffer)
    .filter((buffer) => buffer instanceof ArrayBuffer);
}

function asFailure(error: SealpostError): Failure {
  const hint = error.hint;
  return { code: error.code, detail: error.detail, hint, cause: inspect(error.cause ?? error) };
}

const start: WorkerStart = workerData;
if (parentPort !== null) await serveQueue(parentPort, start);
