/** `certs issue`: for one person, or for all that stand in a table. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { unreadable } from '../../document/yaml.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey, parseMailbox } from '../../message/envelope.ts';
import { operatorName } from '../locate.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { openSiteAuthority } from './authority.ts';
import { readFolders, readInHouse } from './in-house.ts';
import { makeFolderLock } from './folder-lock.ts';
import { noteBeforehand, rowOf, tellIssued, tellRoster, type IssuedRow } from './issued.ts';
import { BATCH, type IssueMeans, issueTo, type Outcome } from './issuing.ts';
import { type CertificatePaths, firstFolder } from './paths.ts';
import { nameFault, type Person, readRoster } from './roster.ts';
import { withSite } from './site.ts';
import { assertWritable, clearTemporaries } from './store.ts';

export interface IssueWish extends Pick<Person, 'key' | 'days'> {
  readonly out?: string;
  readonly name?: string;
  /** A file; `-` is standard input. */
  readonly csv?: string;
  readonly by?: string;
  readonly again?: true;
  readonly json?: true;
}

export async function issue(address: string | undefined, wish: IssueWish, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  if ((address === undefined) === (wish.csv === undefined)) {
    const hint = 'sealpost certs issue anna@clinic.example, or sealpost certs issue --csv staff.csv';
    throw new SealpostError('usage', { detail: 'an address, or --csv FILE', hint });
  }
  if (address !== undefined) await issueOne(address, wish, paths, terminal);
  if (wish.csv !== undefined) await issueRoster(wish.csv, wish, paths, terminal);
}

async function issueOne(address: string, wish: IssueWish, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault')
    throw new SealpostError('address-invalid', { detail: `${address}: ${verdict.fault}`, hint: 'local@domain, nothing else' });
  const { mailbox } = verdict;
  const fault = wish.name === undefined ? undefined : nameFault(wish.name);
  if (fault !== undefined) throw new SealpostError('usage', { detail: `the name ${fault}`, hint: '--name takes what mail programs show' });
  const means = await prepare(wish, paths, terminal, mailboxKey(mailbox));
  const [outcome] = await issueTo([{ mailbox, name: wish.name?.trim(), key: wish.key, days: wish.days }], means);
  if (outcome === undefined) throw new Error('a person without an outcome');
  if (outcome.kind === 'refused') throw outcome.error;
  if (outcome.kind === 'skipped') {
    const hint = `sealpost certs renew ${mailbox.address} makes the next one; sealpost certs issue ${mailbox.address} --again another beside it`;
    throw new SealpostError('already-issued', { detail: `${mailbox.address}: ${outcome.reason}`, hint });
  }
  tellIssued(rowOf(outcome, { line: null, address: mailbox.address }), { ...wish, pinned: isPinned(paths) }, terminal);
}

/** A bad row keeps nothing else back; throws at the end where there was one. Given again, it goes on with what is missing. */
async function issueRoster(csv: string, wish: IssueWish, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  if (wish.name !== undefined)
    throw new SealpostError('usage', { detail: '--name is for one person', hint: 'names stand in the column name of the table' });
  const roster = readRoster(await readTable(csv, terminal), csv === '-' ? 'standard input' : csv, wish);
  const people = roster.flatMap((row) => (row.kind === 'person' ? [row] : []));
  const outcomes = new Map<number, Outcome>();
  const progress = makeProgress(terminal);
  let keys = 0;
  const showProgress = (): void =>
    progress.show(`${keys} ${keys === 1 ? 'key' : 'keys'} made, ${outcomes.size} of ${people.length} people done`);
  try {
    const onKey = (): void => {
      keys++;
      showProgress();
    };
    const means = { ...(await prepare(wish, paths, terminal)), onKey };
    for (let at = 0; at < people.length; at += BATCH) {
      const batch = people.slice(at, at + BATCH);
      const done = await issueTo(
        batch.map(({ person }) => person),
        means,
      );
      for (const [index, { line }] of batch.entries()) {
        const outcome = done[index];
        if (outcome !== undefined) outcomes.set(line, outcome);
      }
      showProgress();
    }
  } finally {
    progress.end();
    // What was made is told, also where the disk is full now.
    const rows = roster.flatMap((row): IssuedRow[] => {
      const { line, written } = row;
      const outcome = row.kind === 'person' ? outcomes.get(line) : row.fault;
      return outcome === undefined ? [] : [rowOf(outcome, { line, address: written })];
    });
    if (outcomes.size > 0 || people.length < roster.length || roster.length === 0)
      tellRoster(rows, { ...wish, out: outOf(wish, paths, terminal), pinned: isPinned(paths) }, terminal);
  }
  if (roster.length === 0) {
    const hint = 'a row for each person below the line that names the columns: anna@clinic.example,Anna,,';
    throw new SealpostError('file-unreadable', { detail: `${csv}: there is no row below its header`, hint });
  }
  const refused = roster.length - [...outcomes.values()].filter(({ kind }) => kind !== 'refused').length;
  if (refused === 0) return;
  const hint = 'mend the rows that are named above, and give the command again: it leaves alone what is made';
  throw new SealpostError('certificate-unusable', { detail: `${refused} of ${roster.length} rows were refused`, hint });
}

/** Absolute. What is typed is relative to where it is typed. */
const outOf = ({ out }: Pick<IssueWish, 'out'>, { issued }: CertificatePaths, { cwd }: Terminal): string =>
  out === undefined ? issued : resolve(cwd, out);

const isPinned = ({ options }: CertificatePaths): boolean => options.known !== undefined;

async function readTable(csv: string, terminal: Terminal): Promise<Buffer> {
  if (csv === '-') return buffer(terminal.stdin);
  const file = resolve(terminal.cwd, csv);
  try {
    return await readFile(file);
  } catch (error) {
    throw unreadable(csv, error);
  }
}

/** `address`: the only one that is asked about. */
async function prepare(
  wish: Pick<IssueWish, 'out' | 'by' | 'again'>,
  paths: CertificatePaths,
  terminal: Terminal,
  address?: string,
): Promise<IssueMeans> {
  const { by, again = false } = wish;
  const folder = outOf(wish, paths, terminal);
  assertWritable(folder);
  const authority = await openSiteAuthority(paths, terminal);
  const inHouse = readInHouse(paths, terminal);
  await withSite(paths, terminal, (site) =>
    readFolders(inHouse, { paths, site, authority }, address === undefined ? undefined : { address }),
  );
  const operator = operatorName(terminal);
  noteBeforehand(paths, terminal);
  clearTemporaries(folder);
  return {
    paths,
    terminal,
    authority,
    signed: Map.groupBy(inHouse.records.values(), (record) => record.address),
    placed: inHouse.placed,
    lock: makeFolderLock(firstFolder(paths), terminal),
    out: folder,
    issuedBy: by === undefined ? operator : `${by}, typed by ${operator}`,
    again,
    now: Date.now,
  };
}
