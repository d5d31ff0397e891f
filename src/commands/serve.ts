/** `sealpost serve`: the relay in the foreground, until SIGTERM or SIGINT. It shuts itself in before it begins (sandbox/enter.ts). */
import { setTimeout as after } from 'node:timers/promises';
import process from 'node:process';
import { isatty } from 'node:tty';
import { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { SealpostError } from '../errors.ts';
import { makeLog } from '../log.ts';
import { assertSandboxed, enterSandbox, isSandboxed, mayDumpCore } from './sandbox/enter.ts';
import type { BuildCommand, Terminal } from './terminal.ts';
import { readVersion } from './version.ts';

export const build: BuildCommand = (terminal) =>
  new Command('serve')
    .description('runs the relay in the foreground; SIGTERM and SIGINT stop it within 30 seconds')
    .action((_: object, command: Command) => run(command.optsWithGlobals<{ config?: string }>().config, terminal));

async function run(file: string | undefined, { env, cwd, stdout }: Terminal): Promise<void> {
  const config = await loadConfig({ file, env, cwd });
  if (!isSandboxed()) return enterSandbox(config, env);
  assertSandboxed(config);
  const { startRelay } = await import('../relay.ts');
  const log = makeLog(config.log, stdout);
  if (mayDumpCore() !== false) log.warn({}, 'core dumps are not off: a crash may write mail that is in memory to disk');
  const version = readVersion();
  const ended = Promise.withResolvers<void>();
  // The queue may stop while the relay starts, when nobody waits for this yet: the process would end with a stack trace.
  ended.promise.catch(() => {});
  // From here on, since a relay that was started as far as its queue is to be stopped in order.
  const stop = (signal: string): void => {
    log.info({ signal }, 'stopping');
    ended.resolve();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  // At a terminal it is gone, and with it who could stop this. Elsewhere it asks to read again what is read again by itself.
  process.on('SIGHUP', (signal) =>
    isatty(0) ? stop(signal) : log.info({}, 'nothing is read again at a hangup: that needs none, or a restart'),
  );
  const relay = await startRelay(config, { log, now: Date.now, env, version, onFailure: (error) => ended.reject(error) }).catch(
    (error: unknown) => {
      leaveSoon(1);
      throw error;
    },
  );
  log.info({ version, config: config.file }, 'started');
  let clean = false;
  try {
    try {
      await ended.promise;
    } finally {
      await stopInTime(relay.stop());
      log.info({}, 'stopped');
    }
    clean = true;
  } finally {
    leaveSoon(clean ? 0 : 1);
  }
}

/** A little more than the relay allows itself for an orderly end. */
const STOP_CEILING_MS = 33_000;
/** For the error to be told, and the rest of the process to end by itself. */
const LINGER_MS = 2000;
/** A signal to oneself that has not ended the process by now never will. */
const SIGNAL_MS = 500;

async function stopInTime(stopping: Promise<void>): Promise<void> {
  const cancel = new AbortController();
  const ceiling = after(STOP_CEILING_MS, undefined, { signal: cancel.signal }).then(() => {
    throw new SealpostError('internal', { detail: 'the relay did not stop in time' });
  });
  try {
    await Promise.race([stopping, ceiling]);
  } finally {
    cancel.abort();
    ceiling.catch(() => undefined);
  }
}

/** Unreferenced: where nothing hangs, the process has ended before. */
const leaveSoon = (code: number): NodeJS.Timeout => setTimeout(() => leave(code), LINGER_MS).unref();

/**
 * Ends a process in which a call of the file system hangs, at a file server that is gone for instance. Node waits for such calls at the
 * end of its event loop, and at every way to leave with an exit code (process.exit(), reallyExit()) once more, for as long as they take;
 * and the sandbox replaces no program. A signal waits for nothing. After an orderly stop it is SIGTERM, which a service manager takes for
 * the answer to its own, else SIGKILL, which it takes for a failure.
 *
 * The first process of a container gets neither from within it. An abort it does get, which has no core dump here.
 */
function leave(code: number): void {
  process.removeAllListeners('SIGTERM');
  process.kill(process.pid, code === 0 ? 'SIGTERM' : 'SIGKILL');
  setTimeout(() => process.abort(), SIGNAL_MS);
}
