/**
 * `npm run bench`: ratios and figures of one run on this machine. Arguments narrow it: `npm run bench -- sealing`.
 */
import { cpus } from 'node:os';
import process from 'node:process';
import { benchCertificates } from './certificates.ts';
import { benchMemory, benchStored } from './footprint.ts';
import { benchLogins } from './logins.ts';
import { sealFile, startOurRelay } from './ours.ts';
import { runOwned, type Owner } from './owner.ts';
import { benchPolicies } from './policies.ts';
import { benchRelaying } from './relaying.ts';
import { benchSealing } from './sealing.ts';
import { benchSigning } from './signing.ts';
import { benchSlow } from './slow.ts';
import { benchThrottled } from './throttled.ts';

const print = (line: string): void => void process.stdout.write(`${line}\n`);

interface Bench {
  /** What it may take on a slow machine. */
  readonly seconds: number;
  /** Run only where it is asked for: it waits for minutes to pass. */
  readonly named?: true;
  readonly run: (owner: Owner) => Promise<void>;
}

/** Those that are not `named` end within five minutes together. */
const benches: Readonly<Record<string, Bench>> = {
  sealing: { seconds: 60, run: (owner) => benchSealing(sealFile, print, owner) },
  signing: { seconds: 120, run: (owner) => benchSigning(print, owner) },
  memory: { seconds: 90, run: (owner) => benchMemory(print, owner) },
  stored: { seconds: 30, run: (owner) => benchStored(print, owner) },
  logins: { seconds: 150, run: (owner) => benchLogins(print, owner) },
  certificates: { seconds: 900, named: true, run: (owner) => benchCertificates(print, owner) },
  throttled: { seconds: 1600, named: true, run: (owner) => benchThrottled(print, owner) },
  policies: { seconds: 60, run: (owner) => benchPolicies(print, owner) },
  relaying: { seconds: 180, run: (owner) => benchRelaying(startOurRelay, print, owner) },
  slow: { seconds: 240, run: (owner) => benchSlow(print, owner) },
};

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !(name in benches));
if (unknown !== undefined) {
  process.stderr.write(`no bench is called ${unknown}; there are: ${Object.keys(benches).join(', ')}\n`);
  process.exit(2);
}
print(`${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, Node ${process.version}`);
// The relay is a group of processes of its own, so a Ctrl-C reaches it through here only.
const stopped = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => stopped.abort(new Error(`stopped by ${name}`)));

let failed = false;
for (const [name, { seconds, named = false, run }] of Object.entries(benches)) {
  if (stopped.signal.aborted || ((wanted.length > 0 || named) && !wanted.includes(name))) continue;
  await runOwned(seconds * 1000, stopped.signal, run).catch((error: unknown) => {
    failed = true;
    print(`${name}: failed: ${error instanceof Error ? error.message : String(error)}`);
  });
}
// A bench that was cut short may have left a socket or a timer.
process.exit(failed ? 1 : 0);
