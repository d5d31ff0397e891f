/** `certs try` and `certs confirm`, where the queue is: a code goes out under seal, and comes back by the operator's word (tries.ts). */
import type { AuditEvent } from '../audit.ts';
import type { AddressBook, Part, Share } from '../certificates/address-book.ts';
import { type ControlHandlers, type ControlRequest, readText } from '../control.ts';
import { SealpostError } from '../errors.ts';
import { type Mailbox, mailboxKey, parseMailbox } from '../message/envelope.ts';
import type { RecordStore } from '../queue/records.ts';
import type { OwnMail } from './own-mail.ts';
import { hashCode, isCode, newCode, readTry, TRY, type TryRecord, withConfirmation, writeTry } from './tries.ts';

export interface TryParts {
  readonly records: Pick<RecordStore, 'get' | 'change'>;
  readonly ownMail: OwnMail;
  readonly addressBook: AddressBook;
  /** Our name for others; the mail says who sent it. */
  readonly hostname: string;
  /** To whom the code is told. */
  readonly operator: string;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly randomBytes: (octets: number) => Buffer;
}

const DAY_MS = 86_400_000;
/** Long enough for a holiday. */
export const VALID_DAYS = 14;
/** Wrong codes, before a new try is needed. */
export const MAX_ATTEMPTS = 5;
const SALT_OCTETS = 16;

/** `certs-try`: `{ operator, address }`; `certs-confirm`: `{ operator, address, code }`. */
export const tryHandlers = (parts: TryParts): ControlHandlers => ({
  'certs-try': (request) => sendTry(parts, readMailbox(request), readText(request, 'operator') ?? 'unknown'),
  'certs-confirm': (request) =>
    confirm(parts, readMailbox(request), readText(request, 'code') ?? '', readText(request, 'operator') ?? 'unknown'),
});

function readMailbox(request: ControlRequest): Mailbox {
  const verdict = parseMailbox(readText(request, 'address') ?? '');
  if (verdict.kind === 'fault') throw new SealpostError('address-invalid', { detail: verdict.fault });
  return verdict.mailbox;
}

/** What `certs-try` answers. */
export interface TryAnswer {
  readonly queue_id: string;
  /** Whose certificates it names. */
  readonly sealed_to: readonly { readonly address: string; readonly sha256: readonly string[] }[];
  /** Members of a group that have none. */
  readonly lacking: readonly string[];
  readonly valid_until: string;
}

/**
 * The record stands before the mail goes: a code that somebody holds can be confirmed. Where the mail cannot be queued, what stood there
 * before stands there again.
 */
async function sendTry(
  { records, ownMail, addressBook, hostname, operator, now, randomBytes }: TryParts,
  mailbox: Mailbox,
  by: string,
): Promise<TryAnswer> {
  const resolution = await addressBook.resolve(mailbox);
  const { address } = mailbox;
  if (resolution.kind === 'absent')
    throw new SealpostError('nothing-usable', { detail: [address, ...reasonsOf(resolution.parts)].join('; ') });
  if (resolution.kind === 'unavailable') throw new SealpostError('lookup-unavailable', { detail: address, cause: resolution.cause });
  const key = mailboxKey(mailbox);
  const before = await records.get(TRY, key);
  const code = newCode(randomBytes);
  const salt = randomBytes(SALT_OCTETS).toString('hex');
  const shares = resolution.shares.map((share) => ({ address: share.address, fingerprints: fingerprintsOf(share) }));
  const confirmed = readTry(before?.value ?? '')?.confirmed ?? [];
  const record: TryRecord = { code: { salt, hash: await hashCode(code, salt) }, sentAt: now(), by, attempts: 0, shares, confirmed };
  const value = writeTry(record);
  if (!(await records.change([{ kind: TRY, key, value, was: before?.value ?? null }], []))) throw meanwhile(address);
  try {
    const queueId = await ownMail.send({
      recipient: mailbox,
      resolution,
      subject: 'Can you read this? A test of encrypted mail',
      text: textOf(code, { hostname, operator, by, isShared: shares.length > 1 }),
      events: (id) => [{ event: 'certificate-tried', queue_id: id, recipient: key, ...namesOf(resolution.shares), operator: by }],
    });
    const validUntil = new Date(record.sentAt + VALID_DAYS * DAY_MS).toISOString();
    const sealedTo = shares.map(({ address: whose, fingerprints }) => ({ address: whose, sha256: fingerprints }));
    return { queue_id: queueId, sealed_to: sealedTo, lacking: resolution.lacking, valid_until: validUntil };
  } catch (error) {
    await records.change([{ kind: TRY, key, value: before?.value ?? null, was: value }], []);
    throw error;
  }
}

const fingerprintsOf = ({ chosen }: Share): string[] => chosen.map(({ certificate }) => certificate.fingerprint);

