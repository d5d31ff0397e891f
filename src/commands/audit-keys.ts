/** What `check` says of the keys of the audit log: the relay opens them at its start, and does not start without. */
import type { Config } from '../config.ts';
import { addressKey, auditKeyFiles } from '../config/audit-keys.ts';
import type { Fault } from '../document/fault.ts';
import { asSealpostError } from '../errors.ts';
import { readAuditKey } from '../queue/audit-key.ts';
import { readSigningKey } from '../upkeep/checkpoints.ts';

export async function auditKeyFaults(config: Pick<Config, 'audit' | 'keys'>): Promise<Fault[]> {
  const hashing = addressKey(config);
  const { signing } = auditKeyFiles(config.keys);
  return [
    ...(hashing === undefined ? [] : await faultOf(hashing, 'audit.addresses', () => readAuditKey(hashing))),
    ...(await faultOf(signing, 'keys', () => readSigningKey(signing))),
  ];
}

async function faultOf(place: string, key: string, read: () => unknown): Promise<Fault[]> {
  try {
    await read();
    return [];
  } catch (error) {
    const { message, hint } = asSealpostError(error);
    return [{ place, key, wrong: message, mend: hint }];
  }
}
