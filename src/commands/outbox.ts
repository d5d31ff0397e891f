import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SealpostError } from '../errors.ts';
import { makeHeldOutbox } from '../outbox.ts';
import type { Outbox } from '../path.ts';

/** An outbox that writes sealed messages out instead of queueing them: into a folder, a file for each recipient, or one to a stream. */
export function makeFileOutbox(destination: string | Writable): Outbox {
  return makeHeldOutbox(async ({ address }, wire) => {
    if (typeof destination !== 'string') return pipeline(wire, destination, { end: false });
    // A local part may hold a slash; a file name may not.
    const file = join(destination, `${encodeURIComponent(address)}.eml`);
    try {
      await writeFile(file, wire, { flag: 'wx' });
    } catch (cause) {
      const exists = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
      throw new SealpostError(exists ? 'file-exists' : 'storage-failed', { detail: file, cause });
    }
  });
}
