/** `certs harvest`: certificates from signed mail that was saved as files. The relay that runs keeps them; where none does, the command. */
import { constants, lstatSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pino } from 'pino';
import { escapeUnprintable } from '../../audit.ts';
import { judgeHarvest } from '../../certificates/harvest/harvest.ts';
import type { Config } from '../../config.ts';
import { addressKey } from '../../config/audit-keys.ts';
import type { ControlHandlers } from '../../control.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey } from '../../message/envelope.ts';
import { readSigned } from '../../message/signed.ts';
import { queuePaths } from '../../queue/paths.ts';
import type { QueueStore } from '../../queue/queue.ts';
import { harvestHandlers } from '../../upkeep/harvest-control.ts';
import { base64Of } from '../../upkeep/harvested-record.ts';
import { isInFolders, type Kept, lackingOf, makeHarvested } from '../../upkeep/harvested.ts';
import { changeQueue } from '../change.ts';
import { operatorName } from '../locate.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { filesOf, type Named, reasonOf } from './intake/walk.ts';
import { pathsOf } from './paths.ts';
import { type Site, withPatience, withSite } from './site.ts';

/** One mail; the form of `--json`, whose names therefore stay. */
interface Line {
  readonly file: string;
  /** `known`: a folder of the site has it; `waiting`: it waits already. */
  readonly verdict: Kept | 'refused' | 'unavailable';
  readonly address: string | null;
  /** All that its certificate names and would be used for; empty where it gave none. */
  readonly addresses: readonly string[];
  readonly sha256: string | null;
  readonly reason: string | null;
}

export interface HarvestOptions {
  readonly json?: boolean;
  readonly by?: string;
}

/** Throws once all is told where a mail gave none. Each verdict is told at once: what comes later may fail. */
export async function harvest(files: readonly string[], config: Config, terminal: Terminal, options: HarvestOptions): Promise<void> {
  const mails = files.flatMap((file) => [...mailsOf(file, terminal.cwd)]);
  const progress = makeProgress(terminal);
  const counts = { all: 0, none: 0 };
  const tell = (line: Line): void => {
    counts.all++;
    if (line.verdict === 'refused' || line.verdict === 'unavailable') counts.none++;
    if (options.json !== true) return void terminal.stdout.write(`${escapeUnprintable(textOf(line))}\n`);
    terminal.stdout.write(`${counts.all === 1 ? '' : ',\n'}${escapeUnprintable(JSON.stringify(line))}`);
    progress.show(`${counts.all} of ${mails.length} mails read`);
  };
  if (options.json === true) terminal.stdout.write('[');
  try {
    await withSite(pathsOf(config, terminal.env), terminal, async (site) => {
      for (const mail of mails)
        tell(mail.kind === 'refused' ? unread(mail) : await harvestOne(mail, { site, config, terminal, by: options.by }));
    });
  } finally {
    progress.end();
    // Whole JSON, however it ends.
    if (options.json === true) terminal.stdout.write(']\n');
  }
  if (counts.none > 0)
    throw new SealpostError('harvest-refused', { detail: `${counts.none} of ${counts.all} mails`, hint: 'the reasons stand above' });
}

/** A folder stands for the `.eml` files in it, however deep, by the rule of `certs add`. What cannot be read is one line, and not the end. */
function* mailsOf(file: string, cwd: string): Generator<Named> {
  if (file === '-') return yield { kind: 'file', path: file, shown: file };
  for (const one of filesOf(file, cwd)) {
    const isAsked = one.shown === file || one.shown.toLowerCase().endsWith('.eml');
    if (isAsked || (one.kind === 'refused' && isFolder(resolve(cwd, one.shown)))) yield one;
  }
}

/** A folder that cannot be looked into may hold mail. */
function isFolder(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}

const unread = ({ shown, refusal }: Extract<Named, { kind: 'refused' }>): Line => ({
  ...nothingOf(shown),
  verdict: 'refused',
  reason: refusal.reason.replace('sealpost certs add -', 'sealpost certs harvest -'),
});

const nothingOf = (file: string) => ({ file, address: null, addresses: [], sha256: null });

type Readable = Extract<Named, { kind: 'file' }>;

interface Harvesting {
  readonly site: Site;
  readonly config: Config;
  readonly terminal: Terminal;
  readonly by: string | undefined;
}

