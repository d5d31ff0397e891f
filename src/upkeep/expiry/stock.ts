/**
 * All certificates of the site at one time, for the steps of the daily round: what is due, what waits for approval, how many there are. A
 * look at a hundred thousand verifies as many signatures; mail comes first, so the thread is left alone for as long as it was held.
 */
import { setTimeout as after } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ISSUED, type IssuedRecord, readLedger } from '../../certificates/authority/ledger.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { makeTally, type Series } from '../../certificates/expiry/series.ts';
import { makeSurvey, type Survey } from '../../certificates/expiry/survey.ts';
import type { PlacedCertificate } from '../../certificates/folder.ts';
import type { SiteCertificates } from '../../certificates/site.ts';
import { SealpostError } from '../../errors.ts';
import { parseMailbox } from '../../message/envelope.ts';
import type { KnownCertificate, KnownStore } from '../../queue/known.ts';
import type { RecordStore } from '../../queue/records.ts';
import { holdingsOf, USED_MS } from './holdings.ts';

export interface Stock {
  /** Ms since the epoch. */
  readonly at: number;
  readonly survey: Survey;
  readonly series: Series;
  /** Changed certificates that wait for approval under a pin. */
  readonly waiting: readonly Pick<KnownCertificate, 'address' | 'fingerprint'>[];
  /** What the in-house CA has issued, by fingerprint. */
  readonly issued: ReadonlyMap<string, IssuedRecord>;
}

export interface StockParts {
  readonly certificates: Pick<SiteCertificates, 'recipients' | 'trust'>;
  readonly store: { readonly records: Pick<RecordStore, 'list'>; readonly known: Pick<KnownStore, 'page'> };
  /** certificates.pin */
  readonly pinned: boolean;
  /** ms; the longest time ahead that the survey is asked for. */
  readonly horizon: number;
  readonly now: () => number;
  /** Told of damaged records, which are left out. */
  readonly log?: Pick<Logger, 'error'>;
}

/** How long the thread is held at most, and left alone in turn. */
const SLICE_MS = 10;
/** Of the certificates that wait. */
const MAX_WAITING = 10_000;

/** Throws where a folder, trust or the records cannot be read: a part of the stock would read as the whole. */
export async function takeStock({ certificates, store, pinned, horizon, now, log }: StockParts, signal: AbortSignal): Promise<Stock> {
  const at = now();
  const survey = makeSurvey({ now: at, horizon });
  const tally = makeTally(at);
  const issued = await readIssuedWhole(store.records, log);
  const waiting: KnownCertificate[] = [];
  const pause = makePause(signal);
  const known = knownSince(store.known, pinned ? 0 : at - USED_MS, (row) => {
    if (row.state === 'waiting' && waiting.length < MAX_WAITING) waiting.push(row);
  });
  const holdings = holdingsOf({
    placed: placedIn(certificates.recipients),
    isTrusted: (certificate) => isTrusted(certificate, certificates.trust, signal),
    folders: certificates.recipients.map(({ path }) => path),
    known,
    issued,
    pinned,
    now: at,
  });
  for await (const holding of holdings) {
    survey.take(holding);
    if (holding.first) tally.take(holding);
    await pause();
  }
  return { at, survey, series: tally.series(), waiting, issued };
}

/** By fingerprint; a damaged record keeps nobody from the others. */
async function readIssuedWhole(records: Pick<RecordStore, 'list'>, log: StockParts['log']): Promise<ReadonlyMap<string, IssuedRecord>> {
  const ledger = readLedger(await records.list(ISSUED));
  const { damaged, lost } = ledger;
  if (damaged.length + lost.length > 0) log?.error({ serials: [...damaged, ...lost] }, 'the ledger of the in-house CA has damaged records');
  return new Map(ledger.records.map((record) => [record.fingerprint, record]));
}

async function* placedIn(folders: SiteCertificates['recipients']): AsyncGenerator<PlacedCertificate> {
  for (const folder of folders) yield* folder.entries();
}

async function* knownSince(
  store: Pick<KnownStore, 'page'>,
  since: number,
  see: (row: KnownCertificate) => void,
): AsyncGenerator<KnownCertificate> {
  for (let page = await store.page(since, null); page.length > 0; page = await store.page(since, page.at(-1) ?? null))
    for (const row of page) {
      see(row);
      yield row;
    }
}

async function isTrusted(certificate: Certificate, trust: SiteCertificates['trust'], signal: AbortSignal): Promise<boolean> {
  const verdict = parseMailbox(certificate.addresses[0] ?? '');
  if (verdict.kind === 'fault') return false;
  const trusted = await trust.judge(certificate, verdict.mailbox, signal);
  // By the lists at hand it may stay unknown: then mail waits, which is not the matter of its end.
  if (trusted.kind === 'unavailable' && trusted.reason === undefined)
    throw new SealpostError('lookup-unavailable', { detail: 'a certificate cannot be judged now', cause: trusted.cause });
  return trusted.kind === 'trusted';
}

function makePause(signal: AbortSignal): () => Promise<void> {
  let begun = performance.now();
  return async () => {
    if (performance.now() - begun < SLICE_MS) return;
    await after(SLICE_MS, undefined, { signal });
    begun = performance.now();
  };
}
