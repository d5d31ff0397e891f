/** `certs list` and `certs show`: certificates as they stand in files; what a look-up makes of them, `certs lookup` tells. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { MAX_BUNDLE_BYTES, readCertificates } from '../../certificates/bundle.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { day } from '../../certificates/usability.ts';
import { asSealpostError, SealpostError } from '../../errors.ts';
import { parseMailbox } from '../../message/envelope.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { keyText } from './key-text.ts';
import { shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';
import { withSite } from './site.ts';
import type { Site, Standing } from './site.ts';

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
  readonly path: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly fingerprint: string;
}

function rowOf(certificate: Certificate, path: string, { reason, remark }: Standing): Row {
  const { addresses, subject, issuer, serial, fingerprint, notBefore, notAfter } = certificate;
  const times = { not_before: notBefore.toISOString(), not_after: notAfter.toISOString() };
  const verdict = { usable: reason === undefined, reason: reason ?? null, remark: remark ?? null };
  return { addresses, key: keyText(certificate), ...times, ...verdict, path, subject, issuer, serial, fingerprint };
}

function stateOf({ usable, reason, remark }: Row): string {
  if (!usable) return `not usable: ${reason}`;
  return remark === null ? 'usable' : `usable (${remark})`;
}

const PROGRESS_STEP = 1000;
/** Of a fingerprint: enough to tell two certificates of one person apart. */
const SHOWN_DIGITS = 16;

interface Output {
  readonly json?: boolean;
}

export async function list(paths: CertificatePaths, terminal: Terminal, { json }: Output): Promise<void> {
  const unlisted = paths.places.sources.filter(({ files }) => files === undefined).length;
  if (unlisted > 0)
    terminal.stderr.write(
      `sealpost: ${unlisted === 1 ? '1 source' : `${unlisted} sources`} in LDAP or DNS cannot be listed: sealpost certs lookup ADDRESS asks them\n`,
    );
  await withSite(paths, terminal, (site) => (json === true ? listJson : listLines)(rowsOf(paths, terminal, site), terminal));
}

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

/** One by one: of a hundred thousand, each is let go once it is shown. */
async function* rowsOf(paths: CertificatePaths, terminal: Terminal, site: Site): AsyncIterable<Row> {
  const progress = makeProgress(terminal);
  const waiting = readWaiting(paths, terminal);
  let judged = 0;
  for (const source of paths.folders) {
    for await (const { certificate, file } of site.read(source)) {
      const standing = await site.standingOf(certificate);
      const held = standing.reason === undefined && waiting.has(certificate.fingerprint);
      yield rowOf(certificate, shown(file, terminal), held ? { ...standing, remark: WAITS } : standing);
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

async function listLines(rows: AsyncIterable<Row>, { stdout, stderr }: Terminal): Promise<void> {
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
  if (lines.length === 0) stderr.write('sealpost: no certificates yet: sealpost certs add FILE, or sealpost certs issue ADDRESS\n');
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
  const rows = await withSite(paths, terminal, (site) => ofFile(file, terminal, site));
  terminal.stdout.write(json === true ? `${JSON.stringify(rows, undefined, 2)}\n` : rows.map(paragraph).join('\n'));
}

async function ofFile(file: string, terminal: Terminal, site: Site): Promise<Row[]> {
  const { certificates, faults } = readCertificates(readFile(file, terminal));
  for (const fault of faults) terminal.stderr.write(`sealpost: ${shown(file, terminal)}: ${fault}\n`);
  if (certificates.length === 0) throw new SealpostError('certificate-malformed', { detail: shown(file, terminal) });
  const rows: Row[] = [];
  for (const certificate of certificates) rows.push(rowOf(certificate, shown(file, terminal), await site.standingOf(certificate)));
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
