/**
 * `npm run test:faults`: the built relay killed, refused system calls and worn out, with figures. `--cycles N` random kills (200), `--sites N`
 * side by side (2), `--messages N` of the soak (100000), `--step N` of the sweep (1: every call), `--copies N` of the disk at a cut of the
 * power (200), `--seconds N` after which a part begins nothing new, `--seed N`, `--only kill|sweep|power|soak`, `--report` writes docs/reliability.md.
 * Exit 0: nothing was lost, doubled without a word, damaged or in clear. Else 1, and the folders are kept.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { BUILT_CLI } from './process.ts';
import { type Figures, lineOf, type Progress, summarize } from './figures.ts';
import { killCampaign } from './kill.ts';
import { writeReport } from './report.ts';
import { powerCampaign } from './power.ts';
import { soakCampaign } from './soak.ts';
import { sweepCampaign } from './sweep.ts';
import type { Owner } from '../../relay/site.ts';

const PROGRESS_MS = 5000;
const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '200' },
    sites: { type: 'string', default: '2' },
    messages: { type: 'string', default: '100000' },
    step: { type: 'string', default: '1' },
    copies: { type: 'string', default: '200' },
    seconds: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string' },
    report: { type: 'boolean', default: false },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const numberOf = (text: string, name: string): number => {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  print(`--${name} wants a number above 0, not ${text}`);
  return process.exit(2);
};
const [cycles, sites, messages, step, copies] = (['cycles', 'sites', 'messages', 'step', 'copies'] as const).map((name) =>
  numberOf(values[name], name),
);
const seed = numberOf(values.seed, 'seed');
const seconds = values.seconds === undefined ? Infinity : numberOf(values.seconds, 'seconds');

const parts: Readonly<Record<string, (owner: Owner, over: () => boolean, progress: Progress) => Promise<Figures>>> = {
  kill: (owner, over, progress) => killCampaign(owner, { cycles: cycles ?? 1, sites: sites ?? 1, seed, over, progress }),
  sweep: (owner, over, progress) => sweepCampaign(owner, { step: step ?? 1, over, progress }),
  power: (owner, over, progress) => powerCampaign(owner, { copies: copies ?? 1, seed, over, progress }),
  soak: (owner, _, progress) => soakCampaign(owner, { messages: messages ?? 1, seed, progress }),
};
if (values.only !== undefined && !(values.only in parts)) {
  print(`there is no part ${values.only}; there are: ${Object.keys(parts).join(', ')}`);
  process.exit(2);
}
// What is tried is what is in src/ now.
execFileSync('npm', ['run', '--silent', 'prepare'], { cwd: resolve(import.meta.dirname, '../../..'), stdio: 'inherit' });
if (!existsSync(BUILT_CLI)) throw new Error('dist/cli.js is not there');

/** The folder of a run that went wrong is kept: `after` of a folder removes it, so those ends are left out then. */
const ends: (() => unknown)[] = [];
const owner: Owner = { after: (end) => void ends.push(end) };
process.once('SIGINT', () => process.exit(1));

print(`seed ${seed}`);
const figures: Figures[] = [];
let wrong = false;
for (const [name, part] of Object.entries(parts)) {
  if (values.only !== undefined && values.only !== name) continue;
  let told = 0;
  const progress: Progress = (line) => {
    if (Date.now() - told < PROGRESS_MS) return;
    told = Date.now();
    print(line);
  };
  const until = Date.now() + seconds * 1000;
  try {
    const found = await part(owner, () => Date.now() > until, progress);
    const summary = summarize(found);
    figures.push(found);
    print(lineOf(summary));
    for (const note of found.notes) print(`  ${note}`);
    for (const fault of summary.faults) print(`  fault: ${fault}`);
    if (summary.faults.length > 0) wrong = true;
  } catch (error) {
    wrong = true;
    print(`${name}: ended early: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
}
if (wrong) print('the sites are kept: sealpost-site-* in the folder for temporary files');
else for (const end of ends.toReversed()) await end();
if (values.report && !wrong) await writeReport(figures, process.argv.slice(2));
process.exit(wrong ? 1 : 0);
