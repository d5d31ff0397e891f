/**
 * Mails through a relay to smtp-sink: ours, which seals, beside Postfix, which passes them in clear, and beside Postfix with a filter
 * that calls openssl for each. All of them on one file system, one after the other; afterwards mails that went the same way are opened.
 */
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeReaders, type Readers } from '../interop/fixtures.ts';
import { freePort, until } from '../interop/ports.ts';
import { missingPostfix, startPostfix, type PostfixOptions } from '../interop/postfix.ts';
import { missingPrograms, run } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import type { Sink } from '../interop/sink.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import type { Bench } from './figures.ts';
import { startOurs } from './ours.ts';
import type { Owner } from './owner.ts';
import { comparePairs, showSpread } from './pairs.ts';
import { type Mails, ownSink, relayMails, sendMails } from './source.ts';

/** A relay that takes mail for anna@clinic.example on a loopback port and hands all of it to `sink`. */
export interface Rival {
  readonly port: number;
  readonly sink: Sink;
  /** Who open what it sealed; undefined where it passes mail in clear. */
  readonly readers: Readers | undefined;
}

const SAMPLES = 5;
/** What smtp-source fills its lines with. */
const TEXT = 'XXXXXXXXXX';

export async function ourRival(owner: Owner): Promise<Rival> {
  const sink = await ownSink(owner);
  const upstream = [{ host: '127.0.0.1', port: sink.port, concurrency: 20 }];
  const { site, relay } = await startOurs(owner, { upstreamPort: sink.port, config: { upstream } });
  return { port: relay.port, sink, readers: site.readers };
}

export async function clearPostfix(owner: Owner, print: Bench['print']): Promise<Rival> {
  const sink = await ownSink(owner);
  const port = await ownPostfix(owner, { relayTo: sink, dir: await ownFolder(owner) }, print);
  return { port, sink, readers: undefined };
}

/** Each mail goes through `openssl cms -encrypt`, and back by msmtp to a second smtpd: the way that is found in every guide. */
export async function filteringPostfix(owner: Owner): Promise<Rival> {
  const sink = await ownSink(owner);
  const dir = await ownFolder(owner);
  const readers = await makeReaders(join(dir, 'readers'));
  const [filter, certificate] = [join(dir, 'filter'), join(dir, 'anna.pem')];
  await copyFile(readers.people.anna.certificate, certificate);
  await chmod(certificate, 0o644);
  const back = await freePort();
  await writeFile(
    filter,
    [
      '#!/bin/sh',
      `openssl cms -encrypt -stream -aes-256-cbc -from "$1" -to "$2" -subject sealed ${certificate} |`,
      `msmtp --host=127.0.0.1 --port=${back} --auth=off --tls=off --from="$1" -- "$2"`,
      '',
    ].join('\n'),
  );
  await chmod(filter, 0o755);
  const services = [
    `seal unix - n n - 20 pipe flags=Rq user=nobody argv=${filter} \${sender} \${recipient}`,
    `127.0.0.1:${back} inet n - n - - smtpd -o content_filter=`,
  ];
  const settings = { content_filter: 'seal:all' };
  const port = await ownPostfix(owner, { relayTo: sink, dir: await ownFolder(owner), settings, services });
  return { port, sink, readers };
}

async function ownFolder(owner: Owner): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-bench-'));
  owner.after(() => rm(dir, { recursive: true, force: true }));
  await chmod(dir, 0o755);
  return dir;
}

/** `print` is given its settings. */
async function ownPostfix(owner: Owner, options: PostfixOptions, print?: Bench['print']): Promise<number> {
  await mkdir(options.dir, { recursive: true });
  const postfix = await startPostfix(options);
  owner.after(() => postfix.stop());
  const { stdout } = await run('postconf', ['-c', join(options.dir, 'etc'), '-n']);
  for (const line of stdout.toString().trim().split('\n')) print?.(`  postconf -n: ${line}`);
  return postfix.port;
}

