/** What `audit verify`, `key` and `export` do. */
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Command } from 'commander';
import { readLink, type AuditHead } from '../audit.ts';
import { readCheckpoint, type Checkpoint } from '../audit/checkpoint.ts';
import { auditLines } from '../audit/segments.ts';
import { verifyAgainst, verifyAudit, type AuditRecord, type AuditVerdict } from '../audit/verify.ts';
import { loadConfig } from '../config.ts';
import { auditKeyFiles } from '../config/audit-keys.ts';
import { SealpostError } from '../errors.ts';
import { readAuditRecord } from '../queue/operator.ts';
import { openDatabaseReadOnly } from '../queue/schema.ts';
import { makeFolder, writeNew } from './certificates/store.ts';
import { locateQueue } from './locate.ts';
import type { Terminal } from './terminal.ts';

export interface VerifyChoice {
  readonly file?: string;
  readonly checkpoint?: string;
  readonly key?: string;
}

export interface ExportChoice {
  readonly out: string;
  readonly since?: string;
  readonly until?: string;
  readonly format: string;
}

const EVIDENCE = 'keep the file and the database as evidence, and look for a backup of both from the same moment';

export async function verifyLog({ file, checkpoint, key }: VerifyChoice, command: Command, terminal: Terminal): Promise<void> {
  if ((checkpoint === undefined) !== (key === undefined))
    throw new SealpostError('usage', { detail: '--checkpoint and --key belong together: a checkpoint is worth what its key is' });
  const signed = checkpoint === undefined || key === undefined ? [] : readCheckpoints(checkpoint, key);
  const wanted = new Set(signed.map(({ seq }) => seq));
  const found = new Map<number, string>();
  const onLine = ({ seq, hash }: AuditHead): void => {
    if (wanted.has(seq)) found.set(seq, hash);
  };
  const paths = file === undefined ? await locateQueue(terminal, command) : undefined;
  const log = file ?? paths?.audit ?? '';
  const base = paths === undefined ? await baseOf(log) : readRecord(paths.database).base;
  const verdict =
    paths === undefined
      ? await verifyAudit({ file: log, base, onLine })
      : await verifyAgainst(log, () => readRecord(paths.database), { onLine });
  if (verdict.kind === 'broken')
    throw new SealpostError('audit-broken', {
      detail: `${verdict.file}:${verdict.line}: ${verdict.fault}: ${verdict.detail}`,
      hint: EVIDENCE,
    });
  const newest = holdToCheckpoints(log, { signed, found, base });
  terminal.stdout.write(`${log}: ${verdict.head.seq - base.seq} lines, whole\n`);
  terminal.stderr.write(`${whatItShows(verdict, { newest, base, database: paths !== undefined })}\n`);
}

/**
 * Throws `audit-broken` where a signed line is another, or not there, or where none of them is signed at all; answers the newest checkpoint
 * that tells of this log.
 */
function holdToCheckpoints(
  log: string,
  { signed, found, base }: { signed: readonly Checkpoint[]; found: ReadonlyMap<number, string>; base: AuditHead },
): Checkpoint | undefined {
  if (signed.length === 0) return undefined;
  for (const { seq, hash, time } of signed) {
    if (seq < base.seq || found.get(seq) === hash || (seq === base.seq && hash === base.hash)) continue;
    const what = found.has(seq) ? 'is not the one that was signed' : 'was signed and is not there';
    throw new SealpostError('audit-broken', { detail: `${log}: line number ${seq} ${what} at ${time}`, hint: EVIDENCE });
  }
  const newest = signed.filter(({ seq }) => seq >= base.seq).at(-1);
  if (newest === undefined)
    throw new SealpostError('audit-broken', {
      detail: `${log}: it has none of the lines that the checkpoints signed, so they say nothing of it`,
      hint: 'take checkpoints that were signed while these lines were written',
    });
  return newest;
}

