/** `sealpost queue …`: reading goes past the relay, straight to the database; changes go through a running relay, else here. */
import { Command } from 'commander';
import { escapeUnprintable } from '../audit.ts';
import { queueHandlers } from '../control.ts';
import { SealpostError } from '../errors.ts';
import { listEntries, readStats } from '../queue/operator.ts';
import type { QueuePaths } from '../queue/paths.ts';
import { recipientStates, type EntryFilter, type QueueEntry, type RecipientState } from '../queue/queue.ts';
import { openDatabaseReadOnly } from '../queue/schema.ts';
import { changeQueue } from './change.ts';
import { buildHoldKey } from './hold-key.ts';
import { locateHeld, locateQueue, operatorName } from './locate.ts';
import { entryLine, messageLines, plural, statsLines } from './queue-lines.ts';
import { buildRelease } from './release.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

const DEFAULT_LIMIT = 1000;
const MAX_LIMIT = 1_000_000_000;

export const build: BuildCommand = (terminal) => {
  const queue = new Command('queue').description('the messages that wait, and those that failed');
  queue
    .command('list')
    .description('one line a recipient, oldest first')
    .option('--state <state>', `only these: ${recipientStates.join(', ')}`)
    .option('--held', 'only those that are held: since when, by which rule, why, and until when')
    .option('--limit <rows>', 'at most so many', String(DEFAULT_LIMIT))
    .option('--json', 'one JSON object a line')
    .action(async (options: { state?: string; held?: true; limit: string; json?: true }, command: Command) => {
      const limit = readLimit(options.limit);
      if (options.held === true && options.state !== undefined) throw new SealpostError('usage', { detail: '--held is --state held' });
      const state = options.held === true ? 'held' : options.state;
      const { paths, maxAge } = await locateHeld(terminal, command);
      const entries = readEntries(paths, state === undefined ? {} : { state: readState(state) }, limit + 1);
      for (const entry of entries.slice(0, limit)) terminal.stdout.write(entryLine(entry, maxAge, options.json === true));
      if (entries.length > limit) terminal.stderr.write(`sealpost: there are more than ${limit}; --limit shows them\n`);
    });
  queue
    .command('show <id>')
    .description('the recipients of one message: state, attempts, reason; never content')
    .option('--json', 'one JSON object a line')
    .action(async (id: string, options: { json?: true }, command: Command) => {
      const { paths, maxAge } = await locateHeld(terminal, command);
      const entries = readEntries(paths, { queueId: id }, MAX_LIMIT);
      if (entries.length === 0) throw unknownId(id);
      if (options.json === true) for (const entry of entries) terminal.stdout.write(entryLine(entry, maxAge, true));
      else terminal.stdout.write(messageLines(entries, maxAge));
    });
  queue
    .command('retry [id] [recipient]')
    .description('attempts deferred and bounced recipients now')
    .option('--all', 'of every message')
    .action(async (id: string | undefined, recipient: string | undefined, options: { all?: true }, command: Command) => {
      if ((id === undefined) !== (options.all === true)) throw new SealpostError('usage', { detail: 'queue retry takes an ID or --all' });
      const paths = await locateQueue(terminal, command);
      const filter = asFilter(id, recipient);
      const wereHeld = countHeld(paths, filter);
      const rows = await change(terminal, paths, 'queue-retry', filter);
      const nowHeld = countHeld(paths, filter);
      const again = Math.max(0, nowHeld - wereHeld);
      if (rows === 0 && id !== undefined) throw nowHeld > 0 ? isHeld(id) : nothingThere(id, 'deferred or bounced');
      if (rows > again || again === 0) terminal.stdout.write(`${plural(rows - again)} will be attempted now\n`);
      if (again > 0) terminal.stdout.write(`${plural(again)} held again, until released: sealpost queue release ID --key FILE\n`);
    });
  queue
    .command('remove <id> [recipient]')
    .description('takes recipients out for good; the audit log keeps who did it')
    .option('--yes', 'yes, the sealed message is deleted')
    .action(async (id: string, recipient: string | undefined, options: { yes?: true }, command: Command) => {
      if (options.yes !== true)
        throw new SealpostError('usage', { detail: 'what is removed is gone', hint: `sealpost queue remove ${id} --yes` });
      const rows = await change(terminal, await locateQueue(terminal, command), 'queue-remove', asFilter(id, recipient));
      if (rows === 0) throw nothingThere(id, 'in the queue, or it is being sent right now');
      terminal.stdout.write(`${plural(rows)} removed\n`);
    });
  queue
    .command('stats')
    .description('how many wait, and what became of the others')
    .option('--json', 'one JSON object')
    .action(async (options: { json?: true }, command: Command) => {
      const stats = withDatabase(await locateQueue(terminal, command), readStats);
      terminal.stdout.write(options.json === true ? `${JSON.stringify(stats)}\n` : statsLines(stats));
    });
  queue.addCommand(buildRelease(terminal));
  queue.addCommand(buildHoldKey(terminal));
  return queue;
};

function withDatabase<T>({ database }: QueuePaths, read: (db: ReturnType<typeof openDatabaseReadOnly>) => T): T {
  const db = openDatabaseReadOnly(database);
  try {
    return read(db);
  } finally {
    db.close();
  }
}

const readEntries = (paths: QueuePaths, filter: EntryFilter, limit: number): QueueEntry[] =>
  withDatabase(paths, (db) => listEntries(db, filter, limit));

const countHeld = (paths: QueuePaths, filter: EntryFilter): number =>
  withDatabase(paths, (db) =>
    filter.queueId === undefined ? readStats(db).states.held : listEntries(db, { ...filter, state: 'held' }, MAX_LIMIT).length,
  );

const asFilter = (queueId: string | undefined, recipient: string | undefined): EntryFilter => ({
  ...(queueId === undefined ? {} : { queueId }),
  ...(recipient === undefined ? {} : { recipient }),
});

/** How many rows were changed. */
async function change(terminal: Terminal, paths: QueuePaths, command: string, filter: EntryFilter): Promise<number> {
  const request = { command, ...filter, operator: operatorName(terminal) };
  return Number(await changeQueue(terminal, paths, request, (store) => queueHandlers({ store, now: Date.now, wake: () => undefined })));
}

function readState(text: string): RecipientState {
  const found = recipientStates.find((state) => state === text);
  if (found === undefined) throw new SealpostError('usage', { detail: `--state takes one of ${recipientStates.join(', ')}` });
  return found;
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT)
    throw new SealpostError('usage', { detail: `--limit takes a number from 1 to ${MAX_LIMIT}` });
  return limit;
}

const unknownId = (id: string): SealpostError => new SealpostError('queue-id-unknown', { detail: escapeUnprintable(id) });

const nothingThere = (id: string, what: string): SealpostError =>
  new SealpostError('queue-id-unknown', { detail: `${escapeUnprintable(id)}: no recipient that is ${what}` });

const isHeld = (id: string): SealpostError =>
  new SealpostError('queue-id-unknown', {
    detail: `${escapeUnprintable(id)} is held: it goes out once it is released`,
    hint: `sealpost queue release ${escapeUnprintable(id)} --key FILE`,
  });
