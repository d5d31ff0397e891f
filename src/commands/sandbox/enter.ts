/**
 * The two lives of `serve`. The first reads the configuration, and with it where the relay may write; then the process is replaced by
 * itself under the permission model. It keeps its number, its streams and its folder, so a supervisor sees one process; a signal at any
 * moment of it ends it, since nothing has begun yet.
 *
 * Which life it is the runtime says, never the environment or an argument: nothing a caller sets makes the relay run without.
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import type { Config } from '../../config.ts';
import type { Environment } from '../../config/environment.ts';
import { SealpostError } from '../../errors.ts';
import { ensurePrivateFolder } from '../../queue/folder.ts';
import { queuePaths } from '../../queue/paths.ts';
import { dumpsCore } from './core-limit.ts';
import { sandboxEnvironment, sandboxFlags } from './flags.ts';

const SHELL = '/bin/sh';
/**
 * No core dump. A limit of one octet also ends the dumps that the kernel hands to a program (core_pattern with a pipe), which it does
 * not for 0 (core(5)); where prlimit is missing, or the limit is 0 for good, 0 it is.
 */
const WITHOUT_CORE = 'prlimit --core=1:1 --pid $$ 2>/dev/null || ulimit -c 0; exec "$@"';

export const isSandboxed = (): boolean => process.permission !== undefined;

/** Replaces this process; does not return. Throws `sandbox-failed` where that cannot be. */
export async function enterSandbox(config: Config, env: Environment): Promise<never> {
  const [script] = process.argv.slice(1);
  if (process.execve === undefined || script === undefined) throw failed('this system cannot replace a running program (execve)');
  if (process.execArgv.includes('--permission')) throw failed('the permission model of Node was asked for and is not there');
  // Here, since the folders above it are closed to the second life.
  await ensurePrivateFolder(queuePaths(config.queue.sqlite, config.audit.file).folder);
  const guard = guardFile();
  const given = [...(env['NODE_OPTIONS'] ?? '').split(/\s+/), ...process.execArgv];
  const command = [process.execPath, ...sandboxFlags(config, guard, given), script, ...process.argv.slice(2)];
  const around = sandboxEnvironment(env);
  // A program that cannot be started takes the process down with a core dump, so this is looked at before.
  if (canRun(SHELL)) process.execve(SHELL, ['sh', '-c', WITHOUT_CORE, 'sh', ...command], around);
  process.execve(process.execPath, command, around);
  throw failed('the program was not replaced');
}

const guardFile = (): string => join(import.meta.dirname, import.meta.url.endsWith('.ts') ? 'guard.ts' : 'guard.js');

/** In the second life: it is as it was asked for. Throws `sandbox-failed`. */
export function assertSandboxed(config: Config): void {
  const { permission } = process;
  if (permission === undefined) throw failed('the permission model is not there');
  const open = ['fs.write', 'child', 'addon', 'wasi', 'inspector'].filter((scope) => permission.has(scope));
  if (open.length > 0) throw failed(`the permission model leaves open: ${open.join(', ')}`);
  const { folder } = queuePaths(config.queue.sqlite, config.audit.file);
  if (!permission.has('fs.write', folder) || !permission.has('worker')) throw failed(`the relay may not write ${folder}`);
  // Flags by hand are not taken: whoever starts the second life alone might leave doors open.
  const wanted = sandboxFlags(config, guardFile(), process.execArgv);
  if (wanted.length !== process.execArgv.length || wanted.some((flag) => !process.execArgv.includes(flag)))
    throw failed('it was started with flags of Node that are not its own');
}

/** Whether the kernel would write the memory of this process into a core file; undefined where it does not say. */
export function mayDumpCore(): boolean | undefined {
  try {
    return dumpsCore(readFileSync('/proc/self/limits', 'utf8'));
  } catch {
    return undefined;
  }
}

function canRun(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const failed = (detail: string): SealpostError => new SealpostError('sandbox-failed', { detail });
