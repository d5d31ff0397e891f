/**
 * Whether a message would find room: octets on the disk above the reserve, a disk that takes what is written, a file descriptor.
 * Whoever writes asks the first; the readiness of the relay asks all of them.
 */
import { randomBytes } from 'node:crypto';
import { open, statfs } from 'node:fs/promises';
import { devNull } from 'node:os';
import { SealpostError } from '../errors.ts';
import type { BodyWriter } from './queue.ts';

/** How long an answer about free room is believed. */
const ROOM_ASKED_EVERY_MS = 1000;
const TRIED_OCTETS = 1024 * 1024;

interface RoomCheck {
  readonly path: string;
  /** Octets. */
  readonly reserve: number;
  readonly now: () => number;
  readonly latch: { assertOpen(): void; stop(error: SealpostError): void };
  /** Throws where the queue's paths name other files than were opened. */
  readonly assertInPlace: () => Promise<void>;
}

/** Asks the file system now and then, and in between counts what is written: a burst must not eat the reserve unseen. */
export function makeRoomCheck({ path, reserve, now, latch, assertInPlace }: RoomCheck): (octets: number) => Promise<void> {
  let askedAt = -Infinity;
  let free = 0;
  return async (octets) => {
    latch.assertOpen();
    free -= octets;
    const asking = now();
    if (free < reserve || Math.abs(asking - askedAt) >= ROOM_ASKED_EVERY_MS) {
      try {
        await assertInPlace();
        const { bavail, bsize } = await statfs(path);
        free = bavail * bsize - octets;
        // Only now: an answer that failed must not let the next ones through.
        askedAt = asking;
      } catch (cause) {
        const failure = cause instanceof SealpostError ? cause : new SealpostError('storage-failed', { cause });
        if (cause === failure) latch.stop(failure);
        throw failure;
      }
    }
    if (free < reserve) throw new SealpostError('storage-full', { detail: `less than ${Math.ceil(reserve / 1024 / 1024)} MiB are free` });
  };
}

/**
 * A disk that takes nothing though it says there is room: a quota, or no inodes left. Nothing tells when that ends, so it is tried each
 * time somebody asks, by a file of its own.
 */
export interface TakenBack {
  /** A write met a full disk that said there was room. */
  met(): void;
  /** `storage-refused` until a try has succeeded; undefined where nothing was met. Never rejects. */
  refusal(): Promise<SealpostError | undefined>;
}

export function makeTakenBack(newBody: () => BodyWriter): TakenBack {
  let doubted = false;
  return {
    met() {
      doubted = true;
    },
    async refusal() {
      if (!doubted) return undefined;
      const body = newBody();
      try {
        await body.write(randomBytes(TRIED_OCTETS));
        await body.finish();
        doubted = false;
        return undefined;
      } catch (cause) {
        return new SealpostError('storage-refused', { cause });
      } finally {
        await body.discard();
      }
    },
  };
}

/** Every connection and every large message needs one. `openOne` is for tests. */
export async function descriptorRefusal(openOne = () => open(devNull)): Promise<SealpostError | undefined> {
  try {
    const handle = await openOne();
    await handle.close();
    return undefined;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    return code === 'EMFILE' || code === 'ENFILE' ? new SealpostError('descriptors-exhausted', { cause }) : undefined;
  }
}