function whatItShows(
  { head }: Extract<AuditVerdict, { kind: 'whole' }>,
  { newest, base, database }: { newest: Checkpoint | undefined; base: AuditHead; database: boolean },
): string {
  const from = base.seq > 0 ? ` from number ${base.seq + 1} on, where this log begins` : '';
  const chain = `shown: no line is changed, missing or moved${from}`;
  if (newest !== undefined)
    return `${chain}, and the lines up to number ${newest.seq} are those that ${newest.hostname} signed at ${newest.time}.\nnot shown: ${
      newest.seq < head.seq ? `whether the ${head.seq - newest.seq} lines behind it were rewritten; nor ` : ''
    }anything, if the signing key was stolen before.`;
  return database
    ? `${chain} since the database recorded it.\nnot shown: whether somebody rewrote file and database together; a signed checkpoint that was kept elsewhere shows that: --checkpoint FILE --key audit.pub`
    : `${chain}.\nnot shown: whether lines are cut off at the end, or all of it was rewritten; the database or a signed checkpoint shows that.`;
}

function readRecord(database: string): AuditRecord {
  const db = openDatabaseReadOnly(database);
  try {
    return readAuditRecord(db);
  } finally {
    db.close();
  }
}

/** What the first line of a copy says it goes on from. */
async function baseOf(file: string): Promise<AuditHead> {
  for await (const { bytes } of auditLines(file)) {
    const link = readLink(bytes);
    if (link === undefined) throw new SealpostError('audit-broken', { detail: `${file}:1: it is not a line of the log`, hint: EVIDENCE });
    return { seq: link.seq - 1, hash: link.prev, bytes: 0 };
  }
  throw new SealpostError('audit-broken', { detail: `${file} holds no line`, hint: EVIDENCE });
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
}

/** Oldest first. Throws where one is not signed by the key. */
function readCheckpoints(file: string, keyFile: string): Checkpoint[] {
  const pem = readText(keyFile);
  let key;
  try {
    key = createPublicKey(pem);
  } catch (cause) {
    throw new SealpostError('key-malformed', { detail: keyFile, hint: 'it is keys/audit.pub that is meant', cause });
  }
  const checkpoints = readText(file)
    .split('\n')
    .flatMap((line, index) => {
      if (line.trim() === '' || (line.includes('"msg"') && !line.includes('"audit checkpoint"'))) return [];
      const checkpoint = readCheckpoint(line, key);
      if (checkpoint === undefined)
        throw new SealpostError('audit-broken', { detail: `${file}:${index + 1}: not a checkpoint that this key signed`, hint: EVIDENCE });
      return [checkpoint];
    });
  if (checkpoints.length === 0) throw new SealpostError('usage', { detail: `${file} holds no checkpoint` });
  return checkpoints.sort((one, other) => one.seq - other.seq);
}

