/**
 * The spool of a running relay. It is there once a rule passes mail, which may come to be while the relay runs; and as long as passed
 * mail lies in the queue, whatever the rules have come to say.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { SealpostError } from '../../errors.ts';
import { openSpoolKey, SPOOL_KEY_FILE } from './key.ts';
import { makeSpool, type Spool } from './spool.ts';

/** Without a key it writes and reads nothing: `pass-unavailable`, so that mail is not taken, or waits (P5). */
export interface LiveSpool extends Spool {
  /**
   * At the start, and with each set of rules: reads the keys anew, and makes the first one where a rule passes. Rejects where that is
   * needed and cannot be, and where passed mail waits for a key that is gone; what was there before stays.
   */
  prepare(passes: boolean): Promise<void>;
  /** The file of the keys that are in use is gone: a start would find none. Never rejects. */
  isLost(): Promise<boolean>;
}

export interface LiveSpoolOptions {
  /** Of private keys. */
  readonly folder: string;
  /** A cryptographic source. */
  readonly randomBytes: (octets: number) => Buffer;
  /** Whether passed mail lies in the queue. */
  readonly waits: () => Promise<boolean>;
  readonly log: Pick<Logger, 'info' | 'error'>;
}

export function makeLiveSpool({ folder, randomBytes, waits, log }: LiveSpoolOptions): LiveSpool {
  let spool: Spool | undefined;
  let passing = false;
  const there = (): Spool => {
    if (spool === undefined) throw new SealpostError('pass-unavailable');
    return spool;
  };
  return {
    async prepare(passes) {
      try {
        let keys = await openSpoolKey(folder);
        if (keys === undefined && (await waits())) throw lost(join(folder, SPOOL_KEY_FILE));
        if (keys === undefined && passes) keys = await openSpoolKey(folder, { create: randomBytes });
        passing = passes;
        if (keys === undefined) return;
        spool = makeSpool({ keys, randomBytes });
        log.info({ keys: keys.map(({ id }) => id.toString('hex')) }, 'spool keys read');
      } catch (error) {
        if (passes) throw error;
        passing = false;
        // Where nothing is passed, the keys may be another user's. Mail that was passed before waits, and tells of it when it is due.
        if (await waits()) log.error({ err: error }, 'the spool keys cannot be read, and passed mail waits for them');
        else log.info({ err: error }, 'the spool keys cannot be read');
      }
    },
    async isLost() {
      if (spool === undefined) return false;
      try {
        await lstat(join(folder, SPOOL_KEY_FILE));
        return false;
      } catch (error) {
        const gone = error instanceof Error && 'code' in error && error.code === 'ENOENT';
        return gone && (passing || (await waits().catch(() => false)));
      }
    },
    writer: (body) => there().writer(body),
    async *read(...args) {
      yield* there().read(...args);
    },
  };
}

/** A new key in its place would hide the loss, and who then copies the old file back would write over it. */
const lost = (file: string): SealpostError =>
  new SealpostError('file-unreadable', {
    detail: `${file} is not there, and passed mail waits under its key`,
    hint: `restore it from your copy; where none is left that mail is lost: begin with a new key, (umask 077; openssl rand -base64 32 > ${file}), and take it out, sealpost queue list and sealpost queue remove ID`,
  });
