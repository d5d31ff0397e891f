/** Many messages through one relay that is well: its memory, its descriptors and its write-ahead log, looked at each second, must be flat. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { residentMiB } from '../../bench/memory.ts';
import type { Owner } from '../../relay/site.ts';
import { runLoad } from '../load.ts';
import type { Figures, Progress } from './figures.ts';
import { plotSvg, slopeOf } from './plot.ts';
import { makeChance } from './random.ts';
import { LISTED, makeWorld, READERS } from './world.ts';

const CLIENTS = 8;
const LOOK_EVERY = 20;
const CONCURRENCY = 10;
const ADDRESSED = [[READERS.anna], [READERS.ben], [READERS.anna, READERS.ben], [LISTED]];
/** Shares of sizes, in octets: notes, forms, and now and then an attachment that becomes a file. */
const SIZES = [500, 500, 2000, 2000, 2000, 6000, 6000, 20_000, 60_000, 250_000] as const;
const SAMPLE_MS = 1000;
/** Flat: in its second half memory grows by less than this share of what it is at. */
const MAY_GROW = 0.1;
/** Sessions come and go; descriptors that leak do it with the messages. */
const MAY_DESCRIPTORS = 10;
/** Less is over before memory has come to its level. */
const JUDGED_SAMPLES = 60;

interface Sample {
  readonly second: number;
  readonly memory: number;
  readonly descriptors: number;
  readonly log: number;
}

export interface SoakOptions {
  readonly messages: number;
  readonly seed: number;
  readonly progress: Progress;
}

export async function soakCampaign(owner: Owner, { messages, seed, progress }: SoakOptions): Promise<Figures> {
  const world = await makeWorld(owner, { lookEvery: LOOK_EVERY, concurrency: CONCURRENCY });
  const chance = makeChance(seed);
  const relay = world.start();
  const port = await relay.port;
  if (port === undefined) throw new Error('the relay did not start');
  const started = Date.now();
  const samples: Sample[] = [];
  const timer = setInterval(() => {
    void sampleOf(relay.pid, join(world.data, 'queue.sqlite-wal'), started).then(
      (one) => samples.push(one),
      () => undefined,
    );
  }, SAMPLE_MS);
  let begun = 0;
  const next = () => {
    if (begun >= messages) return undefined;
    begun++;
    progress(`soak: ${begun} of ${messages} messages`);
    return world.make(ADDRESSED[chance.whole(ADDRESSED.length)] ?? [], SIZES[chance.whole(SIZES.length)]);
  };
  await runLoad({ port, clients: CLIENTS, next, onTold: world.note });
  const seconds = (Date.now() - started) / 1000;
  clearInterval(timer);
  await relay.stop();
  const counted = await world.finish();
  const judged = judge(samples);
  const missing = messages - counted.messages;
  const faults = [...counted.faults, ...judged.faults, ...(missing > 0 ? [`${missing} messages were not taken`] : [])];
  const at = samples.map(({ second }) => second);
  const series = [
    { name: 'resident memory', unit: 'MiB', values: samples.map(({ memory }) => memory) },
    { name: 'open descriptors', unit: 'number', values: samples.map(({ descriptors }) => descriptors) },
    { name: 'write-ahead log', unit: 'MiB', values: samples.map(({ log }) => log) },
  ];
  const notes = [`${(messages / seconds).toFixed(0)} messages a second were taken`, ...judged.notes];
  const plot = { name: 'reliability-soak.svg', svg: plotSvg(at, series) };
  return { part: 'soak', what: 'messages', times: messages, seconds, accounts: [{ ...counted, faults }], notes, plot };
}

async function sampleOf(pid: number, log: string, started: number): Promise<Sample> {
  const memory = await residentMiB(pid, 'VmRSS');
  const { size } = await stat(log);
  const descriptors = (await readdir(`/proc/${pid}/fd`)).length;
  return { second: (Date.now() - started) / 1000, memory, descriptors, log: size / (1024 * 1024) };
}

function judge(samples: readonly Sample[]): { readonly faults: string[]; readonly notes: string[] } {
  const half = samples.slice(samples.length >> 1);
  const at = half.map(({ second }) => second);
  const lasted = (at.at(-1) ?? 0) - (at[0] ?? 0);
  const memory = half.map((one) => one.memory);
  const descriptors = half.map((one) => one.descriptors);
  const level = memory.reduce((sum, one) => sum + one, 0) / Math.max(1, memory.length);
  const grown = slopeOf(at, memory) * lasted;
  const opened = slopeOf(at, descriptors) * lasted;
  const notes = [
    `second half: memory about ${level.toFixed(0)} MiB, by its slope ${grown.toFixed(1)} MiB more; descriptors ${Math.min(...descriptors)} to ${Math.max(...descriptors)}, by their slope ${opened.toFixed(1)} more; write-ahead log at most ${Math.max(...samples.map((one) => one.log)).toFixed(1)} MiB`,
  ];
  if (samples.length < JUDGED_SAMPLES) return { faults: [], notes: [...notes, 'too short for a word on whether it is flat'] };
  const faults = [];
  if (grown > level * MAY_GROW) faults.push(`memory is not flat: ${grown.toFixed(1)} MiB in the second half`);
  if (opened > MAY_DESCRIPTORS) faults.push(`descriptors are not flat: ${opened.toFixed(1)} more in the second half`);
  return { faults, notes };
}
