/** `sealpost check`: everything that can be known without running, each fault with its place and its mend. */
import { networkInterfaces } from 'node:os';
import process from 'node:process';
import { Command } from 'commander';
import { readConfig } from '../config.ts';
import type { Config, ConfigPlace } from '../config.ts';
import { isLoopback } from '../config/values.ts';
import { showFaults } from '../document/fault.ts';
import type { Fault } from '../document/fault.ts';
import { SealpostError } from '../errors.ts';
import type { Rule } from '../policy/decide.ts';
import { policyRemarks, sayRemark } from '../policy/remarks.ts';
import { auditKeyFaults } from './audit-keys.ts';
import { mayHold } from '../site/hold-keys.ts';
import { readPolicy } from '../policy/rules.ts';
import { siteFaults } from '../site/faults.ts';
import { harvestFaults } from '../upkeep/harvested.ts';
import { type CertificateSurvey, surveyCertificates } from './certificates/survey.ts';
import { inspectDirectories, noteDirectoryPorts } from './directories.ts';
import { inspectCertificates } from './listeners.ts';
import { inspectSite } from './site.ts';
import type { Host } from './site.ts';
import type { BuildCommand } from './terminal.ts';
import { inspectUpstreams, notePorts } from './upstreams.ts';
import { surveyUsers } from './users/survey.ts';

/** What `--json` prints. */
export interface Report {
  readonly faults: readonly Fault[];
  /** Nothing is broken, yet it may not be what was meant. */
  readonly notes: readonly string[];
  readonly counts: {
    readonly listeners: number;
    readonly upstreams: number;
    readonly rules: number;
    readonly certificates: number;
    readonly users: number;
  };
  /** As the audit event `rules-loaded` has it; null where the rules are faulty. */
  readonly rules_sha256: string | null;
}

export interface Surroundings {
  readonly host: Host;
  readonly survey: (config: Config, rules: readonly Rule[]) => Promise<CertificateSurvey>;
  /** Milliseconds. */
  readonly now: () => number;
}

export async function check(from: ConfigPlace, { host, survey, now }: Surroundings): Promise<Report> {
  const nothing = { listeners: 0, upstreams: 0, rules: 0, certificates: 0, users: 0 };
  const config = await orFault(() => readConfig(from));
  if (config.kind === 'invalid') return { faults: config.faults, notes: [], counts: nothing, rules_sha256: null };
  const rules = await orFault(() => readPolicy(config.value.policies));
  const read = rules.kind === 'valid' ? rules.value.rules : [];
  const certificates = await survey(config.value, read);
  const users = await surveyUsers(config.value.clients.users);
  const site = await siteFaults(config.value, read, { env: from.env, now: now() });
  const shown = await inspectCertificates(config.value, from.env, now());
  const faults = [
    ...(rules.kind === 'invalid' ? rules.faults : []),
    ...(await inspectSite(config.value, host)),
    ...shown.faults,
    ...(await inspectUpstreams(config.value, from.env)),
    ...(await inspectDirectories(config.value, from.env)),
    ...users.faults,
    ...site.faults,
    ...(await auditKeyFaults(config.value)),
    ...certificates.faults,
    ...harvestFaults(config.value),
  ];
  const { listen, upstream } = config.value;
  const counts = {
    listeners: listen.length,
    upstreams: upstream.length,
    rules: read.length,
    certificates: certificates.usable,
    users: users.count,
  };
  const notes = policyRemarks(read, boundsOf(config.value)).map(sayRemark);
  notes.push(
    ...site.notes,
    ...shown.notes,
    ...notePorts(config.value),
    ...noteDirectoryPorts(config.value),
    ...noteOperator(config.value),
    ...noteAdmin(config.value),
  );
  notes.push(...certificates.notes);
  if (certificates.unusable > 0) notes.push(`${count(certificates.unusable, 'certificate')} not used: sealpost certs list says why`);
  const everywhere = config.value.certificates.sources.every(({ files }) => files !== undefined);
  if (certificates.usable === 0 && everywhere)
    notes.push(`no usable certificate yet: ${read.some(mayHold) ? 'nothing can be sealed to a reader' : 'all mail would be refused'}`);
  return { faults, notes, counts, rules_sha256: rules.kind === 'valid' ? rules.value.sha256 : null };
}

const boundsOf = ({ limits, clients }: Config) => ({ largest: limits.messageBytes, users: clients.users !== undefined });

/** `init` can only guess the operator; a machine's short name is no place where mail arrives. */
function noteOperator({ operator }: Config): string[] {
  if (/@.*[.]/.test(operator)) return [];
  return [`operator: ${operator} has no full domain: failures may be told to nobody; write a mailbox that somebody reads`];
}

/** There is no login: whoever reaches the port is answered. */
function noteAdmin({ admin }: Config): string[] {
  if (admin === undefined || isLoopback(admin.host)) return [];
  const what = `admin.host: ${admin.host} can be reached from elsewhere, without TLS or login`;
  return [`${what}: let only your load balancer and your monitor reach port ${admin.port}`];
}

/** A file or folder that cannot be read is one more fault, not the end of the check. */
async function orFault<T>(read: () => Promise<T>): Promise<T | { readonly kind: 'invalid'; readonly faults: readonly Fault[] }> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof SealpostError) || error.code !== 'file-unreadable') throw error;
    return { kind: 'invalid', faults: [{ place: error.detail ?? '', key: '', wrong: 'cannot be read', mend: error.hint }] };
  }
}

export function showReport({ faults, notes, counts, rules_sha256: sha256 }: Report): string {
  const lines = notes.map((note) => `note: ${note}`);
  if (faults.length > 0) return [...lines, showFaults(faults), ''].join('\n');
  const counted = [
    count(counts.listeners, 'listener'),
    count(counts.upstreams, 'upstream'),
    count(counts.rules, 'rule'),
    count(counts.certificates, 'usable certificate'),
    ...(counts.users > 0 ? [count(counts.users, 'user')] : []),
  ];
  // Who reads the last line alone learns that there is more to read.
  const end = notes.length === 0 ? '' : `, and ${count(notes.length, 'note')} above`;
  return [...lines, `rules: sha256 ${sha256}`, `all well: ${counted.join(', ')}${end}`, ''].join('\n');
}

const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`;

export const build: BuildCommand = (terminal) =>
  new Command()
    .description('reads the configuration, the policies, the folders and the certificates; tells every fault with its place and its mend')
    .option('--json', 'for programs')
    .action(async (options: { json?: true }, command: Command) => {
      const { config } = command.optsWithGlobals<{ config?: string }>();
      const addresses = Object.values(networkInterfaces()).flatMap((found) => (found ?? []).map(({ address }) => address));
      const host = { addresses, uid: process.getuid?.() };
      const report = await check(
        { file: config, env: terminal.env, cwd: terminal.cwd },
        { host, survey: (read, rules) => surveyCertificates(read, terminal, rules), now: Date.now },
      );
      terminal.stdout.write(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : showReport(report));
      if (report.faults.length > 0) throw new SealpostError('check-failed', { detail: count(report.faults.length, 'fault') });
    });
