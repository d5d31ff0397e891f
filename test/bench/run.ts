/**
 * `npm run bench`: ratios and figures of one run on this machine. Arguments narrow it: `npm run bench -- sealing`.
 */
import { cpus } from 'node:os';
import process from 'node:process';
import { benchMemory, benchStored } from './footprint.ts';
import { sealFile, startOurRelay } from './ours.ts';
import { runOwned, type Owner } from './owner.ts';
import { benchRelaying } from './relaying.ts';
import { benchSealing } from './sealing.ts';
import { benchSlow } from './slow.ts';

const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** `seconds`: what a bench may take on a slow machine; all of them together end within five minutes. */
const benches: Readonly<Record<string, { readonly seconds: number; readonly run: (owner: Owner) => Promise<void> }>> = {
  sealing: { seconds: 60, run: (owner) => benchSealing(sealFile, print, owner) },
  memory: { seconds: 90, run: (owner) => benchMemory(print, owner) },
  stored: { seconds: 30, run: (owner) => benchStored(print, owner) },
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
for (const [name, { seconds, run }] of Object.entries(benches)) {
  if (stopped.signal.aborted || (wanted.length > 0 && !wanted.includes(name))) continue;
  await runOwned(seconds * 1000, stopped.signal, run).catch((error: unknown) => {
    failed = true;
    print(`${name}: failed: ${error instanceof Error ? error.message : String(error)}`);
  });
}
// A bench that was cut short may have left a socket or a timer.
process.exit(failed ? 1 : 0);
