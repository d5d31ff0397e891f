/** Where the site's queue and audit log are: the one place where their commands meet the configuration. */
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { makeHashAddress, type HashAddress } from '../audit/hashing.ts';
import { loadConfig, type Config } from '../config.ts';
import { addressKey, auditKeyFiles } from '../config/audit-keys.ts';
import { readAuditKey } from '../queue/audit-key.ts';
import { queuePaths, type QueuePaths } from '../queue/paths.ts';
import type { Terminal } from './terminal.ts';

/** `command`: the one that runs, for the program's --config. Throws what loadConfig throws. */
export async function locateQueue({ env, cwd }: Terminal, command: Command): Promise<QueuePaths> {
  const { config: file } = command.optsWithGlobals<{ config?: string }>();
  const config = await loadConfig({ file, env, cwd });
  return queuePaths(config.queue.sqlite, config.audit.file, addressKey(config));
}

/**
 * Where the log is, and what it may call an address: wherever the key is there, since lines from before stay as they are, whatever
 * `audit.addresses` says now. Where it says `hashed` and there is none, throws what reading it does.
 */
export async function locateAudit(
  { env, cwd }: Terminal,
  command: Command,
): Promise<{ readonly audit: string; readonly auditHashes: HashAddress | undefined }> {
  const { config: file } = command.optsWithGlobals<{ config?: string }>();
  const config = await loadConfig({ file, env, cwd });
  return { audit: config.audit.file, auditHashes: hashesOf(config) };
}

export function hashesOf(config: Pick<Config, 'keys' | 'audit'>): HashAddress | undefined {
  const { addresses: key } = auditKeyFiles(config.keys);
  return config.audit.addresses === 'hashed' || existsSync(key) ? makeHashAddress(readAuditKey(key)) : undefined;
}

/** As locateQueue, and for how many milliseconds mail is held there. */
export async function locateHeld(
  { env, cwd }: Terminal,
  command: Command,
): Promise<{ readonly paths: QueuePaths; readonly maxAge: number }> {
  const { config: file } = command.optsWithGlobals<{ config?: string }>();
  const config = await loadConfig({ file, env, cwd });
  return { paths: queuePaths(config.queue.sqlite, config.audit.file, addressKey(config)), maxAge: config.hold.maxAge };
}

/**
 * Who types, for the audit log: the user the system knows, since anybody may set USER to another name. Root may say for whom it
 * acts, as sudo does.
 */
export function operatorName({ env }: Pick<Terminal, 'env'>): string {
  const behind = env['SUDO_USER'];
  try {
    const { username, uid } = userInfo();
    return uid === 0 && behind !== undefined ? `${behind} by sudo` : username;
  } catch {
    return 'a user without a name'; // as containers have them
  }
}
