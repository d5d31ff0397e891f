/**
 * The users file, live: a change counts within seconds, without a signal or a restart. The file is polled, as certificates are.
 *
 * A change is taken once the file has rested for one look, since it may be caught half-written. A new file with faults leaves the
 * users of the old one in place and is logged with every fault. A file that is gone or cannot be read is `unavailable`, never
 * "no users": a client is told to come back, and not that its password is wrong (P5).
 */
import { stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import { showFaults } from '../../document/fault.ts';
import { readText, systemCode } from '../../document/yaml.ts';
import { SealpostError } from '../../errors.ts';
import { makeHashThread } from './hash-thread.ts';
import { makeLogins } from './logins.ts';
import type { Derive } from './password-hash.ts';
import { type Entries, readUserEntries, type UserEntry } from './entries.ts';
import type { Users } from './users.ts';

export interface UsersOptions {
  readonly file: string;
  readonly log: Logger;
  /** Milliseconds. */
  readonly now: () => number;
  /** A thread of its own where it is left out. */
  readonly derive?: Derive;
  /** Milliseconds between two looks. */
  readonly restMs?: number;
}

const REST_MS = 1000;
/** A look that stands still, at a file server that answers no more, makes the file unavailable. */
const STUCK_MS = 10_000;
/** The hint where there is no file yet. */
export const IF_MISSING = 'sealpost users add NAME makes it';

/** Throws `users-invalid` with every fault, or `file-unreadable`: a relay does not start without the users it was told of. */
export async function openUsers({ file, log, now, derive, restMs = REST_MS }: UsersOptions): Promise<Users> {
  const live = new LiveFile(file, await stampOf(file), await readEntries(file), log);
  let begun: number | undefined;
  const look = async (): Promise<void> => {
    if (begun !== undefined) return;
    begun = performance.now();
    await live.look();
    begun = undefined;
  };
  const timer = setInterval(() => void look(), restMs);
  timer.unref();
  const entries: Entries = () => (begun !== undefined && performance.now() - begun > STUCK_MS ? undefined : live.entries);
  const thread = makeHashThread();
  const { login, byCertificate } = makeLogins({ entries, now, derive: derive ?? thread.derive, log });
  const close = (): void => {
    clearInterval(timer);
    thread.close();
  };
  return { login, byCertificate, close };
}

/** Every fault of the file, for `check` and the commands that change it. Throws `file-unreadable`. */
export async function readUsersFile(file: string): Promise<ReturnType<typeof readUserEntries>> {
  return readUserEntries(file, await readText(file, IF_MISSING));
}

async function readEntries(file: string): Promise<ReadonlyMap<string, UserEntry>> {
  const read = await readUsersFile(file);
  if (read.kind === 'valid') return new Map(read.value.map((entry) => [entry.user.name, entry]));
  const count = read.faults.length === 1 ? '1 fault' : `${read.faults.length} faults`;
  throw new SealpostError('users-invalid', { detail: `${count}\n${showFaults(read.faults)}` });
}

/** What changes with the content: where two are alike, so is the file. */
async function stampOf(file: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return `absent ${systemCode(error) ?? ''}`;
  }
}

/** The file as it was read last; exported for its tests. */
export class LiveFile {
  readonly #file: string;
  readonly #log: Logger;
  #entries: ReadonlyMap<string, UserEntry>;
  #readable = true;
  /** Of what was read last, and of the last look. */
  #read: string;
  #seen: string;

  constructor(file: string, stamp: string, entries: ReadonlyMap<string, UserEntry>, log: Logger) {
    this.#file = file;
    this.#entries = entries;
    this.#read = stamp;
    this.#seen = stamp;
    this.#log = log;
  }

  get entries(): ReadonlyMap<string, UserEntry> | undefined {
    return this.#readable ? this.#entries : undefined;
  }

  async look(): Promise<void> {
    const stamp = await stampOf(this.#file);
    const rested = stamp === this.#seen;
    this.#seen = stamp;
    if (stamp === this.#read || !rested) return;
    try {
      this.#entries = await readEntries(this.#file);
      this.#log.info({ file: this.#file, users: this.#entries.size }, 'users file read');
      this.#readable = true;
    } catch (error) {
      // A file that can be read and is faulty is there again, and the users from before it are still those that are known.
      this.#readable = error instanceof SealpostError && error.code === 'users-invalid';
      const said = this.#readable ? 'users file is faulty, the users from before stay' : 'users file cannot be read, nobody can log in';
      this.#log.error({ file: this.#file, err: error }, said);
    }
    this.#read = stamp;
  }
}
