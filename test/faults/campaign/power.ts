/**
 * The power cut. The data folder of the relay is an ext4 file system in an image. Under load, at a random moment, every thread of the relay
 * is stopped, what the clients had been told by then is fixed, and the image is copied: it holds what the disk had been given, and nothing of
 * what the kernel still kept in memory. The copy is mounted, which replays its journal, a relay is started on it, and every 250 must be
 * there, whole. The relay itself goes on, to be cut again.
 *
 * A copy counts where a second one of the same moment is the same octets: the kernel wrote nothing meanwhile, so it is one moment.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Owner } from '../../relay/site.ts';
import { countingUpstream } from '../counting-upstream.ts';
import { runLoad } from '../load.ts';
import { account, readStored } from '../sets.ts';
import type { Figures, Progress } from './figures.ts';
import { type RelayProcess, startBuilt } from './process.ts';
import { type Chance, makeChance } from './random.ts';
import { LISTED, makeWorld, READERS, type World } from './world.ts';

const { anna, ben, carla, dora } = READERS;
const ADDRESSED = [[anna], [anna], [ben], [anna, ben], [anna, LISTED], [LISTED], [carla], [dora]];
const CLIENTS = 3;
const LARGE_SHARE = 0.1;
const LARGE_OCTETS = 250_000;
const IMAGE = '192M';
/** A cut comes within this from the first octet of a load. */
const APART_MS = 600;
const POLL_MS = 5;
/** What was sent before the stop reaches the clients within this: it is in their sockets already. */
const HEARD_MS = 50;
const DRAIN_MS = 300_000;
const DRAIN_POLL_MS = 50;
/** Copies of one moment until two are the same. */
const COPIES = 20;

const programs = ['losetup', 'mkfs.ext4', 'mount', 'umount', 'cmp'];
export const missingPower =
  process.getuid?.() !== 0
    ? 'only root may mount an image'
    : programs.find((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0) !== undefined
      ? `one of ${programs.join(', ')} is missing`
      : spawnSync('losetup', ['--find']).status === 0
        ? false
        : 'there is no loop device';

export interface PowerOptions {
  readonly copies: number;
  readonly seed: number;
  readonly over: () => boolean;
  readonly progress: Progress;
  /** A program in front of the relay whose disk is copied. */
  readonly prefix?: readonly string[];
}

export async function powerCampaign(owner: Owner, { copies, seed, over, progress, prefix = [] }: PowerOptions): Promise<Figures> {
  if (missingPower !== false) throw new Error(missingPower);
  const started = Date.now();
  const world = await makeWorld(owner);
  const chance = makeChance(seed);
  world.mood = chance;
  const [image, second] = [join(world.dir, 'disk.img'), join(world.dir, 'second.img')];
  makeImage(image);
  const unmount = mounted(image, world.data);
  try {
    const { faults, ...counts } = await cutAgainAndAgain(world, { copies, over, progress, prefix, chance, image, second });
    const counted = await world.finish();
    const accounts = [{ ...counted, faults: [...counted.faults, ...faults] }];
    const notes = [
      `${counts.acknowledged} times a message that had got its 250 was looked for in a copy, and was there`,
      `${counts.moments} copies were made for ${counts.cuts} moments: one during which the kernel wrote is made again`,
    ];
    return { part: 'power', what: 'cuts of the power', times: counts.cuts, seconds: (Date.now() - started) / 1000, accounts, notes };
  } finally {
    unmount();
  }
}

interface Cutting extends Omit<PowerOptions, 'seed'> {
  readonly chance: Chance;
  readonly image: string;
  readonly second: string;
}

async function cutAgainAndAgain(world: World, { copies, over, progress, prefix = [], chance, image, second }: Cutting) {
  const relay = world.start({ prefix });
  const port = await relay.port;
  if (port === undefined) throw new Error('the relay did not start');
  const next = () =>
    world.make(ADDRESSED[chance.whole(ADDRESSED.length)] ?? [], chance.once(LARGE_SHARE) ? LARGE_OCTETS : 200 + chance.whole(4000));
  const faults: string[] = [];
  let [acknowledged, cuts, moments] = [0, 0, 0];
  while (cuts < copies && !over() && faults.length === 0) {
    let ended = false;
    const load = runLoad({ port, clients: CLIENTS, next, onTold: world.note, over: () => ended });
    await sleep(chance.next() * APART_MS);
    const cut = await cutOff(world, relay, image, second);
    ended = true;
    await load;
    moments += cut.tries;
    const found = await revive(world, cut, join(world.dir, `cut-${++cuts}`));
    acknowledged += cut.told.filter(({ kind }) => kind === 'taken').length;
    faults.push(...found.map((fault) => `cut ${cuts}: ${fault}`));
    progress(`power: ${cuts} of ${copies} copies`);
  }
  await (faults.length > 0 ? relay.kill() : relay.stop());
  return { faults, acknowledged, cuts, moments };
}

interface Cut {
  readonly copy: string;
  readonly told: World['told'];
  readonly upstream: World['upstream']['copies'];
  readonly tries: number;
}

/** Stops the relay at this moment and goes on with it once the image is copied. */
async function cutOff(world: World, relay: RelayProcess, image: string, second: string): Promise<Cut> {
  relay.signal('SIGSTOP');
  await stopped(relay.pid);
  await sleep(HEARD_MS);
  const [told, upstream] = [[...world.told], [...world.upstream.copies]];
  const copy = `${image}.cut`;
  let tries = 0;
  do {
    if (++tries > COPIES) throw new Error('the kernel writes to the image without an end');
    for (const to of [copy, second]) execFileSync('cp', ['--sparse=always', image, to]);
  } while (spawnSync('cmp', ['-s', copy, second]).status !== 0);
  relay.signal('SIGCONT');
  return { copy, told, upstream, tries };
}

/** SIGSTOP reaches the threads one after the other. */
async function stopped(pid: number): Promise<void> {
  const running = (): boolean =>
    readdirSync(`/proc/${pid}/task`).some((task) => !/\) [TtZX] /.test(readFileSync(`/proc/${pid}/task/${task}/stat`, 'latin1')));
  while (running()) await sleep(POLL_MS);
}

