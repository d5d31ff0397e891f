/** The audit log of a closed site, held to its database. */
import { verifyAgainst, type AuditRecord, type AuditVerdict } from '../../src/audit/verify.ts';
import { readAuditRecord } from '../../src/queue/operator.ts';
import { openDatabaseReadOnly } from '../../src/queue/schema.ts';
import type { Site } from './site.ts';

/** Octets of a segment: about three lines. */
export const ROTATE = 500;

export function recordOf(site: Site): AuditRecord {
  const db = openDatabaseReadOnly(site.paths.database);
  try {
    return readAuditRecord(db);
  } finally {
    db.close();
  }
}

export const verify = (site: Site): Promise<AuditVerdict> => verifyAgainst(site.paths.audit, () => recordOf(site));
