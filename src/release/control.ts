/**
 * The release over the control socket, or in a command that holds the lock: `queue-release`, a few rows at a time, each with its content
 * key, or without one where the relay is to use its own. What becomes of each is answered in their order.
 */
import { setImmediate } from 'node:timers/promises';
import type { KeyObject } from 'node:crypto';
import type { Certificate } from '../certificates/certificate.ts';
import { type ControlHandlers, type ControlRequest, readText } from '../control.ts';
import { asSealpostError, type ErrorCode, SealpostError } from '../errors.ts';
import type { HeldRow, QueueStore } from '../queue/queue.ts';
import type { Released, Releasing } from './release.ts';
import { unwrap } from './unwrap.ts';

/** A line of the control socket holds 64 KiB, and an answer must come within minutes, whatever the size of the messages. */
export const BATCH_ROWS = 20;

/** One row as it is asked for; the key in base64. */
export interface AskedRow {
  readonly row: number;
  readonly queueId: string;
  readonly key?: string | undefined;
}

/** `other-key`: sealed to another certificate than the relay's. `failed`: it stays held, for a reason that the code tells. */
export type Answered = Released | { readonly kind: 'other-key' } | { readonly kind: 'failed'; readonly code: ErrorCode };

export interface ReleaseControl {
  readonly queue: Pick<QueueStore, 'heldRows'>;
  readonly releasing: Releasing;
  /** The relay's own. */
  readonly hold: { certificate(): Certificate | undefined; privateKey(): KeyObject | undefined };
}

export const releaseHandlers = (parts: ReleaseControl): ControlHandlers => ({
  'queue-release': async (request) => {
    const operator = readText(request, 'operator') ?? 'unknown';
    const asked = readRows(request);
    if (asked.some(({ key }) => key === undefined) && parts.hold.privateKey() === undefined)
      throw new SealpostError('hold-key-elsewhere', { detail: 'the relay cannot open the key of held mail' });
    const answers: Answered[] = [];
    for (const one of asked) {
      answers.push(await releaseOne(parts, one, operator));
      await setImmediate();
    }
    return answers;
  },
});

async function releaseOne(parts: ReleaseControl, { row, queueId, key }: AskedRow, operator: string): Promise<Answered> {
  try {
    const [held] = await parts.queue.heldRows({ queueId }, row - 1, 1);
    if (held?.row !== row) return { kind: 'gone' };
    const contentKey = key === undefined ? unwrapByOwn(parts, held) : Buffer.from(key, 'base64');
    if (contentKey === undefined) return { kind: 'other-key' };
    return await parts.releasing.release(held, { contentKey, operator, byHand: true });
  } catch (error) {
    const { code } = asSealpostError(error);
    if (code === 'internal') throw error;
    return { kind: 'failed', code };
  }
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
    const { row, queueId, key }: Readonly<Record<string, unknown>> = typeof one === 'object' && one !== null ? { ...one } : {};
    if (typeof row !== 'number' || !Number.isSafeInteger(row) || row < 1 || typeof queueId !== 'string') throw wrong('a row that is none');
    if (key === undefined) return { row, queueId };
    if (typeof key !== 'string' || !KEY.test(key)) throw wrong('a content key that is none');
    return { row, queueId, key };
  });
}
