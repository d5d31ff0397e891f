/** What the audit log says of one address and its certificates: read a line at a time, mail counted by certificate. */
import { statSync } from 'node:fs';
import { auditLines } from '../../audit/segments.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey, parseMailbox } from '../../message/envelope.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';

/** One thing that happened; also the form of `--json`, whose names therefore stay. `from`: who tells of it. */
export interface Entry {
  readonly time: string;
  /** An event of the audit log, or `first-used`, `last-used`, `used-once`; of what the queue tells `first-known`. */
  readonly event: string;
  /** One, or several of one mail, in the order of the log. */
  readonly sha256: string | null;
  readonly from: 'log' | 'queue';
  readonly attributes: Readonly<Record<string, unknown>>;
}

export interface Log {
  readonly since: string | undefined;
  readonly entries: readonly Entry[];
}

/** What is counted of mail to one certificate. */
interface Use {
  readonly first: string;
  last: string;
  messages: number;
}

/** One address as the log may name it. */
export interface Whom {
  /** mailboxKey. */
  readonly address: string;
  /** Its keyed hash, where there is a key. */
  readonly hashed: string | undefined;
}

/** Lines of it that are shown while it is read. */
const PROGRESS_STEP = 100_000;

export async function readLog(file: string, whom: Whom, terminal: Terminal): Promise<Log> {
  if (isMissing(file)) return { since: undefined, entries: [] };
  const progress = makeProgress(terminal);
  const entries: Entry[] = [];
  const uses = new Map<string, Use>();
  let since: string | undefined;
  let [lines, broken] = [0, 0];
  try {
    for await (const { bytes, whole } of auditLines(file)) {
      if (++lines % PROGRESS_STEP === 0) progress.show(`${lines} lines of the audit log read`);
      // The last one may be half there, beside a running relay.
      if (!whole || (since !== undefined && !TELLING.some((name) => bytes.includes(name)))) continue;
      const event = readEvent(bytes);
      if (event === undefined) broken++;
      else {
        since ??= event.time;
        if (isOf(whom, event)) note(event, entries, uses);
      }
    }
  } finally {
    progress.end();
  }
  if (broken > 0) terminal.stderr.write(`sealpost: ${broken} lines of the audit log cannot be read: sealpost audit verify\n`);
  return { since, entries: [...entries, ...[...uses].flatMap(usesOf)] };
}

function isMissing(file: string): boolean {
  try {
    return statSync(file, { throwIfNoEntry: false }) === undefined;
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: file, hint: 'run the command as the user the relay runs as, or as root', cause });
  }
}

/** Events about certificates, before a line is parsed. */
const TELLING = ['"event":"certificate-', '"event":"sealed"', '"event":"expiry-told"'];

interface LoggedEvent {
  readonly time: string;
  readonly event: string;
  readonly attributes: Readonly<Record<string, unknown>>;
}

function readEvent(bytes: Buffer): LoggedEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { seq: _seq, prev: _prev, time, event, ...attributes }: Readonly<Record<string, unknown>> = { ...value };
  return typeof time === 'string' && typeof event === 'string' ? { time, event, attributes } : undefined;
}

/** Mail to a group is of its members' certificates, mail to an alias of its target's. */
function isOf({ address, hashed }: Whom, { event, attributes }: LoggedEvent): boolean {
  const { recipient, member, alias_of: target, domain_certificate: gateway, members } = attributes;
  const several = typeof members === 'string' ? members.split(', ') : [];
  const whose = event === 'sealed' ? [member ?? target ?? gateway ?? recipient] : [recipient, ...several];
  return TELLS.test(event) && whose.some((one) => typeof one === 'string' && (one === hashed || keyOf(one) === address));
}

const TELLS = /^(?:certificate-|sealed$|expiry-told$)/;

function keyOf(address: string): string | undefined {
  const verdict = parseMailbox(address);
  return verdict.kind === 'mailbox' ? mailboxKey(verdict.mailbox) : undefined;
}

const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);

function note({ time, event, attributes }: LoggedEvent, entries: Entry[], uses: Map<string, Use>): void {
  const sha256 = textOf(attributes['certificate_sha256']);
  if (event !== 'sealed') {
    entries.push({ time, event, sha256, from: 'log', attributes });
    return;
  }
  for (const one of sha256?.split(', ') ?? []) {
    const use = uses.get(one);
    if (use === undefined) uses.set(one, { first: time, last: time, messages: 1 });
    else Object.assign(use, { last: time, messages: use.messages + 1 });
  }
}

function usesOf([sha256, { first, last, messages }]: readonly [string, Use]): Entry[] {
  const about = { sha256, from: 'log' } as const;
  if (messages === 1) return [{ time: first, event: 'used-once', ...about, attributes: {} }];
  return [
    { time: first, event: 'first-used', ...about, attributes: {} },
    { time: last, event: 'last-used', ...about, attributes: { messages } },
  ];
}
