/**
 * `sealpost doctor`: live checks, all at the same time, each with a time of its own: what `check` reads, and beyond it the relay that runs,
 * its disk, its listeners, its upstreams. Nothing is changed and no mail is sent.
 */
import { networkInterfaces } from 'node:os';
import process from 'node:process';
import { Command } from 'commander';
import { readConfig, type Config } from '../config.ts';
import { asSealpostError, SealpostError } from '../errors.ts';
import { queuePaths } from '../queue/paths.ts';
import { surveyCertificates } from './certificates/survey.ts';
import { check as checkSite } from './check.ts';
import { inspectAudit, inspectAuditKeys } from './doctor/audit.ts';
import { fault, type Check, type Finding, ok, warning } from './doctor/finding.ts';
import { inspectListener, inspectUpstream } from './doctor/network.ts';
import { inspectRunning } from './doctor/running.ts';
import { inspectFolder, inspectQueue } from './doctor/store.ts';
import { makeProgress } from './progress.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

/** For one check; the certificates of a large site take the longest. */
const CEILING_MS = 20_000;

export const build: BuildCommand = (terminal) =>
  new Command()
    .description('looks at the site as it runs: configuration, relay, disk, queue, audit log, listeners, upstreams; as root or as its user')
    .option('--json', 'for programs')
    .action(async (options: { json?: true }, command: Command) => {
      const { config: file } = command.optsWithGlobals<{ config?: string }>();
      const read = await readConfig({ file, env: terminal.env, cwd: terminal.cwd });
      const checks = [configuration(file, terminal), ...(read.kind === 'valid' ? live(read.value, terminal) : [])];
      const found = await lookAtAll(checks, terminal);
      terminal.stdout.write(options.json === true ? `${JSON.stringify({ findings: found }, null, 2)}\n` : found.map(showFinding).join(''));
      const faults = found.filter(({ verdict }) => verdict === 'fault').length;
      if (faults > 0)
        throw new SealpostError('check-failed', {
          detail: faults === 1 ? '1 fault' : `${faults} faults`,
          hint: 'mend what is listed above, then sealpost doctor again',
        });
    });

/** All that `check` tells; its notes are counted only, since they are known since the site was set up. */
function configuration(file: string | undefined, terminal: Terminal): Check {
  const name = 'configuration';
  const look = async (): Promise<Finding[]> => {
    const addresses = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
    const { faults, notes, counts } = await checkSite(
      { file, env: terminal.env, cwd: terminal.cwd },
      {
        host: { addresses, uid: process.getuid?.() },
        survey: (config, rules) => surveyCertificates(config, terminal, rules),
        now: Date.now,
      },
    );
    const found = faults.map(({ place, key, wrong, mend }) =>
      fault(name, [place, key, wrong].filter((part) => part !== '').join(': '), mend),
    );
    if (notes.length > 0) found.push(warning(name, `notes: ${notes.length}`, 'sealpost check shows them'));
    return found.length > 0 ? found : [ok(name, `rules: ${counts.rules}, usable certificates: ${counts.certificates}`)];
  };
  return { name, look };
}

function live(config: Config, { env }: Terminal): Check[] {
  const paths = queuePaths(config.queue.sqlite, config.audit.file);
  return [
    { name: 'relay', look: () => inspectRunning(paths.socket) },
    { name: 'data folder', look: () => inspectFolder(paths) },
    { name: 'queue', look: () => inspectQueue(paths, config.keys, Date.now()) },
    { name: 'audit log', look: () => inspectAudit(paths, Date.now()) },
    { name: 'audit keys', look: () => inspectAuditKeys(config) },
    ...config.listen.map((listener, index) => ({
      name: `listen[${index}]`,
      look: () => inspectListener(listener, index, config.hostname),
    })),
    ...config.upstream.map((_, index) => ({ name: `upstream[${index}]`, look: () => inspectUpstream(config, index, env) })),
  ];
}

/** In the order of the checks, whichever ends first. */
async function lookAtAll(checks: readonly Check[], terminal: Terminal): Promise<Finding[]> {
  const progress = makeProgress(terminal);
  const waiting = new Set(checks.map(({ name }) => name));
  const show = (): void => progress.show(`waiting for ${[...waiting].join(', ')}`);
  show();
  const found = await Promise.all(
    checks.map(async (one) => {
      const findings = await inTime(one);
      waiting.delete(one.name);
      show();
      return findings;
    }),
  );
  progress.end();
  return found.flat();
}

async function inTime({ name, look }: Check): Promise<readonly Finding[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Finding[]>((resolve) => {
    timer = setTimeout(
      () => resolve([fault(name, 'this check did not end in time', 'what it looks at hangs: a disk, a server')]),
      CEILING_MS,
    );
  });
  try {
    return await Promise.race([look(), late]);
  } catch (thrown) {
    const error = asSealpostError(thrown);
    return [fault(name, error.message, error.hint)];
  } finally {
    clearTimeout(timer);
  }
}

function showFinding({ check, verdict, text, mend }: Finding): string {
  return `${verdict.padEnd(7)} ${check}: ${text}\n${mend === undefined ? '' : `        mend: ${mend}\n`}`;
}
