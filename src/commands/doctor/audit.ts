/** The audit log as it lies on the disk, in its segments, and the keys that belong to it. A running relay goes on writing meanwhile. */
import { constants } from 'node:fs';
import { lstat, open, readFile } from 'node:fs/promises';
import { createPublicKey } from 'node:crypto';
import { MAX_LINE, readLink, type AuditHead } from '../../audit.ts';
import { readCheckpoint } from '../../audit/checkpoint.ts';
import { closedPath } from '../../audit/segments.ts';
import type { Config } from '../../config.ts';
import { addressKey, auditKeyFiles } from '../../config/audit-keys.ts';
import { readAuditKey } from '../../queue/audit-key.ts';
import { privacyFault } from '../../queue/folder.ts';
import { readAuditHead, readAuditStarts, type SegmentStart } from '../../queue/operator.ts';
import { queuePaths, type QueuePaths } from '../../queue/paths.ts';
import { openDatabaseReadOnly } from '../../queue/schema.ts';
import { fault, type Finding, ok, warning } from './finding.ts';

/** A clock may be a little off. */
const SKEW_MS = 60_000;
/** How often it is looked again where the relay has closed a segment between two looks. */
const LOOKS = 3;

interface Recorded {
  readonly head: AuditHead;
  /** What each segment that is kept goes on from, oldest first. */
  readonly starts: readonly SegmentStart[];
}

/** Every segment in its place, and the last line that the database knows of; the whole chain is for `audit verify`. */
export async function inspectAudit({ database, audit }: QueuePaths, now: number): Promise<Finding[]> {
  const check = 'audit log';
  if ((await lstat(database).catch(() => undefined)) === undefined) return [];
  let recorded = readRecorded(database);
  let last: Buffer | undefined;
  for (let look = 1; ; look++) {
    last = await lastLine(audit, recorded);
    if (last !== undefined || recorded.head.seq === 0 || look === LOOKS) break;
    recorded = readRecorded(database);
  }
  const { head, starts } = recorded;
  const found = await inspectSegments(audit, starts);
  if (last === undefined && head.seq > 0)
    found.push(
      fault(
        check,
        `line ${head.seq} is not the one that the database records`,
        'sealpost audit verify names the line; keep files and database',
      ),
    );
  if (timeOf(last, now) - now > SKEW_MS)
    found.push(
      fault(
        'clock',
        'it is behind the newest line of the audit log',
        'set it right (timedatectl): retries, expiry and revocation go by it',
      ),
    );
  const files = starts.length > 1 ? ` in ${starts.length} files` : '';
  const lines = head.seq - (starts[0]?.seq ?? 0);
  return found.length > 0
    ? found
    : [ok(check, `${lines} lines${files}${last === undefined ? '' : ', the last one is in place'}; sealpost audit verify walks them all`)];
}

/** Both from one moment. */
function readRecorded(database: string): Recorded {
  const db = openDatabaseReadOnly(database);
  try {
    db.exec('BEGIN');
    return { head: readAuditHead(db), starts: readAuditStarts(db) };
  } finally {
    db.close();
  }
}

/** Closed ones that are gone, and any that others may read. */
async function inspectSegments(audit: string, starts: readonly SegmentStart[]): Promise<Finding[]> {
  const check = 'audit log';
  const files = [...starts.slice(0, -1).map(({ seq }) => closedPath(audit, seq + 1)), audit];
  const found = await Promise.all(
    files.map(async (file): Promise<Finding[]> => {
      const stats = await lstat(file).catch(() => undefined);
      if (stats === undefined)
        return [fault(check, `${file} is not there`, 'put it back; sealpost audit verify tells what is missing of the chain')];
      const unsafe = privacyFault(stats, 'file');
      return unsafe === undefined ? [] : [fault(check, `${file} ${unsafe}`, `chown it to the user of the relay, and chmod 0600 ${file}`)];
    }),
  );
  return found.flat();
}

/** The line of the head, in the file that is written, or in the one before where that is new; undefined where another stands there. */
async function lastLine(audit: string, { head, starts }: Recorded): Promise<Buffer | undefined> {
  const [before, newest] = starts.length > 1 ? starts.slice(-2) : [undefined, starts[0]];
  const end = head.bytes - (newest?.bytes ?? 0);
  const line =
    end > 0 || newest === undefined || before === undefined
      ? await lineEndingAt(audit, end)
      : await lineEndingAt(closedPath(audit, before.seq + 1), newest.bytes - before.bytes);
  return line !== undefined && readLink(line)?.hash === head.hash ? line : undefined;
}

/** Without its line feed; undefined where the file is shorter, or not there. */
async function lineEndingAt(file: string, end: number): Promise<Buffer | undefined> {
  if (end <= 0) return undefined;
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  try {
    const window = Buffer.alloc(Math.min(end, MAX_LINE));
    const { bytesRead } = await handle.read(window, 0, window.length, end - window.length);
    if (bytesRead < window.length) return undefined;
    const line = window.subarray(0, -1);
    return line.subarray(line.lastIndexOf(0x0a) + 1);
  } finally {
    await handle.close();
  }
}

function timeOf(line: Buffer | undefined, standard: number): number {
  const written: unknown = line === undefined ? undefined : JSON.parse(line.toString());
  const time = typeof written === 'object' && written !== null && 'time' in written ? Date.parse(String(written.time)) : Number.NaN;
  return Number.isNaN(time) ? standard : time;
}

type KeyConfig = Pick<Config, 'keys' | 'audit' | 'queue'>;

/** The key of the hashes where addresses are hashed, and that of the checkpoints, which no site must have. */
export async function inspectAuditKeys(config: KeyConfig): Promise<Finding[]> {
  const check = 'audit keys';
  const { signing, public: publicKey } = auditKeyFiles(config.keys);
  const hashing = addressKey(config);
  // Where it cannot be used its own error says why, and how to mend it: the relay would not start.
  if (hashing !== undefined) readAuditKey(hashing);
  const addresses = hashing === undefined ? 'addresses in clear' : 'addresses hashed';
  const stats = await lstat(signing).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (stats === undefined) return [ok(check, `${addresses}, no signed checkpoints: sealpost audit key makes a key for them`)];
  const unsafe = privacyFault(stats, 'file');
  if (unsafe !== undefined) return [fault(check, `${signing} ${unsafe}`, `chown it to the user of the relay, and chmod 0600 ${signing}`)];
  const { checkpoints } = queuePaths(config.queue.sqlite, config.audit.file);
  const text = await readFile(checkpoints, 'utf8').catch(() => '');
  const newest = text.trimEnd().split('\n').at(-1) ?? '';
  if (newest === '') return [ok(check, `${addresses}, no checkpoint is signed yet`)];
  const pem = await readFile(publicKey, 'utf8').catch(() => undefined);
  if (pem === undefined)
    return [warning(check, `${publicKey} is not there`, `make it anew: openssl pkey -in ${signing} -pubout -out ${publicKey}`)];
  const signed = readCheckpoint(newest, createPublicKey(pem));
  if (signed === undefined)
    return [
      fault(check, `the newest line of ${checkpoints} is not signed by ${publicKey}`, 'sealpost audit verify --checkpoint says more'),
    ];
  return [ok(check, `${addresses}, line ${signed.seq} was signed at ${signed.time}`)];
}
