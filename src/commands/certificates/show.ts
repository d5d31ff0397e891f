/** `certs list` and `certs show`: certificates as they stand in files; what a look-up makes of them, `certs lookup` tells. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { MAX_BUNDLE_BYTES, readCertificates } from '../../certificates/bundle.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { day } from '../../certificates/usability.ts';
import { asSealpostError, SealpostError } from '../../errors.ts';
import { parseMailbox } from '../../message/envelope.ts';
import type { Tried } from '../../upkeep/tries.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { keyText } from './key-text.ts';
import { shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';
import { withSite } from './site.ts';
import type { Site, Standing } from './site.ts';
import { readTried } from './tried.ts';

/** One certificate as commands show it; also the form of `--json`, whose names therefore stay. */
interface Row {
  readonly addresses: readonly string[];
  readonly key: string;
  readonly not_before: string;
  readonly not_after: string;
  readonly usable: boolean;
  /** Null where it is usable. */
  readonly reason: string | null;
  /** What may still keep it from being used; null where nothing is known of that. */
  readonly remark: string | null;
  /** When its reader confirmed that they could open mail; null where they have not. */
  readonly confirmed: string | null;
  /** When a code was sent that is not confirmed. */
  readonly tried: string | null;
  readonly path: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly fingerprint: string;
}

function rowOf(certificate: Certificate, path: string, { reason, remark }: Standing, tried: Tried): Row {
  const { addresses, subject, issuer, serial, fingerprint, notBefore, notAfter } = certificate;
  const times = { not_before: notBefore.toISOString(), not_after: notAfter.toISOString() };
  const verdict = { usable: reason === undefined, reason: reason ?? null, remark: remark ?? null };
  const known = { confirmed: timeOf(tried.confirmed.get(fingerprint)), tried: timeOf(tried.tried.get(fingerprint)) };
  return { addresses, key: keyText(certificate), ...times, ...verdict, ...known, path, subject, issuer, serial, fingerprint };
}

const timeOf = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

function stateOf({ usable, reason, remark, confirmed, tried }: Row): string {
  if (!usable) return `not usable: ${reason}`;
  const known = confirmed === null ? (tried === null ? '' : `, tried ${tried.slice(0, 10)}`) : `, confirmed ${confirmed.slice(0, 10)}`;
  return remark === null ? `usable${known}` : `usable${known} (${remark})`;
}

const PROGRESS_STEP = 1000;
/** Of a fingerprint: enough to tell two certificates of one person apart. */
const SHOWN_DIGITS = 16;

interface Output {
  readonly json?: boolean;
}

interface ListOutput extends Output {
  /** Those alone that are usable and of whom nobody has said yet that it opens mail. */
  readonly unconfirmed?: true;
}

export async function list(paths: CertificatePaths, terminal: Terminal, { json, unconfirmed }: ListOutput): Promise<void> {
  const unlisted = paths.places.sources.filter(({ files }) => files === undefined).length;
  if (unlisted > 0)
    terminal.stderr.write(
      `sealpost: ${unlisted === 1 ? '1 source' : `${unlisted} sources`} in LDAP or DNS cannot be listed: sealpost certs lookup ADDRESS asks them\n`,
    );
  const wanted = ({ usable, confirmed }: Row): boolean => unconfirmed !== true || (usable && confirmed === null);
  await withSite(paths, terminal, (site) => {
    const rows = only(wanted, rowsOf(paths, terminal, site));
    return json === true ? listJson(rows, terminal) : listLines(rows, terminal, unconfirmed === true ? ALL_CONFIRMED : NONE_YET);
  });
}

const NONE_YET = 'no certificates yet: sealpost certs add FILE, or sealpost certs issue ADDRESS';
const ALL_CONFIRMED = 'there is no usable certificate whose reader has not confirmed it';
const WAITS = 'waits for approval: sealpost certs pending';

/** A list is of use all the same where whoever asks for it may not look at the queue. */
function readWaiting({ waiting }: CertificatePaths, { stderr }: Terminal): ReadonlySet<string> {
  try {
    return waiting();
  } catch (error) {
    stderr.write(`sealpost: what waits for approval is not shown: ${asSealpostError(error).message}\n`);
    return new Set();
  }
}

async function* only(wanted: (row: Row) => boolean, rows: AsyncIterable<Row>): AsyncIterable<Row> {
  for await (const row of rows) if (wanted(row)) yield row;
}

