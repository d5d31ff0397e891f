/** `sealpost queue …`: reading goes past the relay, straight to the database; changes go through a running relay, else here. */
import { Command } from 'commander';
import { escapeUnprintable } from '../audit.ts';
import { queueHandlers } from '../control.ts';
import { readFacts, type NoticeFacts } from '../delivery/facts.ts';
import { SealpostError } from '../errors.ts';
import { listEntries, readStats } from '../queue/operator.ts';
import type { QueuePaths } from '../queue/paths.ts';
import { recipientStates, type EntryFilter, type QueueEntry, type QueueStats, type RecipientState } from '../queue/queue.ts';
import { openDatabaseReadOnly } from '../queue/schema.ts';
import { changeQueue } from './change.ts';
import { buildHoldKey } from './hold-key.ts';
import { locateQueue, operatorName } from './locate.ts';
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
    .option('--limit <rows>', 'at most so many', String(DEFAULT_LIMIT))
    .option('--json', 'one JSON object a line')
    .action(async (options: { state?: string; limit: string; json?: true }, command: Command) => {
      const limit = readLimit(options.limit);
      const filter = options.state === undefined ? {} : { state: readState(options.state) };
      const entries = readEntries(await locateQueue(terminal, command), filter, limit + 1);
      printEntries(terminal, entries.slice(0, limit), options.json === true);
      if (entries.length > limit) terminal.stderr.write(`sealpost: there are more than ${limit}; --limit shows them\n`);
    });
  queue
    .command('show <id>')
    .description('the recipients of one message: state, attempts, reason; never content')
    .option('--json', 'one JSON object a line')
    .action(async (id: string, options: { json?: true }, command: Command) => {
      const entries = readEntries(await locateQueue(terminal, command), { queueId: id }, MAX_LIMIT);
      if (entries.length === 0) throw unknownId(id);
      if (options.json === true) printEntries(terminal, entries, true);
      else terminal.stdout.write(showMessage(entries));
    });
  queue
    .command('retry [id] [recipient]')
    .description('attempts deferred and bounced recipients now')
    .option('--all', 'of every message')
    .action(async (id: string | undefined, recipient: string | undefined, options: { all?: true }, command: Command) => {
      if ((id === undefined) !== (options.all === true)) throw new SealpostError('usage', { detail: 'queue retry takes an ID or --all' });
      const rows = await change(terminal, await locateQueue(terminal, command), 'queue-retry', asFilter(id, recipient));
      if (rows === 0 && id !== undefined) throw nothingThere(id, 'deferred or bounced');
      terminal.stdout.write(`${plural(rows)} will be attempted now\n`);
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
      terminal.stdout.write(options.json === true ? `${JSON.stringify(stats)}\n` : showStats(stats));
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

const plural = (rows: number): string => (rows === 1 ? '1 recipient' : `${rows} recipients`);

const atTime = (ms: number): string => new Date(ms).toISOString();

function printEntries(terminal: Terminal, entries: readonly QueueEntry[], json: boolean): void {
  for (const entry of entries) {
    const line = json ? JSON.stringify({ ...entry, notice: factsOf(entry) ?? null }) : lineOf(entry);
    terminal.stdout.write(`${escapeUnprintable(line)}\n`);
  }
}

/** Undefined for mail, and for a notice whose facts were damaged. */
function factsOf({ notice }: QueueEntry): NoticeFacts | undefined {
  try {
    return notice === null ? undefined : readFacts(notice);
  } catch {
    return undefined;
  }
}

const did = { failed: 'failed', delayed: 'is late', relayed: 'was handed on', held: 'is held' } as const satisfies Record<
  NoticeFacts['kind'],
  string
>;

function lineOf(entry: QueueEntry): string {
  const facts = factsOf(entry);
  const notice = facts === undefined ? '' : `  notice that ${facts.queueId} ${did[facts.kind]}`;
  const due = entry.dueAt === null ? '' : `  due ${atTime(entry.dueAt)}`;
  const reason = entry.reason === null ? '' : `  ${entry.reason}`;
  return `${entry.queueId}  ${entry.state.padEnd(8)}  ${entry.recipient}  attempts ${entry.attempts}${due}${notice}${reason}`;
}

function showMessage(entries: readonly QueueEntry[]): string {
  const [first] = entries;
  if (first === undefined) return '';
  const head = [
    `id        ${first.queueId}`,
    `sender    ${first.sender === '' ? '<>' : first.sender}`,
    `accepted  ${atTime(first.acceptedAt)}`,
    ...(first.notice === null ? [`size      ${first.size} octets as they came in`] : [showNotice(factsOf(first))]),
  ];
  const rows = entries.flatMap((entry) => [
    `recipient ${entry.recipient}`,
    `  ${entry.state}, attempts ${entry.attempts}${entry.dueAt === null ? '' : `, due ${atTime(entry.dueAt)}`}`,
    ...(entry.reason === null ? [] : [`  ${entry.reason}`]),
  ]);
  return [...head, ...rows].map((line) => `${escapeUnprintable(line)}\n`).join('');
}

const showNotice = (facts: NoticeFacts | undefined): string =>
  facts === undefined
    ? 'notice    its facts cannot be read'
    : `notice    that ${facts.recipient} of ${facts.queueId} ${did[facts.kind]}, ${facts.status}`;

function showStats({ states, totals, bodyBytes, oldestAcceptedAt }: QueueStats): string {
  const now = recipientStates.map((state) => `${state} ${states[state]}`).join(', ');
  const ever = Object.entries(totals)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
  const oldest = oldestAcceptedAt === null ? 'nothing waits' : atTime(oldestAcceptedAt);
  return `recipients now   ${now}\nin all           ${ever}\nsealed content   ${bodyBytes} octets\noldest message   ${oldest}\n`;
}
