/** Where the site's queue and audit log are: the one place where their commands meet the configuration. */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { addressKey } from '../config/audit-keys.ts';
import { queuePaths, type QueuePaths } from '../queue/paths.ts';
import type { Terminal } from './terminal.ts';

/** `command`: the one that runs, for the program's --config. Throws what loadConfig throws. */
export async function locateQueue({ env, cwd }: Terminal, command: Command): Promise<QueuePaths> {
  const { config: file } = command.optsWithGlobals<{ config?: string }>();
  const config = await loadConfig({ file, env, cwd });
  return queuePaths(config.queue.sqlite, config.audit.file, addressKey(config));
}

/** The same, and for how many milliseconds mail is held there. */
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
