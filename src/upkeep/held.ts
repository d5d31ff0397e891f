/**
 * Held mail, looked after by the relay: released by itself where the key is here and a certificate has appeared, and ended where it was held
 * for too long.
 *
 * A round pages through all that is held, oldest first. Each address is looked up once in it; whoever has no certificate costs nothing
 * more. Where a source is down the rest waits for the next round, which begins with them. What a rule holds is left alone: it wants an
 * operator's word. A round is made every few minutes, and soon after a command has changed certificates; nothing of it is stored, so a
 * restart loses nothing.
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { AddressBook } from '../certificates/address-book.ts';
import type { HeldNotices } from '../delivery/of-held.ts';
import type { ControlHandlers } from '../control.ts';
import { asSealpostError } from '../errors.ts';
import { type HeldFacts, readHeld } from '../path/held.ts';
import type { Hold } from '../site/hold-keys.ts';
import type { RuleSet } from '../policy/decide.ts';
import type { HeldRow, QueueStore } from '../queue/queue.ts';
import { releaseHandlers } from '../release/control.ts';
import { damageBy } from '../release/damage.ts';
import type { Releasing } from '../release/release.ts';
import { unwrap } from '../release/unwrap.ts';
import { type HeldLookUps, makeHeldLookUps } from './held-look-ups.ts';
import { makeHeldTerm } from './held-term.ts';

export interface HeldParts {
  readonly queue: Pick<QueueStore, 'heldRows' | 'endHeld' | 'damageHeld' | 'list'>;
  readonly hold: Hold;
  readonly releasing: Releasing;
  readonly rules: () => RuleSet;
  readonly addressBook: AddressBook;
  readonly notices: Pick<HeldNotices, 'heldTooLong'>;
  /** Ms for which mail is held. */
  readonly maxAge: number;
  /** Ms since the epoch. */
  readonly now: () => number;
  /** Ms on a clock that nobody sets: a step of the other one ends nothing. */
  readonly elapsed: () => number;
  readonly log: Logger;
  /** A notice of what was given up is due: the scheduler sleeps until it is woken. */
  readonly onQueued: () => void;
  /** Ms between two rounds. */
  readonly every?: number;
}

export interface HeldUpkeep {
  /** For the control socket: those given, behind which certificates may be others, and the release. */
  readonly handlersWith: (changing: ControlHandlers) => ControlHandlers;
  start(): void;
  /** Something has changed: a round is made in a moment. */
  soon(): void;
  /** Makes a round, or waits for the one that is under way. */
  turn(): Promise<void>;
  stop(): Promise<void>;
}

const EVERY_MS = 2 * 60_000;
/** After a word of a command, which may be one of many. */
const SOON_MS = 1000;
const PAGE_ROWS = 50;
/** What did not come to a release although there is a certificate is opened again after this. */
const AGAIN_MS = 3_600_000;
const BY_RELAY = 'relay';

