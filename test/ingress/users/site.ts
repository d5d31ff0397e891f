/** A users file in a temporary folder, and hashes that are quick and counted: what costs 50 ms in earnest is tried elsewhere. */
import { createHash } from 'node:crypto';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { type Derive, showHash, USUAL_COST } from '../../../src/ingress/users/password-hash.ts';
import type { Users } from '../../../src/ingress/users/users.ts';
import { openUsers } from '../../../src/ingress/users/file.ts';
import { makeLog } from '../../../src/log.ts';
import { until } from '../../interop/ports.ts';

const SALT = Buffer.alloc(16, 7);
const HASH_OCTETS = 32;

const quick = (password: string, salt: Buffer): Buffer => createHash('sha256').update(salt).update(password).digest();

/** As `password:` has it, for `quick`. */
export const quickHash = (password: string, cost = USUAL_COST): string => showHash({ cost, salt: SALT, hash: quick(password, SALT) });

export interface UserSite {
  readonly file: string;
  readonly users: Users;
  /** One a hash: its cost as it was asked for. */
  readonly hashes: unknown[];
  readonly log: Record<string, unknown>[];
  /** Milliseconds that the clock is ahead. */
  ahead: number;
  /** While it is set, hashes wait for it. */
  gate: Promise<void> | undefined;
  /** Hashes under way at the same time, at most. */
  readonly most: { count: number };
  /** Writes the file as an editor does that knows its trade. */
  write(users: unknown): Promise<void>;
  /** Waits until the log has said it so many times. */
  said(msg: string, times?: number): Promise<void>;
}

export async function makeUserSite(t: TestContext, users: unknown): Promise<UserSite> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-users-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = join(dir, 'users.yaml');
  const write = async (content: unknown): Promise<void> => {
    await writeFile(`${file}.new`, typeof content === 'string' ? content : JSON.stringify({ users: content }));
    await rename(`${file}.new`, file);
  };
  await write(users);
  const log: Record<string, unknown>[] = [];
  const sink = new Writable({
    write: (line: Buffer, _encoding, done) => {
      const entry: Record<string, unknown> = JSON.parse(line.toString());
      log.push(entry);
      done();
    },
  });
  const hashes: unknown[] = [];
  const most = { count: 0 };
  let running = 0;
  const derive: Derive = async (password, salt, cost, octets) => {
    hashes.push({ ...cost, octets });
    most.count = Math.max(most.count, ++running);
    await site.gate;
    running--;
    return quick(password, salt).subarray(0, HASH_OCTETS);
  };
  const now = (): number => Date.now() + site.ahead;
  const opened = await openUsers({ file, log: makeLog({ level: 'debug', format: 'json' }, sink), now, derive, restMs: 20 });
  t.after(() => opened.close());
  const said = (msg: string, times = 1): Promise<void> =>
    until(`the log says "${msg}"`, () => log.filter((entry) => entry['msg'] === msg).length >= times, 10_000);
  const site: UserSite = { file, users: opened, hashes, log, ahead: 0, gate: undefined, most, write, said };
  return site;
}
