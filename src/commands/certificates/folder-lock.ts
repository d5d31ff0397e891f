/**
 * One command at a time writes into a folder of certificates: what an address has stands in one file, which each reads whole and writes
 * anew, so that two at once would take back what the other did and was told as added. The lock is a file in the folder, there for as long
 * as a command holds it; its name is one that readers of the folder pass over. A killed command frees it: the process that the file
 * names is not there any more, or another one has its number.
 */
import { closeSync, openSync, readFileSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { systemCode } from '../../document/yaml.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';
import { shown } from './paths.ts';

export interface FolderLock {
  /**
   * Runs `act` with the folder for itself; several of one lock at a time share it. Says so where it waits, and waits for as long as it
   * takes. Throws `file-unwritable` where the folder cannot be written, or `stop` was asked for meanwhile.
   */
  hold<T>(act: () => T | Promise<T>): Promise<T>;
}

const NAME = '.sealpost.lock';
const POLL_MS = 20;
/** Of a holder on another machine or in another container, whose processes cannot be looked at. One that works renews its file. */
const SILENT_MS = 5 * 60_000;

export function makeFolderLock(
  folder: string,
  terminal: Pick<Terminal, 'stderr' | 'cwd'>,
  stop: { readonly asked: boolean } = { asked: false },
): FolderLock {
  const file = join(folder, NAME);
  let holders = 0;
  let taking: Promise<void> | undefined;
  let taken = false;
  let told = false;

  const take = async (): Promise<void> => {
    while (!(taken = create(file))) {
      if (isLeft(file)) clear(file);
      else {
        if (stop.asked) throw unwritable(folder, 'another command writes into it, and waiting for it was stopped');
        if (!told) terminal.stderr.write(`sealpost: another command writes into ${shown(folder, terminal)}${who(file)}: waiting for it\n`);
        told = true;
      }
      await pause(POLL_MS);
    }
  };
  return {
    hold: async (act) => {
      holders++;
      try {
        if (taken) renew(file);
        taking ??= take();
        await taking;
        return await act();
      } finally {
        if (--holders === 0) {
          if (taken) release(file);
          [taking, taken] = [undefined, false];
        }
      }
    },
  };
}

const unwritable = (path: string, why: string, cause?: unknown): SealpostError =>
  new SealpostError('file-unwritable', { detail: `${path} (${why})`, cause });

/** A number of a process is given again; with the time of its start it is not. Empty where the system does not tell. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // proc_pid_stat(5): the name, which may hold anything, ends at the last parenthesis; starttime is the 22nd field.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[22 - 3] ?? '';
  } catch {
    return '';
  }
}

const ownMark = (): string => `${process.pid} ${startOf(process.pid)} ${hostname()}\n`;

function create(file: string): boolean {
  try {
    const opened = openSync(file, 'wx', 0o644);
    try {
      writeSync(opened, ownMark());
    } finally {
      closeSync(opened);
    }
    return true;
  } catch (cause) {
    if (systemCode(cause) === 'EEXIST') return false;
    throw unwritable(file, systemCode(cause) ?? 'unknown reason', cause);
  }
}

function renew(file: string): void {
  try {
    utimesSync(file, new Date(), new Date());
  } catch {
    // Somebody took it away by hand: what is under way is ended all the same.
  }
}

function release(file: string): void {
  if (markOf(file) === ownMark()) rmSync(file, { force: true });
}

/** Takes away what a killed command left. Two that find it at once must not take away the lock that one of them made since. */
function clear(file: string): void {
  const breaker = `${file}.tmp`;
  if (isLeft(breaker)) rmSync(breaker, { force: true });
  if (!create(breaker)) return;
  try {
    if (isLeft(file)) rmSync(file, { force: true });
  } catch (cause) {
    throw unwritable(file, 'a killed command left it: delete it', cause);
  } finally {
    rmSync(breaker, { force: true });
  }
}

function markOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

interface Holder {
  readonly pid: number;
  readonly start: string;
}

/** Undefined where it is not there any more, not written yet, or of another machine or container, whose processes are not seen here. */
function holderOf(file: string): Holder | undefined {
  const [, pid = '', start = '', host] = /^([1-9]\d{0,9}) (\d*) (.*)\n$/.exec(markOf(file) ?? '') ?? [];
  return pid !== '' && host === hostname() ? { pid: Number(pid), start } : undefined;
}

function isLeft(file: string): boolean {
  const holder = holderOf(file);
  if (holder !== undefined) return isGone(holder);
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats !== undefined && Date.now() - stats.mtimeMs > SILENT_MS;
}

function isGone({ pid, start }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return systemCode(error) === 'ESRCH'; // EPERM: it runs, as another user
  }
  const now = startOf(pid);
  return start !== '' && now !== '' && now !== start;
}

function who(file: string): string {
  const holder = holderOf(file);
  return holder === undefined ? '' : ` (process ${holder.pid})`;
}
