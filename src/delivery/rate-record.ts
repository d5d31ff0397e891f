/**
 * What each upstream's rate has counted, in a small file of the data folder, so that a restart does not allow a second stretch
 * at once. Written before a message begins: a relay that is killed has it in the file. It is not synced: after a power cut the
 * last seconds may be missing, and the machine has taken longer than that to start.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { asSealpostError, SealpostError } from '../errors.ts';
import { assertPrivateFile } from '../queue/folder.ts';
import type { RateRecord } from './rate.ts';

export interface RateKeeper {
  /** What was kept under this name; `unreadable` where the file is there and tells nothing. */
  kept(name: string): RateRecord | 'unreadable';
  /** Resolves once it is in the file. Never rejects: mail is not stopped for a rate that cannot be written down. */
  keep(name: string, record: RateRecord): Promise<void>;
}

/** More is nothing that was written here. */
const MOST_CELLS = 1000;
const FILE_MODE = 0o600;

/** `path`: in the data folder, which is there and private. Throws `data-folder-unsafe`. */
export async function openRateFile(path: string, log: Logger): Promise<RateKeeper> {
  for (const file of [path, `${path}.new`]) await assertPrivateFile(file);
  const found = await readRecords(path);
  if (found === 'unreadable') log.warn('the file of the rates cannot be read, each rate counts as used up for now');
  const records = new Map(found === 'unreadable' ? [] : found);
  let writing = Promise.resolve();
  let next: Promise<void> | undefined;
  let failed = false;
  const write = async (): Promise<void> => {
    next = undefined;
    try {
      await writeFile(`${path}.new`, JSON.stringify(Object.fromEntries(records)), { mode: FILE_MODE });
      await rename(`${path}.new`, path);
      failed = false;
    } catch (cause) {
      if (!failed) log.warn({ err: asSealpostError(new SealpostError('file-unwritable', { cause })) }, 'the rates cannot be written down');
      failed = true;
    }
  };
  return {
    kept: (name) => records.get(name) ?? (found === 'unreadable' ? found : []),
    keep(name, record) {
      records.set(name, record);
      // Whoever comes while a write is under way shares the one behind it.
      next ??= writing = writing.then(write);
      return next;
    },
  };
}

async function readRecords(path: string): Promise<ReadonlyMap<string, RateRecord> | 'unreadable'> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return absent ? new Map() : 'unreadable';
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return 'unreadable';
    const records = Object.entries(value);
    return records.every((entry): entry is [string, RateRecord] => isRecord(entry[1])) ? new Map(records) : 'unreadable';
  } catch {
    return 'unreadable';
  }
}

function isRecord(value: unknown): value is RateRecord {
  const isCount = (one: unknown): boolean => typeof one === 'number' && Number.isFinite(one) && one >= 0;
  return (
    Array.isArray(value) &&
    value.length <= MOST_CELLS &&
    value.every((cell) => Array.isArray(cell) && cell.length === 2 && cell.every(isCount))
  );
}
