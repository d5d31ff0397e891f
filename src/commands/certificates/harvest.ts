/** `certs harvest`: certificates from signed mail that was saved as files. The relay that runs keeps them; where none does, the command. */
import { createReadStream, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pino } from 'pino';
import { escapeUnprintable } from '../../audit.ts';
import { judgeHarvest } from '../../certificates/harvest/harvest.ts';
import type { Config } from '../../config.ts';
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

/** Throws once all is told where a mail gave none. */
export async function harvest(files: readonly string[], config: Config, terminal: Terminal, options: HarvestOptions): Promise<void> {
  const mails = files.flatMap((file) => mailsOf(file, terminal));
  const progress = makeProgress(terminal);
  const lines: Line[] = [];
  await withSite(pathsOf(config, terminal.env), terminal, async (site) => {
    for (const [index, file] of mails.entries()) {
      const line = await harvestOne(file, { site, config, terminal, by: options.by });
      lines.push(line);
      if (options.json !== true) terminal.stdout.write(`${escapeUnprintable(textOf(line))}\n`);
      else progress.show(`${index + 1} of ${mails.length} mails read`);
    }
  });
  progress.end();
  if (options.json === true) terminal.stdout.write(`${escapeUnprintable(JSON.stringify(lines))}\n`);
  const none = lines.filter(({ verdict }) => verdict === 'refused' || verdict === 'unavailable').length;
  if (none > 0) throw new SealpostError('harvest-refused', { detail: `${none} of ${lines.length} mails`, hint: 'the reasons stand above' });
}

/** A folder stands for the `.eml` files in it, however deep. */
function mailsOf(file: string, { cwd }: Terminal): readonly string[] {
  if (file === '-') return [file];
  const path = resolve(cwd, file);
  try {
    if (!statSync(path).isDirectory()) return [file];
    const names = readdirSync(path, { recursive: true, encoding: 'utf8' });
    return names
      .filter((name) => name.toLowerCase().endsWith('.eml'))
      .toSorted()
      .map((name) => join(file, name));
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
}

interface Harvesting {
  readonly site: Site;
  readonly config: Config;
  readonly terminal: Terminal;
  readonly by: string | undefined;
}

async function harvestOne(file: string, harvesting: Harvesting): Promise<Line> {
  const { site, config, terminal } = harvesting;
  const nothing = { file, address: null, addresses: [], sha256: null };
  try {
    const mail = await readSigned(octetsOf(file, terminal));
    if (mail.kind === 'refused') return { ...nothing, verdict: 'refused', reason: mail.reason };
    const about = { file, address: mail.from.address, addresses: [] };
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
const ofTheMail: ReadonlySet<string> = new Set(['message-too-big', 'harvest-refused', 'harvest-full']);

async function keep({ config, terminal, by }: Harvesting, facts: Readonly<Record<string, unknown>>): Promise<Kept> {
  const name = operatorName(terminal);
  const request = { command: 'certs-harvested', operator: by === undefined ? name : `${by}, typed by ${name}`, ...facts };
  const log = pino({ level: 'silent' });
  const handlersFor = (store: QueueStore): ControlHandlers => harvestHandlers(store, makeHarvested({ config, store, now: Date.now, log }));
  const answer = await changeQueue(terminal, queuePaths(config.queue.sqlite, config.audit), request, handlersFor, { make: true });
  if (answer === 'pending' || answer === 'waiting' || answer === 'taken' || answer === 'known') return answer;
  throw new SealpostError('internal', { detail: 'an answer of another form' });
}

async function* octetsOf(file: string, terminal: Terminal): AsyncGenerator<Buffer> {
  try {
    const chunks: AsyncIterable<Buffer | string> = file === '-' ? terminal.stdin : createReadStream(resolve(terminal.cwd, file));
    for await (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: file, cause });
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
