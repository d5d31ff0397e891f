/**
 * Held mail that is found damaged while it is read: set aside, once, by whoever met it (P10). Else it would be opened again and again, and
 * bounce at last for a reason that is none. What only the key tells is never damage: there is no way back from it.
 */
import type { Logger } from 'pino';
import { asSealpostError } from '../errors.ts';
import type { HeldRow, QueueStore } from '../queue/queue.ts';

export interface DamageParts {
  readonly queue: Pick<QueueStore, 'damageHeld'>;
  readonly log: Logger;
}

/** `gone`: it is held no more as it was read, so that what was met may be no damage. `none`: `error` tells of none, or it cannot be set aside now. */
export type Damage = 'set-aside' | 'gone' | 'none';

/** `error`: what reading or releasing `held` threw. Never throws: a full disk must not keep the others waiting. */
export async function damageBy({ queue, log }: DamageParts, held: HeldRow, error: unknown): Promise<Damage> {
  const { code, detail } = asSealpostError(error);
  if (code !== 'queue-item-damaged') return 'none';
  const reason = detail ?? 'it cannot be read';
  const about = { queue_id: held.queueId, recipient: held.recipient, reason };
  try {
    if (!(await queue.damageHeld(held, reason))) return 'gone';
  } catch (fault) {
    log.error({ ...about, code: asSealpostError(fault).code }, 'held mail is damaged, and cannot be set aside now');
    return 'none';
  }
  log.error(about, 'held mail is damaged, and set aside');
  return 'set-aside';
}
