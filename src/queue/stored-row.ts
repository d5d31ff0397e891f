/** One row with all that its checksum covers, as the worker reads it from the tables. */
import type { DatabaseSync } from 'node:sqlite';
import { SealpostError } from '../errors.ts';
import { fitsChecksum } from './checksum.ts';
import { blob, integer, text, textOrNull, type Row } from './columns.ts';
import type { StoredHeld, StoredKept } from './requests.ts';

/** A year of attempts, one a second, is three times this. No checksum covers what changes with each attempt. */
const MOST_ATTEMPTS = 10_000_000;

/** Reads the row with this number as it was written. Throws `queue-item-damaged` where it is not so any more. */
export type ReadRow = (id: number) => StoredHeld;

export function prepareReadRow(db: DatabaseSync): ReadRow {
  const read = db.prepare(`
    SELECT r.id AS row, r.message AS queueId, m.accepted_at AS acceptedAt, m.size, m.sender AS originalSender,
      coalesce(a.sender, m.sender) AS sender, a.notify, a.orcpt, coalesce(a.delay_noticed, 0) AS delayNoticed,
      f.envid, f.submitter, f.notice, k.kind, k.facts,
      r.address, r.needs_smtputf8 AS needsSmtputf8, r.changed_at AS changedAt, r.attempts, r.header, r.prefix, r.suffix, r.sha256,
      r.body, b.length AS bodyLength, b.sha256 AS bodySha256, b.file AS bodyFile
    FROM recipients r JOIN messages m ON m.id = r.message JOIN bodies b ON b.id = r.body
      LEFT JOIN recipient_asked a ON a.row = r.id LEFT JOIN message_asked f ON f.message = r.message
      LEFT JOIN recipient_kept k ON k.row = r.id
    WHERE r.id = ?`);
  return (id) => {
    const found = read.get(id);
    if (found === undefined) throw damaged('its message or its body is gone');
    const row = asStoredRow(found);
    if (!fitsChecksum(row)) throw damaged('its envelope, header or recipient part does not fit its checksum');
    if (row.attempts < 0 || row.attempts > MOST_ATTEMPTS) throw damaged('its number of attempts cannot be');
    return row;
  };
}

const damaged = (detail: string): SealpostError => new SealpostError('queue-item-damaged', { detail });

const asStoredRow = (row: Row): StoredHeld => ({
  row: integer(row, 'row'),
  queueId: text(row, 'queueId'),
  acceptedAt: integer(row, 'acceptedAt'),
  size: integer(row, 'size'),
  changedAt: integer(row, 'changedAt'),
  sender: text(row, 'sender'),
  originalSender: text(row, 'originalSender'),
  notify: textOrNull(row, 'notify'),
  orcpt: textOrNull(row, 'orcpt'),
  envid: textOrNull(row, 'envid'),
  submitter: textOrNull(row, 'submitter'),
  notice: textOrNull(row, 'notice'),
  kept: keptOf(row),
  delayNoticed: integer(row, 'delayNoticed') !== 0,
  address: text(row, 'address'),
  needsSmtputf8: integer(row, 'needsSmtputf8') === 1,
  attempts: integer(row, 'attempts'),
  header: blob(row, 'header'),
  prefix: blob(row, 'prefix'),
  suffix: blob(row, 'suffix'),
  sha256: blob(row, 'sha256'),
  body: integer(row, 'body'),
  bodyLength: integer(row, 'bodyLength'),
  bodySha256: blob(row, 'bodySha256'),
  bodyFile: textOrNull(row, 'bodyFile'),
});

/** Null where the row has no such facts. Throws `queue-item-damaged` where they are of a kind that is none. */
export function keptOf(row: Row): StoredKept | null {
  if (row['kind'] === null) return null;
  const kind = (['held', 'spooled', 'released'] as const).find((one) => one === row['kind']);
  if (kind === undefined) throw damaged('what is kept beside it is of no kind');
  return { kind, facts: text(row, 'facts') };
}
