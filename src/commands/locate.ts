/** Where the site's queue and audit log are: the one place where their commands meet the configuration. */
import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { queuePaths, type QueuePaths } from '../queue/paths.ts';
import type { Terminal } from './terminal.ts';

/** `command`: the one that runs, for the program's --config. Throws what loadConfig throws. */
export async function locateQueue({ env, cwd }: Terminal, command: Command): Promise<QueuePaths> {
  const { config: file } = command.optsWithGlobals<{ config?: string }>();
  const { queue, audit } = await loadConfig({ file, env, cwd });
  return queuePaths(queue.sqlite, audit);
}

/** Who types: the person behind sudo, for the audit log. */
export function operatorName({ env }: Terminal): string {
  return env['SUDO_USER'] ?? env['USER'] ?? env['LOGNAME'] ?? 'unknown';
}
