/**
 * Tells readers that their certificate ends, while it can still seal what they are told: at each of `certificates.expiry.notify` once.
 * Off where the list is empty.
 *
 * Told is whose mail is sealed to that certificate: not where another of the address lasts, nor a group or an alias, whose mail goes to
 * others. Mail was sealed to it within a year, or the in-house CA has issued it: who never gets sealed mail need not be told of it.
 * The mail is queued before it is noted down: a crash in between tells twice, which harms less than not at all.
 */
import type { Logger } from 'pino';
import { DAY_MS } from '../../certificates/authority/issue.ts';
import { daysLeft, type Due, isCovered } from '../../certificates/expiry/survey.ts';
import type { SiteCertificates } from '../../certificates/site.ts';
import { day } from '../../certificates/usability.ts';
import { asSealpostError, type ErrorCode } from '../../errors.ts';
import { type Mailbox, parseMailbox } from '../../message/envelope.ts';
import type { KnownStore } from '../../queue/known.ts';
import type { RecordStore } from '../../queue/records.ts';
import type { OwnMail } from '../own-mail.ts';
import type { Counts, Step } from '../round.ts';
import type { Stock } from './stock.ts';
import { noticeText } from './words.ts';

/** Of the record store: key `fingerprint address`, value `{ step, until }` in ms. */
export const TOLD = 'told';

/** A day; the rest is told the next day. */
const MAX_A_DAY = 1000;
const USED_MS = 365 * DAY_MS;
const KEPT_MS = 90 * DAY_MS;
const STORE_FAILED: ReadonlySet<ErrorCode> = new Set(['storage-failed', 'storage-full', 'audit-failed', 'shutting-down']);

export interface NoticeParts {
  /** ms before the end. */
  readonly steps: readonly number[];
  readonly stock: (signal: AbortSignal) => Promise<Stock>;
  /** Serials of certificates that the relay has renewed by itself: their readers have had mail of that. */
  readonly renewed: () => Promise<ReadonlySet<string>>;
  readonly store: { readonly records: RecordStore; readonly known: Pick<KnownStore, 'of'> };
  readonly certificates: Pick<SiteCertificates, 'addressBook'>;
  readonly ownMail: OwnMail;
  readonly operator: string;
  readonly now: () => number;
  readonly log: Logger;
}

interface Told {
  /** The narrowest step that was told. */
  readonly step: number;
  readonly until: number;
}

export function makeNoticeStep(parts: NoticeParts): Step {
  const { steps, stock, renewed, store, now } = parts;
  return {
    name: 'notices',
    async run(signal): Promise<Counts> {
      const told = await readTold(store.records, now());
      if (steps.length === 0) return {};
      const { survey } = await stock(signal);
      const done = await renewed();
      let room = MAX_A_DAY - told.today;
      let [sent, unsent] = [0, 0];
      for (const due of survey.due(Math.max(...steps))) {
        if (signal.aborted || room === 0) break;
        const step = stepOf(due, steps, now());
        if (step === undefined || done.has(due.serial)) continue;
        const before = told.by.get(keyOf(due));
        if (before !== undefined && before.step <= step) continue;
        const verdict = await tell(due, step, parts);
        if (verdict === 'told') [sent, room] = [sent + 1, room - 1];
        if (verdict === 'unsent') unsent++;
      }
      return { readers_told: sent, readers_not_told: unsent };
    },
  };
}

const keyOf = ({ fingerprint, address }: Pick<Due, 'fingerprint' | 'address'>): string => `${fingerprint} ${address}`;

/** The narrowest step that has come; undefined where none has, it has ended, or nothing ends for the address within it. */
function stepOf(due: Due, steps: readonly number[], now: number): number | undefined {
  const left = due.notAfter - now;
  if (left <= 0 || due.standing !== 'usable') return undefined;
  const come = steps.filter((step) => left <= step);
  return come.length === 0 || isCovered(due, now, now + Math.min(...come)) ? undefined : Math.min(...come);
}

/** `unsent`: it could not be sealed or queued now; it is tried again the next day, and the others are told. */
async function tell(due: Due, step: number, parts: NoticeParts): Promise<'told' | 'unsent' | 'nobody'> {
  const { store, ownMail, operator, now, log } = parts;
  const { address, fingerprint, notAfter } = due;
  try {
    const mailbox = await readerOf(due, parts);
    if (mailbox === undefined) return 'nobody';
    await ownMail.send({
      recipient: mailbox,
      subject: `Your certificate for sealed mail ends on ${day(new Date(notAfter))}`,
      text: noticeText(due, { days: daysLeft(notAfter, now()), operator }),
    });
  } catch (error) {
    // The queue or its disk: nobody else could be told either.
    if (STORE_FAILED.has(asSealpostError(error).code)) throw error;
    log.warn({ recipient: address, err: error }, 'a reader could not be told that their certificate ends');
    return 'unsent';
  }
  const value: Told = { step, until: notAfter };
  await store.records.change(
    [{ kind: TOLD, key: keyOf(due), value: JSON.stringify(value) }],
    [
      {
        event: 'expiry-told',
        recipient: address,
        certificate_sha256: fingerprint,
        not_after: new Date(notAfter).toISOString(),
        about: `${Math.round(step / DAY_MS)}d`,
      },
    ],
  );
  return 'told';
}

/** Undefined where mail to the address is not sealed to that certificate, or to others too, or was not for long. */
async function readerOf({ address, fingerprint, inHouse }: Due, { store, certificates, now }: NoticeParts): Promise<Mailbox | undefined> {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault') return undefined;
  if (!inHouse) {
    const rows = await store.known.of(address);
    const used = rows.some((row) => row.fingerprint === fingerprint && row.state === 'used' && row.lastAt >= now() - USED_MS);
    if (!used) return undefined;
  }
  const found = await certificates.addressBook.resolve(verdict.mailbox);
  if (found.kind !== 'found') return found.kind === 'absent' ? undefined : verdict.mailbox;
  const own =
    found.way === 'address' && found.shares.some(({ chosen }) => chosen.some((one) => one.certificate.fingerprint === fingerprint));
  return own ? verdict.mailbox : undefined;
}

/** What was told, and how much of it within a day; what is of no use any more is forgotten. */
async function readTold(records: RecordStore, now: number): Promise<{ readonly by: ReadonlyMap<string, Told>; readonly today: number }> {
  const by = new Map<string, Told>();
  let today = 0;
  const old: string[] = [];
  for (const { key, value, at } of await records.list(TOLD)) {
    const told = parseTold(value);
    if (told === undefined || told.until < now - KEPT_MS) old.push(key);
    else by.set(key, told);
    if (at <= now && at > now - DAY_MS) today++;
  }
  for (let from = 0; from < old.length; from += 500)
    await records.change(
      old.slice(from, from + 500).map((key) => ({ kind: TOLD, key, value: null })),
      [],
    );
  return { by, today: Math.min(today, MAX_A_DAY) };
}

function parseTold(value: string): Told | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    if (typeof parsed !== 'object' || parsed === null) return undefined;
    const { step, until }: Readonly<Record<string, unknown>> = { ...parsed };
    return typeof step === 'number' && typeof until === 'number' ? { step, until } : undefined;
  } catch {
    return undefined;
  }
}
