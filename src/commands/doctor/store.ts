/** The data folder and the queue as they lie on the disk. Nothing is written, and a running relay is not disturbed. */
import { lstat, statfs } from 'node:fs/promises';
import { openSpoolKey, SPOOL_KEY_FILE } from '../../queue/spool/key.ts';
import { privacyFault } from '../../queue/folder.ts';
import { listEntries, readStats } from '../../queue/operator.ts';
import type { QueuePaths } from '../../queue/paths.ts';
import { openDatabaseReadOnly } from '../../queue/schema.ts';
import { RESERVE_BYTES } from '../../queue/sqlite.ts';
import { fault, type Finding, ok, warning } from './finding.ts';

const MIB = 1024 * 1024;
/** statfs(2): what a power cut empties, and what another machine promises. */
const NOT_LOCAL: ReadonlyMap<number, string> = new Map([
  [0x01021994, 'tmpfs, which a restart of the machine empties'],
  [0x858458f6, 'ramfs, which a restart of the machine empties'],
  [0x794c7630, 'a layer of a container, which goes with it'],
  [0x6969, 'NFS, whose sync and locks another machine promises'],
  [0xfe534d42, 'SMB, whose sync and locks another machine promises'],
  [0xff534d42, 'CIFS, whose sync and locks another machine promises'],
]);
/** Above it the check of the pages would take long, and nothing can interrupt it. */
const CHECKED_BYTES = 64 * MIB;
const DAY_MS = 86_400_000;

export async function inspectFolder({ folder }: QueuePaths): Promise<Finding[]> {
  const check = 'data folder';
  const stats = await lstat(folder).catch(() => undefined);
  if (stats === undefined)
    return [warning(check, `${folder} is not there, or may not be read`, 'sealpost serve makes it; run doctor as its user')];
  const unsafe = privacyFault(stats, 'folder');
  const { bavail, bsize, type } = await statfs(folder);
  const free = bavail * bsize;
  const kind = NOT_LOCAL.get(type);
  const room = `${Math.floor(free / MIB)} MiB free`;
  const found: Finding[] = [];
  if (unsafe !== undefined) found.push(fault(check, `${folder} ${unsafe}`, `chown it to the user of the relay, and chmod 0700 ${folder}`));
  if (free < RESERVE_BYTES)
    found.push(fault(check, `${room}: no mail is taken below ${RESERVE_BYTES / MIB} MiB`, `make room on the disk of ${folder}`));
  else if (free < 4 * RESERVE_BYTES)
    found.push(warning(check, `${room}, ${RESERVE_BYTES / MIB} MiB of it kept as a reserve`, 'make room before it is gone'));
  if (kind !== undefined) found.push(warning(check, `it lies on ${kind}`, 'a local disk: what was acknowledged must outlast a power cut'));
  return found.length > 0 ? found : [ok(check, room)];
}

export async function inspectQueue({ database }: QueuePaths, keys: string, now: number): Promise<Finding[]> {
  const check = 'queue';
  const stats = await lstat(database).catch(() => undefined);
  if (stats === undefined)
    return [warning(check, 'there is none yet, or it may not be read', 'sealpost serve makes it; run doctor as its user')];
  const db = openDatabaseReadOnly(database);
  try {
    const found: Finding[] = [];
    if (stats.size <= CHECKED_BYTES) {
      const said = db.prepare('PRAGMA quick_check(1)').get()?.['quick_check'];
      if (said !== 'ok') found.push(fault(check, 'the database is damaged', 'keep a copy of the data folder, and look at the disk'));
    }
    const { states, oldestHeldAt, oldestAcceptedAt } = readStats(db);
    const { damaged, held, deferred } = states;
    if (damaged > 0)
      found.push(
        fault(check, `${damaged} damaged`, 'sealpost queue list --state damaged; then sealpost queue remove ID, and look at the disk'),
      );
    if (oldestHeldAt !== null && now - oldestHeldAt > DAY_MS)
      found.push(
        warning(
          check,
          `${held} held, the oldest for ${age(now - oldestHeldAt)}`,
          'sealpost queue list --state held says what each waits for',
        ),
      );
    if (deferred > 0 && oldestAcceptedAt !== null && now - oldestAcceptedAt > DAY_MS)
      found.push(
        warning(
          check,
          `${deferred} deferred, the oldest message is here for ${age(now - oldestAcceptedAt)}`,
          'sealpost queue list --state deferred says why',
        ),
      );
    if (listEntries(db, { kept: 'spooled' }, 1).length > 0 && (await openSpoolKey(keys)) === undefined)
      found.push(fault(check, `mail that passes in clear waits, and ${SPOOL_KEY_FILE} is gone`, `restore it from your copy into ${keys}`));
    const counted = Object.entries(states).filter(([, count]) => count > 0);
    const shown = counted.map(([state, count]) => `${count} ${state}`).join(', ');
    return found.length > 0 ? found : [ok(check, shown === '' ? 'empty' : shown)];
  } finally {
    db.close();
  }
}

const age = (ms: number): string => `${Math.floor(ms / DAY_MS)} d`;
