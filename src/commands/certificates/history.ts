/**
 * `certs history`: all that is known of one address in the order of time. The audit log tells it (history-log.ts); what happened before
 * its first line, the queue's database tells, as far as it keeps it (history-kept.ts).
 */
import { escapeUnprintable } from '../../audit.ts';
import type { Config } from '../../config.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey, parseMailbox } from '../../message/envelope.ts';
import type { KnownCertificate } from '../../queue/known.ts';
import { hashesOf } from '../locate.ts';
import type { Terminal } from '../terminal.ts';
import { printableJson } from './account.ts';
import { readKept, type Standing } from './history-kept.ts';
import { type Entry, readLog } from './history-log.ts';

interface History {
  readonly address: string;
  /** The time of the log's first line; null where there is no log. */
  readonly log_since: string | null;
  readonly entries: readonly Entry[];
  readonly certificates: readonly Standing[];
}

export async function history(address: string, config: Config, terminal: Terminal, { json }: { readonly json?: boolean }): Promise<void> {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault')
    throw new SealpostError('usage', {
      detail: `${JSON.stringify(address)}: ${verdict.fault}`,
      hint: 'sealpost certs history anna@clinic.example',
    });
  const key = mailboxKey(verdict.mailbox);
  const kept = readKept(config.queue.sqlite, key);
  const hash = hashesOf(config);
  const log = await readLog(config.audit.file, { address: key, hashed: hash?.(key) }, terminal);
  const before = kept.entries.filter(({ time }) => log.since === undefined || time < log.since);
  const entries = [...before, ...log.entries].toSorted((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  const told: History = { address: key, log_since: log.since ?? null, entries, certificates: kept.certificates };
  if (json === true) terminal.stdout.write(printableJson(told));
  else show(told, terminal);
}

function show({ address, log_since: since, entries, certificates }: History, { stdout, stderr }: Terminal): void {
  stderr.write(`sealpost: ${since === null ? 'there is no audit log yet' : `the audit log reaches back to ${since}`}\n`);
  if (entries.length === 0 && certificates.length === 0) stderr.write(`sealpost: nothing is known of ${address}\n`);
  for (const entry of entries) stdout.write(`${escapeUnprintable(lineOf(entry))}\n`);
  const now = new Date().toISOString();
  for (const one of certificates) stdout.write(`${escapeUnprintable(standingOf(one, now))}\n`);
}

/** Of a fingerprint: enough to tell two certificates of one person apart, and to approve one. */
const SHOWN_DIGITS = 16;
const WIDTH = 'certificate-forgotten'.length;
/** What stands in the columns, or repeats them. */
const SHOWN: ReadonlySet<string> = new Set(['recipient', 'certificate_sha256', 'rule', 'cipher', 'key']);

const short = (sha256: string): string => sha256.replaceAll(/[0-9a-f]{64}/g, (one) => one.slice(0, SHOWN_DIGITS));

function lineOf({ time, event, sha256, from, attributes }: Entry): string {
  const rest = Object.entries(attributes)
    .filter(([name, value]) => !SHOWN.has(name) && value !== null)
    .map(
      ([name, value]) =>
        `${name.replace(/^certificate_/, '')}=${typeof value === 'string' && !/[\s"]/.test(value) ? short(value) : JSON.stringify(value)}`,
    );
  const source = from === 'log' ? [] : ['(before the log)'];
  return [time, event.padEnd(WIDTH), short(sha256 ?? '-').padEnd(SHOWN_DIGITS), ...rest, ...source].join('  ').trimEnd();
}

const dayOf = (time: string): string => time.slice(0, 'YYYY-MM-DD'.length);

const states: Readonly<Record<KnownCertificate['state'], string>> = {
  used: 'used',
  approved: 'approved, not used yet',
  waiting: 'waits for approval: sealpost certs pending',
  damaged: 'the record of it is damaged',
};

/** What an operator wants to know first: whether mail may go to it still. */
function stateOf({ state, not_after: until, last_used: last, revoked, renewed_by: next }: Standing, now: string): string {
  if (revoked !== null) return `revoked ${dayOf(revoked.at)} (${revoked.reason})`;
  const renewed = next === null ? '' : `, renewed by ${short(next)}`;
  if (until < now) return `expired${last === null ? '' : `, last used on ${dayOf(last)}`}${renewed}`;
  return `${last === null ? states[state] : `used, last on ${dayOf(last)}`}${renewed}`;
}

function standingOf(standing: Standing, now: string): string {
  const { sha256, subject, issuer, not_after: until, approved_by: by } = standing;
  const approved = by === null ? '' : `, approved by ${by}`;
  return `now: ${short(sha256)}  ${stateOf(standing, now)}${approved}; ${subject}, by ${issuer}, until ${dayOf(until)}`;
}
