/** From a reply to its class, and from a class to what follows. Pure, and linear in the length of the reply. */
import { classTable, openStatuses } from './class-table.ts';
import type { ClassRow, ReplyClass } from './classes.ts';
import type { UpstreamReply } from './reply.ts';
import type { Phase, Result } from './result.ts';

export interface Conduct {
  readonly outcome: 'delivered' | 'deferred' | 'bounced';
  /** False where the message was not judged: it does not age by it. */
  readonly counts: boolean;
  /** What the upstream deserves: a pause, a pause and fewer connections, or nothing. */
  readonly host: 'unmoved' | 'cools' | 'slows';
  /** The next upstream may be asked at once. Behind the dot never, whatever stands here: a second upstream might mean a second copy. */
  readonly next: boolean;
}

export const conductOf: Readonly<Record<ReplyClass, Conduct>> = {
  delivered: { outcome: 'delivered', counts: true, host: 'unmoved', next: false },
  refused: { outcome: 'bounced', counts: true, host: 'unmoved', next: false },
  temporary: { outcome: 'deferred', counts: true, host: 'unmoved', next: false },
  greylisted: { outcome: 'deferred', counts: true, host: 'unmoved', next: false },
  throttled: { outcome: 'deferred', counts: false, host: 'slows', next: true },
  'host-trouble': { outcome: 'deferred', counts: true, host: 'cools', next: true },
  'session-over': { outcome: 'deferred', counts: true, host: 'unmoved', next: true },
  'wants-of-relay': { outcome: 'deferred', counts: true, host: 'cools', next: true },
  // One recipient outside may hear it while the others are taken, so the upstream goes on.
  'not-relayed': { outcome: 'deferred', counts: true, host: 'unmoved', next: true },
  blocked: { outcome: 'deferred', counts: true, host: 'cools', next: true },
};

type Said = Pick<UpstreamReply, 'code' | 'status' | 'words'>;

export function classify(reply: Said): ReplyClass {
  return classTable.find((row) => fits(row, reply))?.class ?? 'temporary';
}

/** Phases whose replies can be about a message; in all others the host speaks of itself. */
const aboutMessage: ReadonlySet<Phase> = new Set(['mail', 'rcpt', 'data', 'body', 'dot']);

/** The class of what was answered; undefined where nothing was. */
export function classOf(result: Result): ReplyClass | undefined {
  if (result.kind === 'delivered') return 'delivered';
  if (result.kind !== 'rejected') return undefined;
  // 2yz or 3yz where another class must come: it does not know what it says.
  if (result.reply.code < 400) return 'host-trouble';
  const found = classify(result.reply);
  if (aboutMessage.has(result.phase)) return found;
  return conductOf[found].host === 'unmoved' ? 'host-trouble' : found;
}

function fits(row: ClassRow, { code, status, words }: Said): boolean {
  return (
    fitsCode(row.code, String(code)) && fitsStatus(row, status) && (row.words === undefined || row.words.some((one) => words.includes(one)))
  );
}

const fitsCode = (pattern: string, code: string): boolean =>
  pattern.length === code.length && pattern.split('').every((one, at) => one === 'x' || one === code[at]);

function fitsStatus({ status: pattern, words, besides = [] }: ClassRow, status: string | undefined): boolean {
  if (pattern !== undefined) return status !== undefined && matches(pattern, status);
  // A status that tells leaves no room for words.
  return words === undefined || status === undefined || [...openStatuses, ...besides].some((open) => matches(open, status));
}

function matches(pattern: string, status: string): boolean {
  const parts = status.split('.');
  return pattern.split('.').every((part, at) => part === 'x' || part === parts[at]);
}

/** Of a throttled answer: whether it is the number of connections, and not of messages, that was too much. */
export function isAboutConnections(result: Result): boolean {
  return result.kind === 'rejected' && result.reply.words.includes('connection');
}
