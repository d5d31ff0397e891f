/**
 * Change control, where the look-up meets the queue that remembers: which certificates are known of an address, what waits for
 * approval, and the operator's word on it. certificates/known.ts says what it means, queue/known.ts how it is kept.
 */
import type { Logger } from 'pino';
import { statSync } from 'node:fs';
import type { KnownCertificates } from './certificates/known.ts';
import type { Candidate } from './certificates/source.ts';
import { type ControlHandlers, type ControlRequest, readText } from './control.ts';
import { SealpostError } from './errors.ts';
import { mailboxKey, parseMailbox } from './message/envelope.ts';
import {
  type Approval,
  type CertificateUse,
  isApproved,
  isKnownAddress,
  type KnownCertificate,
  type KnownFilter,
  type KnownStore,
} from './queue/known.ts';
import { readKnown } from './queue/known-rows.ts';
import { openDatabaseReadOnly } from './queue/schema.ts';

/** A certificate that mail is, or would be, sealed to; `address`: whose it is. */
export function certificateUse(
  address: string,
  { certificate, place }: Candidate,
  about: Pick<CertificateUse, 'pinned' | 'queueId'>,
): CertificateUse {
  const { fingerprint, subject, issuer, serial, notAfter } = certificate;
  return { address: keyOf(address), fingerprint, subject, issuer, serial, notAfter: notAfter.getTime(), source: place, ...about };
}

/** As the look-up knows it; an address that was resolved can be read. */
function keyOf(address: string): string {
  const verdict = parseMailbox(address);
  return verdict.kind === 'mailbox' ? mailboxKey(verdict.mailbox) : address;
}

/** For the relay: what waits is kept, and its first time is an audit event. */
export function makeKnownCertificates(store: KnownStore, log: Logger): KnownCertificates {
  return {
    ...pinsOf((address) => store.of(address)),
    remembers: (address, fingerprint) => store.remembers(address, fingerprint),
    async wait(address, candidates) {
      for (const candidate of candidates) {
        try {
          await store.wait(certificateUse(address, candidate, { pinned: true, queueId: null }));
        } catch (error) {
          // It is not used, whether that is kept or not; the next look-up tries again.
          log.warn({ err: error }, 'a certificate that waits for approval was not kept');
        }
      }
    },
  };
}

/** For commands: looks past a running relay into its database, and keeps nothing. Where there is none, nothing is known. */
export function readKnownCertificates(database: string): KnownCertificates {
  return {
    ...pinsOf(async (address) => {
      return readDatabase(database, (db) => readKnown(db, address)) ?? [];
    }),
    remembers: () => false,
    wait: async () => {},
  };
}

/** Undefined where no relay has run yet. Throws `file-unreadable`: what may not be looked at is not nothing. */
export function readDatabase<T>(database: string, read: (db: ReturnType<typeof openDatabaseReadOnly>) => T): T | undefined {
  try {
    if (statSync(database, { throwIfNoEntry: false }) === undefined) return undefined;
  } catch (cause) {
    throw new SealpostError('file-unreadable', {
      detail: database,
      hint: 'run the command as the user the relay runs as, or as root',
      cause,
    });
  }
  const db = openDatabaseReadOnly(database);
  try {
    return read(db);
  } finally {
    db.close();
  }
}

function pinsOf(read: (address: string) => Promise<readonly KnownCertificate[]>): Pick<KnownCertificates, 'pinOf'> {
  return {
    async pinOf(address) {
      try {
        const rows = await read(address);
        if (!isKnownAddress(rows)) return { kind: 'free' };
        return { kind: 'pinned', fingerprints: new Set(rows.filter(isApproved).map(({ fingerprint }) => fingerprint)) };
      } catch (cause) {
        return { kind: 'unavailable', cause };
      }
    },
  };
}

/** `certs-approve` and `certs-forget`: `{ command, operator, address, fingerprint? }`. */
export function knownHandlers(store: Pick<KnownStore, 'approve' | 'forget'>): ControlHandlers {
  return {
    'certs-approve': async (request) => {
      const filter = readKnownFilter(request);
      const approval = await store.approve(filter, readText(request, 'operator') ?? 'unknown');
      if (approval.kind === 'approved') return approval.fingerprint;
      throw new SealpostError('usage', unapproved[approval.kind]);
    },
    'certs-forget': (request) => store.forget(readKnownFilter(request), readText(request, 'operator') ?? 'unknown'),
  };
}

/** What to say where nothing was approved. */
export const unapproved: Readonly<Record<Exclude<Approval['kind'], 'approved'>, { readonly detail: string; readonly hint: string }>> = {
  none: { detail: 'no such certificate waits for approval', hint: 'sealpost certs pending' },
  several: { detail: 'more than one certificate waits: name one', hint: 'sealpost certs pending' },
  unlisted: {
    detail: 'no such certificate is listed, and more wait than are listed: name the whole fingerprint',
    hint: 'sealpost certs lookup ADDRESS shows it; certs forget ADDRESS FINGERPRINT --yes makes room in the list',
  },
};

/** What people copy from elsewhere has colons and capitals. */
const DIGITS = /^[0-9a-f]{16,64}$/;

/** Throws `address-invalid` or `usage`. */
export function readKnownFilter(request: ControlRequest): KnownFilter {
  const verdict = parseMailbox(readText(request, 'address') ?? '');
  if (verdict.kind === 'fault') throw new SealpostError('address-invalid', { detail: verdict.fault });
  const fingerprint = readText(request, 'fingerprint')?.replaceAll(':', '').toLowerCase() ?? null;
  if (fingerprint !== null && !DIGITS.test(fingerprint))
    throw new SealpostError('usage', { detail: 'a fingerprint is 16 to 64 hexadecimal digits of a SHA-256' });
  return { address: mailboxKey(verdict.mailbox), fingerprint };
}
