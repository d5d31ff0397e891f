/**
 * One command at a time changes the users: each reads the whole file and writes it anew, so that two at once would take back what
 * the other did. The lock is a file beside it, there for as long as a command holds it.
 */
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { systemCode } from '../../document/yaml.ts';
import { SealpostError } from '../../errors.ts';

const WAIT_MS = 5000;
const POLL_MS = 20;
/** A change takes milliseconds. What is older belongs to nobody, whoever has its process id by now. */
const STALE_MS = 60_000;

/** Runs `change` with the lock of `file` held. Throws `users-busy` where another command holds it for seconds. */
export async function withLock<T>(file: string, change: () => Promise<T>): Promise<T> {
  const lock = join(dirname(file), `.${basename(file)}.lock`);
  const deadline = performance.now() + WAIT_MS;
  while (!take(lock)) {
    if (isStale(lock)) clearStale(lock);
    if (performance.now() > deadline) throw new SealpostError('users-busy', { detail: lock });
    await pause(POLL_MS);
  }
  try {
    return await change();
  } finally {
    release(lock);
  }
}

function take(lock: string): boolean {
  try {
    const out = openSync(lock, 'wx', 0o600);
    try {
      writeSync(out, `${process.pid} ${hostname()}\n`);
    } finally {
      closeSync(out);
    }
    return true;
  } catch (cause) {
    if (systemCode(cause) === 'EEXIST') return false;
    throw new SealpostError('file-unwritable', { detail: `${lock} (${systemCode(cause) ?? 'unknown reason'})`, cause });
  }
}

const release = (lock: string): void => rmSync(lock, { force: true });

/** Takes away what a killed command left. Two that find it at once must not take away the lock that one of them made since. */
function clearStale(lock: string): void {
  const breaker = `${lock}.stale`;
  if (isOld(breaker)) release(breaker);
  if (!take(breaker)) return;
  try {
    if (isStale(lock)) release(lock);
  } finally {
    release(breaker);
  }
}

const isStale = (lock: string): boolean => isOld(lock) || isGone(holderOf(lock));

function isOld(lock: string): boolean {
  const stats = statSync(lock, { throwIfNoEntry: false });
  return stats !== undefined && Date.now() - stats.mtimeMs > STALE_MS;
}

/** Undefined where it is not there any more, not written yet, or of another machine or container, whose process ids mean nothing here. */
function holderOf(lock: string): number | undefined {
  try {
    const [pid = '', host] = readFileSync(lock, 'utf8').trim().split(' ');
    return /^[1-9]\d{0,9}$/.test(pid) && host === hostname() ? Number(pid) : undefined;
  } catch {
    return undefined;
  }
}

function isGone(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return systemCode(error) === 'ESRCH'; // EPERM: it runs, as another user
  }
}