/** One by one: of a hundred thousand, each is let go once it is shown. */
async function* rowsOf(paths: CertificatePaths, terminal: Terminal, site: Site): AsyncIterable<Row> {
  const progress = makeProgress(terminal);
  const waiting = readWaiting(paths, terminal);
  const tried = readTried(paths, terminal);
  let judged = 0;
  for (const source of paths.folders) {
    for await (const { certificate, file } of site.read(source)) {
      const standing = await site.standingOf(certificate);
      const held = standing.reason === undefined && waiting.has(certificate.fingerprint);
      yield rowOf(certificate, shown(file, terminal), held ? { ...standing, remark: WAITS } : standing, tried);
      if (++judged % PROGRESS_STEP === 0) progress.show(`${judged} certificates judged`);
    }
  }
  progress.end();
}

/** The same text as of all rows at once. */
async function listJson(rows: AsyncIterable<Row>, { stdout }: Terminal): Promise<void> {
  let before = '[';
  for await (const row of rows) {
    const text = `${before}\n${JSON.stringify(row, undefined, 2).replace(/^/gm, '  ')}`;
    if (!stdout.write(text)) await once(stdout, 'drain');
    before = ',';
  }
  stdout.write(before === '[' ? '[]\n' : '\n]\n');
}

async function listLines(rows: AsyncIterable<Row>, { stdout, stderr }: Terminal, ifNone: string): Promise<void> {
  const lines: string[][] = [];
  const widths = [0, 0, 0, 0, 0];
  for await (const row of rows) {
    const state = stateOf(row);
    for (const address of row.addresses.length > 0 ? row.addresses : ['-']) {
      const line = [address, row.key, row.not_after.slice(0, 10), state, row.path, row.fingerprint.slice(0, SHOWN_DIGITS)];
      for (const column of widths.keys()) widths[column] = Math.max(widths[column] ?? 0, line[column]?.length ?? 0);
      lines.push(line);
    }
  }
  if (lines.length === 0) stderr.write(`sealpost: ${ifNone}\n`);
  for (const line of lines.sort((a, b) => ((a[0] ?? '') < (b[0] ?? '') ? -1 : 1))) {
    const text = `${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}\n`;
    if (!stdout.write(text)) await once(stdout, 'drain');
  }
}

/** What is in a file, before it is taken. */
export async function show(what: string, paths: CertificatePaths, terminal: Terminal, { json }: Output): Promise<void> {
  const file = resolve(terminal.cwd, what);
  if (!existsSync(file) && parseMailbox(what).kind === 'mailbox')
    throw new SealpostError('usage', { detail: `no file is called ${what}`, hint: `sealpost certs lookup ${what}` });
  const rows = await withSite(paths, terminal, (site) => ofFile(file, terminal, site, readTried(paths, terminal)));
  terminal.stdout.write(json === true ? `${JSON.stringify(rows, undefined, 2)}\n` : rows.map(paragraph).join('\n'));
}

async function ofFile(file: string, terminal: Terminal, site: Site, tried: Tried): Promise<Row[]> {
  const { certificates, faults } = readCertificates(readFile(file, terminal));
  for (const fault of faults) terminal.stderr.write(`sealpost: ${shown(file, terminal)}: ${fault}\n`);
  if (certificates.length === 0) throw new SealpostError('certificate-malformed', { detail: shown(file, terminal) });
  const rows: Row[] = [];
  for (const certificate of certificates) rows.push(rowOf(certificate, shown(file, terminal), await site.standingOf(certificate), tried));
  return rows;
}

export function readFile(file: string, terminal: Terminal): Buffer {
  try {
    const bytes = readFileSync(file);
    // readCertificates says that it is too much; what is beyond it need not be held.
    return bytes.subarray(0, MAX_BUNDLE_BYTES + 1);
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: shown(file, terminal), cause });
  }
}

function paragraph(row: Row): string {
  const facts: readonly (readonly [string, string])[] = [
    ['addresses', row.addresses.join(', ') || 'none'],
    ['state', stateOf(row)],
    ['key', row.key],
    ['valid', `${day(new Date(row.not_before))} to ${day(new Date(row.not_after))}`],
    ['subject', row.subject],
    ['issuer', row.issuer],
    ['serial', row.serial],
    ['sha-256', row.fingerprint],
    ['path', row.path],
  ];
  return facts.map(([name, value]) => `${name.padEnd(10)} ${value}\n`).join('');
}