export function makeHeldUpkeep(parts: HeldParts): HeldUpkeep {
  const { queue, hold, log, every = EVERY_MS } = parts;
  const isOver = makeHeldTerm(parts);
  const lookUps = makeHeldLookUps(parts);
  /** Rows that were opened and stayed, and when, ms of `elapsed`. */
  let tried = new Map<number, number>();
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;

  const round = async (): Promise<void> => {
    await hold.look();
    lookUps.begin();
    const still = new Map<number, number>();
    let [after, released, ended] = [0, 0, 0];
    for (;;) {
      const page = await queue.heldRows({}, after, PAGE_ROWS);
      for (const held of page) {
        if (stopped) return;
        after = held.row;
        const last = still.get(held.row) ?? tried.get(held.row);
        if (last !== undefined) still.set(held.row, last);
        const done = await attempt(held, async () => {
          const facts = readHeld(held.facts);
          // An operator who holds it again has as long to release it.
          if (isOver(Math.max(facts.heldAt, held.heldSince))) return (await end(parts, held, facts)) ? 'ended' : undefined;
          if (last !== undefined && parts.elapsed() - last < AGAIN_MS) return undefined;
          if (!(await isWanted(parts, lookUps, held, facts))) return undefined;
          still.set(held.row, parts.elapsed());
          return (await releaseOne(parts, held)) ? 'released' : undefined;
        });
        if (done === 'released') released++;
        if (done === 'ended') ended++;
      }
      if (page.length > 0) continue;
      if (!lookUps.again()) break;
      after = 0;
    }
    tried = still;
    if (released + ended > 0) log.info({ released, ended }, 'held mail was looked after');
  };

  const attempt = async <T>(held: HeldRow, act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act();
    } catch (error) {
      if ((await damageBy(parts, held, error)) !== 'none') return undefined;
      const { code } = asSealpostError(error);
      log.warn({ queue_id: held.queueId, code, ...(code === 'internal' ? { err: error } : {}) }, 'held mail could not be looked after');
      return undefined;
    } finally {
      // An operation with the key takes milliseconds, in which nobody is answered.
      await setImmediate();
    }
  };

  const turn = (): Promise<void> => {
    running ??= round()
      .catch((error: unknown) => log.error({ err: error }, 'held mail cannot be looked after'))
      .finally(() => {
        running = undefined;
      });
    return running;
  };

  const wait = (ms: number): void => {
    clearTimeout(timer);
    if (stopped) return;
    timer = setTimeout(() => void turn().then(() => wait(every)), ms);
    timer.unref();
  };

  const soon = (): void => {
    tried = new Map();
    wait(SOON_MS);
  };

  return {
    handlersWith: (changing) => ({ ...followed(changing, soon), ...releaseHandlers(parts) }),
    start: () => wait(SOON_MS),
    soon,
    turn,
    stop: async () => {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}

function followed(handlers: ControlHandlers, soon: () => void): ControlHandlers {
  const entries = Object.entries(handlers).map(([command, handle]) => {
    const after: typeof handle = async (request) => {
      const answer = await handle(request);
      soon();
      return answer;
    };
    return [command, after] as const;
  });
  return Object.fromEntries(entries);
}

async function isWanted({ hold }: HeldParts, lookUps: HeldLookUps, held: HeldRow, facts: HeldFacts): Promise<boolean> {
  if (facts.because === 'rule' || hold.privateKey() === undefined) return false;
  return (await lookUps.stateOf(held, facts.rule)) === 'found';
}

async function releaseOne({ hold, releasing, log }: HeldParts, held: HeldRow): Promise<boolean> {
  const [key, certificate] = [hold.privateKey(), hold.certificate()];
  const contentKey = key === undefined || certificate === undefined ? undefined : unwrap(held, [{ key, certificate }]);
  const about = { queue_id: held.queueId, recipient: held.recipient };
  if (contentKey === undefined) {
    log.warn(about, 'mail is held to another certificate than the one that is there now');
    return false;
  }
  const released = await releasing.release(held, { contentKey, operator: BY_RELAY, byHand: false });
  if (released.kind === 'stays') log.info({ ...about, why: released.why, rule: released.rule }, 'mail stays held');
  if (released.kind === 'wrong-key') log.error(about, 'held mail cannot be opened with the key of its certificate');
  return released.kind === 'released';
}

async function end({ queue, notices, onQueued, log }: HeldParts, held: HeldRow, facts: HeldFacts): Promise<boolean> {
  const { rule, because, heldAt } = facts;
  const { outcome, events, telling } = notices.heldTooLong(held, { rule, because, since: heldAt });
  if (!(await queue.endHeld(held, outcome, events, telling))) return false;
  if (telling !== undefined) onQueued();
  log.warn({ queue_id: held.queueId, recipient: held.recipient, rule }, 'mail was held for too long');
  return true;
}
