/**
 * `sealpost queue release`: held mail is sealed to its readers and goes out. Whoever has the key elsewhere brings it here for as long as this
 * takes: it never leaves this process. The relay gets the content keys of the messages that are named, and does the rest.
 */
import { Command } from 'commander';
import { escapeUnprintable } from '../audit.ts';
import { isKeyOf } from '../certificates/pkcs12/keys.ts';
import { readDatabase } from '../change-control.ts';
import { type Config, loadConfig } from '../config.ts';
import { addressKey } from '../config/audit-keys.ts';
import type { ControlRequest } from '../control.ts';
import { asSealpostError, type ErrorCode, errorTable, SealpostError } from '../errors.ts';
import { holdFiles, readHoldCertificate } from '../site/hold-keys.ts';
import type { EntryFilter } from '../queue/queue.ts';
import { type ListedHeld, listHeld } from '../queue/held-list.ts';
import { queuePaths, type QueuePaths } from '../queue/paths.ts';
import { type Answered, type AskedRow, BATCH_ROWS } from '../release/control.ts';
import type { Staying } from '../release/release.ts';
import { unwrap } from '../release/unwrap.ts';
import type { Identity } from '../seal/open.ts';
import { shown } from './certificates/paths.ts';
import { changeQueue } from './change.ts';
import { type KeyOptions, readIdentities } from './key-options.ts';
import { operatorName } from './locate.ts';
import { makeProgress } from './progress.ts';
import { releaseHere } from './release-here.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

interface Options extends KeyOptions {
  readonly all?: true;
  readonly json?: true;
}

export const buildRelease: BuildCommand = (terminal) =>
  new Command('release')
    .argument('[id]', 'the message, as queue list --held shows it')
    .argument('[recipient]', 'one of its recipients')
    .description('seals held mail to its readers, by the rules and certificates of today; with the key of the relay, or one that is named')
    .option('--all', 'all that is held')
    .option('--key <file>', 'the private key of held mail, where the relay has it not; PEM')
    .option('--cert <file>', 'the certificate that belongs to --key; without it the one that mail is held to now')
    .option('--p12 <file>', 'key and certificate in a PKCS#12')
    .option('--passphrase <from>', 'of the key: file:PATH or env:NAME; else it is asked for on the terminal')
    .option('--json', 'one JSON object a line')
    .action(async (id: string | undefined, recipient: string | undefined, options: Options, command: Command) => {
      if ((id === undefined) !== (options.all === true)) throw new SealpostError('usage', { detail: 'queue release takes an ID or --all' });
      const { config: file } = command.optsWithGlobals<{ config?: string }>();
      const config = await loadConfig({ file, env: terminal.env, cwd: terminal.cwd });
      const filter = { ...(id === undefined ? {} : { queueId: id }), ...(recipient === undefined ? {} : { recipient }) };
      await run(terminal, config, filter, options);
    });

async function run(terminal: Terminal, config: Config, filter: EntryFilter, options: Options): Promise<void> {
  const paths = queuePaths(config.queue.sqlite, config.audit.file, addressKey(config));
  const named = options.key !== undefined || options.p12 !== undefined;
  const identities = named ? await withCertificate(await readIdentities(options, terminal), config, terminal) : undefined;
  const progress = makeProgress(terminal);
  let [done, stayed, damaged] = [0, 0, 0];
  for (let after = 0; ;) {
    const rows = readDatabase(paths.database, (db) => listHeld(db, filter, after, BATCH_ROWS)) ?? [];
    const last = rows.at(-1);
    if (last === undefined) break;
    after = last.row;
    const answers = await releaseBatch(terminal, { config, paths, identities }, rows);
    progress.end();
    for (const [index, row] of rows.entries()) {
      const answer = answers[index] ?? { kind: 'gone' };
      terminal.stdout.write(
        options.json === true ? `${JSON.stringify(asJson(row, answer))}\n` : `${escapeUnprintable(lineOf(row, answer))}\n`,
      );
      if (answer.kind === 'damaged') damaged++;
      else if (!isHeldNoMore(answer)) stayed++;
    }
    done += rows.length;
    progress.show(`${done} looked at`);
  }
  progress.end();
  if (done === 0 && filter.queueId !== undefined)
    throw new SealpostError('queue-id-unknown', { detail: `${escapeUnprintable(filter.queueId)}: no recipient that is held` });
  if (done === 0) terminal.stderr.write('sealpost: nothing is held\n');
  const counted = [
    ...(stayed === 0 ? [] : [stayed === 1 ? '1 stays held' : `${stayed} stay held`]),
    ...(damaged === 0 ? [] : [damaged === 1 ? '1 is damaged' : `${damaged} are damaged`]),
  ];
  if (counted.length > 0) throw new SealpostError('not-released', { detail: counted.join(', ') });
}

/**
 * A key of PKCS#1 alone opens anything to garbage, so it is held to its certificate first: the one that is named, else the one that mail is
 * held to now.
 */
async function withCertificate(identities: readonly Identity[], config: Config, terminal: Terminal): Promise<readonly Identity[]> {
  const held = await readHoldCertificate(config);
  return identities.map(({ key, certificate = held.kind === 'read' ? held.value : undefined }) => {
    if (certificate === undefined || isKeyOf(key, certificate)) return certificate === undefined ? { key } : { key, certificate };
    throw new SealpostError('key-malformed', {
      detail: `that is not the key of ${shown(holdFiles(config).certificate, terminal)}`,
      hint: 'for mail that was held to an earlier certificate name that one too: --cert FILE',
    });
  });
}

