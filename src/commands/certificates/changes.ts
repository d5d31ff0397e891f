/** `certs pending`, `certs approve`, `certs forget`: the operator's word on changed certificates. */
import { escapeUnprintable } from '../../audit.ts';
import { knownHandlers, readDatabase } from '../../change-control.ts';
import { SealpostError } from '../../errors.ts';
import type { KnownCertificate } from '../../queue/known.ts';
import { listWaiting } from '../../queue/known-rows.ts';
import type { QueuePaths } from '../../queue/paths.ts';
import { changeQueue } from '../change.ts';
import { operatorName } from '../locate.ts';
import type { Terminal } from '../terminal.ts';

/** One certificate that waits; also the form of `--json`, whose names therefore stay. */
interface Pending {
  readonly address: string;
  readonly fingerprint: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly not_after: string;
  readonly source: string;
  readonly since: string;
  /** What is known of the address and was used last; null where the record of it is damaged. */
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
  return readDatabase(database, listWaiting)?.map(({ waiting, used }) => pendingOf(waiting, used)) ?? [];
}

function pendingOf(waiting: KnownCertificate, used: KnownCertificate | undefined): Pending {
  const { address, fingerprint, subject, issuer, serial, source } = waiting;
  return {
    address,
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

function lines({ address, fingerprint, subject, issuer, serial, not_after: notAfter, source, since, used }: Pending): string[] {
  const fact = (name: string, value: string): string => `  ${name.padEnd(10)}${value}`;
  const other = used === null || used.issuer === issuer ? '' : ', another issuer than before';
  return [
    address,
    fact('waits', `SHA-256 ${fingerprint}`),
    fact('subject', subject),
    fact('issuer', `${issuer}${other}`),
    fact('serial', serial),
    fact('until', notAfter.slice(0, 10)),
    fact('source', source),
    fact('since', since),
    fact(
      'used now',
      used === null ? 'unknown' : `SHA-256 ${used.fingerprint}, to ${used.not_after.slice(0, 10)}, last used on ${used.last.slice(0, 10)}`,
    ),
    fact('approve', `sealpost certs approve ${address} ${fingerprint.slice(0, 16)}`),
  ];
}

interface Named {
  readonly address: string;
  readonly fingerprint: string | undefined;
}

/** `by` is for whom the person at the terminal acts; the name that the system knows stays beside it. */
export async function approve(named: Named, paths: QueuePaths, terminal: Terminal, { by }: { readonly by?: string }): Promise<void> {
  const fingerprint = await change('certs-approve', named, paths, terminal, by);
  terminal.stdout.write(escapeUnprintable(`${named.address}: SHA-256 ${String(fingerprint)} may be used from now on`) + '\n');
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
  const count = Number(await change('certs-forget', named, paths, terminal, by));
  if (count === 0)
    throw new SealpostError('usage', { detail: 'no such certificate is known', hint: 'sealpost audit show --event certificate-changed' });
  terminal.stdout.write(escapeUnprintable(`${named.address}: ${count === 1 ? '1 certificate' : `${count} certificates`} forgotten`) + '\n');
}

function change(
  command: string,
  { address, fingerprint }: Named,
  paths: QueuePaths,
  terminal: Terminal,
  by: string | undefined,
): Promise<unknown> {
  const name = operatorName(terminal);
  const request = {
    command,
    address,
    operator: by === undefined ? name : `${by}, typed by ${name}`,
    ...(fingerprint === undefined ? {} : { fingerprint }),
  };
  return changeQueue(terminal, paths, request, (store) => knownHandlers(store.known));
}
