/**
 * Takes guards out, one after the other in each of a few scratch copies, and says of each whether a test noticed. The same tests must be
 * green with the guard in place, else their failure proves nothing: that is tried once for each set of tests.
 */
import { faultOf, testFiles, type Guard, type Guards } from './guard.ts';
import { makeScratch, type Run, type Scratch } from './scratch.ts';

export type Verdict =
  /** By a failing test, or by one that never ended. */
  | { readonly kind: 'caught'; readonly by: string; readonly hung: boolean }
  /** Its tests stay green. */
  | { readonly kind: 'survived'; readonly ran: number }
  /** Nothing is proved, and why. */
  | { readonly kind: 'unproved'; readonly fault: string };

export interface Finding {
  readonly name: string;
  readonly guard: Guard;
  readonly verdict: Verdict;
  readonly seconds: number;
  /** Of an earlier run: its file or its tests may have changed since. */
  readonly earlier?: true;
}

/** The least that tests get without a guard before they count as hanging; else a multiple of what they take with it. */
const LEAST_DEADLINE_MS = 30_000;
const PATIENCE = 6;
/** For tests on the whole program. */
const WHOLE_DEADLINE_MS = 10 * 60_000;

export interface HuntOptions {
  /** Scratch copies that work at the same time. */
  readonly at: number;
  readonly signal?: AbortSignal;
  readonly onFinding?: (finding: Finding) => void;
}

/** In the order of `guards`. */
export async function hunt(guards: Guards, { at, signal, onFinding }: HuntOptions): Promise<Finding[]> {
  const names = Object.keys(guards);
  const findings = new Map<string, Finding>();
  const baselines = new Map<string, Promise<Run>>();
  const waiting = names.values();
  const work = async (): Promise<void> => {
    const scratch = await makeScratch(signal);
    try {
      for (const name of waiting) {
        signal?.throwIfAborted();
        const guard = guards[name];
        if (guard === undefined) continue;
        const finding = await tryWithout(name, guard, scratch, baselines);
        signal?.throwIfAborted();
        findings.set(name, finding);
        onFinding?.(finding);
      }
    } finally {
      await scratch.remove();
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: Math.min(at, names.length) }, work));
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
  return names.flatMap((name) => findings.get(name) ?? []);
}

async function tryWithout(name: string, guard: Guard, scratch: Scratch, baselines: Map<string, Promise<Run>>): Promise<Finding> {
  const found = (verdict: Verdict, ms = 0): Finding => ({ name, guard, verdict, seconds: Math.round(ms / 100) / 10 });
  const unproved = (fault: string): Finding => found({ kind: 'unproved', fault });
  const fault = faultOf(guard);
  if (fault !== undefined) return unproved(fault);
  const order = { files: testFiles(guard), named: guard.named };
  const key = JSON.stringify(order);
  const begun = baselines.get(key) ?? scratch.run(order, WHOLE_DEADLINE_MS);
  baselines.set(key, begun);
  const whole = await begun;
  if (whole.kind !== 'green') return unproved(`its tests are not green with the guard in place: ${wordsOf(whole)}`);
  if (whole.passed === 0) return unproved(whole.skipped > 0 ? 'all of its tests are skipped here' : 'no test has such a name');
  const run = await scratch.run(order, Math.max(LEAST_DEADLINE_MS, PATIENCE * whole.ms), guard);
  switch (run.kind) {
    case 'red':
      return found({ kind: 'caught', by: run.test, hung: false }, run.ms);
    case 'hung':
      return found({ kind: 'caught', by: run.test, hung: true }, run.ms);
    case 'green':
      return found({ kind: 'survived', ran: run.passed }, run.ms);
    case 'broken':
      return unproved(run.fault);
  }
}

function wordsOf(run: Exclude<Run, { kind: 'green' }>): string {
  if (run.kind === 'broken') return run.fault;
  return `${run.test} ${run.kind === 'hung' ? 'does not end' : 'fails'}`;
}
