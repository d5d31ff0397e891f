/**
 * `npm run mutants`: takes the guards of the promises out one by one and runs the tests that should notice. Exit 0 where each was
 * noticed, 1 where not, 2 for a wrong argument. `--only P3` or `--only NAME`, more than once for more; `--keep FILE` goes on with what
 * an earlier run found, and `--as-kept` runs nothing; `--json`; `--report`.
 */
import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { promiseNames, root, type Guard, type Guards } from './guard.ts';
import { guards } from './guards.ts';
import { hunt, type Finding } from './hunt.ts';
import { keep, readKept } from './kept.ts';
import { isCaught, lineOf, page, table } from './report.ts';

/** Two tests at once are what two cores bear; more make them late, not quicker. */
const AT_ONCE = Math.min(2, availableParallelism());

const say = (line: string): void => void process.stderr.write(`mutants: ${line}\n`);

function usage(fault: string): never {
  say(`${fault}; npm run mutants -- [--only P1…P10 | NAME]… [--keep FILE [--as-kept]] [--json] [--report]`);
  process.exit(2);
}

interface Arguments {
  readonly only: readonly string[];
  readonly kept: string | undefined;
  readonly asKept: boolean;
  readonly json: boolean;
  readonly report: boolean;
}

function readArguments(): Arguments {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', multiple: true },
        keep: { type: 'string' },
        'as-kept': { type: 'boolean' },
        json: { type: 'boolean' },
        report: { type: 'boolean' },
      },
    });
    return {
      only: values.only ?? [],
      kept: values.keep,
      asKept: values['as-kept'] ?? false,
      json: values.json ?? false,
      report: values.report ?? false,
    };
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

function chosen(only: readonly string[]): Guards {
  const unknown = only.find((word) => !promiseNames.some((name) => name === word) && !Object.hasOwn(guards, word));
  if (unknown !== undefined) usage(`no promise and no guard is called ${unknown}`);
  if (only.length === 0) return guards;
  return Object.fromEntries(Object.entries(guards).filter(([name, { promise }]) => only.includes(name) || only.includes(promise)));
}

const { only, kept, asKept, json, report } = readArguments();
if (report && only.length > 0) usage('a report is about all of them');
if (asKept && kept === undefined) usage('nothing is kept without --keep');
const wanted = chosen(only);
const stopped = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => stopped.abort(new Error(`stopped by ${name}`)));

const all = kept === undefined ? [] : [...readKept(kept, wanted)];
const before = new Map(asKept ? all : all.filter(([, { earlier }]) => earlier !== true));
if (before.size > 0) say(`${before.size} were found before`);
const total = Object.keys(wanted).length;
let done = before.size;
const onFinding = (finding: Finding): void => {
  if (kept !== undefined) keep(kept, finding);
  say(`${String(++done).padStart(String(total).length)}/${total} ${lineOf(finding)}`);
};
const left = Object.fromEntries(Object.entries(wanted).filter(([name]) => !before.has(name)));
const notRun = ([name, guard]: [string, Guard]): Finding => ({
  name,
  guard,
  verdict: { kind: 'unproved', fault: 'not run yet' },
  seconds: 0,
});
const found = asKept
  ? Object.entries(left).map(notRun)
  : await hunt(left, { at: AT_ONCE, signal: stopped.signal, onFinding }).catch((error: unknown) => {
      say(error instanceof Error ? error.message : String(error));
      process.exit(1);
    });
const byName = new Map([...before.values(), ...found].map((finding) => [finding.name, finding]));
const findings = Object.keys(wanted).flatMap((name) => byName.get(name) ?? []);
/** Of the tests, on all scratch copies together: a run that goes on has no other measure. */
const minutes = (findings.reduce((sum, { seconds }) => sum + seconds, 0) / 60).toFixed(0);

if (json) {
  const rows = findings.map(({ name, guard, verdict, seconds }) => ({ name, ...guard, verdict, seconds }));
  process.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`);
} else {
  process.stdout.write(table(findings));
}
const missed = findings.filter((finding) => !isCaught(finding)).length;
say(`${findings.length - missed} of ${findings.length} caught, ${minutes} minutes of tests`);
if (report) {
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, Node ${process.version}`;
  const date = new Date().toISOString().slice(0, 10);
  await writeFile(join(root, 'docs/guards.md'), page(findings, { machine, minutes, date }));
  say('docs/guards.md is written');
}
process.exitCode = missed === 0 ? 0 : 1;
