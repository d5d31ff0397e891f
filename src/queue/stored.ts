/** Between what the relay speaks of and what crosses to the worker of the queue: the checksum of each row is made here. */
import { SealpostError } from '../errors.ts';
import { notifyText, parseNotify } from '../message/notify.ts';
import { sealedHash } from './checksum.ts';
import type { HeldRow, Lease, NewMessage, Release, StoredBody } from './queue.ts';
import type { LeasedAsQueued, LeasedRow, StoredBodyRow, StoredHeld, StoredKept, StoredMessage, StoredRelease } from './requests.ts';

/** Octets of a recipient's row beside its blobs: address, indexes, audit line. */
export const ROW_OVERHEAD = 1024;

type Blobs = Pick<Release, 'header' | 'prefix' | 'suffix'>;

const sealedOctets = ({ header, prefix, suffix }: Blobs): number => header.length + prefix.length + suffix.length + ROW_OVERHEAD;

const inlineOctets = ({ content }: StoredBody): number => (content.kind === 'inline' ? content.bytes.length : 0);

/** Octets that the row of a message takes: what is in it is written twice, to the write-ahead log and to the database. */
export function rowOctets({ bodies, recipients }: NewMessage): number {
  const facts = recipients.map(({ kept }) => kept?.facts.length ?? 0);
  return 2 * [...bodies.map(inlineOctets), ...recipients.map(sealedOctets), ...facts].reduce((sum, octets) => sum + octets, 0);
}

/** As rowOctets, of a row that is written anew. */
export const releaseOctets = (as: Release): number => 2 * (sealedOctets(as) + (as.body === undefined ? 0 : inlineOctets(as.body)));

export function asStored(message: NewMessage): StoredMessage {
  const { id, acceptedAt, sender, size, envid, submitter, notice } = message;
  return {
    id,
    acceptedAt,
    sender,
    size,
    envid,
    submitter,
    notice,
    bodies: message.bodies.map(asStoredBody),
    recipients: message.recipients.map((one) => {
      const body = message.bodies[one.body];
      if (body === undefined) throw new SealpostError('internal', { detail: 'a recipient names a body that is not there' });
      const notify = notifyText(one.notify);
      const kept = one.kept ?? null;
      const about = {
        queueId: id,
        acceptedAt,
        originalSender: sender,
        envid,
        submitter,
        notice,
        bodyLength: body.length,
        bodySha256: body.sha256,
      };
      return {
        address: one.address,
        sender: one.sender,
        notify,
        orcpt: one.orcpt,
        body: one.body,
        header: alone(one.header),
        prefix: alone(one.prefix),
        suffix: alone(one.suffix),
        sha256: alone(sealedHash({ ...one, ...about, notify, kept })),
        needsSmtputf8: one.needsSmtputf8,
        kept,
      };
    }),
  };
}

/** The rows of `message` that were leased as they were queued. */
export function asLeasedRows(message: StoredMessage, leased: readonly LeasedAsQueued[]): LeasedRow[] {
  const { id: queueId, sender: originalSender, bodies, recipients, ...about } = message;
  return leased.map(({ row, recipient }) => {
    const one = recipients[recipient];
    const body = one && bodies[one.body];
    if (one === undefined || body === undefined) throw new SealpostError('internal', { detail: 'a row was leased for nobody' });
    const { length: bodyLength, sha256: bodySha256, bytes, file: bodyFile } = body;
    const place = { row, queueId, originalSender, bodyLength, bodySha256, bodyFile, bytes };
    return { ...one, ...about, ...place, delayNoticed: false, attempts: 0 };
  });
}

const asStoredBody = ({ length, sha256, content }: StoredBody): StoredBodyRow => ({
  length,
  sha256: alone(sha256),
  bytes: content.kind === 'inline' ? alone(content.bytes) : null,
  file: content.kind === 'file' ? content.name : null,
});

/** What `held` becomes at `at`, ms since the epoch. */
export function asStoredRelease(held: StoredHeld, as: Release, at: number): StoredRelease {
  const { sender, needsSmtputf8, header, prefix, suffix } = as;
  const body = as.body === undefined ? { bodyLength: held.bodyLength, bodySha256: held.bodySha256 } : ofBody(as.body);
  const kept: StoredKept = { kind: 'released', facts: String(at) };
  return {
    at,
    sender,
    needsSmtputf8,
    header: alone(header),
    prefix: alone(prefix),
    suffix: alone(suffix),
    sha256: alone(sealedHash({ ...held, sender, needsSmtputf8, header, prefix, suffix, ...body, kept })),
    body: as.body === undefined ? null : asStoredBody(as.body),
  };
}

const ofBody = ({ length, sha256 }: StoredBody) => ({ bodyLength: length, bodySha256: sha256 });

/** In an array of its own: to clone a Buffer is to clone the pool behind it. */
const alone = (bytes: Buffer): Uint8Array => (bytes.length === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes));

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

/** What a lease and a held row have of a row in common. Both fit their checksum, so this is what was written. */
const commonOf = (row: LeasedRow) => ({
  row: row.row,
  queueId: row.queueId,
  acceptedAt: row.acceptedAt,
  sender: row.sender,
  originalSender: row.originalSender,
  recipient: row.address,
  notify: row.notify === null ? null : (parseNotify(row.notify) ?? null),
  orcpt: row.orcpt,
  envid: row.envid,
  submitter: row.submitter,
  needsSmtputf8: row.needsSmtputf8,
  header: view(row.header),
  prefix: view(row.prefix),
  suffix: view(row.suffix),
  bodyLength: row.bodyLength,
});

export const asLease = (row: LeasedRow): Lease => ({
  ...commonOf(row),
  waitsSince: row.kept?.kind === 'released' ? Number(row.kept.facts) : row.acceptedAt,
  notice: row.notice,
  spooled: row.kept?.kind === 'spooled' ? row.kept.facts : null,
  delayNoticed: row.delayNoticed,
  attempts: row.attempts,
});

export const asHeldRow = (row: StoredHeld): HeldRow => ({
  ...commonOf(row),
  size: row.size,
  facts: row.kept?.facts ?? '',
  heldSince: row.changedAt,
});
