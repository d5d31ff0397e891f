/** Postfix's smtp-source: a client that costs as little as one can, so that what is measured is the relay. */
import { performance } from 'node:perf_hooks';
import { LOOPBACK, until } from '../interop/ports.ts';
import { succeed } from '../interop/programs.ts';
import { startSink, type Sink } from '../interop/sink.ts';
import type { Owner } from './owner.ts';

export interface Mails {
  /** How many clients there are at a time; each sends one mail on a connection of its own, as form scripts do. */
  readonly clients: number;
  readonly messages: number;
  /** Octets of the text of each. */
  readonly octets: number;
}

export const SENDER = 'forms@clinic.example';
export const READER = 'anna@clinic.example';
const DELIVERY_TIMEOUT_MS = 240_000;

/** smtp-sink, ended by `owner`. */
export async function ownSink(owner: Owner): Promise<Sink> {
  const sink = await startSink();
  owner.after(() => sink.stop());
  return sink;
}

/** Sends them all; rejects at the first reply that is not the one wanted. Answers ms until the last 250. */
export async function sendMails(port: number, { clients, messages, octets }: Mails, to = READER): Promise<number> {
  const counts = ['-s', clients, '-m', messages, '-l', octets].map(String);
  const start = performance.now();
  await succeed('smtp-source', [...counts, '-f', SENDER, '-t', to, `${LOOPBACK}:${port}`]);
  return performance.now() - start;
}

/** Sends them and waits until `sink` has every one; answers ms. */
export async function relayMails(port: number, sink: Sink, mails: Mails): Promise<number> {
  const before = sink.received();
  const start = performance.now();
  await sendMails(port, mails);
  await until('everything is delivered', () => sink.received() - before >= mails.messages, DELIVERY_TIMEOUT_MS);
  const elapsed = performance.now() - start;
  if (sink.received() - before !== mails.messages) throw new Error(`${sink.received() - before} mails came of ${mails.messages} sent`);
  return elapsed;
}
