import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { wireForm } from '../delivery/wire.ts';
import { SealpostError } from '../errors.ts';
import type { Outbox } from '../path.ts';
import type { NewMessage, NewRecipient, StoredBody } from '../queue/queue.ts';

/**
 * An outbox that writes sealed messages out instead of queueing them: into a folder, a file for each recipient, or one to a stream.
 * The ciphertext waits in memory, since the length of it stands in front of it.
 */
export function makeFileOutbox(destination: string | Writable): Outbox {
  return {
    newBody() {
      const chunks: Buffer[] = [];
      return {
        write: async (ciphertext) => void chunks.push(ciphertext),
        finish: async () => stored(Buffer.concat(chunks)),
        discard: async () => void chunks.splice(0),
      };
    },
    async enqueue(message) {
      for (const recipient of message.recipients) await writeOut(message, recipient, destination);
    },
  };
}

function stored(bytes: Buffer): StoredBody {
  return { length: bytes.length, sha256: createHash('sha256').update(bytes).digest(), content: { kind: 'inline', bytes } };
}

async function writeOut({ bodies }: NewMessage, recipient: NewRecipient, destination: string | Writable): Promise<void> {
  const content = bodies[recipient.body]?.content;
  if (content?.kind !== 'inline') throw new Error('a body that is not in memory');
  const wire = wireForm(recipient, Readable.from([content.bytes]));
  if (typeof destination !== 'string') return pipeline(wire, destination, { end: false });
  // A local part may hold a slash; a file name may not.
  const file = join(destination, `${encodeURIComponent(recipient.address)}.eml`);
  try {
    await writeFile(file, wire, { flag: 'wx' });
  } catch (cause) {
    const exists = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw new SealpostError(exists ? 'file-exists' : 'storage-failed', { detail: file, cause });
  }
}
