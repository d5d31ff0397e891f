/**
 * `npm run bench`: ratios and figures of one run on this machine. Arguments narrow it: `npm run bench -- relaying latency`. `--quick` does
 * all of it once and small, in under two minutes; `--json FILE` writes what was found; `--report` puts it into docs/performance.md.
 */
import { writeFileSync } from 'node:fs';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { benchBacklog } from './backlog.ts';
import { benchCertificates } from './certificates.ts';
import { type Bench, type Curve, type Figure, lineOf, type Shares, sharesTable, tableOf } from './figures.ts';
import { benchMemory, benchStored } from './footprint.ts';
import { benchGrowth } from './growth.ts';
import { benchLatency } from './latency.ts';
import { benchLogins } from './logins.ts';
import { runOwned, type Owner } from './owner.ts';
import { benchProfile } from './profile.ts';
import { benchPolicies } from './policies.ts';
import { benchRecipients } from './recipients.ts';
import { benchFilter, benchLarge, benchRelaying } from './relaying.ts';
import { asJson, machine, writeReport } from './report.ts';
import { benchSealing } from './sealing.ts';
import { benchSigning } from './signing.ts';
import { benchSlow } from './slow.ts';
import { benchThrottled } from './throttled.ts';

const print = (line: string): void => void process.stdout.write(`${line}\n`);

interface Entry {
  /** What it may take on a slow machine. */
  readonly seconds: number;
  /** Run only where it is asked for: it takes minutes, and is about one part. */
  readonly named?: true;
  readonly run: (bench: Bench, owner: Owner) => Promise<void>;
}

/** Those that are not `named` are the table of docs/performance.md. */
const benches: Readonly<Record<string, Entry>> = {
  relaying: { seconds: 300, run: benchRelaying },
  filter: { seconds: 300, run: benchFilter },
  large: { seconds: 300, run: benchLarge },
  sealing: { seconds: 180, run: benchSealing },
  recipients: { seconds: 180, run: benchRecipients },
  memory: { seconds: 240, run: benchMemory },
  latency: { seconds: 240, run: benchLatency },
  backlog: { seconds: 600, run: benchBacklog },
  profile: { seconds: 120, run: benchProfile },
  growth: { seconds: 1500, named: true, run: benchGrowth },
  signing: { seconds: 120, named: true, run: (bench, owner) => benchSigning(bench.print, owner) },
  stored: { seconds: 30, named: true, run: (bench, owner) => benchStored(bench.print, owner) },
  logins: { seconds: 150, named: true, run: (bench, owner) => benchLogins(bench.print, owner) },
  certificates: { seconds: 900, named: true, run: (bench, owner) => benchCertificates(bench.print, owner) },
  throttled: { seconds: 1600, named: true, run: (bench, owner) => benchThrottled(bench.print, owner) },
  policies: { seconds: 60, named: true, run: (bench, owner) => benchPolicies(bench.print, owner) },
  slow: { seconds: 240, named: true, run: (bench, owner) => benchSlow(bench.print, owner) },
};

const { values, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    report: { type: 'boolean', default: false },
  },
});
const unknown = wanted.find((name) => !(name in benches));
if (unknown !== undefined || (values.quick && values.report)) {
  const there = `no bench is called ${unknown}; there are: ${Object.keys(benches).join(', ')}`;
  process.stderr.write(`${unknown === undefined ? 'the figures of --quick are for no report' : there}\n`);
  process.exit(2);
}
print(machine());
print('Debian packages it needs for all rows: postfix, openssl, msmtp; as root, since Postfix starts as nobody else');
// The relay is a group of processes of its own, so a Ctrl-C reaches it through here only.
const stopped = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => stopped.abort(new Error(`stopped by ${name}`)));

const figures: Figure[] = [];
const curves: Curve[] = [];
const profiles: Shares[] = [];
const bench: Bench = {
  print,
  quick: values.quick,
  figure: (figure) => {
    figures.push(figure);
    print(lineOf(figure));
  },
  shares: (shares) => {
    profiles.push(shares);
    print(sharesTable(shares).join('\n'));
  },
  curve: (curve) => {
    curves.push(curve);
    for (const { name, values: own } of curve.series)
      print(`${curve.along}: ${curve.at.map((at, place) => `${at}: ${own[place]?.toPrecision(3)}`).join(', ')} (${name})`);
  },
};
let failed = false;
for (const [name, { seconds, named = false, run }] of Object.entries(benches)) {
  if (stopped.signal.aborted || ((wanted.length > 0 || named) && !wanted.includes(name))) continue;
  print(`${name} …`);
  await runOwned(seconds * 1000, stopped.signal, (owner) => run(bench, owner)).catch((error: unknown) => {
    failed = true;
    print(`${name}: failed: ${error instanceof Error ? error.message : String(error)}`);
  });
}
if (figures.length > 0) print(['', ...tableOf(figures)].join('\n'));
const found = { figures, curves, profiles };
const command = ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' ');
if (values.json !== undefined) writeFileSync(values.json, asJson(found, command));
if (values.report && !failed) await writeReport(found, command);
// A bench that was cut short may have left a socket or a timer.
process.exit(failed ? 1 : 0);