async function harvestOne({ path: file, shown }: Readable, harvesting: Harvesting): Promise<Line> {
  const { site, config, terminal } = harvesting;
  const nothing = nothingOf(shown);
  try {
    const mail = await readSigned(octetsOf(file, terminal));
    if (mail.kind === 'refused') return { ...nothing, verdict: 'refused', reason: mail.reason };
    const about = { file: shown, address: mail.from.address, addresses: [] };
    const parts = { trustWith: site.stage.trustWith, now: Date.now };
    const verdict = await withPatience(config.timeouts.lookup, (signal) => judgeHarvest(mail, parts, signal));
    if (verdict.kind === 'refused') return { ...about, sha256: null, verdict: 'refused', reason: verdict.reason };
    if (verdict.kind === 'unavailable') return { ...about, sha256: null, verdict: 'unavailable', reason: 'it cannot be judged now' };
    const { certificate, path, capabilities } = verdict;
    const found = { ...about, addresses: certificate.addresses, sha256: certificate.fingerprint, reason: null };
    const known = await isInFolders(site.stage.recipients, certificate.fingerprint);
    const kept = await keep(harvesting, {
      address: mailboxKey(mail.from),
      certificate: base64Of(certificate),
      intermediates: (await lackingOf(path, site.stage.intermediates)).map(base64Of),
      issuers: path.slice(1).map(({ fingerprint }) => fingerprint),
      capabilities,
      known,
    });
    return { ...found, verdict: kept };
  } catch (error) {
    if (error instanceof SealpostError && error.code === 'lookup-unavailable')
      return { ...nothing, verdict: 'unavailable', reason: 'a folder of certificates cannot be read now' };
    if (!(error instanceof SealpostError) || !ofTheMail.has(error.code)) throw error;
    return { ...nothing, verdict: 'refused', reason: error.detail ?? error.message };
  }
}

/** What is wrong with one mail is no reason to leave the others. */
const ofTheMail: ReadonlySet<string> = new Set(['file-unreadable', 'message-too-big', 'harvest-refused', 'harvest-full']);

async function keep({ config, terminal, by }: Harvesting, facts: Readonly<Record<string, unknown>>): Promise<Kept> {
  const name = operatorName(terminal);
  const request = { command: 'certs-harvested', operator: by === undefined ? name : `${by}, typed by ${name}`, ...facts };
  const log = pino({ level: 'silent' });
  const handlersFor = (store: QueueStore): ControlHandlers => harvestHandlers(store, makeHarvested({ config, store, now: Date.now, log }));
  const answer = await changeQueue(terminal, queuePaths(config.queue.sqlite, config.audit.file, addressKey(config)), request, handlersFor, {
    make: true,
  });
  if (answer === 'pending' || answer === 'waiting' || answer === 'taken' || answer === 'known') return answer;
  throw new SealpostError('internal', { detail: 'an answer of another form' });
}

async function* octetsOf(path: string, terminal: Terminal): AsyncGenerator<Buffer> {
  if (path === '-') {
    for await (const chunk of terminal.stdin) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    return;
  }
  let handle: FileHandle | undefined;
  try {
    // Nothing is waited for: what was a file a moment ago may be a pipe now.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await handle.stat()).isFile()) throw new Error('no regular file');
    const chunks: AsyncIterable<Buffer> = handle.createReadStream({ autoClose: false });
    for await (const chunk of chunks) yield chunk;
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: cause instanceof Error ? reasonOf(cause) : 'it cannot be read', cause });
  } finally {
    await handle?.close();
  }
}

const words: Readonly<Record<Line['verdict'], string>> = {
  pending: 'waits for approval',
  waiting: 'waits for approval already',
  taken: 'taken by rule',
  known: 'already there',
  refused: 'refused',
  unavailable: 'not judged',
};

function textOf({ file, verdict, address, addresses, sha256, reason }: Line): string {
  if (reason !== null) return `${file}: ${words[verdict]}: ${reason}`;
  const many = addresses.length > 1;
  const all = many ? ` for ${addresses.join(', ')}` : '';
  const mend = verdict === 'pending' ? `: sealpost certs approve ${address} ${sha256?.slice(0, 16)}${many ? ' --all-addresses' : ''}` : '';
  return `${file}: ${address}: SHA-256 ${sha256} ${words[verdict]}${all}${mend}`;
}
