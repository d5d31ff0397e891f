/** A data folder of its own for one test, a clock that the test moves, and messages to put in. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import type { AuditEvent } from '../../src/audit.ts';
import type { CertificateUse } from '../../src/queue/known.ts';
import { queuePaths, type QueuePaths } from '../../src/queue/paths.ts';
import type { HeldRow, Kept, Lease, NewMessage, NewRecipient, QueueStore } from '../../src/queue/queue.ts';
import { openSqliteQueue, type SqliteQueueOptions } from '../../src/queue/sqlite.ts';

export const START = Date.UTC(2026, 0, 1);

export interface Site {
  readonly paths: QueuePaths;
  /** What the queue logged, a JSON line each. */
  readonly logged: string[];
  readonly clock: { now: number };
  open(options?: Partial<SqliteQueueOptions>): ReturnType<typeof openSqliteQueue>;
}

/** Closes what it opened and removes the folder when the test ends. */
export async function makeSite(t: TestContext): Promise<Site> {
  const root = await mkdtemp(join(tmpdir(), 'sealpost-queue-'));
  const paths = queuePaths(join(root, 'data', 'queue.sqlite'), join(root, 'data', 'audit.jsonl'));
  const logged: string[] = [];
  const log = pino({}, { write: (line: string) => logged.push(line) });
  const clock = { now: START };
  const opened: QueueStore[] = [];
  t.after(async () => {
    for (const store of opened) await store.close();
    await rm(root, { recursive: true, force: true });
  });
  return {
    paths,
    logged,
    clock,
    async open(options = {}) {
      const store = await openSqliteQueue({ ...paths, now: () => clock.now, log, ...options });
      opened.push(store);
      return store;
    },
  };
}

export interface Put {
  readonly id: string;
  readonly octets?: number;
  readonly recipients?: readonly string[];
  readonly events?: readonly AuditEvent[];
  readonly asked?: Asked;
  readonly uses?: readonly CertificateUse[];
  readonly kept?: Kept;
  /** The sender as it was accepted. */
  readonly original?: string;
}

/** What the envelope says besides addresses; nothing where it is not there. */
export type Asked = Partial<Pick<NewMessage, 'envid' | 'submitter' | 'notice'> & Pick<NewRecipient, 'sender' | 'notify' | 'orcpt'>>;

export interface Stored {
  readonly message: NewMessage;
  readonly ciphertext: Buffer;
}

/** Writes a body in uneven pieces and enqueues it for each recipient. */
export async function put(
  store: QueueStore,
  { id, octets = 100, recipients = ['anna@clinic.example'], events, asked = {}, uses = [], original = 'form@clinic.example', kept }: Put,
): Promise<Stored> {
  const ciphertext = randomBytes(octets);
  const writer = store.newBody();
  for (let at = 0; at < octets; at += 30_011) await writer.write(ciphertext.subarray(at, at + 30_011));
  const body = await writer.finish();
  const message: NewMessage = {
    id,
    acceptedAt: START,
    sender: original,
    size: octets,
    envid: asked.envid ?? null,
    submitter: asked.submitter ?? null,
    notice: asked.notice ?? null,
    bodies: [body],
    recipients: recipients.map((address) => ({
      address,
      sender: asked.sender ?? 'form@clinic.example',
      notify: asked.notify ?? null,
      orcpt: asked.orcpt ?? null,
      body: 0,
      header: Buffer.from(`To: <${address}>\r\n\r\n`),
      prefix: randomBytes(300),
      suffix: randomBytes(18),
      needsSmtputf8: false,
      kept,
    })),
  };
  await store.enqueue(message, events ?? [{ event: 'accepted', queue_id: id }], uses);
  return { message, ciphertext };
}

export async function readAll(store: QueueStore, lease: Lease): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of store.read(lease)) parts.push(part);
  return Buffer.concat(parts);
}

/** The only row that is held. */
export async function heldOne(store: QueueStore): Promise<HeldRow> {
  const [held, ...others] = await store.heldRows({}, 0, 2);
  assert.ok(held !== undefined && others.length === 0, 'exactly one row is held');
  return held;
}

/** The only row that is due. */
export async function claimOne(store: QueueStore, now = START): Promise<Lease> {
  const [lease, ...others] = await store.claim(now, 2);
  assert.ok(lease !== undefined && others.length === 0, 'exactly one row is due');
  return lease;
}

/** The first page of a table becomes what no page is, as a disk may do it. The database is closed. */
export function spoilPage(database: string, table: string): void {
  const db = new DatabaseSync(database);
  const root = Number(db.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').get(table)?.['rootpage']);
  const size = Number(db.prepare('PRAGMA page_size').get()?.['page_size']);
  db.close();
  assert.ok(root > 1);
  const file = openSync(database, 'r+');
  writeSync(file, Buffer.alloc(size, 0xa5), 0, size, (root - 1) * size);
  closeSync(file);
}

export const hasCode =
  (code: string) =>
  (error: unknown): boolean => {
    assert.equal(error instanceof Error && 'code' in error ? error.code : error, code, String(error));
    return true;
  };
