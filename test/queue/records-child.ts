/** Records in a process of its own, to be killed: each line it prints names one that must be there after any end, with its event. */
import { writeSync } from 'node:fs';
import { argv } from 'node:process';
import { join } from 'node:path';
import { pino } from 'pino';
import { queuePaths } from '../../src/queue/paths.ts';
import { openSqliteQueue } from '../../src/queue/sqlite.ts';

const [, , folder = '', run = ''] = argv;
const paths = queuePaths(join(folder, 'queue.sqlite'), join(folder, 'audit.jsonl'));
const store = await openSqliteQueue({ ...paths, now: Date.now, log: pino({ level: 'silent' }) });

/** Several at a time, as commands and the daily round would. */
async function work(lane: number): Promise<void> {
  for (let number = 0; ; number++) {
    const keys = ['a', 'b'].map((half) => `${run}-${lane}-${number}-${half}`);
    const changes = keys.map((key) => ({ kind: 'issued', key, value: key, was: null }));
    await store.records.change(
      changes,
      keys.map((key) => ({ event: 'certificate-issued', certificate_serial: key })),
    );
    for (const key of keys) writeSync(1, `${key}\n`);
  }
}

await Promise.all([0, 1, 2].map(work));
