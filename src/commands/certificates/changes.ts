/** `certs pending`, `approve`, `reject`, `forget`: the operator's word on changed certificates, and on those of signed mail. */
import { pino } from 'pino';
import { z } from 'zod';
import { escapeUnprintable } from '../../audit.ts';
import { knownHandlers, readDatabase } from '../../change-control.ts';
import type { Config } from '../../config.ts';
import { addressKey } from '../../config/audit-keys.ts';
import type { ControlHandlers } from '../../control.ts';
import { SealpostError } from '../../errors.ts';
import { type KnownCertificate, lastUsed } from '../../queue/known.ts';
import { listWaiting, readKnown } from '../../queue/known-rows.ts';
import { type QueuePaths, queuePaths } from '../../queue/paths.ts';
import type { QueueStore } from '../../queue/queue.ts';
import { readRecords } from '../../queue/record-rows.ts';
import { harvestHandlers } from '../../upkeep/harvest-control.ts';
import { type HarvestedRecord, KIND, readRecord } from '../../upkeep/harvested-record.ts';
import { makeHarvested } from '../../upkeep/harvested.ts';
import { changeQueue } from '../change.ts';
import { operatorName } from '../locate.ts';
import type { Terminal } from '../terminal.ts';

/** One certificate that waits; also the form of `--json`, whose names therefore stay. */
interface Pending {
  /** `changed`: a source has it, and the address is pinned to others. `harvested`: a signed mail brought it. */
  readonly kind: 'changed' | 'harvested';
  readonly address: string;
  /** All that it would be used for; of a changed one only the address is known. */
  readonly addresses: readonly string[];
  readonly fingerprint: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly not_after: string;
  readonly source: string;
  readonly since: string;
  /** What is known of the address and was used last; null where there is none, or the record of it is damaged. */
  readonly used: { readonly fingerprint: string; readonly issuer: string; readonly not_after: string; readonly last: string } | null;
}

export function pending(paths: QueuePaths, terminal: Terminal, { json }: { readonly json?: boolean }): void {
  const rows = readPending(paths);
  if (json === true) {
    terminal.stdout.write(`${escapeUnprintable(JSON.stringify(rows))}\n`);
    return;
  }
  if (rows.length === 0) terminal.stderr.write('sealpost: no certificate waits for approval\n');
  for (const row of rows) terminal.stdout.write(`${lines(row).map(escapeUnprintable).join('\n')}\n`);
}

/** Nothing waits where no relay has run yet. */
function readPending({ database }: QueuePaths): Pending[] {
  return (
    readDatabase(database, (db) => [
      ...listWaiting(db).map(({ waiting, used }) => pendingOf(waiting, used)),
      ...readRecords(db, KIND)
        .flatMap((stored) => readRecord(stored) ?? [])
        .toSorted((a, b) => a.at - b.at)
        .map((record) => harvestedOf(record, lastUsed(readKnown(db, record.address)))),
    ]) ?? []
  );
}

function harvestedOf({ address, certificate, from, by, at }: HarvestedRecord, used: KnownCertificate | undefined): Pending {
  const { fingerprint, subject, issuer, serial, notAfter } = certificate;
  const source = `signed mail, from ${from}${by === null ? '' : ` by ${by}`}`;
  const facts = { address, fingerprint, subject, issuer, serial, notAfter: notAfter.getTime(), source, firstAt: at, lastAt: at };
  return { ...pendingOf({ ...facts, state: 'waiting', approvedBy: null }, used), kind: 'harvested', addresses: certificate.addresses };
}

function pendingOf(waiting: KnownCertificate, used: KnownCertificate | undefined): Pending {
  const { address, fingerprint, subject, issuer, serial, source } = waiting;
  return {
    kind: 'changed',
    address,
    addresses: [address],
    fingerprint,
    subject,
    issuer,
    serial,
    not_after: atTime(waiting.notAfter),
    source,
    since: atTime(waiting.firstAt),
    used:
      used === undefined
        ? null
        : { fingerprint: used.fingerprint, issuer: used.issuer, not_after: atTime(used.notAfter), last: atTime(used.lastAt) },
  };
}

/** A time that no clock can tell, on a damaged row, is shown all the same. */
const atTime = (ms: number): string => (Math.abs(ms) <= LAST_MS ? new Date(ms).toISOString() : 'unknown');

/** The last ms that a Date can tell (ECMA-262 §21.4.1.1). */
const LAST_MS = 8_640_000_000_000_000;

