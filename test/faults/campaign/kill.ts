/** Random kill -9 under a load of sealing, delivering, deferring, holding, passing and releasing, at any moment from the start on. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readStats } from '../../../src/queue/operator.ts';
import { openDatabaseReadOnly } from '../../../src/queue/schema.ts';
import type { Owner } from '../../relay/site.ts';
import { runLoad, type Told } from '../load.ts';
import type { Figures, Progress } from './figures.ts';
import { type Chance, makeChance } from './random.ts';
import { LISTED, makeWorld, READERS, REFUSED, type World } from './world.ts';

const { anna, ben, carla, dora } = READERS;
/** What a message is for; sealed mail is the most of it, as anywhere. */
const ADDRESSED = [[anna], [anna], [anna], [ben], [ben], [anna, ben], [anna, LISTED], [LISTED], [carla], [carla, anna], [dora], [REFUSED]];
const CLIENTS = 3;
/** Messages of one life: more would not be other ones. */
const MESSAGES = 40;
/** A life is cut within this from its first octet; or a moment behind one of its first messages that got a 250, however slow the machine is. */
const EARLY_MS = 1200;
const LAST_MESSAGE = 16;
const MOMENT_MS = 40;
const POLL_MS = 2;
/** Longer than a life that is well takes for so many. */
const PATIENCE_MS = 20_000;
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
  const found: Found = { starting: 0, answering: 0, leased: 0, deferred: 0, held: 0, releasing: 0 };
  const started = Date.now();
  const lane = async (number: number): Promise<Awaited<ReturnType<World['finish']>>> => {
    const world = await makeWorld(owner);
    const chance = makeChance(seed + number);
    while (begun < cycles && !over()) {
      begun++;
      await cycle(world, chance, found);
      progress(`kill: ${++done} of ${cycles} cycles`);
    }
    return world.finish();
  };
  const accounts = await Promise.all(Array.from({ length: sites }, (_, number) => lane(number)));
  const notes = [
    `of the relays that were killed ${found.starting} were starting, ${found.answering} owed a client its answer to a whole message, ` +
      `${found.leased} were sending, ${found.releasing} were releasing; ${found.deferred} had mail that waited for another attempt, ${found.held} had held mail`,
  ];
  // A campaign that only killed relays at rest would prove nothing.
  const idle = done < ENOUGH ? undefined : Object.entries(found).find(([, count]) => count === 0)?.[0];
  const [first, ...rest] = accounts;
  const judged =
    first === undefined || idle === undefined
      ? accounts
      : [{ ...first, faults: [...first.faults, `no relay was killed ${idle}`] }, ...rest];
  return { part: 'kill', what: 'kills', times: done, seconds: (Date.now() - started) / 1000, accounts: judged, notes };
}

/** How many lives were ended in the middle of what; one may be several. */
type Found = Record<'starting' | 'answering' | 'leased' | 'deferred' | 'held' | 'releasing', number>;

/** Kills from which on each of these must have been met. */
const ENOUGH = 100;

async function cycle(world: World, chance: Chance, found: Found): Promise<void> {
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
    const life = { taken: 0, unanswered: 0, releasing: false };
    const onTold = (told: Told): void => {
      if (told.kind === 'taken') life.taken++;
      if (told.kind === 'unknown') life.unanswered++;
      world.note(told);
    };
    const load = runLoad({ port, clients: CLIENTS, next, onTold, over: () => ended });
    const release = (): void => {
      life.releasing = true;
      void world.release(chance.once(0.2)).finally(() => (life.releasing = false));
    };
    const [atOnce, atLast] = [chance.once(0.4), chance.once(0.4)];
    if (atOnce) release();
    const due = chance.whole(LAST_MESSAGE);
    const end = Date.now() + PATIENCE_MS;
    while (life.taken < due && !relay.over() && Date.now() < end) await sleep(POLL_MS);
    if (atLast) release();
    await sleep(chance.next() * MOMENT_MS);
    if (life.releasing) found.releasing++;
    await relay.kill();
    ended = true;
    await load;
    if (life.unanswered > 0) found.answering++;
    const { states } = statsOf(world);
    for (const state of ['leased', 'deferred', 'held'] as const) if (states[state] > 0) found[state]++;
  } else found.starting++;
  await (early ?? relay.kill());
}

function statsOf({ data }: World) {
  const db = openDatabaseReadOnly(join(data, 'queue.sqlite'));
  try {
    return readStats(db);
  } finally {
    db.close();
  }
}