export async function makeAuditKeys(command: Command, { env, cwd, stdout }: Terminal): Promise<void> {
  const { config: file } = command.optsWithGlobals<{ config?: string }>();
  const { keys } = await loadConfig({ file, env, cwd });
  const files = auditKeyFiles(keys);
  makeFolder(keys, 0o700);
  const made: string[] = [];
  if (!existsSync(files.addresses)) {
    writeNew(files.addresses, `${randomBytes(32).toString('hex')}\n`, 0o600);
    made.push(files.addresses);
  }
  if (!existsSync(files.signing)) {
    const pair = generateKeyPairSync('ed25519');
    writeNew(files.signing, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
    made.push(files.signing);
  }
  if (!existsSync(files.public)) {
    const pem = createPublicKey(readText(files.signing)).export({ type: 'spki', format: 'pem' }).toString();
    writeNew(files.public, pem, 0o644);
    made.push(files.public);
  }
  stdout.write(made.length === 0 ? `${keys}: all keys are there\n` : made.map((one) => `${one}\n`).join(''));
}

const COLUMNS = ['seq', 'time', 'event', 'queue_id', 'sender', 'recipient', 'client', 'user', 'operator'];

/** A spreadsheet runs what begins like a formula. */
const cell = (value: unknown): string => {
  const text = typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
};

export async function exportLog({ out, since, until, format }: ExportChoice, command: Command, terminal: Terminal): Promise<void> {
  if (format !== 'json' && format !== 'csv') throw new SealpostError('usage', { detail: '--format takes json or csv' });
  const [from, to] = [timeOf(since, -Infinity), timeOf(until, Infinity)];
  const { audit } = await locateQueue(terminal, command);
  const wanted = await linesBetween(audit, from, to);
  await using file = await open(out, 'wx', 0o600).catch((cause: unknown) => {
    throw new SealpostError('file-unwritable', { detail: out, hint: 'name a file that is not there yet', cause });
  });
  if (format === 'csv') await file.write(`${[...COLUMNS, 'more'].join(',')}\r\n`);
  let lines = 0;
  let before = 0;
  const lost: string[] = [];
  // The end of the file that is written may be half a line, and is nobody's loss.
  let half: string | undefined;
  for await (const { file: path, bytes, whole } of auditLines(audit)) {
    if (half !== undefined) lost.push(half);
    half = undefined;
    const read = whole ? asEvent(bytes) : undefined;
    const event = numberOf(read) === undefined ? undefined : read;
    const number = numberOf(event) ?? before + 1;
    before = number;
    if (number < wanted.first) continue;
    if (number > wanted.last) break;
    if (event === undefined) {
      const place = `${path}: number ${number}`;
      if (whole) lost.push(place);
      else half = place;
      continue;
    }
    lines++;
    await file.appendFile(format === 'json' ? Buffer.concat([bytes, Buffer.from('\n')]) : csvLine(event));
  }
  await file.sync();
  terminal.stdout.write(`${out}: ${lines} lines\n`);
  for (const place of lost) terminal.stderr.write(`sealpost: ${place} cannot be read, and is not in ${out}\n`);
  if (lost.length > 0)
    throw new SealpostError('audit-broken', { detail: `${lost.length} lines of ${audit} cannot be read`, hint: EVIDENCE });
}

interface Numbers {
  readonly first: number;
  readonly last: number;
}

/**
 * From the first line that is not older than `from` to the last that is older than `to` (ms), by their numbers: whatever the clock did in
 * between, it makes no gap. Without lines of such times the first is behind the last.
 */
async function linesBetween(audit: string, from: number, to: number): Promise<Numbers> {
  let [first, last] = [from === -Infinity ? 0 : Infinity, to === Infinity ? Infinity : 0];
  if (first === 0 && last === Infinity) return { first, last };
  for await (const { bytes, whole } of auditLines(audit)) {
    const event = whole ? asEvent(bytes) : undefined;
    const [number, at] = [numberOf(event), Date.parse(String(event?.['time']))];
    if (number === undefined) continue;
    if (at >= from) first = Math.min(first, number);
    if (at < to && last !== Infinity) last = Math.max(last, number);
  }
  return { first, last };
}

const numberOf = (event: Readonly<Record<string, unknown>> | undefined): number | undefined => {
  const number = event?.['seq'];
  return typeof number === 'number' ? number : undefined;
};

function csvLine(event: Readonly<Record<string, unknown>>): string {
  const more = Object.entries(event).filter(([name]) => !COLUMNS.includes(name) && name !== 'prev');
  const cells = [...COLUMNS.map((name) => cell(event[name])), cell(more.map(([name, value]) => `${name}=${String(value)}`).join('; '))];
  return `${cells.join(',')}\r\n`;
}

function asEvent(bytes: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

function timeOf(written: string | undefined, standard: number): number {
  const at = written === undefined ? standard : Date.parse(written);
  if (Number.isNaN(at)) throw new SealpostError('usage', { detail: 'a time is such as 2026-01-31 or 2026-01-31T12:00Z' });
  return at;
}