function lines(waiting: Pending): string[] {
  const { kind, address, addresses, fingerprint, subject, issuer, serial, not_after: notAfter, source, since, used } = waiting;
  const fact = (name: string, value: string): string => `  ${name.padEnd(10)}${value}`;
  const other = used === null || used.issuer === issuer ? '' : ', another issuer than before';
  return [
    address,
    fact('waits', `SHA-256 ${fingerprint}`),
    ...(addresses.length > 1 ? [fact('names', addresses.join(', '))] : []),
    fact('subject', subject),
    fact('issuer', `${issuer}${other}`),
    fact('serial', serial),
    fact('until', notAfter.slice(0, 10)),
    fact('source', source),
    fact('since', since),
    fact(
      'used now',
      used === null
        ? kind === 'harvested'
          ? 'none that is known'
          : 'unknown'
        : `SHA-256 ${used.fingerprint}, to ${used.not_after.slice(0, 10)}, last used on ${used.last.slice(0, 10)}`,
    ),
    fact('approve', `sealpost certs approve ${address} ${fingerprint.slice(0, 16)}${addresses.length > 1 ? ' --all-addresses' : ''}`),
  ];
}

interface Named {
  readonly address: string;
  readonly fingerprint: string | undefined;
}

/** `by` is for whom the person at the terminal acts; the name that the system knows stays beside it. */
export async function approve(named: Named, config: Config, terminal: Terminal, { by, allAddresses }: ApproveOptions): Promise<void> {
  const more = allAddresses === true ? { all_addresses: true } : {};
  const answer = await change('certs-approve', named, { ...bothKinds(config), terminal, by, more });
  const { fingerprint, addresses } = approvalForm.parse(answer);
  for (const address of addresses ?? [named.address])
    terminal.stdout.write(escapeUnprintable(`${address}: SHA-256 ${fingerprint} may be used from now on`) + '\n');
}

export interface ApproveOptions {
  readonly by?: string;
  /** Yes, for every address that a harvested certificate names. */
  readonly allAddresses?: true;
}

/** Of a changed certificate the fingerprint alone. */
const approvalForm = z.union([
  z.string().transform((fingerprint) => ({ fingerprint, addresses: undefined })),
  z.object({ fingerprint: z.string(), addresses: z.array(z.string()) }),
]);

export async function reject(named: Named, config: Config, terminal: Terminal, { by }: { readonly by?: string }): Promise<void> {
  const count = Number(await change('certs-reject', named, { ...bothKinds(config), terminal, by }));
  if (count === 0)
    throw new SealpostError('usage', {
      detail: 'no such certificate of a signed mail waits',
      hint: 'sealpost certs pending; what a source holds is taken out of the source',
    });
  terminal.stdout.write(escapeUnprintable(`${named.address}: ${count === 1 ? '1 certificate' : `${count} certificates`} rejected`) + '\n');
}

/** Changed certificates and harvested ones wait in one list. */
function bothKinds(config: Config): Pick<Change, 'paths' | 'handlersFor'> {
  const log = pino({ level: 'silent' });
  return {
    paths: queuePaths(config.queue.sqlite, config.audit.file, addressKey(config)),
    handlersFor: (store) => harvestHandlers(store, makeHarvested({ config, store, now: Date.now, log })),
  };
}

export async function forget(
  named: Named,
  paths: QueuePaths,
  terminal: Terminal,
  { by, yes }: { readonly by?: string; readonly yes?: true },
): Promise<void> {
  if (yes !== true) {
    const hint = `sealpost certs forget ${named.address}${named.fingerprint === undefined ? '' : ` ${named.fingerprint}`} --yes`;
    throw new SealpostError('usage', { detail: 'what is forgotten is trusted at its next use, like that of a new address', hint });
  }
  const count = Number(await change('certs-forget', named, { paths, terminal, by, handlersFor: (store) => knownHandlers(store.known) }));
  if (count === 0)
    throw new SealpostError('usage', { detail: 'no such certificate is known', hint: 'sealpost audit show --event certificate-changed' });
  terminal.stdout.write(escapeUnprintable(`${named.address}: ${count === 1 ? '1 certificate' : `${count} certificates`} forgotten`) + '\n');
}

interface Change {
  readonly paths: QueuePaths;
  readonly terminal: Terminal;
  readonly by: string | undefined;
  readonly handlersFor: (store: QueueStore) => ControlHandlers;
  readonly more?: Readonly<Record<string, unknown>>;
}

function change(
  command: string,
  { address, fingerprint }: Named,
  { paths, terminal, by, handlersFor, more = {} }: Change,
): Promise<unknown> {
  const name = operatorName(terminal);
  const request = {
    command,
    address,
    operator: by === undefined ? name : `${by}, typed by ${name}`,
    ...(fingerprint === undefined ? {} : { fingerprint }),
    ...more,
  };
  return changeQueue(terminal, paths, request, handlersFor);
}
