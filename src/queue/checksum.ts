import { hash } from 'node:crypto';
import type { StoredRecipient } from './requests.ts';

export interface Sealed extends Pick<
  StoredRecipient,
  'address' | 'sender' | 'notify' | 'orcpt' | 'header' | 'prefix' | 'suffix' | 'needsSmtputf8' | 'kept'
> {
  readonly queueId: string;
  /** Ms since the epoch. */
  readonly acceptedAt: number;
  readonly originalSender: string;
  readonly envid: string | null;
  readonly submitter: string | null;
  readonly notice: string | null;
  readonly bodyLength: number;
  readonly bodySha256: Uint8Array;
}

/**
 * What a row's checksum covers: all that goes to an upstream, the envelope too, who is told what became of it, which body it goes
 * with, when it was accepted, since its age decides when it is given up, and whether it is held: sent then, it could be read by nobody.
 * A row that names another's body, or an address with a flipped bit, would be sent and counted as delivered. Each field stands behind
 * its length, so that what one loses the next cannot gain.
 */
export function sealedHash(row: Sealed): Buffer {
  return hashOf([...sentFields(row), ...askedFields(row), Buffer.from(String(row.acceptedAt)), ...keptFields(row)]);
}

/** As the rows of schema 1 have it, and those of the first schema 2: without the time, and without what was asked where nothing was. */
export function hashWithoutTime(row: Sealed): Buffer {
  const { originalSender, sender, notify, orcpt, envid, submitter, notice } = row;
  const asked = originalSender !== sender || [notify, orcpt, envid, submitter, notice].some((fact) => fact !== null);
  return hashOf([...sentFields(row), ...(asked ? askedFields(row) : [])]);
}

/** No row is older than this program, and no clock is a century ahead. Ms since the epoch. */
const OLDEST = Date.UTC(2025, 0, 1);
const LATEST = Date.UTC(2125, 0, 1);

/** True where `row` is as it was written. The time of a row whose checksum does not cover it must be one that can be. */
export function fitsChecksum(row: Sealed & { readonly sha256: Uint8Array }): boolean {
  if (sealedHash(row).equals(row.sha256)) return true;
  // No release has written it so.
  if (row.kept !== null) return false;
  return row.acceptedAt >= OLDEST && row.acceptedAt < LATEST && hashWithoutTime(row).equals(row.sha256);
}

function sentFields(row: Sealed): Uint8Array[] {
  const facts = [row.queueId, row.sender, row.address, String(row.needsSmtputf8), String(row.bodyLength)];
  return [...facts.map((fact) => Buffer.from(fact)), row.bodySha256, row.header, row.prefix, row.suffix];
}

function askedFields({ originalSender, notify, orcpt, envid, submitter, notice }: Sealed): Uint8Array[] {
  return [originalSender, notify, orcpt, envid, submitter, notice].map((fact) => Buffer.from(fact === null ? '-' : `=${fact}`));
}

/** Nothing where there is nothing: so the rows of schema 4 and before have it. */
const keptFields = ({ kept }: Sealed): Uint8Array[] => (kept === null ? [] : [Buffer.from(kept.kind), Buffer.from(kept.facts)]);

const LENGTH_OCTETS = 4;

function hashOf(fields: readonly Uint8Array[]): Buffer {
  const octets = Buffer.allocUnsafe(fields.reduce((sum, field) => sum + LENGTH_OCTETS + field.length, 0));
  let at = 0;
  for (const field of fields) {
    at = octets.writeUInt32BE(field.length, at);
    octets.set(field, at);
    at += field.length;
  }
  // In one call: of many small ones each costs more than its octets.
  return hash('sha256', octets, 'buffer');
}
