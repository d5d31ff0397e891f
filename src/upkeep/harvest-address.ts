/**
 * The local address that takes signed mail (`certificates.harvest.address`). A message to it is read by the relay itself and goes nowhere:
 * it is held in memory, never queued, never on disk (P2), and the reply to it is the verdict, so that nothing need be sent back. It is the
 * only recipient of its message: what is relayed and what is read here are two things.
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { judgeHarvest } from '../certificates/harvest/harvest.ts';
import type { RecipientFolder } from '../certificates/files.ts';
import type { SiteCertificates } from '../certificates/site.ts';
import { SealpostError } from '../errors.ts';
import type { Reception, TakenHere } from '../ingress/reception.ts';
import { type Envelope, mailboxKey, parseMailbox } from '../message/envelope.ts';
import { readSigned, type SignedVerdict } from '../message/signed.ts';
import { type Harvested, isInFolders, lackingOf, type Kept } from './harvested.ts';

export interface HarvestAddressParts {
  /** Undefined: there is none. */
  readonly address: string | undefined;
  readonly certificates: Pick<SiteCertificates, 'trustWith' | 'intermediates'> & {
    readonly recipients: readonly Pick<RecipientFolder, 'entries'>[];
  };
  readonly harvested: Pick<Harvested, 'keep'>;
  /** Ms for one verdict. */
  readonly patience: number;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

const texts: Readonly<Record<Kept, string>> = {
  pending: 'certificate waits for approval',
  waiting: 'certificate waits for approval already',
  taken: 'certificate taken',
  known: 'certificate is there already',
};

/** Messages that wait for their verdict: one may take as long as a look-up. */
const MAX_IN_LINE = 16;

export function withHarvestAddress(onward: Reception, parts: HarvestAddressParts): Reception {
  const own = keyOf(parts.address);
  if (own === undefined) return onward;
  let last: Promise<unknown> = Promise.resolve();
  let inLine = 0;
  /** One verdict at a time: ten megabytes are held three times over while they are read. */
  const inTurn = async (work: () => Promise<TakenHere>): Promise<TakenHere> => {
    if (inLine >= MAX_IN_LINE) throw new SealpostError('too-busy');
    inLine++;
    // The work is mostly the processor's: without a turn between, mails in line would be one block to everybody else.
    const turn = last.then(() => setImmediate()).then(work);
    last = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      inLine--;
    }
  };
  return {
    ...onward,
    async recipient(opening, recipient, others) {
      const isOwn = mailboxKey(recipient) === own;
      // RFC 5321 §4.5.3.1.10: the client sends it in a message of its own.
      if (isOwn ? others.size > 0 : others.has(own))
        throw new SealpostError('too-many-recipients', { detail: `${own} takes a message of its own` });
      if (!isOwn) await onward.recipient(opening, recipient, others);
    },
    async accept(envelope, source) {
      if (!envelope.recipients.some(({ mailbox }) => mailboxKey(mailbox) === own)) return onward.accept(envelope, source);
      const mail = await readSigned(source);
      return inTurn(() => harvest(mail, envelope, parts));
    },
  };
}

function keyOf(address: string | undefined): string | undefined {
  const verdict = address === undefined ? undefined : parseMailbox(address);
  return verdict?.kind === 'mailbox' ? mailboxKey(verdict.mailbox) : undefined;
}

async function harvest(mail: SignedVerdict, { client }: Envelope, parts: HarvestAddressParts): Promise<TakenHere> {
  const { certificates, harvested, patience, now, log } = parts;
  const refuse = (reason: string): never => {
    log.info({ client: client.address, reason }, 'a mail to the harvest address gave no certificate');
    throw new SealpostError('harvest-refused', { detail: reason });
  };
  if (mail.kind === 'refused') return refuse(mail.reason);
  const verdict = await judgeHarvest(mail, { trustWith: certificates.trustWith, now }, AbortSignal.timeout(patience));
  if (verdict.kind === 'refused') return refuse(verdict.reason);
  if (verdict.kind === 'unavailable') throw new SealpostError('lookup-unavailable', { cause: verdict.cause });
  const { certificate, path, capabilities } = verdict;
  const kept = (await isInFolders(certificates.recipients, certificate.fingerprint))
    ? 'known'
    : await harvested.keep({
        address: mailboxKey(mail.from),
        certificate,
        intermediates: await lackingOf(path, certificates.intermediates),
        capabilities,
        issuers: path.slice(1).map(({ fingerprint }) => fingerprint),
        from: client.address,
        by: client.user?.name ?? null,
      });
  log.info(
    { client: client.address, recipient: mail.from.address, certificate_sha256: certificate.fingerprint, kept },
    'signed mail harvested',
  );
  return { text: texts[kept] };
}
