/** `sealpost audit …`: reads the file and what the queue database knows of it; a running relay is not disturbed. */
import { once } from 'node:events';
import { Command } from 'commander';
import { auditEventNames, escapeUnprintable } from '../audit.ts';
import { auditLines } from '../audit/segments.ts';
import { verifyAgainst, type AuditRecord } from '../audit/verify.ts';
import { SealpostError } from '../errors.ts';
import { readAuditRecord } from '../queue/operator.ts';
import { openDatabaseReadOnly } from '../queue/schema.ts';
import { locateQueue } from './locate.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

export const build: BuildCommand = (terminal) => {
  const audit = new Command('audit').description('the hash-chained log of what became of every message');
  audit
    .command('verify')
    .description('walks the whole chain and holds it to the head that the database records')
    .action(async (_options: object, command: Command) => {
      const paths = await locateQueue(terminal, command);
      const verdict = await verifyAgainst(paths.audit, () => readRecord(paths.database));
      if (verdict.kind === 'broken')
        throw new SealpostError('audit-broken', {
          detail: `${verdict.file}:${verdict.line}: ${verdict.fault}: ${verdict.detail}`,
          hint: 'keep the file and the database as evidence, and look for a backup of both from the same moment',
        });
      terminal.stdout.write(`${paths.audit}: ${verdict.head.seq} lines, whole\n`);
    });
  audit
    .command('show')
    .description('the events, oldest first')
    .option('--id <id>', 'of one message')
    .option('--event <event>', `of one kind: ${auditEventNames.join(', ')}`)
    .option('--since <time>', 'from then on, such as 2026-01-31 or 2026-01-31T12:00Z')
    .option('--json', 'the lines as they stand in the file')
    .action(async (options: ShowOptions, command: Command) => {
      const wanted = makeFilter(options);
      const { audit } = await locateQueue(terminal, command);
      for await (const line of auditLines(audit)) {
        const text = line.bytes.toString();
        const event = line.whole ? readEvent(text) : undefined;
        if (event !== undefined && wanted(event)) await print(terminal, options.json === true ? text : showEvent(event));
      }
    });
  return audit;
};

interface ShowOptions {
  readonly id?: string;
  readonly event?: string;
  readonly since?: string;
  readonly json?: true;
}

type ShownEvent = ReadonlyMap<string, unknown>;

function readRecord(database: string): AuditRecord {
  const db = openDatabaseReadOnly(database);
  try {
    return readAuditRecord(db);
  } finally {
    db.close();
  }
}

function makeFilter({ id, event, since }: ShowOptions): (event: ShownEvent) => boolean {
  const from = since === undefined ? -Infinity : Date.parse(since);
  if (Number.isNaN(from)) throw new SealpostError('usage', { detail: '--since takes a time such as 2026-01-31 or 2026-01-31T12:00Z' });
  if (event !== undefined && !auditEventNames.some((name) => name === event))
    throw new SealpostError('usage', { detail: `--event takes one of ${auditEventNames.join(', ')}` });
  return (shown) =>
    (id === undefined || shown.get('queue_id') === id) &&
    (event === undefined || shown.get('event') === event) &&
    (since === undefined || Date.parse(String(shown.get('time'))) >= from);
}

/** A line that is no JSON is for `audit verify` to tell of. */
function readEvent(text: string): ShownEvent | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? new Map(Object.entries(value)) : undefined;
  } catch {
    return undefined;
  }
}

function showEvent(event: ShownEvent): string {
  const rest = [...event].filter(([name]) => !['seq', 'time', 'event', 'prev'].includes(name));
  const attributes = rest.map(
    ([name, value]) => `${name}=${typeof value === 'string' && !/[\s"]/.test(value) ? value : JSON.stringify(value)}`,
  );
  return [String(event.get('time')), String(event.get('event')), ...attributes].join('  ');
}

/** What stands in a file that others may have written must not move the cursor (A33). */
async function print(terminal: Terminal, line: string): Promise<void> {
  if (!terminal.stdout.write(`${escapeUnprintable(line)}\n`)) await once(terminal.stdout, 'drain');
}
