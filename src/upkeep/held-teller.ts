/** What the operator's summary says of held mail: how much waits, and by when somebody must have done something about it. */
import { day } from '../certificates/usability.ts';
import type { QueueStore } from '../queue/queue.ts';
import type { Item } from './expiry/words.ts';

/** Ms before the end from which on it is news once more. */
const LAST_CALL_MS = 3 * 86_400_000;

/** `maxAge` in ms. */
export const makeHeldTeller =
  (store: Pick<QueueStore, 'stats'>, maxAge: number, now: () => number): (() => Promise<readonly Item[]>) =>
  async () => {
    const { states, oldestHeldAt } = await store.stats();
    if (states.held === 0 || oldestHeldAt === null) return [];
    const end = oldestHeldAt + maxAge;
    const [since, until] = [day(new Date(oldestHeldAt)), day(new Date(end))];
    const call = end - now() < LAST_CALL_MS ? 'last call ' : '';
    const line = `${states.held}, the oldest since ${since}, given up on ${until}: sealpost queue list --held`;
    return [{ key: `held ${call}${since}`, section: 'held', line }];
  };
