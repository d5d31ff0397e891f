/** 4 KB mails of twenty one-message clients, through a relay to smtp-sink: ours, which seals, beside Postfix, which passes in clear. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { missingPostfix, startPostfix } from '../interop/postfix.ts';
import { startSink, type Sink } from '../interop/sink.ts';
import { until } from '../interop/ports.ts';
import { sendLoad } from './load.ts';
import type { Owner } from './owner.ts';
import { comparePairs, showSpread } from './pairs.ts';

const CLIENTS = 20;
const OCTETS = 4096;
const MESSAGES = 1000;
const PAIRS = 5;
const DELIVERY_TIMEOUT_MS = 120_000;
const ENVELOPE = { from: 'forms@clinic.example', to: 'anna@clinic.example' };

/** A relay that takes mail for anna@clinic.example on a loopback port and hands all of it to `relayTo`. */
export interface RelayUnderTest {
  readonly port: number;
}

/** What it starts it hands to `owner`. */
export type StartRelay = (options: { readonly relayTo: { readonly port: number }; readonly owner: Owner }) => Promise<RelayUnderTest>;

/** Messages a second until the sink has all of them, and until the last 250. */
interface Rates {
  readonly delivered: number;
  readonly accepted: number;
}

async function relayAll(port: number, sink: Sink): Promise<Rates> {
  const before = sink.received();
  const start = performance.now();
  const { perSecond } = await sendLoad({ port, clients: CLIENTS, messages: MESSAGES, octets: OCTETS, ...ENVELOPE });
  await until('everything is delivered', () => sink.received() - before >= MESSAGES, DELIVERY_TIMEOUT_MS);
  return { delivered: (MESSAGES * 1000) / (performance.now() - start), accepted: perSecond };
}

/** Prints both rates of both and the ratio of what was delivered. */
export async function benchRelaying(startRelay: StartRelay, print: (line: string) => void, owner: Owner): Promise<void> {
  const missing = missingPostfix();
  if (missing !== undefined) return print(`relaying: skipped, ${missing}`);
  const start = async (begin: StartRelay): Promise<() => Promise<Rates>> => {
    const sink = await ownSink(owner);
    const relay = await begin({ relayTo: sink, owner });
    return () => relayAll(relay.port, sink);
  };
  const theirs = await start(startTheirRelay);
  await compare(await start(startRelay), theirs, print);
}

/** smtp-sink, ended by `owner`. */
export async function ownSink(owner: Owner): Promise<Sink> {
  const sink = await startSink();
  owner.after(() => sink.stop());
  return sink;
}

const startTheirRelay: StartRelay = async ({ relayTo, owner }) => {
  const dir = await mkdtemp(join(tmpdir(), 'bench-postfix-'));
  owner.after(() => rm(dir, { recursive: true, force: true }));
  const postfix = await startPostfix({ relayTo, dir });
  owner.after(() => postfix.stop());
  return { port: postfix.port };
};

async function compare(ours: () => Promise<Rates>, theirs: () => Promise<Rates>, print: (line: string) => void): Promise<void> {
  const accepted: { ours: number[]; theirs: number[] } = { ours: [], theirs: [] };
  const run = async (who: 'ours' | 'theirs', work: () => Promise<Rates>): Promise<number> => {
    const rates = await work();
    accepted[who].push(rates.accepted);
    return rates.delivered;
  };
  const result = await comparePairs(
    PAIRS,
    () => run('ours', ours),
    () => run('theirs', theirs),
  );
  const best = (values: readonly number[]): string => Math.max(...values).toFixed(0);
  print(
    `relaying ${OCTETS} octets, ${CLIENTS} clients: ratio ${showSpread(result.ratio, 2)} of Postfix in clear (min / median / max of ${PAIRS} pairs); ` +
      `delivered ours ${showSpread(result.ours, 0)}, Postfix ${showSpread(result.theirs, 0)} a second; ` +
      `accepted at best ours ${best(accepted.ours)}, Postfix ${best(accepted.theirs)}`,
  );
}
