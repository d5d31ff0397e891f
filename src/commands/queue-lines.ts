/** What `sealpost queue` prints of a row, of a message and of all: for people, and as JSON with names that stay. */
import { escapeUnprintable } from '../audit.ts';
import { readFacts, type NoticeFacts } from '../delivery/facts.ts';
import { readHeld, type HeldFacts } from '../path/held.ts';
import { recipientStates, type QueueEntry, type QueueStats } from '../queue/queue.ts';

export const plural = (rows: number): string => (rows === 1 ? '1 recipient' : `${rows} recipients`);

const atTime = (ms: number): string => new Date(ms).toISOString();

/** `maxAge`: milliseconds for which mail is held. */
export function entryLine(entry: QueueEntry, maxAge: number, json: boolean): string {
  return `${escapeUnprintable(json ? JSON.stringify(asJson(entry, maxAge)) : lineOf(entry, maxAge))}\n`;
}

/** Who handed it in stands in the audit log; here is what is needed to release it. */
function asJson({ kept, ...entry }: QueueEntry, maxAge: number): object {
  const held = heldOf({ kept });
  const { rule, because, heldAt, archive } = held ?? {};
  return {
    ...entry,
    notice: factsOf(entry) ?? null,
    held: held === undefined ? null : { rule, because, since: heldAt, expires: expiresAt(held, entry, maxAge), archive },
    passes: kept?.kind === 'spooled',
  };
}

/** Undefined for mail, and for a notice whose facts were damaged. */
function factsOf({ notice }: Pick<QueueEntry, 'notice'>): NoticeFacts | undefined {
  try {
    return notice === null ? undefined : readFacts(notice);
  } catch {
    return undefined;
  }
}

/** Undefined where it is not held, and where what stands beside it was damaged. */
function heldOf({ kept }: Pick<QueueEntry, 'kept'>): HeldFacts | undefined {
  try {
    return kept?.kind === 'held' ? readHeld(kept.facts) : undefined;
  } catch {
    return undefined;
  }
}

const did = { failed: 'failed', delayed: 'is late', relayed: 'was handed on', held: 'is held' } as const satisfies Record<
  NoticeFacts['kind'],
  string
>;

const why = {
  rule: 'the rule holds it',
  missing: 'no usable certificate',
  unavailable: 'a source of certificates gave no usable answer',
} as const satisfies Record<HeldFacts['because'], string>;

/** Held again by `queue retry`, it is held as long once more. */
const expiresAt = ({ heldAt }: HeldFacts, { changedAt }: Pick<QueueEntry, 'changedAt'>, maxAge: number): number =>
  Math.max(heldAt, changedAt) + maxAge;

/** Beside a row that is held; one that was until it bounced says it in its reason. */
function holding(entry: QueueEntry, maxAge: number): string[] {
  if (entry.state !== 'held') return [];
  const held = heldOf(entry);
  if (held === undefined) return ['what it is held for cannot be read'];
  const archive = held.archive ? ['a copy for the archive'] : [];
  return [
    `since ${atTime(held.heldAt)}`,
    `by rule ${held.rule}: ${why[held.because]}`,
    ...archive,
    `expires ${atTime(expiresAt(held, entry, maxAge))}`,
  ];
}

function lineOf(entry: QueueEntry, maxAge: number): string {
  const facts = factsOf(entry);
  return [
    entry.queueId,
    entry.state.padEnd(8),
    entry.recipient,
    `attempts ${entry.attempts}`,
    ...(entry.dueAt === null ? [] : [`due ${atTime(entry.dueAt)}`]),
    ...holding(entry, maxAge),
    ...(entry.kept?.kind === 'spooled' ? ['passes in clear'] : []),
    ...(facts === undefined ? [] : [`notice that ${facts.queueId} ${did[facts.kind]}`]),
    ...(entry.reason === null ? [] : [entry.reason]),
  ].join('  ');
}

export function messageLines(entries: readonly QueueEntry[], maxAge: number): string {
  const [first] = entries;
  if (first === undefined) return '';
  const head = [
    `id        ${first.queueId}`,
    `sender    ${first.sender === '' ? '<>' : first.sender}`,
    `accepted  ${atTime(first.acceptedAt)}`,
    ...(first.notice === null ? [`size      ${first.size} octets as they came in`] : [noticeLine(factsOf(first))]),
  ];
  const rows = entries.flatMap((entry) => [
    `recipient ${entry.recipient}`,
    `  ${entry.state}, attempts ${entry.attempts}${entry.dueAt === null ? '' : `, due ${atTime(entry.dueAt)}`}`,
    ...holding(entry, maxAge).map((line) => `  ${line}`),
    ...(entry.state === 'held' ? [`  sealpost queue release ${entry.queueId} --key FILE`] : []),
    ...(entry.kept?.kind === 'spooled' ? ['  passes in clear, by a rule'] : []),
    ...(entry.reason === null ? [] : [`  ${entry.reason}`]),
  ]);
  return [...head, ...rows].map((line) => `${escapeUnprintable(line)}\n`).join('');
}

const noticeLine = (facts: NoticeFacts | undefined): string =>
  facts === undefined
    ? 'notice    its facts cannot be read'
    : `notice    that ${facts.recipient} of ${facts.queueId} ${did[facts.kind]}, ${facts.status}`;

export function statsLines({ states, totals, bodyBytes, oldestAcceptedAt, oldestHeldAt }: QueueStats): string {
  const now = recipientStates.map((state) => `${state} ${states[state]}`).join(', ');
  const ever = Object.entries(totals)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
  const oldest = oldestAcceptedAt === null ? 'nothing waits' : atTime(oldestAcceptedAt);
  const held = oldestHeldAt === null ? 'nothing is held' : atTime(oldestHeldAt);
  return `recipients now   ${now}\nin all           ${ever}\nsealed content   ${bodyBytes} octets\noldest message   ${oldest}\noldest held      ${held}\n`;
}
