/** The process that crl.ts measures: asks about one certificate, and prints its figures. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import process from 'node:process';
import { setTimeout as after } from 'node:timers/promises';
import { parseCertificate } from '../../../src/certificates/certificate.ts';
import { makeCrlSource } from '../../../src/certificates/revocation/crl.ts';
import { makeFetch } from '../../../src/certificates/revocation/fetch.ts';
import { residentMiB } from '../memory.ts';

export interface CrlFigures {
  readonly answer: string;
  readonly milliseconds: number;
  /** The longest that the main thread was held up; ms. */
  readonly delay: number;
  /** MiB */
  readonly idle: number;
  readonly peak: number;
  /** µs for one more answer. */
  readonly lookup: number;
}

const LOOKUPS = 1000;
const [, , folder = ''] = process.argv;
const [issuer, leaf] = ['ca.der', 'leaf.der'].map((name) => parseCertificate(readFileSync(join(folder, name))));
if (issuer === undefined || leaf === undefined) throw new Error('no certificates');
const source = makeCrlSource({
  fetch: makeFetch({ networks: ['127.0.0.0/8'], resolve: () => Promise.resolve([]) }),
  folder: undefined,
  cache: { folder, writable: true },
  now: Date.now,
  random: () => 0,
  patience: 60_000,
});
const idle = await residentMiB(process.pid, 'VmRSS');
const delays = monitorEventLoopDelay({ resolution: 1 });
delays.enable();
await after(50);
delays.reset();
const begun = performance.now();
const status = await source.status(leaf, issuer, AbortSignal.timeout(60_000));
const milliseconds = performance.now() - begun;
await after(50);
delays.disable();
const again = performance.now();
for (let count = 0; count < LOOKUPS; count++) await source.status(leaf, issuer, AbortSignal.timeout(60_000));
const lookup = ((performance.now() - again) * 1000) / LOOKUPS;
const figures: CrlFigures = {
  answer: status.kind,
  milliseconds,
  delay: delays.max / 1e6,
  idle,
  peak: await residentMiB(process.pid, 'VmHWM'),
  lookup,
};
await source.close();
process.stdout.write(JSON.stringify(figures));
