/** A queue with a million deferred rows: what passes beside them, against an empty queue. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { freePort, until } from '../interop/ports.ts';
import { startSink, type Sink } from '../interop/sink.ts';
import { makeSite, type Site } from '../relay/site.ts';
import { sendLoad } from './load.ts';
import type { Bench } from './figures.ts';
import type { Owner } from './owner.ts';
import { comparePairs, rateOf, showSpread } from './pairs.ts';
import { missingForSource } from './relaying.ts';
import { READER, relayMails, SENDER } from './source.ts';

const MILLION = 1_000_000;
/** Rows of one transaction. */
const STEP = 100_000;
/** Ms from now until the first of them is due. */
const FAR = 86_400_000;
const MAILS = { clients: 20, octets: 4096 };

export interface Backlog {
  readonly port: number;
  readonly sink: Sink;
}

/** A relay with `rows` deferred rows in its queue, and an upstream that is well. */
export async function relayWithBacklog(owner: Owner, rows: number): Promise<Backlog> {
  const upstreamPort = await freePort();
  const upstream = [{ host: '127.0.0.1', port: upstreamPort, concurrency: 20 }];
  const site = await makeSite(owner, { upstreamPort, config: { upstream } });
  if (rows > 0) {
    // Nobody listens there yet: one row is deferred, and the others are made in its likeness.
    const relay = await site.serve();
    await sendLoad({ port: relay.port, clients: 1, messages: 1, octets: 500, from: SENDER, to: READER });
    await until('it is deferred', () => relay.log().includes('"msg":"deferred"'));
    await relay.stop();
    multiply(site, rows);
  }
  const sink = await startSink([], upstreamPort);
  owner.after(() => sink.stop());
  const { port } = await site.serve();
  return { port, sink };
}

function multiply(site: Site, rows: number): void {
  const db = new DatabaseSync(join(site.data, 'queue.sqlite'));
  db.exec('PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF');
  for (let from = 1; from < rows; from += STEP) {
    const numbers = `WITH RECURSIVE numbers (n) AS (SELECT ${from} UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ${Math.min(rows, from + STEP)})`;
    db.exec(`BEGIN;
      ${numbers} INSERT INTO messages (id, accepted_at, sender, size)
        SELECT printf('made%08d', n), accepted_at, sender, size FROM numbers, (SELECT * FROM messages LIMIT 1);
      ${numbers} INSERT INTO bodies (id, length, sha256, file, bytes)
        SELECT id + n, length, sha256, file, bytes FROM numbers, (SELECT * FROM bodies ORDER BY id LIMIT 1);
      ${numbers} INSERT INTO recipients (message, body, address, state, due_at, changed_at, attempts, past_dot, reason, needs_smtputf8, sha256, header, prefix, suffix)
        SELECT printf('made%08d', n), body + n, address, state, due_at + ${FAR} + n, changed_at, attempts, past_dot, reason, needs_smtputf8, sha256, header, prefix, suffix
        FROM numbers, (SELECT * FROM recipients ORDER BY id LIMIT 1);
      COMMIT`);
  }
  db.exec(
    `UPDATE recipients SET due_at = due_at + ${FAR} WHERE message NOT LIKE 'made%'; UPDATE totals SET value = ${rows} WHERE name = 'accepted'`,
  );
  db.close();
}

export async function benchBacklog(bench: Bench, owner: Owner): Promise<void> {
  const missing = missingForSource();
  if (missing !== undefined) return bench.print(`backlog: skipped, ${missing}`);
  const rows = bench.quick ? 1000 : MILLION;
  const messages = bench.quick ? 100 : 1500;
  const [full, empty] = [await relayWithBacklog(owner, rows), await relayWithBacklog(owner, 0)];
  const run = ({ port, sink }: Backlog): Promise<number> => rateOf(messages, () => relayMails(port, sink, { ...MAILS, messages }));
  const result = await comparePairs(
    bench.quick ? 1 : 5,
    () => run(full),
    () => run(empty),
  );
  bench.figure({
    what: `${rows.toLocaleString('en')} deferred rows in the queue, against an empty queue`,
    measured: result.ratio,
    unit: '×',
    wanted: { least: 0.9 },
    beside: `full ${showSpread(result.ours, 0)}, empty ${showSpread(result.theirs, 0)} messages/s`,
  });
}
