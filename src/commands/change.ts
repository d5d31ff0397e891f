/** Changes that commands make to what a relay keeps: by the relay that runs; where none does, by taking its lock. */
import { statSync } from 'node:fs';
import process from 'node:process';
import { pino } from 'pino';
import { callControl, type ControlHandlers, type ControlRequest } from '../control.ts';
import { SealpostError } from '../errors.ts';
import type { QueuePaths } from '../queue/paths.ts';
import type { QueueStore } from '../queue/queue.ts';
import { openDatabaseReadOnly } from '../queue/schema.ts';
import { openSqliteQueue } from '../queue/sqlite.ts';
import type { Terminal } from './terminal.ts';

/**
 * Answers what the handler of the command does. `request` names its operator. `make`: where there is no queue yet it is made, for
 * what must be kept before a relay has run.
 */
export async function changeQueue(
  terminal: Pick<Terminal, 'stderr'>,
  paths: QueuePaths,
  request: ControlRequest,
  handlersFor: (store: QueueStore) => ControlHandlers,
  { make = false }: { readonly make?: boolean } = {},
): Promise<unknown> {
  try {
    return await callControl(paths.socket, request);
  } catch (error) {
    if (!(error instanceof SealpostError) || error.code !== 'relay-not-running') throw error;
  }
  // Opening for writing would make a queue where there is none.
  if (make && statSync(paths.database, { throwIfNoEntry: false }) === undefined) assertOwnFolder(paths.folder);
  else openDatabaseReadOnly(paths.database).close();
  const log = pino({ level: 'warn' }, { write: (line: string) => terminal.stderr.write(`sealpost: ${messageOf(line)}\n`) });
  const store = await openSqliteQueue({ ...paths, now: Date.now, log });
  try {
    return await handlersFor(store)[request.command]?.(request);
  } finally {
    await store.close();
  }
}

/** What root made in the folder of the relay's user, the relay could not open. */
function assertOwnFolder(folder: string): void {
  const owner = statSync(folder, { throwIfNoEntry: false })?.uid;
  if (owner === undefined || owner === process.getuid?.()) return;
  const hint = `run the command as the user that ${folder} belongs to: sudo -u '#${owner}' sealpost …`;
  throw new SealpostError('data-folder-unsafe', { detail: `${folder} belongs to user ${owner}, who runs the relay`, hint });
}

function messageOf(line: string): string {
  const entry: unknown = JSON.parse(line);
  return typeof entry === 'object' && entry !== null && 'msg' in entry ? String(entry.msg) : line;
}
