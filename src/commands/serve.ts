/** `sealpost serve`: the relay in the foreground, until SIGTERM or SIGINT. */
import process from 'node:process';
import { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { makeLog } from '../log.ts';
import { startRelay } from '../relay.ts';
import type { BuildCommand, Terminal } from './terminal.ts';
import { readVersion } from './version.ts';

export const build: BuildCommand = (terminal) =>
  new Command('serve')
    .description('runs the relay in the foreground; SIGTERM and SIGINT stop it within 30 seconds')
    .action((_: object, command: Command) => run(command.optsWithGlobals<{ config?: string }>().config, terminal));

async function run(file: string | undefined, { env, cwd, stdout }: Terminal): Promise<void> {
  const config = await loadConfig({ file, env, cwd });
  const log = makeLog(config.log, stdout);
  const version = readVersion();
  const ended = Promise.withResolvers<void>();
  const relay = await startRelay(config, { log, now: Date.now, version, onFailure: (error) => ended.reject(error) });
  log.info({ version, config: config.file }, 'started');
  const stop = (signal: string): void => {
    log.info({ signal }, 'stopping');
    ended.resolve();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  try {
    await ended.promise;
  } finally {
    await relay.stop();
    log.info({}, 'stopped');
  }
}
