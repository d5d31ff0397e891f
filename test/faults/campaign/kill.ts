/** Random kill -9 under a load of sealing, delivering, deferring, holding, passing and releasing, at any moment from the start on. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Owner } from '../../relay/site.ts';
import { runLoad } from '../load.ts';
import type { Figures, Progress } from './figures.ts';
import { type Chance, makeChance } from './random.ts';
import { LISTED, makeWorld, READERS, REFUSED, type World } from './world.ts';

const { anna, ben, carla, dora } = READERS;
/** What a message is for; sealed mail is the most of it, as anywhere. */
const ADDRESSED = [[anna], [anna], [anna], [ben], [ben], [anna, ben], [anna, LISTED], [LISTED], [carla], [carla, anna], [dora], [REFUSED]];
const CLIENTS = 3;
/** Messages of one life: more would not be other ones. */
const MESSAGES = 40;
/** A life is cut within this, from its first octet or from the moment it listens. */
const EARLY_MS = 1200;
const LATE_MS = 500;
const LARGE_SHARE = 0.08;
const LARGE_OCTETS = 250_000;

export interface KillOptions {
  readonly cycles: number;
  /** Sites side by side. */
  readonly sites: number;
  readonly seed: number;
  readonly over: () => boolean;
  readonly progress: Progress;
}

export async function killCampaign(owner: Owner, { cycles, sites, seed, over, progress }: KillOptions): Promise<Figures> {
  let [begun, done] = [0, 0];
  const started = Date.now();
  const lane = async (number: number): Promise<Awaited<ReturnType<World['finish']>>> => {
    const world = await makeWorld(owner);
    const chance = makeChance(seed + number);
    while (begun < cycles && !over()) {
      begun++;
      await cycle(world, chance);
      progress(`kill: ${++done} of ${cycles} cycles`);
    }
    return world.finish();
  };
  const accounts = await Promise.all(Array.from({ length: sites }, (_, number) => lane(number)));
  return { part: 'kill', what: 'kills', times: done, seconds: (Date.now() - started) / 1000, accounts, notes: [] };
}

async function cycle(world: World, chance: Chance): Promise<void> {
  world.mood = chance;
  world.certify(chance.once(0.4));
  const relay = world.start();
  const early = chance.once(0.2) ? sleep(chance.next() * EARLY_MS).then(() => relay.kill()) : undefined;
  const port = await relay.port;
  if (port !== undefined && early === undefined) {
    let [left, ended] = [MESSAGES, false];
    const next = () => {
      const octets = chance.once(LARGE_SHARE) ? LARGE_OCTETS : 200 + chance.whole(4000);
      return left-- > 0 ? world.make(ADDRESSED[chance.whole(ADDRESSED.length)] ?? [], octets) : undefined;
    };
    const load = runLoad({ port, clients: CLIENTS, next, onTold: world.note, over: () => ended });
    const released = chance.once(0.6) ? world.release(chance.once(0.2)) : undefined;
    await sleep(30 + chance.next() * LATE_MS);
    await relay.kill();
    ended = true;
    await Promise.all([load, released]);
  }
  await (early ?? relay.kill());
}
