/** Changes that commands make to what a relay keeps: by the relay that runs; where none does, by taking its lock. */
import { pino } from 'pino';
import { callControl, type ControlHandlers, type ControlRequest } from '../control.ts';
import { SealpostError } from '../errors.ts';
import type { QueuePaths } from '../queue/paths.ts';
import type { QueueStore } from '../queue/queue.ts';
import { openDatabaseReadOnly } from '../queue/schema.ts';
import { openSqliteQueue } from '../queue/sqlite.ts';
import type { Terminal } from './terminal.ts';

/** Answers what the handler of the command does. `request` names its operator. */
export async function changeQueue(
  terminal: Pick<Terminal, 'stderr'>,
  paths: QueuePaths,
  request: ControlRequest,
  handlersFor: (store: QueueStore) => ControlHandlers,
): Promise<unknown> {
  try {
    return await callControl(paths.socket, request);
  } catch (error) {
    if (!(error instanceof SealpostError) || error.code !== 'relay-not-running') throw error;
  }
  // Opening for writing would make a queue where there is none.
  openDatabaseReadOnly(paths.database).close();
  const log = pino({ level: 'warn' }, { write: (line: string) => terminal.stderr.write(`sealpost: ${messageOf(line)}\n`) });
  const store = await openSqliteQueue({ ...paths, now: Date.now, log });
  try {
    return await handlersFor(store)[request.command]?.(request);
  } finally {
    await store.close();
  }
}

function messageOf(line: string): string {
  const entry: unknown = JSON.parse(line);
  return typeof entry === 'object' && entry !== null && 'msg' in entry ? String(entry.msg) : line;
}
