/** The relay in a process that can be looked into, as the sandbox of `serve` cannot: SIGUSR2 begins a profile, SIGTERM writes it and ends. */
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import process from 'node:process';
import { loadConfig } from '../../src/config.ts';
import { makeLog } from '../../src/log.ts';
import { startRelay } from '../../src/relay.ts';

const SAMPLE_US = 200;
const [, , file = '', target = ''] = process.argv;
const config = await loadConfig({ file, env: process.env, cwd: process.cwd() });
const log = makeLog(config.log, process.stdout);
const relay = await startRelay(config, { log, now: Date.now, env: process.env, version: 'profiled', onFailure: () => process.exit(1) });
const session = new Session();
session.connect();
const begin = async (): Promise<void> => {
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_US });
  await session.post('Profiler.start');
  log.info('profile begun');
};
const end = async (): Promise<void> => {
  const { profile } = await session.post('Profiler.stop');
  writeFileSync(target, JSON.stringify(profile));
  await relay.stop();
  process.exit(0);
};
process.on('SIGUSR2', () => void begin());
process.on('SIGTERM', () => void end());