/** Throws where what goes this way is not what was sent, sealed or in clear as it should be. In the place of the sink, which ends. */
async function openSamples({ port, sink, readers }: Rival, owner: Owner): Promise<void> {
  await sink.stop();
  const upstream = await keepingUpstream(owner, {}, sink.port);
  await sendMails(port, { clients: 1, messages: SAMPLES, octets: 4096 });
  await until('the samples are there', () => upstream.deliveries().length >= SAMPLES, 30_000);
  const program = readers && (await openssl.start(readers));
  for (const { octets } of upstream.deliveries()) {
    const isClear = octets.includes(TEXT);
    if (isClear !== (readers === undefined)) throw new Error(isClear ? 'a mail came in clear' : 'a mail came sealed');
    const opened = program && readers ? await program.open(octets, readers.people.anna) : octets;
    if (!opened.includes(TEXT)) throw new Error('a mail holds something else than was sent');
  }
}

interface Race {
  readonly what: string;
  readonly least: number;
  readonly pairs: number;
  /** Theirs may have fewer, where they are slow: what counts is a rate. */
  readonly ours: Mails;
  readonly theirs: Mails;
  readonly rate: 'messages/s' | 'MB/s';
}

/** What is run of each row, and in the smallest form. */
const FORMS = { clients: 20, octets: 4096 };
const LARGE = { clients: 4, octets: 10_000_000 };

export async function benchRelaying(bench: Bench, owner: Owner): Promise<void> {
  const messages = bench.quick ? 100 : 1500;
  const race = { what: '4 KB form mails, 20 clients, against Postfix in clear', least: 1.5, rate: 'messages/s' as const };
  await againstClear({ ...race, pairs: bench.quick ? 1 : 7, ours: { ...FORMS, messages }, theirs: { ...FORMS, messages } }, bench, owner);
}

export async function benchLarge(bench: Bench, owner: Owner): Promise<void> {
  const messages = bench.quick ? 4 : 24;
  const race = { what: '10 MB mails, 4 clients, against Postfix in clear', least: 1, rate: 'MB/s' as const };
  await againstClear({ ...race, pairs: bench.quick ? 1 : 5, ours: { ...LARGE, messages }, theirs: { ...LARGE, messages } }, bench, owner);
}

async function againstClear(race: Race, bench: Bench, owner: Owner): Promise<void> {
  const missing = missingForSource();
  if (missing !== undefined) return bench.print(`${race.what}: skipped, ${missing}`);
  await compare(race, await ourRival(owner), await clearPostfix(owner, bench.print), bench, owner);
}

export async function benchFilter(bench: Bench, owner: Owner): Promise<void> {
  const race: Race = {
    what: '4 KB form mails, 20 clients, against Postfix with an openssl filter',
    least: 15,
    pairs: bench.quick ? 1 : 3,
    ours: { ...FORMS, messages: bench.quick ? 100 : 1500 },
    theirs: { ...FORMS, messages: bench.quick ? 20 : 200 },
    rate: 'messages/s',
  };
  const missing = missingForSource() ?? missingPrograms({ openssl: 'openssl', msmtp: 'msmtp' });
  if (missing !== undefined) return bench.print(`${race.what}: skipped, ${missing}`);
  await compare(race, await ourRival(owner), await filteringPostfix(owner), bench, owner);
}

export const missingForSource = (): string | undefined => missingPostfix() ?? missingPrograms({ 'smtp-source': 'postfix' });

async function compare(race: Race, ours: Rival, theirs: Rival, bench: Bench, owner: Owner): Promise<void> {
  const rateOf = async ({ port, sink }: Rival, mails: Mails): Promise<number> => {
    const amount = race.rate === 'MB/s' ? (mails.messages * mails.octets) / 1e6 : mails.messages;
    return (amount * 1000) / (await relayMails(port, sink, mails));
  };
  // A relay is code that is compiled while it runs: a few hundred mails of the kind that counts go before.
  const result = await comparePairs(
    race.pairs,
    () => rateOf(ours, race.ours),
    () => rateOf(theirs, race.theirs),
  );
  await openSamples(ours, owner);
  await openSamples(theirs, owner);
  const beside = `ours ${showSpread(result.ours, 0)}, Postfix ${showSpread(result.theirs, 0)} ${race.rate}`;
  bench.figure({ what: race.what, measured: result.ratio, unit: '×', wanted: { least: race.least }, beside });
}
