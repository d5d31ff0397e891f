/** Where the site's queue and audit log are: the one place where their commands meet the configuration. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { queuePaths, type QueuePaths } from '../queue/paths.ts';
import type { Terminal } from './terminal.ts';

/** `command`: the one that runs, for the program's --config. */
export async function locateQueue(terminal: Terminal, command: Command): Promise<QueuePaths> {
  const { config } = command.optsWithGlobals<{ config?: string }>();
  const base = config === undefined ? terminal.cwd : resolve(terminal.cwd, config, '..');
  const database = terminal.env['SEALPOST_QUEUE__SQLITE'] ?? 'data/queue.sqlite';
  const audit = terminal.env['SEALPOST_AUDIT'] ?? 'data/audit.jsonl';
  return queuePaths(resolve(base, database), resolve(base, audit));
}

/** Who types: the person behind sudo, for the audit log. */
export function operatorName({ env }: Terminal): string {
  return env['SUDO_USER'] ?? env['USER'] ?? env['LOGNAME'] ?? 'unknown';
}
