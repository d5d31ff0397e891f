/**
 * Runs tests in the folder that it is started in, up to the first that fails, and tells on standard output what came of it: one line of
 * JSON. A process of its own, so that it can be ended with all that the tests started.
 *
 *   node trial.ts '{ "files": […], "named": "…" }'
 */
import process from 'node:process';
import { run } from 'node:test';

export interface TrialOrder {
  readonly files: readonly string[];
  /** An expression that the names of the tests match. */
  readonly named?: string | undefined;
}

export type TrialResult =
  | { readonly kind: 'green'; readonly passed: number; readonly skipped: number }
  /** A test failed because of what it found. */
  | { readonly kind: 'red'; readonly test: string; readonly file: string }
  /** A test ran into its own time limit. */
  | { readonly kind: 'hung'; readonly test: string }
  /** Something else went wrong: a file that does not load, a hook. It proves nothing. */
  | { readonly kind: 'broken'; readonly fault: string };

/** It crossed a pipe. */
export const isResult = (value: unknown): value is TrialResult => typeof value === 'object' && value !== null && 'kind' in value;

if (import.meta.main) {
  const order: unknown = JSON.parse(process.argv[2] ?? '');
  if (!isOrder(order)) process.exit(2);
  const ended = trial(order);
  const result = await ended;
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

function trial({ files, named }: TrialOrder): Promise<TrialResult> {
  const { promise, resolve } = Promise.withResolvers<TrialResult>();
  let passed = 0;
  let skipped = 0;
  const stream = run({
    files: [...files],
    concurrency: 1,
    execArgv: ['--disable-warning=ExperimentalWarning'],
    ...(named === undefined ? {} : { testNamePatterns: [new RegExp(named)] }),
  });
  stream.on('test:pass', ({ details, skip, name }) => {
    if (details.type === 'suite' || files.includes(name)) return;
    if (skip === undefined) passed++;
    else skipped++;
  });
  stream.on('test:fail', ({ name, file, details }) => {
    const { error } = details;
    const type = 'failureType' in error ? String(error.failureType) : '';
    if (type === 'subtestsFailed' || type === 'cancelledByParent') return;
    // A file that ends with an error of its own is reported as a test of its name.
    if (files.some((one) => name.endsWith(one))) resolve({ kind: 'broken', fault: `${name} does not run` });
    else if (type === 'testTimeoutFailure') resolve({ kind: 'hung', test: name });
    else if (type === 'hookFailed') resolve({ kind: 'broken', fault: `a hook of ${name} failed` });
    else resolve({ kind: 'red', test: name, file: file ?? '' });
  });
  stream.on('end', () => resolve({ kind: 'green', passed, skipped }));
  stream.resume();
  return promise;
}

function isOrder(value: unknown): value is TrialOrder {
  return typeof value === 'object' && value !== null && 'files' in value && Array.isArray(value.files);
}
