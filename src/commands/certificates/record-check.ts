/** For `check`: whether what the queue's database keeps beside the mail can be read. Mail goes on without it, so nobody would notice. */
import { damageOf, ISSUED, readLedger } from '../../certificates/authority/ledger.ts';
import { readDatabase } from '../../change-control.ts';
import type { Fault } from '../../document/fault.ts';
import { SealpostError } from '../../errors.ts';
import { assertReadable, readRecords } from '../../queue/record-rows.ts';
import { CRL, readNumber } from '../../upkeep/revoked.ts';
import type { CertificatePaths } from './paths.ts';

const KEY = 'queue.sqlite';

export function recordFaults({ queue }: Pick<CertificatePaths, 'queue'>): readonly Fault[] {
  const place = queue.database;
  try {
    const damage = readDatabase(place, (db) => {
      assertReadable(db);
      for (const record of readRecords(db, CRL)) readNumber(record);
      return damageOf(readLedger(readRecords(db, ISSUED)));
    });
    const mend =
      'restore the data folder from a backup, or revoke each by its serial number: sealpost certs revoke SERIAL --reason unspecified';
    return damage === undefined ? [] : [{ place, key: KEY, wrong: damage, mend }];
  } catch (error) {
    // That the data folder cannot be looked into is told by the look at the folders themselves.
    if (!(error instanceof SealpostError) || error.code !== 'storage-failed') return [];
    const wrong = `${error.detail}: what the in-house CA issued and revoked, what was harvested, who was told`;
    return [{ place, key: KEY, wrong, mend: 'stop the relay, and restore the data folder from a backup; until then mail goes on' }];
  }
}
