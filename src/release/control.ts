/**
 * The release over the control socket, or in a command that holds the lock: `queue-release`, a few rows at a time, each with its content
 * key, or without one where the relay is to use its own. What becomes of each is answered in their order.
 */
import { setImmediate } from 'node:timers/promises';
import type { KeyObject } from 'node:crypto';
import type { Logger } from 'pino';
import type { Certificate } from '../certificates/certificate.ts';
import { type ControlHandlers, type ControlRequest, readText } from '../control.ts';
import { asSealpostError, type ErrorCode, SealpostError } from '../errors.ts';
import type { HeldRow, QueueStore } from '../queue/queue.ts';
import { readPrefix } from '../seal/prefix.ts';
import { damageBy } from './damage.ts';
import type { Released, Releasing } from './release.ts';
import { unwrap } from './unwrap.ts';

/** A line of the control socket holds 64 KiB, and an answer must come within minutes, whatever the size of the messages. */
export const BATCH_ROWS = 20;

/** One row as it is asked for; the key in base64. */
export interface AskedRow {
  readonly row: number;
  readonly queueId: string;
  readonly key?: string | undefined;
  /** Whoever has the key cannot read what it is to be unwrapped from. It is not released; whoever has the queue looks, and sets it aside. */
  readonly unreadable?: true | undefined;
}

/**
 * `other-key`: sealed to another certificate than the relay's. `damaged`: it is set aside. `failed`: it stays held, for a reason that the
 * code tells. What becomes of one row never costs the others their answer.
 */
export type Answered =
  | Released
  | { readonly kind: 'other-key' }
  | { readonly kind: 'damaged' }
  | { readonly kind: 'failed'; readonly code: ErrorCode };

export interface ReleaseControl {
  readonly queue: Pick<QueueStore, 'heldRows' | 'damageHeld' | 'list'>;
  readonly releasing: Releasing;
  /** The relay's own. */
  readonly hold: { certificate(): Certificate | undefined; privateKey(): KeyObject | undefined };
  readonly log: Logger;
}

export const releaseHandlers = (parts: ReleaseControl): ControlHandlers => ({
  'queue-release': async (request) => {
    const operator = readText(request, 'operator') ?? 'unknown';
    const asked = readRows(request);
    if (asked.some(({ key, unreadable }) => key === undefined && unreadable === undefined) && parts.hold.privateKey() === undefined)
      throw new SealpostError('hold-key-elsewhere', { detail: 'the relay cannot open the key of held mail' });
    const answers: Answered[] = [];
    for (const one of asked) {
      answers.push(await releaseOne(parts, one, operator));
      await setImmediate();
    }
    return answers;
  },
});

async function releaseOne(parts: ReleaseControl, asked: AskedRow, operator: string): Promise<Answered> {
  const { row, queueId } = asked;
  try {
    const [held] = await parts.queue.heldRows({ queueId }, row - 1, 1);
    if (held?.row !== row) return await notHeld(parts, asked);
    try {
      return await releaseHeld(parts, held, asked, operator);
    } catch (error) {
      const damage = await damageBy(parts, held, error);
      if (damage === 'none') throw error;
      return { kind: damage === 'set-aside' ? 'damaged' : 'gone' };
    }
  } catch (error) {
    const { code } = asSealpostError(error);
    const about = { queue_id: queueId, code, ...(code === 'internal' ? { err: error } : {}) };
    parts.log.warn(about, 'held mail could not be released');
    return { kind: 'failed', code };
  }
}

async function releaseHeld(parts: ReleaseControl, held: HeldRow, { key, unreadable }: AskedRow, operator: string): Promise<Answered> {
  if (unreadable === true) {
    readPrefix(held.prefix, held.bodyLength, held.suffix);
    throw new SealpostError('internal', { detail: 'a held row that is read here, and not where its key is' });
  }
  const contentKey = key === undefined ? unwrapByOwn(parts, held) : Buffer.from(key, 'base64');
  if (contentKey === undefined) return { kind: 'other-key' };
  return parts.releasing.release(held, { contentKey, operator, byHand: true });
}

/** Looking for a row that does not fit its checksum has set it aside. */
async function notHeld({ queue }: ReleaseControl, { queueId, unreadable }: AskedRow): Promise<Answered> {
  if (unreadable === undefined) return { kind: 'gone' };
  const found = await queue.list({ queueId, state: 'damaged' }, 1);
  return { kind: found.length > 0 ? 'damaged' : 'gone' };
}

function unwrapByOwn({ hold }: ReleaseControl, held: HeldRow): Buffer | undefined {
  const [key, certificate] = [hold.privateKey(), hold.certificate()];
  return key === undefined || certificate === undefined ? undefined : unwrap(held, [{ key, certificate }]);
}

/** A content key has 16 or 32 octets. */
const KEY = /^[A-Za-z0-9+/]{22}==$|^[A-Za-z0-9+/]{43}=$/;

function readRows({ rows }: ControlRequest): AskedRow[] {
  const wrong = (detail: string): SealpostError => new SealpostError('usage', { detail });
  if (!Array.isArray(rows) || rows.length > BATCH_ROWS) throw wrong(`rows is not a list of at most ${BATCH_ROWS}`);
  return rows.map((one: unknown) => {
    const { row, queueId, key, unreadable }: Readonly<Record<string, unknown>> = typeof one === 'object' && one !== null ? { ...one } : {};
    if (typeof row !== 'number' || !Number.isSafeInteger(row) || row < 1 || typeof queueId !== 'string') throw wrong('a row that is none');
    if (unreadable === true) return { row, queueId, unreadable };
    if (key === undefined) return { row, queueId };
    if (typeof key !== 'string' || !KEY.test(key)) throw wrong('a content key that is none');
    return { row, queueId, key };
  });
}