interface With {
  readonly config: Config;
  readonly paths: QueuePaths;
  /** Undefined: the relay uses its own. */
  readonly identities: readonly Identity[] | undefined;
}

/** In the order of the rows. */
async function releaseBatch(terminal: Terminal, { config, paths, identities }: With, rows: readonly ListedHeld[]): Promise<Answered[]> {
  const asked = rows.map((row) => ({ row, ...(identities === undefined ? { ask: {} } : askedWith(row, identities)) }));
  const send = asked.filter(({ ask }) => ask !== undefined);
  const request = {
    command: 'queue-release',
    operator: operatorName(terminal),
    rows: send.map(({ row: { row, queueId }, ask }) => ({ row, queueId, ...ask })),
  };
  const answered = send.length === 0 ? [] : await ask(terminal, config, paths, request);
  const answers = new Map(send.map(({ row }, index) => [row.row, answered[index]]));
  return asked.map(({ row, answer }) => answer ?? answers.get(row.row) ?? NO_ANSWER);
}

/** A relay of another release. */
const NO_ANSWER: Answered = { kind: 'failed', code: 'internal' };

interface AskedWith {
  /** What is asked for beside the row; undefined where nothing is. */
  readonly ask?: Pick<AskedRow, 'key' | 'unreadable'>;
  readonly answer?: Answered;
}

/** One row that cannot be read must not keep the others from their release. */
function askedWith(row: ListedHeld, identities: readonly Identity[]): AskedWith {
  try {
    const key = keyOf(row, identities);
    return key === undefined ? { answer: { kind: 'other-key' } } : { ask: { key } };
  } catch (error) {
    const { code } = asSealpostError(error);
    return code === 'queue-item-damaged' ? { ask: { unreadable: true } } : { answer: { kind: 'failed', code } };
  }
}

const ask = async (terminal: Terminal, config: Config, paths: QueuePaths, request: ControlRequest): Promise<Answered[]> =>
  readAnswers(await changeQueue(terminal, paths, request, (store) => releaseHere(store, config, terminal)));

function keyOf(row: ListedHeld, identities: readonly Identity[]): string | undefined {
  const key = unwrap(row, identities);
  const text = key?.toString('base64');
  key?.fill(0);
  return text;
}

const kinds = ['released', 'stays', 'wrong-key', 'gone', 'other-key', 'damaged', 'failed'] as const;

/** What another release answers that this one does not know counts as not released. */
function readAnswers(value: unknown): Answered[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  return list.map((one): Answered => {
    const { kind, why, rule, reencrypted, code }: Readonly<Record<string, unknown>> =
      typeof one === 'object' && one !== null ? { ...one } : {};
    const known = kinds.find((word) => word === kind);
    switch (known) {
      case 'released':
        return { kind: known, rule: String(rule), reencrypted: reencrypted === true };
      case 'stays':
        return { kind: known, why: isStaying(why) ? why : 'refused', rule: typeof rule === 'string' ? rule : null };
      case 'failed':
      case undefined:
        return { kind: 'failed', code: isCode(code) ? code : 'internal' };
      case 'wrong-key':
      case 'other-key':
      case 'damaged':
      case 'gone':
        return { kind: known };
    }
  });
}

const isCode = (code: unknown): code is ErrorCode => typeof code === 'string' && Object.hasOwn(errorTable, code);
const isStaying = (why: unknown): why is Staying => typeof why === 'string' && Object.hasOwn(whys, why);

const whys: Readonly<Record<Staying, string>> = {
  rule: 'a rule holds it until it is released by hand',
  missing: 'there is no usable certificate for that recipient',
  unavailable: 'nobody knows now whether there is a certificate: a source is down',
  refused: 'it would be refused today; sealpost queue remove takes it out',
  passes: 'a rule would pass it in clear today: what was held is not',
};

/** What became of it, for people. */
function told(answer: Answered): string {
  switch (answer.kind) {
    case 'released':
      return `released by rule ${answer.rule}${answer.reencrypted ? ', encrypted anew' : ''}`;
    case 'stays':
      return `stays held: ${whys[answer.why]}${answer.rule === null ? '' : ` (rule ${answer.rule})`}`;
    case 'wrong-key':
      return 'stays held: the key does not open it';
    case 'other-key':
      return 'stays held: it was sealed to another hold certificate: name it with its key, --key FILE --cert FILE';
    case 'failed':
      return `stays held: ${errorTable[answer.code].text}`;
    case 'damaged':
      return 'is damaged: set aside, and never sent';
    case 'gone':
      return 'is held no more; sealpost queue show tells of what is still here';
  }
}

const lineOf = ({ queueId, recipient }: ListedHeld, answer: Answered): string => `${queueId}  ${recipient}  ${told(answer)}`;

const isHeldNoMore = ({ kind }: Answered): boolean => kind === 'released' || kind === 'damaged' || kind === 'gone';

function asJson({ queueId, recipient }: ListedHeld, answer: Answered): Readonly<Record<string, unknown>> {
  const common = { queueId, recipient, state: isHeldNoMore(answer) ? answer.kind : 'held' };
  const rule = 'rule' in answer ? answer.rule : null;
  const why = answer.kind === 'stays' ? answer.why : answer.kind === 'failed' ? answer.code : answer.kind;
  return { ...common, rule, why: common.state === 'held' ? why : null, reencrypted: answer.kind === 'released' && answer.reencrypted };
}