/** A relay on the copy, whose upstream takes everything; answers what is not as it must be. */
async function revive(world: World, cut: Cut, folder: string): Promise<string[]> {
  const ends: (() => unknown)[] = [];
  const own: Owner = { after: (end) => void ends.push(end) };
  const faults: string[] = [];
  try {
    const upstream = await countingUpstream({});
    own.after(() => upstream.stop());
    mkdirSync(join(folder, 'data'), { recursive: true, mode: 0o700 });
    own.after(mounted(cut.copy, join(folder, 'data')));
    const file = join(folder, 'sealpost.yaml');
    writeFileSync(file, revivedConfig(world.dir, folder, upstream.port));
    const log = join(world.dir, 'relay.log');
    const relay = startBuilt({ file, cwd: folder, log, temporary: join(world.dir, 'tmp') });
    own.after(() => relay.kill());
    if ((await relay.port) === undefined) return ['the relay does not start on the copy'];
    const data = join(folder, 'data');
    const end = Date.now() + DRAIN_MS;
    const waits = (): boolean => readStored(data).entries.some(({ state }) => ['ready', 'leased', 'deferred'].includes(state));
    while (waits() && Date.now() < end) await sleep(DRAIN_POLL_MS);
    await relay.stop();
    const counted = account({ told: cut.told, stored: readStored(data), copies: [...cut.upstream, ...upstream.copies] });
    faults.push(...counted.faults);
    if (counted.fates.damaged + counted.fates.waiting > 0)
      faults.push(`${counted.fates.damaged} recipients damaged, ${counted.fates.waiting} waiting`);
    // The whole disk, blocks that no file has any more among them.
    if (readFileSync(cut.copy).includes(world.mails.canary)) faults.push('the disk holds content in clear');
  } finally {
    for (const end of ends.toReversed()) await end();
  }
  // What went wrong is kept, with the copy, for a look at it.
  if (faults.length > 0) copyFileSync(cut.copy, `${folder}.img`);
  else rmSync(folder, { recursive: true });
  return faults;
}

/** As the site's own, but for its data folder, its upstream, and the places that are relative to the file. */
function revivedConfig(site: string, folder: string, port: number): string {
  const config: Readonly<Record<string, unknown>> = JSON.parse(readFileSync(join(site, 'sealpost.yaml'), 'utf8'));
  return JSON.stringify({
    ...config,
    upstream: [{ host: '127.0.0.1', port }],
    queue: { sqlite: join(folder, 'data/queue.sqlite') },
    audit: join(folder, 'data/audit.jsonl'),
    keys: join(site, 'keys'),
    policies: join(site, 'policies'),
    hold: { passphrase: `file:${join(site, 'keys/hold.passphrase')}` },
    certificates: {
      sources: [{ files: join(site, 'certs/recipients') }],
      trust: { anchors: join(site, 'certs/anchors'), intermediates: join(site, 'certs/intermediates') },
    },
  });
}

function makeImage(image: string): void {
  execFileSync('truncate', ['-s', IMAGE, image]);
  execFileSync('mkfs.ext4', ['-q', '-F', '-m', '0', image]);
}

/** `folder` is the file system of the image until what comes back is called. */
function mounted(image: string, folder: string): () => void {
  const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
  try {
    execFileSync('mount', ['-t', 'ext4', device, folder]);
  } catch (error) {
    execFileSync('losetup', ['--detach', device]);
    throw error;
  }
  rmSync(join(folder, 'lost+found'), { recursive: true, force: true });
  execFileSync('chmod', ['0700', folder]);
  return () => {
    spawnSync('umount', ['--lazy', folder]);
    spawnSync('losetup', ['--detach', device]);
  };
}
