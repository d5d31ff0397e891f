/** `certs expiring`: which certificates end soon, or have ended, and whether their addresses have others. */
import { once } from 'node:events';
import { damageOf, ISSUED, type IssuedRecord, readLedger } from '../../certificates/authority/ledger.ts';
import { daysLeft, type Due, isCovered, makeSurvey } from '../../certificates/expiry/survey.ts';
import type { PlacedCertificate } from '../../certificates/folder.ts';
import { day } from '../../certificates/usability.ts';
import { readDatabase } from '../../change-control.ts';
import { asSealpostError, SealpostError } from '../../errors.ts';
import type { KnownCertificate } from '../../queue/known.ts';
import { readKnownSince } from '../../queue/known-rows.ts';
import { readRecords } from '../../queue/record-rows.ts';
import { holdingsOf, USED_MS } from '../../upkeep/expiry/holdings.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { printable } from './account.ts';
import type { CertificatePaths } from './paths.ts';
import { type Site, withSite } from './site.ts';

export interface ExpiringWish {
  /** ms; as configured where it is left out. */
  readonly within?: number;
  /** Also those whose addresses have another that lasts. */
  readonly all?: true;
  readonly json?: true;
  /** Exit 1 where something is listed. */
  readonly fail?: true;
}

/** The form of `--json`, whose names therefore stay. */
interface Row {
  readonly address: string;
  readonly not_after: string;
  readonly days_left: number;
  readonly source: string;
  readonly fingerprint: string;
  readonly serial: string;
  readonly issuer: string;
  readonly in_house: boolean;
  /** Null where the address has no other that outlives the time. */
  readonly covered_by: { readonly fingerprint: string; readonly not_after: string; readonly source: string } | null;
}

const PROGRESS_STEP = 1000;

export async function expiring(wish: ExpiringWish, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  const { within = paths.expiry.within } = wish;
  const now = Date.now();
  const due = await survey(paths, terminal, { now, within });
  const listed = due.filter((one) => wish.all === true || !isCovered(one, now, now + within));
  await (wish.json === true ? writeJson : writeLines)(
    listed.map((one) => rowOf(one, now, within)),
    terminal,
  );
  const open = listed.filter((one) => !isCovered(one, now, now + within)).length;
  if (wish.fail === true && open > 0)
    throw new SealpostError('check-failed', {
      detail: open === 1 ? '1 certificate ends or has ended' : `${open} certificates end or have ended`,
      hint: 'renew them: sealpost certs renew for those of the in-house CA, sealpost certs add for those of others',
    });
}

async function survey(
  paths: CertificatePaths,
  terminal: Terminal,
  { now, within }: { readonly now: number; readonly within: number },
): Promise<Due[]> {
  const found = makeSurvey({ now, horizon: within });
  const pinned = paths.options.known !== undefined;
  const { known, issued } = readQueue(paths.queue.database, terminal, pinned ? 0 : now - USED_MS);
  const progress = makeProgress(terminal);
  await withSite(paths, terminal, async (site) => {
    let seen = 0;
    const isTrusted: Parameters<typeof holdingsOf>[0]['isTrusted'] = async (one) => (await site.reasonAgainst(one)) === undefined;
    for await (const holding of holdingsOf({
      placed: placedIn(site, paths.folders),
      isTrusted,
      folders: paths.folders,
      known: each(known),
      issued,
      pinned,
      now,
    })) {
      found.take(holding);
      if (++seen % PROGRESS_STEP === 0) progress.show(`${seen} certificates judged`);
    }
  });
  progress.end();
  return found.due(within);
}

async function* placedIn(site: Site, folders: readonly string[]): AsyncGenerator<PlacedCertificate> {
  for (const folder of folders) yield* site.read(folder);
}

async function* each<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values;
}

/** The folders are of use all the same where whoever asks may not look at the queue. */
function readQueue(database: string, { stderr }: Terminal, since: number) {
  const issued = new Map<string, IssuedRecord>();
  let known: KnownCertificate[] = [];
  try {
    readDatabase(database, (db) => {
      const ledger = readLedger(readRecords(db, ISSUED));
      for (const record of ledger.records) issued.set(record.fingerprint, record);
      const damage = damageOf(ledger);
      if (damage !== undefined) stderr.write(`sealpost: ${damage}\n`);
      known = [...readKnownSince(db, since)];
    });
  } catch (error) {
    stderr.write(`sealpost: what mail was sealed to, and what the in-house CA issued, is not shown: ${asSealpostError(error).message}\n`);
  }
  return { known, issued };
}

function rowOf(due: Due, now: number, within: number): Row {
  const { address, fingerprint, serial, issuer, notAfter, place: source, inHouse, cover } = due;
  return {
    address,
    not_after: new Date(notAfter).toISOString(),
    days_left: daysLeft(notAfter, now),
    source,
    fingerprint,
    serial,
    issuer,
    in_house: inHouse,
    covered_by:
      cover === undefined || !isCovered(due, now, now + within)
        ? null
        : { fingerprint: cover.fingerprint, not_after: new Date(cover.notAfter).toISOString(), source: cover.place },
  };
}

async function writeJson(rows: readonly Row[], { stdout }: Terminal): Promise<void> {
  let before = '[';
  for (const row of rows) {
    if (!stdout.write(`${before}\n  ${JSON.stringify(row)}`)) await once(stdout, 'drain');
    before = ',';
  }
  stdout.write(before === '[' ? '[]\n' : '\n]\n');
}

async function writeLines(rows: readonly Row[], { stdout, stderr }: Terminal): Promise<void> {
  if (rows.length === 0) stderr.write('sealpost: no certificate ends within that time\n');
  const lines = rows.map((row) => [
    row.address,
    day(new Date(row.not_after)),
    row.days_left < 0 ? 'ended' : row.days_left === 1 ? '1 day' : `${row.days_left} days`,
    row.source,
    row.covered_by === null ? '-' : `covered to ${row.covered_by.not_after.slice(0, 10)}`,
    row.in_house ? 'in-house' : row.issuer,
  ]);
  const widths = [0, 0, 0, 0, 0];
  for (const line of lines) for (const column of widths.keys()) widths[column] = Math.max(widths[column] ?? 0, line[column]?.length ?? 0);
  for (const line of lines) {
    const text = `${printable(line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))}\n`;
    if (!stdout.write(text)) await once(stdout, 'drain');
  }
}
