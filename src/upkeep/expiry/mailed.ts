/**
 * What becomes of a renewed certificate once the mail with its key is queued. Mail is sealed to it only after an upstream has taken that
 * mail: where it bounces, is damaged or taken out, nobody has the key, and the certificate is revoked as superseded. So it is where the
 * old one was revoked meanwhile: whoever has the old key opens the mail with the new one too. Each record stands alone: what is in the
 * way of one is kept with it, told in the summary, and keeps no other back.
 */
import type { Logger } from 'pino';
import { ISSUED, readIssued } from '../../certificates/authority/ledger.ts';
import { type Certificate, parseCertificate } from '../../certificates/certificate.ts';
import { asSealpostError } from '../../errors.ts';
import { FOLLOWED, type RecordChange, type RecordStore } from '../../queue/records.ts';
import { revocationHandlers } from '../revoked.ts';
import type { Fate } from './fate.ts';
import { changeRenewal, listRenewals, type Renewal, writeAll } from './renewal-record.ts';

/** As audit events and the ledger name it. */
export const BY_RELAY = 'relay';

export interface MailedParts {
  readonly records: RecordStore;
  /** What became of a message that was sent to be followed. */
  readonly fateOf: (queueId: string) => Promise<Fate>;
  /** Into the relay's own folder, durable on resolve; the same one twice is once. */
  readonly place: (certificate: Certificate) => Promise<void>;
  /** Lets it be used where certificates are pinned. */
  readonly approve: (address: string, certificate: Certificate) => Promise<void>;
  readonly now: () => number;
  readonly log: Logger;
}

/** Throws only where the records cannot be read or written. */
export async function settleMailed(parts: MailedParts): Promise<void> {
  for (const [serial, renewal] of await listRenewals(parts.records)) {
    if (renewal.state !== 'mailed') continue;
    try {
      await settleOne(serial, renewal, parts);
    } catch (error) {
      const { message: reason } = asSealpostError(error);
      if (reason === renewal.reason) continue;
      parts.log.error({ recipient: renewal.address, err: error }, 'a renewed certificate cannot be put to use');
      await writeAll(parts.records, [changeRenewal(serial, { ...renewal, reason })]);
    }
  }
}

async function settleOne(serial: string, renewal: Renewal, parts: MailedParts): Promise<void> {
  const { records, fateOf, place, approve, now, log } = parts;
  const { mail, address } = renewal;
  // An earlier release kept no queue id, and laid the certificate down at once.
  const fate: Fate = mail === null ? { kind: 'delivered' } : await fateOf(mail);
  const certificate = certificateOf(renewal);
  if (certificate === undefined) return giveUp(serial, renewal, { issuer: undefined, reason: 'its record is damaged' }, parts);
  const { issuer } = certificate;
  for (const one of [serial, renewal.serial])
    if ((await readUnrevoked(one, records)) === undefined)
      return giveUp(serial, renewal, { issuer, reason: `${one === serial ? 'it' : 'the new one'} was revoked` }, parts);
  if (fate.kind === 'lost') return giveUp(serial, renewal, { issuer, reason: fate.reason }, parts);
  if (fate.kind === 'waiting') return;
  await place(certificate);
  await approve(address, certificate);
  const done: Renewal = { ...renewal, state: 'done', certificate: null, mail: null, doneAt: now(), reason: null };
  await writeAll(records, [changeRenewal(serial, done), ...forgotten(mail)]);
  log.info({ recipient: address, certificate_sha256: certificate.fingerprint }, 'a renewed certificate is in use');
}

function certificateOf({ certificate }: Renewal): Certificate | undefined {
  try {
    return parseCertificate(Buffer.from(certificate ?? '', 'base64'));
  } catch {
    return undefined; // nothing can be laid down of it, and the next round makes another
  }
}

async function giveUp(
  serial: string,
  renewal: Renewal,
  { issuer, reason }: { readonly issuer: string | undefined; readonly reason: string },
  parts: MailedParts,
): Promise<void> {
  const { records, log } = parts;
  await supersede(renewal.serial, issuer, parts);
  const failed: Renewal = { ...renewal, state: 'failed', certificate: null, mail: null, reason };
  await writeAll(records, [changeRenewal(serial, failed), ...forgotten(renewal.mail)]);
  log.error({ recipient: renewal.address, reason }, 'a renewed certificate is given up: its reader has no key of it');
}

const forgotten = (mail: string | null): RecordChange[] => (mail === null ? [] : [{ kind: FOLLOWED, key: mail, value: null }]);

/** Revokes a certificate that nobody has the key of; nothing where it is revoked already. `issuer`: its name, for the audit log. */
export async function supersede(serial: string, issuer: string | undefined, { records, now }: MailedParts): Promise<void> {
  const unrevoked = await readUnrevoked(serial, records);
  if (unrevoked === undefined) return;
  const revoked = { at: now(), reason: 'superseded', by: BY_RELAY };
  const request = { command: 'certs-revoked', operator: BY_RELAY, ...(issuer === undefined ? {} : { issuer }) };
  await revocationHandlers(records)['certs-revoked']?.({ ...request, records: [{ ...readIssued(unrevoked), revoked }] });
}

/** The text of a record of the ledger; undefined where there is none, or the certificate is revoked. */
export async function readUnrevoked(serial: string, records: Pick<RecordStore, 'get'>): Promise<string | undefined> {
  const stored = await records.get(ISSUED, serial);
  return stored === undefined || readIssued(stored.value, stored.key).revoked !== null ? undefined : stored.value;
}
