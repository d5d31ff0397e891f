/**
 * The operator's summary: sealed to them like any mail of the relay's own, or not sent at all. By `certificates.expiry.summary`:
 *
 *   changes   on a day with something that the last summary did not tell; while something is due at least weekly, so that what nobody
 *             mended is not forgotten, and what stays as it is does not wear people out
 *   daily     every day, also to say that nothing is due
 *   off       never
 *
 * What was told is remembered by hashes, not by dates: a certificate that was laid into the folder a week before its end is news too.
 */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { DAY_MS } from '../../certificates/authority/issue.ts';
import { isCovered } from '../../certificates/expiry/survey.ts';
import { SealpostError } from '../../errors.ts';
import { parseMailbox } from '../../message/envelope.ts';
import type { RecordStore } from '../../queue/records.ts';
import type { OwnMail } from '../own-mail.ts';
import type { Counts, Step } from '../round.ts';
import type { Stock } from './stock.ts';
import { dueLine, type Item, summaryText } from './words.ts';

export type SummaryMode = 'changes' | 'daily' | 'off';

/** Of the record store; its one record: `{ at, told }`. */
export const SUMMARY = 'summary';
const LAST = 'last';

/** While something is due. An hour less than a week: a round may come some minutes early. */
const WEEK_MS = 7 * DAY_MS - 3_600_000;
/** What ended longer ago is counted, and no longer a reason for a summary. */
const OLD_MS = 90 * DAY_MS;
const HASH_OCTETS = 6;
/** In the record. Of more, one hash over all of them says whether anything has changed. */
const MAX_TOLD = 8000;

export interface SummaryParts {
  readonly mode: SummaryMode;
  /** ms before the end. */
  readonly within: number;
  readonly stock: (signal: AbortSignal) => Promise<Stock>;
  /** Serials of certificates that end and are being renewed. */
  readonly underWay: () => Promise<ReadonlySet<string>>;
  /** What other parts have to tell: `since` is when the last summary was sent, ms since the epoch. */
  readonly others: readonly ((since: number, stock: Stock) => Promise<readonly Item[]>)[];
  readonly records: RecordStore;
  readonly ownMail: OwnMail;
  readonly operator: string;
  readonly now: () => number;
  readonly log: Logger;
}

/** Of the last summary that was sent. */
export interface LastSummary {
  readonly at: number;
  readonly told: string;
}

export function makeSummaryStep(parts: SummaryParts): Step {
  const { mode, stock, records, ownMail, operator, now, log } = parts;
  return {
    name: 'summary',
    async run(signal): Promise<Counts> {
      if (mode === 'off') return {};
      const at = now();
      const last = await readLast(records, at);
      const { items, old } = await gather(parts, await stock(signal), last?.at ?? 0);
      if (!isDue(mode, items, last, at)) return { summary: 0 };
      const verdict = parseMailbox(operator);
      if (verdict.kind === 'fault') throw new SealpostError('address-invalid', { detail: operator });
      try {
        await ownMail.send({ recipient: verdict.mailbox, subject: subjectOf(items), text: summaryText(items, { old }) });
      } catch (error) {
        if (!(error instanceof SealpostError) || error.code !== 'certificate-missing') throw error;
        log.warn({ recipient: operator }, 'the summary is not sent: the operator has no usable certificate');
        return { summary: 0 };
      }
      await records.change(
        [{ kind: SUMMARY, key: LAST, value: JSON.stringify({ at, told: hashesOf(items) }) }],
        [{ event: 'summary-sent', recipient: operator, ...countsOf(items) }],
      );
      return { summary: 1 };
    },
  };
}

async function gather(
  { within, others, underWay }: SummaryParts,
  stock: Stock,
  since: number,
): Promise<{ readonly items: readonly Item[]; readonly old: number }> {
  const { survey, at, waiting } = stock;
  const items: Item[] = [];
  let old = 0;
  const renewing = await underWay();
  for (const due of survey.due(within)) {
    if (isCovered(due, at, at + within)) continue;
    const ended = due.notAfter < at;
    if (!ended && renewing.has(due.serial)) continue;
    if (due.notAfter < at - OLD_MS) old++;
    else {
      const section = ended ? 'ended' : 'ending';
      items.push({ key: `${section} ${due.fingerprint} ${due.address}`, section, line: dueLine(due) });
    }
  }
  for (const { address, fingerprint } of waiting)
    items.push({ key: `waiting ${fingerprint} ${address}`, section: 'waiting', line: `${address}  SHA-256 ${fingerprint.slice(0, 16)}` });
  for (const other of others) items.push(...(await other(since, stock)));
  return { items, old };
}

/** Renewals are news and nothing to be done. */
const isOpen = ({ section }: Item): boolean => section !== 'renewed';

/** Pure. `now` in ms. */
export function isDue(mode: SummaryMode, items: readonly Item[], last: LastSummary | undefined, now: number): boolean {
  if (mode !== 'changes') return mode === 'daily';
  if (items.length === 0) return false;
  if (last === undefined) return true;
  return hasNews(items, last.told) || (items.some(isOpen) && now - last.at >= WEEK_MS);
}

function hasNews(items: readonly Item[], told: string): boolean {
  if (items.length > MAX_TOLD) return hashesOf(items) !== told;
  const octets = Buffer.from(told, 'base64');
  const known = new Set<string>();
  for (let at = 0; at < octets.length; at += HASH_OCTETS) known.add(octets.toString('hex', at, at + HASH_OCTETS));
  return items.some((item) => !known.has(hashOf(item).toString('hex')));
}

const hashOf = ({ key }: Item): Buffer => createHash('sha256').update(key).digest().subarray(0, HASH_OCTETS);

/** In base64. */
export function hashesOf(items: readonly Item[]): string {
  const hashes = items.map(hashOf).toSorted((a, b) => Buffer.compare(a, b));
  const all = Buffer.concat(hashes);
  return (items.length > MAX_TOLD ? createHash('sha256').update(all).digest().subarray(0, HASH_OCTETS) : all).toString('base64');
}

/** A time ahead of the clock was written before it was set back: it counts as now, so that the week begins anew. */
async function readLast(records: RecordStore, now: number): Promise<LastSummary | undefined> {
  const stored = await records.get(SUMMARY, LAST);
  const last = stored === undefined ? undefined : parseLast(stored.value);
  if (last === undefined || last.at <= now) return last;
  const at = { ...last, at: now };
  await records.change([{ kind: SUMMARY, key: LAST, value: JSON.stringify(at) }], []);
  return at;
}

function parseLast(value: string): LastSummary | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    if (typeof parsed !== 'object' || parsed === null) return undefined;
    const { at, told }: Readonly<Record<string, unknown>> = { ...parsed };
    return typeof at === 'number' && typeof told === 'string' ? { at, told } : undefined;
  } catch {
    return undefined;
  }
}

function countsOf(items: readonly Item[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { section } of items) counts[section] = (counts[section] ?? 0) + 1;
  return counts;
}

function subjectOf(items: readonly Item[]): string {
  const { ended = 0, ending = 0 } = countsOf(items);
  if (ended + ending === 0) return 'Certificates: summary';
  return `Certificates: ${[...(ended > 0 ? [`${ended} ended`] : []), ...(ending > 0 ? [`${ending} end soon`] : [])].join(', ')}`;
}
