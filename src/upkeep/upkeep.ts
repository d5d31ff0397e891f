/**
 * What the relay does about certificates from day to day, beside the path of mail: the parts, and how they are joined. relay.ts
 * builds it, prepares it, starts it once mail flows, and stops it before the queue closes; commands reach it through the control socket.
 */
import type { Logger } from 'pino';
import type { SiteCertificates } from '../certificates/site.ts';
import type { Config } from '../config.ts';
import type { Environment } from '../config/environment.ts';
import type { ControlHandlers } from '../control.ts';
import type { QueueStore } from '../queue/queue.ts';
import type { RecordStore } from '../queue/records.ts';
import { makeCrlUpkeep } from './crl-upkeep.ts';
import { type CertificateSeries, makeDaily } from './expiry/daily.ts';
import { makeTellers } from './expiry/tellers.ts';
import { harvestHandlers } from './harvest-control.ts';
import type { Harvested } from './harvested.ts';
import { issuedHandlers } from './issued.ts';
import { makeHeldTeller } from './held-teller.ts';
import type { OwnMail } from './own-mail.ts';
import { CRL, revocationHandlers } from './revoked.ts';
import type { Step } from './round.ts';
import { tryHandlers } from './try.ts';

export interface UpkeepParts {
  readonly config: Config;
  readonly store: Pick<QueueStore, 'records' | 'known' | 'record' | 'list' | 'stats'>;
  readonly certificates: SiteCertificates;
  readonly ownMail: OwnMail;
  readonly harvested: Harvested;
  /** Deletes what is older than is to be kept of the audit log; answers how many files. */
  readonly pruneAudit: () => Promise<number>;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly randomBytes: (octets: number) => Buffer;
  readonly env: Environment;
  readonly log: Logger;
}

export interface Upkeep {
  /** For the control socket. */
  readonly handlers: ControlHandlers;
  /** What the first message must find: called before mail flows. Never throws. */
  prepare(): Promise<void>;
  /** Throws where something that the configuration asks for cannot be had. */
  start(): Promise<void>;
  /** Numbers about certificates, of the last daily round; undefined until there was one. */
  series(): CertificateSeries | undefined;
  /** Waits for what is under way. */
  stop(): Promise<void>;
}

export function makeUpkeep(parts: UpkeepParts): Upkeep {
  const { config, certificates, ownMail, harvested, now, randomBytes, env, log } = parts;
  const { hostname, operator } = config;
  const lists = makeCrlUpkeep({ config, records: parts.store.records, now, env, log });
  const store = { ...parts.store, records: watchingLists(parts.store.records, () => lists.refreshSoon()) };
  const refresh: Step = { name: 'lists', run: async () => lists.refreshLists().then(() => ({})) };
  const pruning: Step = { name: 'audit', run: async () => ({ audit_files_pruned: await parts.pruneAudit() }) };
  const tellers = [...makeTellers(config, store.records, now), makeHeldTeller(store, config.hold.maxAge, now)];
  const daily = makeDaily({ ...parts, store }, { first: [refresh, pruning], tellers });
  const handlers = {
    ...issuedHandlers(store.records),
    ...revocationHandlers(store.records),
    ...harvestHandlers(store, harvested),
    ...tryHandlers({ records: store.records, addressBook: certificates.addressBook, ownMail, hostname, operator, now, randomBytes }),
  };
  return {
    handlers,
    prepare: () => lists.prepare(),
    start: async () => {
      await lists.start();
      await daily.start();
    },
    stop: async () => {
      await daily.stop();
      await lists.stop();
    },
    series: () => daily.series(),
  };
}

/** Whoever revokes writes the list too, unless they are killed before, or are a step of the daily round; then the lists' own part does. */
const watchingLists = (records: RecordStore, refresh: () => void): RecordStore => ({
  get: (kind, key) => records.get(kind, key),
  list: (kind) => records.list(kind),
  change: async (changes, events) => {
    const changed = await records.change(changes, events);
    if (changed && changes.some(({ kind }) => kind === CRL)) refresh();
    return changed;
  },
});
