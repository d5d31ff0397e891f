/** What a message costs the relay until it is queued: CPU of its process, all threads, from /proc. Nothing is delivered meanwhile. */
import { readFile } from 'node:fs/promises';
import { freePort } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from '../relay/site.ts';
import type { Bench } from './figures.ts';
import { makeReadersOfOneKey, readersOf } from './footprint.ts';
import { sendLoad } from './load.ts';
import type { Owner } from './owner.ts';
import { comparePairs, showSpread } from './pairs.ts';
import { SENDER } from './source.ts';

const MIB = 1024 * 1024;
/** Ms: what the kernel counts in. */
const TICK_MS = 10;
const MANY = 100;

/** Ms of CPU that a process has used, in user and in kernel mode (proc(5)). */
export async function cpuOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** A relay whose upstream is not there, and who sends `octets` to the first `count` of its readers: answers ms of CPU. */
export async function queueingRelay(owner: Owner, most: number): Promise<(count: number, octets: number) => Promise<number>> {
  const upstreamPort = await freePort();
  const site = await makeSite(owner, { upstreamPort, config: { limits: { recipients: most } } });
  await makeReadersOfOneKey(site.dir, most);
  const relay = await site.serve();
  const pid = relay.child.pid ?? 0;
  return async (count, octets) => {
    const before = await cpuOf(pid);
    await sendLoad({ port: relay.port, clients: 1, messages: 1, octets, from: SENDER, to: readersOf(count) });
    return (await cpuOf(pid)) - before;
  };
}

export async function benchRecipients(bench: Bench, owner: Owner): Promise<void> {
  const missing = missingPrograms({ openssl: 'openssl' });
  if (missing !== undefined) return bench.print(`recipients: skipped, ${missing}`);
  const cpu = await queueingRelay(owner, MANY);
  const times = bench.quick ? 1 : 10;
  // One message of one reader is a tick or two: several together.
  const several = async (count: number): Promise<number> => {
    let sum = 0;
    for (let time = 0; time < times; time++) sum += await cpu(count, MIB);
    return Math.max(sum, TICK_MS) / times;
  };
  const result = await comparePairs(
    bench.quick ? 1 : 5,
    () => several(MANY),
    () => several(1),
  );
  bench.figure({
    what: `1 MiB to ${MANY} readers against 1: CPU of the relay until it is queued`,
    measured: result.ratio,
    unit: '×',
    wanted: { most: 3 },
    beside: `${MANY}: ${showSpread(result.ours, 0)} ms, 1: ${showSpread(result.theirs, 0)} ms`,
  });
}
