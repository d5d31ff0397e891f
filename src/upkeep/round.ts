/**
 * The daily round: what the relay does about certificates once a day, one step after another. A step is done when its `run` resolves;
 * one that throws leaves the others alone and is tried again an hour later at the earliest.
 *
 *   due ─▶ tried (durable) ─run─▶ done (durable), due again 24 h later
 *                             └─▶ failed, due again 1 h later
 *
 * When each step was done and last tried stands in the record store, so that a relay that is started often does no step more than once
 * a day, and one that a step brings down is not brought down by it at each start.
 *
 * The clock. What certificates live by is the wall clock, so that is what a day is measured by: after a leap forward another day has
 * come, and the round is due. A time of ours that lies ahead was written by a clock that has been set back since. It is taken down to
 * the present, and nothing runs for it: so no step runs twice for one day, and none is put off for longer than a day, whatever the
 * clock said before. Waiting is done in short pieces of elapsed time, since a leap of the clock ends no timer.
 */
import type { Logger } from 'pino';
import type { RecordStore } from '../queue/records.ts';

/** What a step did, for the log: numbers by snake_case names, no addresses. */
export type Counts = Readonly<Record<string, number>>;

export interface Step {
  /** Stays: it is the key of its record. */
  readonly name: string;
  /** Bounded, lets everybody else have a turn, and ends soon once the signal is aborted. */
  run(signal: AbortSignal): Promise<Counts>;
  /** What is done at each look, every few minutes, also where the step itself is not due; never while a step runs. */
  look?(): Promise<void>;
}

export interface RoundResult {
  /** Ms since the epoch. */
  readonly at: number;
  readonly failed: readonly string[];
}

export interface Round {
  /** Runs what is due, in a moment and from then on; waits for nothing. */
  start(): void;
  /** Runs what is due; answers once that is done. */
  turn(): Promise<void>;
  /** Undefined until one has ended. */
  last(): RoundResult | undefined;
  /** Waits for the step that is under way. */
  stop(): Promise<void>;
}

export interface RoundParts {
  readonly steps: readonly Step[];
  readonly records: RecordStore;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** After each turn, whatever ran in it: lets go of what its steps shared. */
  readonly onEnd?: () => void;
}

export const ROUND = 'round';
const DAY_MS = 86_400_000;
const AGAIN_MS = 3_600_000;
/** How often it is asked whether something is due. */
const LOOK_MS = 5 * 60_000;
/** Before the first look: mail that waited for the start goes first. */
const FIRST_MS = 2000;

/** Of one step; ms since the epoch, 0 for never. */
interface Times {
  readonly done: number;
  readonly tried: number;
}

const NEVER: Times = { done: 0, tried: 0 };

export function makeRound({ steps, records, now, log, onEnd }: RoundParts): Round {
  const ended = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let last: RoundResult | undefined;

  const write = ({ name }: Step, times: Times): Promise<boolean> =>
    records.change([{ kind: ROUND, key: name, value: JSON.stringify(times) }], []);

  const isDue = async (step: Step): Promise<boolean> => {
    const stored = await records.get(ROUND, step.name);
    const times = stored === undefined ? NEVER : readTimes(stored.value);
    const at = now();
    const [done, tried] = [Math.min(times.done, at), Math.min(times.tried, at)];
    if (done !== times.done || tried !== times.tried) await write(step, { done, tried });
    return at - done >= DAY_MS && at - tried >= AGAIN_MS;
  };

  /** Undefined where it failed. */
  const run = async (step: Step): Promise<Counts | undefined> => {
    try {
      const stored = await records.get(ROUND, step.name);
      const { done } = stored === undefined ? NEVER : readTimes(stored.value);
      const tried = now();
      await write(step, { done, tried });
      const counts = await step.run(ended.signal);
      if (ended.signal.aborted) return undefined;
      await write(step, { done: now(), tried });
      return counts;
    } catch (error) {
      if (!ended.signal.aborted) log.error({ err: error, step: step.name }, 'a step of the daily round failed');
      return undefined;
    }
  };

  const turn = async (): Promise<void> => {
    let counts: Record<string, number> = {};
    let ran = 0;
    const failed: string[] = [];
    for (const step of steps) {
      if (ended.signal.aborted) return;
      try {
        await step.look?.();
      } catch (error) {
        log.error({ err: error, step: step.name }, 'a look of the daily round failed');
      }
    }
    for (const step of steps) {
      if (ended.signal.aborted || !(await isDue(step))) continue;
      ran++;
      const told = await run(step);
      if (told === undefined) failed.push(step.name);
      else counts = { ...counts, ...told };
    }
    if (ran === 0 || ended.signal.aborted) return;
    last = { at: now(), failed };
    log[failed.length > 0 ? 'warn' : 'info']({ ...counts, failed }, 'the daily round is done');
  };

  /** One at a time. */
  const take = (): Promise<void> => {
    running ??= turn()
      .catch((error: unknown) => log.error({ err: error }, 'the daily round cannot be made'))
      .finally(() => {
        running = undefined;
        onEnd?.();
      });
    return running;
  };

  const wait = (ms: number): void => {
    if (ended.signal.aborted) return;
    timer = setTimeout(() => void take().then(() => wait(LOOK_MS)), ms);
    timer.unref();
  };

  return {
    start: () => wait(FIRST_MS),
    turn: take,
    last: () => last,
    stop: async () => {
      ended.abort();
      clearTimeout(timer);
      await running;
    },
  };
}

/** A record that cannot be read is none: the step runs, and writes it anew. */
function readTimes(value: string): Times {
  try {
    const parsed: unknown = JSON.parse(value);
    if (typeof parsed !== 'object' || parsed === null) return NEVER;
    const { done, tried }: Readonly<Record<string, unknown>> = { ...parsed };
    return typeof done === 'number' && typeof tried === 'number' ? { done, tried } : NEVER;
  } catch {
    return NEVER;
  }
}
