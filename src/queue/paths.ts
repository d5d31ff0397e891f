import { dirname, join } from 'node:path';

/** Where one queue lives: all of it in the folder of its database, so that one rule of a sandbox covers it. Absolute paths. */
export interface QueuePaths {
  readonly folder: string;
  readonly database: string;
  readonly bodies: string;
  readonly lock: string;
  readonly socket: string;
  /** What each upstream's rate has counted. */
  readonly rates: string;
  readonly audit: string;
  /** Signed checkpoints of the audit log. */
  readonly checkpoints: string;
  /** The key of the address hashes; undefined where addresses stand in clear. */
  readonly auditKey?: string | undefined;
}

/** `database` and `audit` as the configuration names them, made absolute; `auditKey` where addresses are to be hashed. */
export function queuePaths(database: string, audit: string, auditKey?: string): QueuePaths {
  const folder = dirname(database);
  return {
    folder,
    database,
    bodies: join(folder, 'bodies'),
    lock: join(folder, 'lock.sqlite'),
    socket: join(folder, 'control.sock'),
    rates: join(folder, 'rates.json'),
    audit,
    checkpoints: join(folder, 'checkpoints.jsonl'),
    auditKey,
  };
}
