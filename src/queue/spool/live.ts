/**
 * The spool of a running relay. It is there once a rule passes mail, which may come to be while the relay runs; and as long as passed
 * mail lies in the queue, whatever the rules have come to say.
 */
import type { Logger } from 'pino';
import { SealpostError } from '../../errors.ts';
import { openSpoolKey } from './key.ts';
import { makeSpool, type Spool } from './spool.ts';

/** Without a key it writes and reads nothing: `pass-unavailable`, so that mail is not taken, or waits (P5). */
export interface LiveSpool extends Spool {
  /**
   * At the start, and with each set of rules: reads the keys anew, and makes the first one where a rule passes. Rejects where that is
   * needed and cannot be; what was there before stays.
   */
  prepare(passes: boolean): Promise<void>;
}

export interface LiveSpoolOptions {
  /** Of private keys. */
  readonly folder: string;
  /** A cryptographic source. */
  readonly randomBytes: (octets: number) => Buffer;
  readonly log: Pick<Logger, 'info'>;
}

export function makeLiveSpool({ folder, randomBytes, log }: LiveSpoolOptions): LiveSpool {
  let spool: Spool | undefined;
  const there = (): Spool => {
    if (spool === undefined) throw new SealpostError('pass-unavailable');
    return spool;
  };
  return {
    async prepare(passes) {
      try {
        const keys = await openSpoolKey(folder, passes ? { create: randomBytes } : undefined);
        if (keys === undefined) return;
        spool = makeSpool({ keys, randomBytes });
        log.info({ keys: keys.map(({ id }) => id.toString('hex')) }, 'spool keys read');
      } catch (error) {
        if (passes) throw error;
        // Where nothing is passed, the keys may be another user's. Mail that was passed before waits, and tells of it when it is due.
        log.info({ err: error }, 'the spool keys cannot be read');
      }
    },
    writer: (body) => there().writer(body),
    async *read(...args) {
      yield* there().read(...args);
    },
  };
}
