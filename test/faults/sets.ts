/**
 * What became of every message that got a 250, as the queue, the audit log and the upstream tell it, and whether the three agree:
 *
 *   set(250) = delivered + bounced + removed + held + damaged + waiting
 *
 * A recipient that is in none of them is lost. One that an upstream has twice must have an `ambiguous` event for it (P4), and all copies of
 * it must be the same octets. Faults come back as lines, so that a campaign can count them and a test can show them; none of them
 * holds content.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { listEntries, readAuditRecord } from '../../src/queue/operator.ts';
import type { QueueEntry } from '../../src/queue/queue.ts';
import { openDatabaseReadOnly } from '../../src/queue/schema.ts';
import type { Copy } from './counting-upstream.ts';
import type { Told } from './load.ts';

export type Fate = 'delivered' | 'bounced' | 'removed' | 'held' | 'damaged' | 'waiting';

/** One recipient of one message. */
interface Event {
  readonly event: string;
  readonly queue_id?: string;
  readonly recipient?: string;
}

/** What stands on the disk, read beside a relay or without one. */
export interface Stored {
  /** Rows of mail; notices are left out. */
  readonly entries: readonly Pick<QueueEntry, 'queueId' | 'recipient' | 'state'>[];
  readonly events: readonly Event[];
}

const MANY = 10_000_000;

/** `audit`: the newest file of the log; those that were turned away stand beside it. */
export function readStored(data: string, audit = join(data, 'audit.jsonl')): Stored {
  const db = openDatabaseReadOnly(join(data, 'queue.sqlite'));
  try {
    const entries = listEntries(db, {}, MANY).filter(({ notice }) => notice === null);
    const { pending } = readAuditRecord(db);
    const files = readdirSync(dirname(audit)).filter((name) => name.startsWith(basename(audit, '.jsonl')) && name.includes('.jsonl'));
    const texts = files.map((name) => readFileSync(join(dirname(audit), name), 'utf8'));
    // What waits for the file may stand in it already: a second reading of the same line adds nothing to a set.
    const lines = new Set([...texts, pending.toString()].flatMap((text) => text.split('\n')));
    return { entries, events: [...lines].flatMap(readEvent) };
  } finally {
    db.close();
  }
}

/** A last line that was cut short is no event; the next start writes it again. */
function readEvent(line: string): Event[] {
  if (!line.startsWith('{') || !line.endsWith('}')) return [];
  const value: unknown = JSON.parse(line);
  if (typeof value !== 'object' || value === null || !('event' in value) || typeof value.event !== 'string') return [];
  const queueId = 'queue_id' in value && typeof value.queue_id === 'string' ? { queue_id: value.queue_id } : {};
  const recipient = 'recipient' in value && typeof value.recipient === 'string' ? { recipient: value.recipient } : {};
  return [{ event: value.event, ...queueId, ...recipient }];
}

export interface Account {
  readonly messages: number;
  /** Recipients of messages that got a 250. */
  readonly recipients: number;
  readonly fates: Readonly<Record<Fate, number>>;
  readonly lost: number;
  /** Copies that an upstream has beyond the first, each explained by an `ambiguous` event or told among the faults. */
  readonly duplicated: number;
  readonly ambiguous: number;
  /** A line for each thing that must not be. */
  readonly faults: readonly string[];
}

export interface Facts {
  readonly told: readonly Told[];
  readonly stored: Stored;
  readonly copies: readonly Copy[];
}

/** Holds the sets to each other. */
export function account({ told, stored, copies }: Facts): Account {
  const taken = told.filter((one) => one.kind === 'taken');
  const fateOf = fatesIn(stored);
  const ambiguous = countedBy(
    stored.events.filter(({ event }) => event === 'ambiguous'),
    pairOfEvent,
  );
  const copiesOf = Map.groupBy(copies, ({ id, recipient }) => pair(id, recipient));
  const fates: Record<Fate, number> = { delivered: 0, bounced: 0, removed: 0, held: 0, damaged: 0, waiting: 0 };
  const faults: string[] = [];
  let [recipients, lost, duplicated] = [0, 0, 0];
  for (const { mail, queueId } of taken) {
    for (const recipient of new Set(mail.recipients)) {
      recipients++;
      const known = fateOf.get(pair(queueId, recipient)) ?? new Set<Fate>();
      const [fate, ...others] = known;
      const name = `${queueId} to ${recipient}`;
      if (fate === undefined) {
        lost++;
        faults.push(`lost: ${name} got a 250, and nothing tells of it`);
        continue;
      }
      fates[fate]++;
      if (others.length > 0) faults.push(`twice in the sets: ${name} is ${[...known].join(' and ')}`);
      const own = copiesOf.get(pair(mail.id, recipient)) ?? [];
      const kept = own.filter(({ answer }) => answer.took).length;
      if (fate === 'delivered' && kept === 0) faults.push(`never came: ${name} is delivered, and the upstream has no copy`);
      const extra = Math.max(0, kept - 1);
      duplicated += extra;
      if (extra > (ambiguous.get(pair(queueId, recipient)) ?? 0)) faults.push(`unexplained: the upstream has ${kept} copies of ${name}`);
      if (new Set(own.map(({ sha256 }) => sha256)).size > 1) faults.push(`not the same octets: the attempts of ${name}`);
    }
  }
  const total = [...ambiguous.values()].reduce((sum, one) => sum + one, 0);
  return { messages: taken.length, recipients, fates, lost, duplicated, ambiguous: total, faults };
}

const pair = (id: string, recipient: string): string => `${id} ${recipient}`;
const pairOfEvent = ({ queue_id = '', recipient = '' }: Event): string => pair(queue_id, recipient);

function countedBy<T>(items: readonly T[], key: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}

const fateOfState: Readonly<Record<QueueEntry['state'], Fate>> = {
  ready: 'waiting',
  leased: 'waiting',
  deferred: 'waiting',
  held: 'held',
  bounced: 'bounced',
  damaged: 'damaged',
};

/** A row that is there says it itself; of one that has left the queue the audit log says how. */
function fatesIn({ entries, events }: Stored): Map<string, Set<Fate>> {
  const found = new Map<string, Set<Fate>>();
  const add = (key: string, fate: Fate): void => void found.set(key, (found.get(key) ?? new Set<Fate>()).add(fate));
  for (const { queueId, recipient, state } of entries) add(pair(queueId, recipient), fateOfState[state]);
  const standing = new Set(found.keys());
  for (const event of events) {
    const key = pairOfEvent(event);
    // A row that is there beside a `delivered` or `removed` of its own contradicts it; one that bounced before may wait again.
    if (event.event === 'delivered' || event.event === 'removed') add(key, event.event);
    else if (event.event === 'bounced' && !standing.has(key)) add(key, 'bounced');
  }
  return found;
}
