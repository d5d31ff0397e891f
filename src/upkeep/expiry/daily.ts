/** The daily round about certificates that end, joined: renewals, readers, the operator, and the numbers for whoever watches. */
import type { OpenAuthority } from '../../certificates/authority/files.ts';
import { openAuthority } from '../../certificates/authority/files.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import type { Series } from '../../certificates/expiry/series.ts';
import { day } from '../../certificates/usability.ts';
import { certificateUse } from '../../change-control.ts';
import type { Config } from '../../config.ts';
import type { Environment } from '../../config/environment.ts';
import { readSecret } from '../../config/secret.ts';
import { asSealpostError } from '../../errors.ts';
import { writeOwnCertificate } from '../own-certificates.ts';
import { makeRound, type Round, type RoundResult, type Step } from '../round.ts';
import type { UpkeepParts } from '../upkeep.ts';
import { fateOf } from './fate.ts';
import { BY_RELAY } from './mailed.ts';
import { makeNoticeStep } from './notices.ts';
import { listRenewals, type Renewal } from './renewal-record.ts';
import { makeRenewalStep } from './renewals.ts';
import { type Stock, takeStock } from './stock.ts';
import { makeSummaryStep } from './summary.ts';
import type { Item } from './words.ts';

/** Of the parts of upkeep those that the daily work needs. */
export type DailyParts = Pick<UpkeepParts, 'config' | 'store' | 'certificates' | 'ownMail' | 'now' | 'env' | 'log'>;

/** What others have to tell in the summary; `since`: when the last one was sent, ms since the epoch. */
export type Teller = (since: number, stock: Stock) => Promise<readonly Item[]>;

export interface Daily {
  readonly round: Round;
  /** Of the last round; undefined until there was one. */
  series(): CertificateSeries | undefined;
  /** Says in the log what keeps the relay from doing what the configuration asks for. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Numbers only: what is on a page of metrics is read by anybody. */
export interface CertificateSeries extends Series {
  /** Changed ones that wait for approval. */
  readonly waiting: number;
  readonly round: RoundResult;
}

/** What one look at all certificates may serve: the steps of one round. */
const STOCK_MS = 10 * 60_000;

/** `first`: steps of other parts, before these. */
export function makeDaily(parts: DailyParts, others: { readonly first: readonly Step[]; readonly tellers: readonly Teller[] }): Daily {
  const { config, store, certificates, ownMail, now, env, log } = parts;
  const { records, known } = store;
  const { expiry, authority, pin: pinned } = config.certificates;
  const { operator } = config;
  const before = authority.renew?.before;
  const horizon = Math.max(expiry.within, before ?? 0, ...expiry.notify);
  let last: Stock | undefined;
  let numbers: Pick<CertificateSeries, keyof Series | 'waiting'> | undefined;
  const stock = async (signal: AbortSignal): Promise<Stock> => {
    if (last !== undefined && Math.abs(now() - last.at) <= STOCK_MS) return last;
    last = await takeStock({ certificates, store, pinned, horizon, now, log }, signal);
    numbers = { ...last.series, waiting: last.waiting.length };
    return last;
  };
  const renewed = async (): Promise<ReadonlySet<string>> =>
    new Set([...(await listRenewals(records))].flatMap(([serial, { state }]) => (state === 'mailed' || state === 'done' ? [serial] : [])));
  const approve = async (address: string, certificate: Certificate): Promise<void> => {
    if (!pinned) return;
    const found = { certificate, source: 'data/certs', place: 'data/certs' };
    await known.wait(certificateUse(address, found, { pinned, queueId: null }));
    await known.approve({ address, fingerprint: certificate.fingerprint }, BY_RELAY);
  };
  const place = async (certificate: Certificate): Promise<void> => {
    await writeOwnCertificate(config, certificate);
  };
  const common = { stock, records, store, certificates, ownMail, operator, now, log };
  /** Of a hundred thousand certificates it is too much to keep until the next day. */
  const letGo = (step: Step): Step => ({ ...step, run: (signal) => step.run(signal).finally(() => (last = undefined)) });
  const steps: Step[] = [
    ...others.first,
    // Whoever watches wants the numbers also where nobody is told of anything.
    { name: 'stock', run: async (signal) => ({ certificates: (await stock(signal)).series.usable }) },
    makeRenewalStep({
      ...common,
      before,
      crlUrl: config.certificates.authority.crl?.url,
      authority: () => openIssuing(config, env),
      fateOf: (queueId) => fateOf(queueId, store),
      place,
      approve,
    }),
    makeNoticeStep({ ...common, steps: expiry.notify, renewed }),
    letGo(
      makeSummaryStep({
        ...common,
        mode: expiry.summary,
        within: expiry.within,
        underWay: async () => underWay(await listRenewals(records), now()),
        others: [(since) => tellRenewals(since, records, now()), ...others.tellers],
      }),
    ),
  ];
  const round = makeRound({ steps, records, now, log });
  return {
    round,
    series: () => {
      const result = round.last();
      return numbers === undefined || result === undefined ? undefined : { ...numbers, round: result };
    },
    start: async () => {
      const reason = await renewalFault(config, env);
      if (reason !== undefined) log.warn({ reason }, 'certificates of the in-house CA cannot be renewed by the relay');
      round.start();
    },
    stop: () => round.stop(),
  };
}

/** Throws what reading the passphrase and the keys does. */
async function openIssuing(config: Pick<Config, 'certificates' | 'keys'>, env: Environment): Promise<OpenAuthority> {
  const { authority, trust } = config.certificates;
  const passphrase = authority.passphrase === undefined ? undefined : await readSecret(authority.passphrase, env);
  return openAuthority({ keys: config.keys, anchors: trust.anchors, intermediates: trust.intermediates }, passphrase);
}

/** Why the relay, as the user that asks, cannot renew by itself; undefined where it can, or is not asked to. */
export async function renewalFault(config: Pick<Config, 'certificates' | 'keys'>, env: Environment): Promise<string | undefined> {
  if (config.certificates.authority.renew === undefined) return undefined;
  try {
    await openIssuing(config, env);
    return undefined;
  } catch (error) {
    return asSealpostError(error).message;
  }
}

/** Serials of certificates whose renewal goes its way: they need nobody's care, and are told of as renewed, or as failed, in the end. */
function underWay(renewals: ReadonlyMap<string, Renewal>, now: number): ReadonlySet<string> {
  // What was laid down just now may not have been read from its folder yet.
  const is = ({ state, doneAt }: Renewal): boolean => state === 'mailed' || (state === 'done' && (doneAt ?? 0) > now - STOCK_MS);
  return new Set([...renewals].flatMap(([serial, renewal]) => (is(renewal) ? [serial] : [])));
}

/** What has ended unrenewed is told as ended. */
async function tellRenewals(since: number, records: UpkeepParts['store']['records'], now: number): Promise<readonly Item[]> {
  return [...(await listRenewals(records))].flatMap(([serial, { state, address, until, at, doneAt, reason }]): Item[] => {
    const end = day(new Date(until));
    if (reason !== null)
      return until < now ? [] : [{ key: `failed ${serial} ${reason}`, section: 'failed', line: `${end}  ${address}  ${reason}` }];
    if (state !== 'done' || (doneAt ?? at) < since) return [];
    return [{ key: `renewed ${serial}`, section: 'renewed', line: `${address}, whose certificate ends on ${end}` }];
  });
}