function namesOf(shares: readonly Share[]): Omit<AuditEvent, 'event'> {
  const chosen = shares.flatMap((share) => share.chosen);
  return {
    certificate_sha256: shares.flatMap(fingerprintsOf).join(', '),
    certificate_issuer: chosen.map(({ certificate }) => certificate.issuer).join(', '),
    certificate_serial: chosen.map(({ certificate }) => certificate.serial).join(', '),
    ...(shares.length > 1 ? { members: shares.map(({ address }) => address).join(', ') } : {}),
  };
}

/** Of candidates that are told of; more help nobody. */
const MAX_REASONS = 4;

/** Why what was found is not used: for the operator, as `certs lookup` has it. */
function reasonsOf(parts: readonly Part[]): string[] {
  const rejected = parts.flatMap(({ lookup }) => lookup.rejected);
  return rejected.slice(0, MAX_REASONS).map(({ certificate, reason }) => `SHA-256 ${certificate.fingerprint.slice(0, 16)}: ${reason}`);
}

/** For whom an operator does it (`--by`); the name that the system knows is none of the reader's business. */
function askerOf(by: string): string | undefined {
  const name = /^(.*), typed by [^,]*$/s
    .exec(by)?.[1]
    ?.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, ' ')
    .trim();
  return name === undefined || name === '' ? undefined : Array.from(name).slice(0, MAX_ASKER).join('');
}

/** Characters that leave a line within what mail allows. */
const MAX_ASKER = 60;

interface Trial {
  readonly hostname: string;
  readonly operator: string;
  readonly by: string;
  readonly isShared: boolean;
}

/** It looks like what people are warned of, a mail that wants a code: so it says who sent it, and how to make sure. */
const textOf = (code: string, { hostname, operator, by, isShared }: Trial): string =>
  [
    'This message is encrypted. That you can read it shows that encrypted mail',
    'reaches you.',
    '',
    `    ${code}`,
    '',
    'Please tell this code to the people who run the mail relay: answer to',
    operator,
    'or call them.',
    '',
    'It was sent by the mail relay',
    hostname,
    ...(askerOf(by) === undefined ? [] : ['for', askerOf(by) ?? '']),
    'Not sure that it is genuine? Call the people whom you know there, by a',
    'number that you know, not by one from a mail. The code opens nothing, and',
    'nobody asks you for a password or to open a link.',
    '',
    ...(isShared ? ['The message went to a group: one of you is enough.', ''] : []),
    `The code is good for ${VALID_DAYS} days. There is nothing else to do.`,
    '',
  ].join('\n');

const meanwhile = (address: string): SealpostError =>
  new SealpostError('code-refused', { detail: `another try of ${address} came between`, hint: 'ask again' });

const refused = (detail: string, address: string): SealpostError =>
  new SealpostError('code-refused', { detail, hint: `sealpost certs try ${address} sends a new one` });

/** Answers the fingerprints that it holds for. Every wrong code is counted before it is answered, whatever else is asked at the time. */
async function confirm({ records, now }: TryParts, mailbox: Mailbox, code: string, by: string): Promise<string[]> {
  const { address } = mailbox;
  const key = mailboxKey(mailbox);
  const stored = await records.get(TRY, key);
  const record = readTry(stored?.value ?? '');
  if (stored === undefined || record === undefined) throw refused(`no code was sent to ${address}`, address);
  if (record.code === null) throw refused(`the code that was sent to ${address} is confirmed already`, address);
  if (now() - record.sentAt > VALID_DAYS * DAY_MS)
    throw refused(`the code that was sent to ${address} was good for ${VALID_DAYS} days`, address);
  if (record.attempts >= MAX_ATTEMPTS) throw refused(`${MAX_ATTEMPTS} wrong codes were given for ${address}`, address);
  const right = await isCode(code, record.code);
  const next = right ? withConfirmation(record, { at: now(), by }) : { ...record, attempts: record.attempts + 1 };
  const fingerprints = record.shares.flatMap((share) => share.fingerprints);
  const members = record.shares.length > 1 ? { members: record.shares.map((share) => share.address).join(', ') } : {};
  const event: AuditEvent = {
    event: 'certificate-confirmed',
    recipient: key,
    certificate_sha256: fingerprints.join(', '),
    ...members,
    operator: by,
  };
  if (!(await records.change([{ kind: TRY, key, value: writeTry(next), was: stored.value }], right ? [event] : [])))
    throw meanwhile(address);
  if (right) return fingerprints;
  const left = MAX_ATTEMPTS - next.attempts;
  const more = left === 0 ? 'no more may be given' : `${left} more may be given`;
  throw left === 0
    ? refused(`that is not the code, and ${more}`, address)
    : new SealpostError('code-refused', { detail: `that is not the code: ${more}`, hint: 'ask for the code once more, letter by letter' });
}
