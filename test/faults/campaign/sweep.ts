/**
 * The relay ended, or refused, at its first, second, third … call of a kind, until a life comes through without meeting it. One folder goes
 * through all lives, as an operator's does. `when=N` of strace counts per thread, so there is one thread for files.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Owner } from '../../relay/site.ts';
import { runLoad, type Told } from '../load.ts';
import type { Figures, Progress } from './figures.ts';
import { LISTED, makeWorld, READERS, type World } from './world.ts';

const { anna, ben, dora } = READERS;
/** What each life is handed: rows, a body file, one that is held and one that passes. */
const LOAD = [[anna], [anna, ben], [LISTED], [dora], [ben]] as const;
const LARGE_OCTETS = 250_000;
const LARGE_AT = 1;
/** A life in which nothing is due any more has nothing more to be ended at. */
const LIFE_MS = 20_000;
const POLL_MS = 50;
/** More calls of a kind than one life makes. */
const MOST = 5000;
const COARSE = 8;

interface Sweep {
  readonly name: string;
  readonly call: string;
  /** What strace injects. */
  readonly fault: string;
  /** Calls that are passed over between two lives: where there are hundreds. */
  readonly coarse?: true;
}

const SWEEPS: readonly Sweep[] = [
  ...['fsync', 'fdatasync', 'rename', 'unlink', 'ftruncate'].map((call) => ({ name: `killed at ${call}`, call, fault: 'signal=SIGKILL' })),
  { name: 'killed at pwrite64', call: 'pwrite64', fault: 'signal=SIGKILL', coarse: true },
  ...['fsync', 'fdatasync'].map((call) => ({ name: `EIO from ${call}`, call, fault: 'error=EIO' })),
  { name: 'EIO from pwrite64', call: 'pwrite64', fault: 'error=EIO', coarse: true },
  { name: 'ENOSPC from pwrite64', call: 'pwrite64', fault: 'error=ENOSPC', coarse: true },
];

export interface SweepOptions {
  /** Of the calls every how many-th is tried: 1 is all of them. */
  readonly step: number;
  readonly over: () => boolean;
  readonly progress: Progress;
  /** Names of sweeps; all where it is not said. */
  readonly only?: readonly string[];
  /** Lives of one sweep at most. */
  readonly lives?: number;
}

export const missingStrace =
  spawnSync('strace', ['-f', '-o', '/dev/null', 'true']).status === 0 ? false : 'strace is missing, or may not trace';

export async function sweepCampaign(owner: Owner, { step, over, progress, only, lives: most = MOST }: SweepOptions): Promise<Figures> {
  if (missingStrace !== false) throw new Error(missingStrace);
  const world = await makeWorld(owner);
  const started = Date.now();
  const [notes, faults]: [string[], string[]] = [[], []];
  let times = 0;
  for (const sweep of SWEEPS.filter(({ name }) => only?.includes(name) !== false)) {
    const apart = step * (sweep.coarse === true ? COARSE : 1);
    let [lives, clean] = [0, false];
    for (let when = 1; !clean && when < MOST && lives < most && !over(); when += apart) {
      clean = !(await live(world, sweep, when, faults));
      lives++;
      times++;
      progress(`sweep: ${sweep.name}, call ${when}`);
    }
    const every = apart === 1 ? 'every call' : `every ${apart}th call`;
    notes.push(`${sweep.name}: ${lives} lives, ${every} of a thread${clean ? ', until one met it no more' : ', not to its end'}`);
  }
  const counted = await world.finish();
  const accounts = [{ ...counted, faults: [...counted.faults, ...faults] }];
  return { part: 'sweep', what: 'lives ended or disturbed', times, seconds: (Date.now() - started) / 1000, accounts, notes };
}

/** True where the fault came. */
async function live(world: World, { name, call, fault }: Sweep, when: number, faults: string[]): Promise<boolean> {
  const trace = `${world.dir}/tmp/trace`;
  const watched = fault.startsWith('signal') ? [] : ['-P', `${world.data}/queue.sqlite`, '-P', `${world.data}/queue.sqlite-wal`];
  const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:${fault}:when=${when}`];
  const relay = world.start({ prefix: ['strace', '-f', '-qq', '-o', trace, ...watched, ...inject], env: { UV_THREADPOOL_SIZE: '1' } });
  const told: Told[] = [];
  const port = await relay.port;
  if (port !== undefined) {
    let number = 0;
    const next = () => {
      const recipients = LOAD[number];
      return recipients && world.make([...recipients], number++ === LARGE_AT ? LARGE_OCTETS : 300);
    };
    const onTold = (one: Told): void => {
      told.push(one);
      world.note(one);
    };
    await runLoad({ port, clients: 2, next, onTold });
    await settled(world, told, relay.over);
  }
  const ended = relay.over();
  await relay.stop();
  // 5yz says that a message is at fault: of a disk that fails none is (P5).
  for (const one of told)
    if (one.kind === 'refused' && !one.reply.startsWith('4')) faults.push(`${name}, call ${when}: a message was refused with ${one.reply}`);
  return ended || spawnSync('grep', ['-q', 'INJECTED', trace]).status === 0;
}

/** All that was taken and can go has gone to the upstream, or the relay has ended. */
async function settled(world: World, told: readonly Told[], over: () => boolean): Promise<void> {
  const end = Date.now() + LIFE_MS;
  const due = told.flatMap((one) => (one.kind === 'taken' && !one.mail.recipients.includes(dora) ? one.mail.id : []));
  const came = (): boolean => due.every((id) => world.upstream.copies.some((copy) => copy.id === id));
  while (!over() && Date.now() < end && !came()) await sleep(POLL_MS);
}
