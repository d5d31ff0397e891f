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
import { SealpostError } from './errors.ts';

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
  'storage-refused': {
    state: 'draining',
    text: 'the disk took nothing, though it says there is room',
    mend: 'look at the quota of the user of the relay, and at df -i of the data folder; it is tried again and again',
  },
  'storage-hanging': {
    state: 'draining',
    text: 'the disk of the data folder has not answered for ten seconds',
    mend: 'look at the disk, or at the file server behind it; mail is taken again once it answers',
  },
  'descriptors-exhausted': {
    state: 'draining',
    text: 'no file and no connection can be opened; new clients are cut off, and so may be whoever asks here',
    mend: 'raise LimitNOFILE in its unit (ulimit -n), or lower limits.connections',
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
  'sources-failing': {
    state: 'accepting',
    text: 'a source of certificates gave no answer in the last five minutes; mail that needs it is put off',
    mend: 'the log names it; sealpost certs lookup ADDRESS asks it',
  },
  'spool-key-lost': {
    state: 'accepting',
    text: 'the file of the spool key is gone; the relay goes on with the key that it has read, until it stops',
    mend: 'restore spool.key into the folder of keys from your copy, before anybody starts the relay again',
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
  /** QueueStore.refusals(). */
  readonly refusals: () => Promise<readonly SealpostError[]>;
  /** Whether each of these holds; one that rejects does not. */
  readonly notes: Readonly<Partial<Record<ReasonCode, () => boolean | Promise<boolean>>>>;
  readonly everyMs?: number;
  /** ms after which a question that is not answered is a disk that hangs. */
  readonly patienceMs?: number;
}

export interface RefusalWatch {
  /** Why mail is refused, as it was asked last: for MAIL, which must not ask a disk. */
  refusal(): SealpostError | undefined;
  stop(): void;
}

const EVERY_MS = 1000;
const PATIENCE_MS = 10_000;
/** What ends by itself, each of the name of its error. */
const PASSING = ['storage-full', 'storage-refused', 'descriptors-exhausted', 'audit-failed'] as const satisfies readonly ReasonCode[];

/** Asks now and every second, one question at a time. Resolves once the first is answered. */
export async function watchRefusal({
  readiness,
  refusals,
  notes,
  everyMs = EVERY_MS,
  patienceMs = PATIENCE_MS,
}: WatchParts): Promise<RefusalWatch> {
  const told = codesOf(notes);
  let last: SealpostError | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const asking = new Set<ReasonCode>();
  // Not waited for: a folder of keys that hangs must not make the last refusal an old one.
  const note = async (code: ReasonCode, holds: () => Promise<boolean>): Promise<void> => {
    if (asking.has(code)) return;
    asking.add(code);
    const found = await holds().catch(() => false);
    asking.delete(code);
    if (!stopped) readiness.tell(code, found);
  };
  const look = async (): Promise<void> => {
    const late = setTimeout(() => {
      if (stopped) return;
      last = new SealpostError('storage-hanging');
      readiness.tell('storage-hanging', true);
    }, patienceMs).unref();
    const found = await refusals();
    clearTimeout(late);
    if (stopped) return;
    last = found[0];
    readiness.tell('storage-hanging', false);
    for (const code of PASSING)
      readiness.tell(
        code,
        found.some((one) => one.code === code),
      );
    // What failed for good stays so: the process ends for it.
    if (found.some((one) => !PASSING.some((code) => code === one.code))) readiness.tell('storage-failed', true);
    for (const [code, holds] of told) void note(code, holds);
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

function codesOf(notes: WatchParts['notes']): (readonly [ReasonCode, () => Promise<boolean>])[] {
  const isCode = (name: string): name is ReasonCode => name in reasonTable;
  return Object.keys(notes)
    .filter(isCode)
    .map((code) => [code, async () => (await notes[code]?.()) ?? false] as const);
}
