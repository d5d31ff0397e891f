/** The look of the daily round at 100,000 certificates: how long it takes beside mail, how long it holds the thread, what it keeps. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import process from 'node:process';
import { pino } from 'pino';
import { openSiteCertificates } from '../../../src/certificates/site.ts';
import { takeStock } from '../../../src/upkeep/expiry/stock.ts';
import { noOpenssl } from '../../certificates/openssl.ts';
import type { Owner } from '../owner.ts';
import { makeCertificates } from './files.ts';

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;

export async function benchExpiring(print: (line: string) => void, owner: Owner, count = 100_000): Promise<void> {
  if (noOpenssl !== false) return print(`certificates, expiring: skipped, ${noOpenssl}`);
  const dir = mkdtempSync(join(tmpdir(), 'bench-expiring-'));
  owner.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const folder of ['made', 'recipients', 'anchors', 'intermediates', 'data']) mkdirSync(join(dir, folder), { mode: 0o700 });
  const write = makeCertificates(dir);
  for (let number = 0; number < count; number++) write(number);
  const places = {
    sources: [{ files: [join(dir, 'recipients')] }],
    cache: { found: DAY_MS, absent: DAY_MS, stale: DAY_MS },
    trust: { anchors: join(dir, 'anchors'), intermediates: join(dir, 'intermediates'), revocation: 'soft' as const, fetchNetworks: [] },
  };
  const certificates = openSiteCertificates(places, {
    now: Date.now,
    log: pino({ level: 'silent' }),
    patience: 60_000,
    cache: { folder: join(dir, 'data'), writable: true },
    ldapSecrets: () => Promise.reject(new Error('no directory here')),
  });
  owner.after(() => certificates.close());
  for (const folder of certificates.recipients) await folder.survey();
  const before = process.memoryUsage().rss;
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const begun = performance.now();
  const store = { records: { list: async () => [] }, known: { page: async () => [] } };
  const stock = await takeStock({ certificates, store, pinned: false, horizon: 60 * DAY_MS, now: Date.now }, new AbortController().signal);
  const spent = performance.now() - begun;
  const due = stock.survey.due(60 * DAY_MS).length;
  delay.disable();
  print(
    `certificates, expiring: ${stock.series.usable + stock.series.unusable} certificates judged in ${(spent / 1000).toFixed(1)} s, ${due} due; ` +
      `event loop blocked at most ${Math.round(delay.max / 1e6)} ms (100); ${Math.round((process.memoryUsage().rss - before) / MIB)} MiB more resident`,
  );
}
