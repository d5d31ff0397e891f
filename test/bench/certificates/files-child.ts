/** The certificate stage of a site in a process of its own; prints what was measured as JSON. Arguments: the folder, how many files. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { join } from 'node:path';
import process from 'node:process';
import { pino } from 'pino';
import { openSiteCertificates } from '../../../src/certificates/site.ts';
import { parseMailbox } from '../../../src/message/envelope.ts';
import { residentMiB } from '../memory.ts';

/** ms, seconds, MiB. */
export interface FilesFigures {
  readonly ready: number;
  readonly startDelay: number;
  readonly p50: number;
  readonly p99: number;
  readonly absent99: number;
  readonly scanning99: number;
  readonly scan: number;
  readonly delay: number;
  /** Before the first look-up. */
  readonly residentAtStart: number;
  readonly resident: number;
  readonly peak: number;
}

const LOOKUPS = 3000;
const WARM_UPS = 3000;
const SCANS = 3;
const RESOLUTION_MS = 5;

const [dir = '', files = '0'] = process.argv.slice(2);
const rounded = (value: number, digits = 2): number => Number(value.toFixed(digits));

const loop = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
loop.enable();
const begun = performance.now();
const certificates = openSiteCertificates(
  {
    sources: [{ files: [join(dir, 'recipients')] }],
    cache: { found: 0, absent: 0, stale: 0 },
    trust: { anchors: join(dir, 'anchors'), intermediates: join(dir, 'intermediates'), revocation: 'off', fetchNetworks: [] },
  },
  {
    now: Date.now,
    log: pino({ level: 'info' }, pino.destination(2)),
    patience: 10_000,
    cache: { folder: join(dir, 'data'), writable: true },
    ldapSecrets: () => Promise.reject(new Error('no LDAP here')),
  },
);
const [folder] = certificates.recipients;
if (folder === undefined) throw new Error('no folder');
await folder.survey();
const ready = (performance.now() - begun) / 1000;
/** Over what the monitor itself waits. */
const blocked = (): number => rounded(Math.max(0, loop.max / 1e6 - RESOLUTION_MS), 0);
const startDelay = blocked();
const residentAtStart = rounded(await residentMiB(process.pid, 'VmRSS'), 0);

async function lookUp(address: string, expected: string): Promise<number> {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault') throw new Error(verdict.fault);
  const from = performance.now();
  const answer = await certificates.directory.lookup(verdict.mailbox);
  const took = performance.now() - from;
  if (answer.kind !== expected) throw new Error(`${expected} was expected, and the answer is ${answer.kind}`);
  return took;
}

const anybody = (): string => `reader${String(Math.floor(Math.random() * Number(files))).padStart(6, '0')}@clinic.example`;
const percentile = (values: readonly number[], part: number): number =>
  rounded(values.toSorted((a, b) => a - b)[Math.floor(values.length * part)] ?? 0, 3);

// The second scan follows the first after a second, and would run beside the look-ups in peace; the third is far off.
await folder.refresh();
for (let count = 0; count < WARM_UPS; count++) await lookUp(anybody(), 'found');
loop.reset();
const [found, absent, scanning]: [number[], number[], number[]] = [[], [], []];
for (let count = 0; count < LOOKUPS; count++) found.push(await lookUp(anybody(), 'found'));
for (let count = 0; count < LOOKUPS; count++) absent.push(await lookUp(`nobody${count}@clinic.example`, 'absent'));
const scansBegun = performance.now();
const over = new AbortController();
const scanAgain = async (): Promise<void> => {
  for (let scans = 0; scans < SCANS; scans++) await folder.refresh();
  over.abort();
};
const refreshing = scanAgain();
while (!over.signal.aborted) scanning.push(await lookUp(anybody(), 'found'));
await refreshing;
const figures: FilesFigures = {
  ready: rounded(ready),
  startDelay,
  p50: percentile(found, 0.5),
  p99: percentile(found, 0.99),
  absent99: percentile(absent, 0.99),
  scanning99: percentile(scanning, 0.99),
  scan: rounded((performance.now() - scansBegun) / 1000 / SCANS),
  delay: blocked(),
  residentAtStart,
  resident: rounded(await residentMiB(process.pid, 'VmRSS'), 0),
  peak: rounded(await residentMiB(process.pid, 'VmHWM'), 0),
};
await certificates.close();
process.stdout.write(`${JSON.stringify(figures)}\n`);
