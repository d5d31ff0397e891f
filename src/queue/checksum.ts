import { createHash } from 'node:crypto';
import type { StoredRecipient } from './requests.ts';

export interface Sealed extends Pick<
  StoredRecipient,
  'address' | 'sender' | 'notify' | 'orcpt' | 'header' | 'prefix' | 'suffix' | 'needsSmtputf8'
> {
  readonly queueId: string;
  readonly originalSender: string;
  readonly envid: string | null;
  readonly submitter: string | null;
  readonly notice: string | null;
  readonly bodyLength: number;
  readonly bodySha256: Uint8Array;
}

/**
 * What a row's checksum covers: all that goes to an upstream, the envelope too, who is told what became of it, and which body it
 * goes with. A row that names another's body, or an address with a flipped bit, would be sent and counted as delivered. Each
 * field stands behind its length, so that what one loses the next cannot gain.
 */
export function sealedHash(row: Sealed): Buffer {
  const hash = createHash('sha256');
  const facts = [row.queueId, row.sender, row.address, String(row.needsSmtputf8), String(row.bodyLength)];
  const fields = [...facts.map((fact) => Buffer.from(fact)), row.bodySha256, row.header, row.prefix, row.suffix, ...laterFields(row)];
  for (const field of fields) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(field.length);
    hash.update(length).update(field);
  }
  return hash.digest();
}

/** Of schema 2. None where nothing of it was said: so the rows of schema 1 keep the checksums that they have. */
function laterFields(row: Sealed): Buffer[] {
  const said = [row.notify, row.orcpt, row.envid, row.submitter, row.notice];
  if (row.originalSender === row.sender && said.every((fact) => fact === null)) return [];
  return [row.originalSender, ...said].map((fact) => Buffer.from(fact === null ? '-' : `=${fact}`));
}
