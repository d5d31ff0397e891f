/**
 * `npm run bench`: ratios and figures of one run on this machine. Arguments narrow it: `npm run bench -- sealing`.
 */
import { cpus } from 'node:os';
import process from 'node:process';
import { benchMemory, benchStored } from './footprint.ts';
import { sealFile, startOurRelay } from './ours.ts';
import { benchRelaying } from './relaying.ts';
import { benchSealing } from './sealing.ts';

const print = (line: string): void => void process.stdout.write(`${line}\n`);

const benches: Readonly<Record<string, () => Promise<void>>> = {
  sealing: () => benchSealing(sealFile, print),
  memory: () => benchMemory(print),
  stored: () => benchStored(print),
  relaying: () => benchRelaying(startOurRelay, print),
};

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !(name in benches));
if (unknown !== undefined) {
  process.stderr.write(`no bench is called ${unknown}; there are: ${Object.keys(benches).join(', ')}\n`);
  process.exit(2);
}
print(`${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, Node ${process.version}`);
for (const [name, bench] of Object.entries(benches)) {
  if (wanted.length === 0 || wanted.includes(name)) await bench();
}
