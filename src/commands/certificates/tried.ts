import { readDatabase } from '../../change-control.ts';
import { asSealpostError } from '../../errors.ts';
import { readRecords } from '../../queue/record-rows.ts';
import { TRY, type Tried, triedOf } from '../../upkeep/tries.ts';
import type { Terminal } from '../terminal.ts';
import type { CertificatePaths } from './paths.ts';

/** Nobody has been tried where no relay has run yet, or where whoever asks may not look at the queue. */
export function readTried({ queue }: CertificatePaths, { stderr }: Terminal): Tried {
  try {
    return triedOf(readDatabase(queue.database, (db) => readRecords(db, TRY)) ?? []);
  } catch (error) {
    stderr.write(`sealpost: who has confirmed a code is not shown: ${asSealpostError(error).message}\n`);
    return triedOf([]);
  }
}
