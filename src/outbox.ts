import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { wireForm } from './delivery/wire.ts';
import type { Outbox } from './path.ts';
import type { NewRecipient, QueueStore, StoredBody } from './queue/queue.ts';

/** Gets one recipient's sealed message, in the form in which it goes on the wire. */
export type TakeSealed = (recipient: NewRecipient, wire: AsyncIterable<Buffer>) => Promise<void>;

/**
 * An outbox that queues nothing: it hands out each message as soon as it is sealed. The ciphertext waits in memory, since the
 * length of it stands in front of it.
 */
export function makeHeldOutbox(take: TakeSealed, record: QueueStore['record'] = async () => {}): Outbox {
  return {
    newBody() {
      const chunks: Buffer[] = [];
      return {
        write: async (ciphertext) => void chunks.push(ciphertext),
        finish: async () => stored(Buffer.concat(chunks)),
        discard: async () => void chunks.splice(0),
      };
    },
    async enqueue({ bodies, recipients }, events, uses) {
      await record(events, uses);
      for (const recipient of recipients) {
        const content = bodies[recipient.body]?.content;
        if (content?.kind !== 'inline') throw new Error('a body that is not in memory');
        await take(recipient, wireForm(recipient, Readable.from([content.bytes])));
      }
    },
  };
}

function stored(bytes: Buffer): StoredBody {
  return { length: bytes.length, sha256: createHash('sha256').update(bytes).digest(), content: { kind: 'inline', bytes } };
}
