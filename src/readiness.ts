/**
 * What the relay does at this moment, said honestly: to load balancers (`/readyz`), to the log, and to `sealpost doctor`.
 *
 *   accepting   mail is taken, and delivered
 *   draining    no mail is taken, what is queued is delivered: the disk is full but for its reserve, or the audit file cannot be written
 *   stopped     neither: it starts, it stops, or the queue cannot be written any more
 *
 * A state is the gravest that any of its reasons brings; without reasons it is `accepting`. Notes change nothing: mail is taken, and
 * something is to be mended all the same. Whoever finds a cause or its end tells it here; nothing here asks or waits.
 */
import type { SealpostError } from './errors.ts';

export type RelayState = 'accepting' | 'draining' | 'stopped';

interface ReasonRow {
  /** What it brings the relay to; `accepting` makes it a note. */
  readonly state: RelayState;
  readonly text: string;
  readonly mend: string;
}

export const reasonTable = {
  starting: { state: 'stopped', text: 'the relay is starting', mend: 'wait; where it lasts, the log says what it waits for' },
  stopping: { state: 'stopped', text: 'the relay is stopping', mend: 'nothing: whoever stopped it starts it again' },
  'storage-failed': {
    state: 'stopped',
    text: 'the queue or the audit log cannot be written, or was moved away; the relay ends with exit 1',
    mend: 'the log line has the cause: mend the disk, put back what was moved, start the relay again',
  },
  'storage-full': {
    state: 'draining',
    text: 'the disk of the data folder is full but for its reserve',
    mend: 'make room on it: mail is taken again within a second',
  },
  'audit-failed': {
    state: 'draining',
    text: 'the audit file cannot be written',
    mend: 'look at its disk and its permissions; mail is taken again once a line is written',
  },
  'rules-faulty': {
    state: 'accepting',
    text: 'the rules were changed and are faulty; those from before count',
    mend: 'sealpost check tells every fault with its place',
  },
  'upstreams-failing': {
    state: 'accepting',
    text: 'no upstream can be reached; mail is taken, and waits',
    mend: 'sealpost doctor asks each of them; sealpost queue list says why mail waits',
  },
} as const satisfies Record<string, ReasonRow>;

export type ReasonCode = keyof typeof reasonTable;

export interface Reason {
  readonly code: ReasonCode;
  readonly text: string;
  readonly mend: string;
  /** ms since the epoch */
  readonly since: number;
}

export interface Standing {
  readonly state: RelayState;
  /** Since when it is in this state; ms since the epoch. */
  readonly since: number;
  /** What keeps it from `accepting`. */
  readonly reasons: readonly Reason[];
  readonly notes: readonly Reason[];
}

export interface Readiness {
  standing(): Standing;
  /** A cause is there, or is there no more; saying it twice changes nothing. */
  tell(code: ReasonCode, holds: boolean): void;
}

const GRAVITY: Readonly<Record<RelayState, number>> = { accepting: 0, draining: 1, stopped: 2 };

/** It is `starting` until that is told to be over. `onChange` is called behind every change. */
export function makeReadiness({ now, onChange }: { now: () => number; onChange: (standing: Standing) => void }): Readiness {
  const held = new Map<ReasonCode, number>([['starting', now()]]);
  let state: RelayState = 'stopped';
  let since = now();
  const standing = (): Standing => {
    const all = [...held].map(([code, at]): Reason => ({ code, text: reasonTable[code].text, mend: reasonTable[code].mend, since: at }));
    const isNote = ({ code }: Reason): boolean => reasonTable[code].state === 'accepting';
    return { state, since, reasons: all.filter((one) => !isNote(one)), notes: all.filter(isNote) };
  };
  return {
    standing,
    tell(code, holds) {
      if (held.has(code) === holds) return;
      if (holds) held.set(code, now());
      else held.delete(code);
      const states = [...held.keys()].map((one): RelayState => reasonTable[one].state);
      const gravest = states.reduce((worst, one) => (GRAVITY[one] > GRAVITY[worst] ? one : worst), 'accepting' as RelayState);
      if (gravest !== state) since = now();
      state = gravest;
      onChange(standing());
    },
  };
}

export interface WatchParts {
  readonly readiness: Readiness;
  /** QueueStore.refusal(). */
  readonly refusal: () => Promise<SealpostError | undefined>;
  /** False where every upstream is left alone after failures. */
  readonly upstreamsWell: () => boolean;
  readonly everyMs?: number;
}

export interface RefusalWatch {
  /** Why mail is refused, as it was asked last: for MAIL, which must not ask a disk. */
  refusal(): SealpostError | undefined;
  stop(): void;
}

const EVERY_MS = 1000;

/** Asks now and every second, one question at a time. Resolves once the first is answered. */
export async function watchRefusal({ readiness, refusal, upstreamsWell, everyMs = EVERY_MS }: WatchParts): Promise<RefusalWatch> {
  let last: SealpostError | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const look = async (): Promise<void> => {
    const found = await refusal();
    if (stopped) return;
    last = found;
    readiness.tell('storage-full', found?.code === 'storage-full');
    readiness.tell('audit-failed', found?.code === 'audit-failed');
    // What failed for good stays so: the process ends for it.
    if (found !== undefined && found.code !== 'storage-full' && found.code !== 'audit-failed') readiness.tell('storage-failed', true);
    readiness.tell('upstreams-failing', !upstreamsWell());
    timer = setTimeout(() => void look(), everyMs);
  };
  await look();
  return {
    refusal: () => last,
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
