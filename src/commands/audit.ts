/** `sealpost audit …`: reads the file and what the queue database knows of it; a running relay is not disturbed. */
import { once } from 'node:events';
import { Command } from 'commander';
import { auditEventNames, escapeUnprintable } from '../audit.ts';
import { auditLines } from '../audit/segments.ts';
import type { HashAddress } from '../audit/hashing.ts';
import { SealpostError } from '../errors.ts';
import { exportLog, makeAuditKeys, verifyLog, type ExportChoice, type VerifyChoice } from './audit-steps.ts';
import { locateAudit } from './locate.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

export const build: BuildCommand = (terminal) => {
  const audit = new Command('audit').description('the hash-chained log of what became of every message');
  audit
    .command('verify')
    .description('walks the whole chain and holds it to the head that the database records')
    .option('--file <file>', 'a copy of the log, such as audit export writes; no database is asked')
    .option('--checkpoint <file>', 'signed checkpoints, from data/checkpoints.jsonl or the log of the relay, kept elsewhere')
    .option('--key <file>', 'the public key of the checkpoints, keys/audit.pub')
    .action((options: VerifyChoice, command: Command) => verifyLog(options, command, terminal));
  audit
    .command('key')
    .description('makes the keys of the audit log that are not there: of hashed addresses, and of signed checkpoints')
    .action((_options: object, command: Command) => makeAuditKeys(command, terminal));
  audit
    .command('export')
    .description('writes the log, or a part of it without a gap, into one file')
    .requiredOption('--out <file>', 'a new file')
    .option('--since <time>', 'from then on')
    .option('--until <time>', 'before then')
    .option('--format <format>', 'json: the lines as they stand, which audit verify --file verifies; csv: for people', 'json')
    .action((options: ExportChoice, command: Command) => exportLog(options, command, terminal));
  audit
    .command('show')
    .description('the events, oldest first')
    .option('--id <id>', 'of one message')
    .option('--event <event>', `of one kind: ${auditEventNames.join(', ')}`)
    .option('--since <time>', 'from then on, such as 2026-01-31 or 2026-01-31T12:00Z')
    .option('--recipient <address>', 'of one recipient, in clear or hashed')
    .option('--json', 'the lines as they stand in the file')
    .action(async (options: ShowOptions, command: Command) => {
      const { audit, auditHashes } = await locateAudit(terminal, command);
      const wanted = makeFilter(options, auditHashes);
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
  readonly recipient?: string;
  readonly json?: true;
}

type ShownEvent = ReadonlyMap<string, unknown>;

function makeFilter({ id, event, since, recipient }: ShowOptions, hash: HashAddress | undefined): (event: ShownEvent) => boolean {
  const names = recipient === undefined ? [] : [recipient.toLowerCase(), ...(hash === undefined ? [] : [hash(recipient)])];
  const from = since === undefined ? -Infinity : Date.parse(since);
  if (Number.isNaN(from)) throw new SealpostError('usage', { detail: '--since takes a time such as 2026-01-31 or 2026-01-31T12:00Z' });
  if (event !== undefined && !auditEventNames.some((name) => name === event))
    throw new SealpostError('usage', { detail: `--event takes one of ${auditEventNames.join(', ')}` });
  return (shown) =>
    (id === undefined || shown.get('queue_id') === id) &&
    (recipient === undefined || names.includes(String(shown.get('recipient')).toLowerCase())) &&
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
