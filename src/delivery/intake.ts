/**
 * New mail into the queue, and out again: where nothing waits and a place with an upstream is free, its rows are leased by the very
 * transaction that makes them durable, and sent from memory. Where something waits, it is queued behind that.
 */
import type { QueueStore } from '../queue/queue.ts';
import type { Scheduler } from './scheduler.ts';

/** QueueStore.enqueue, as the path knows it. */
export function makeIntake(
  queue: Pick<QueueStore, 'enqueueLeased'>,
  scheduler: Pick<Scheduler, 'keepPlaces' | 'wake'>,
): QueueStore['enqueue'] {
  return async (message, events, uses, notices = []) => {
    const places = scheduler.keepPlaces(message.recipients.length);
    try {
      const leases = await queue.enqueueLeased(message, events, uses, notices, places.count);
      places.begin(leases);
      if (leases.length < message.recipients.length || notices.length > 0) scheduler.wake();
    } finally {
      places.giveBack();
    }
  };
}
