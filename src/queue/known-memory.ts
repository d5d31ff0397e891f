/**
 * What the main thread remembers of known certificates, so that the usual message asks the worker nothing and writes no row: a
 * pair of address and fingerprint is written once a day. Bounded: what was not met for longest goes, and is asked for again.
 */
import type { Logger } from 'pino';
import type { AuditEvent } from '../audit.ts';
import { type CertificateUse, isApproved, type KnownFilter, type KnownStore } from './known.ts';
import type { Operation, Operations, Step } from './requests.ts';

const MAX_REMEMBERED = 20_000;
const DAY_MS = 86_400_000;

export interface KnownMemoryOptions {
  readonly ask: <O extends Operation>(operation: O, ask: Operations[O]['ask']) => Promise<Operations[O]['answer']>;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

export interface KnownMemory {
  readonly store: KnownStore;
  /** Those that the worker must be told of with this message. */
  unwritten(uses: readonly CertificateUse[]): CertificateUse[];
  /** They are durable now, and these of them are changes. */
  written(uses: readonly CertificateUse[], changes: readonly AuditEvent[]): void;
}

export function makeKnownMemory({ ask, now, log }: KnownMemoryOptions): KnownMemory {
  /** Of a pair: the day it was last written; -1 where it is known to be approved, and no more. */
  const used = makeBounded();
  const waiting = makeBounded();
  const today = (): number => Math.floor(now() / DAY_MS);
  const forget = ({ address }: KnownFilter): void => {
    for (const memory of [used, waiting]) memory.forget(address);
  };
  const tell = (changes: readonly AuditEvent[]): void => {
    for (const { event, ...about } of changes) {
      if (event === 'certificate-unlisted') {
        log.warn(about, 'more certificates of a known recipient wait for approval than are listed');
        continue;
      }
      // A renewal is an everyday thing.
      const level = about['same_issuer'] === true && about['waits'] === false ? 'info' : 'warn';
      log[level](about, 'the certificate of a known recipient has changed');
    }
  };
  const change = async <Answer>(filter: KnownFilter, work: () => Promise<Answer>): Promise<Answer> => {
    forget(filter);
    try {
      return await work();
    } finally {
      forget(filter);
    }
  };
  return {
    store: {
      async of(address) {
        const rows = await ask('known', address);
        for (const row of rows) if (isApproved(row) && used.get(row) === undefined) used.set(row, -1);
        return rows;
      },
      page: (since, after) => ask('knownPage', { since, after }),
      remembers: (address, fingerprint) => used.get({ address, fingerprint }) !== undefined,
      async wait(certificate) {
        if (waiting.get(certificate) === today()) return;
        tell(await ask('wait', certificate));
        waiting.set(certificate, today());
      },
      approve: (filter, operator) => change(filter, () => ask('approve', { filter, operator })),
      forget: (filter, operator) => change(filter, () => ask('forget', { filter, operator })),
      async prune() {
        let pruned = 0;
        for (let more = true; more;) {
          const step: Step = await ask('pruneKnown', null);
          pruned += step.changed;
          more = step.next !== null;
        }
        return pruned;
      },
    },
    unwritten: (uses) => uses.filter((use) => used.get(use) !== today()),
    written(uses, changes) {
      for (const use of uses) used.set(use, today());
      tell(changes);
    },
  };
}

type Pair = Pick<CertificateUse, 'address' | 'fingerprint'>;

function makeBounded() {
  const days = new Map<string, number>();
  // No address holds a line feed, and no fingerprint does.
  const keyOf = ({ address, fingerprint }: Pair): string => `${address}\n${fingerprint}`;
  return {
    get: (pair: Pair): number | undefined => days.get(keyOf(pair)),
    set(pair: Pair, day: number): void {
      const key = keyOf(pair);
      days.delete(key);
      days.set(key, day);
      const [oldest] = days.keys();
      if (days.size > MAX_REMEMBERED && oldest !== undefined) days.delete(oldest);
    },
    forget(address: string): void {
      for (const key of days.keys()) if (key.startsWith(`${address}\n`)) days.delete(key);
    },
  };
}
