/** What became of a message of the relay's own that somebody waits for (OwnMessage.followed), by the queue and its records. */
import { FOLLOWED, followedStates, type RecordStore } from '../../queue/records.ts';
import type { QueueStore } from '../../queue/queue.ts';

export type Fate =
  | { readonly kind: 'waiting' }
  /** An upstream has taken it. */
  | { readonly kind: 'delivered' }
  /** It will not arrive, unless an operator sends a bounced one again. `reason` is for people. */
  | { readonly kind: 'lost'; readonly reason: string };

export interface FateFrom {
  readonly list: QueueStore['list'];
  readonly records: Pick<RecordStore, 'get'>;
}

/** UTF-16 code units of what an upstream said. */
const MAX_REASON = 200;

/** The queue is asked first: a row that leaves it in between has left its mark by then. */
export async function fateOf(queueId: string, { list, records }: FateFrom): Promise<Fate> {
  const [row] = await list({ queueId }, 1);
  if (row?.state === 'bounced') return { kind: 'lost', reason: `its mail bounced: ${(row.reason ?? '').slice(0, MAX_REASON)}` };
  if (row?.state === 'damaged') return { kind: 'lost', reason: 'its mail was damaged in the queue' };
  if (row !== undefined) return { kind: 'waiting' };
  const stored = await records.get(FOLLOWED, queueId);
  if (stored?.value === followedStates.delivered) return { kind: 'delivered' };
  return { kind: 'lost', reason: 'its mail was taken out of the queue' };
}
