/** One quiet client: how long the 250 after the dot takes, ours and Postfix's. */
import { sendLoad } from './load.ts';
import type { Bench } from './figures.ts';
import type { Owner } from './owner.ts';
import { comparePairs, showSpread } from './pairs.ts';
import { clearPostfix, missingForSource, ourRival } from './relaying.ts';
import { READER, SENDER } from './source.ts';

const OCTETS = 4096;

export async function benchLatency(bench: Bench, owner: Owner): Promise<void> {
  const missing = missingForSource();
  if (missing !== undefined) return bench.print(`latency: skipped, ${missing}`);
  const ours = await ourRival(owner);
  const theirs = await clearPostfix(owner, () => undefined);
  const messages = bench.quick ? 20 : 300;
  const shares = [0.5, 0.99] as const;
  // Both percentiles come of the same mails.
  const found = shares.map(() => ({ ours: new Array<number>(), theirs: new Array<number>() }));
  const send = async (who: 'ours' | 'theirs', port: number): Promise<number> => {
    const { queued } = await sendLoad({ port, clients: 1, messages, octets: OCTETS, from: SENDER, to: READER });
    for (const [index, share] of shares.entries()) found[index]?.[who].push(queued[Math.floor(queued.length * share)] ?? Number.NaN);
    return 1;
  };
  const pairs = bench.quick ? 1 : 7;
  for (let warm = 0; warm < (bench.quick ? 0 : 3); warm++)
    await sendLoad({ port: ours.port, clients: 4, messages, octets: OCTETS, from: SENDER, to: READER });
  await comparePairs(
    pairs,
    () => send('ours', ours.port),
    () => send('theirs', theirs.port),
  );
  for (const [index, share] of shares.entries()) {
    const times = found[index] ?? { ours: [], theirs: [] };
    const at = { ours: [...times.ours], theirs: [...times.theirs] };
    const result = await comparePairs(
      pairs,
      async () => at.ours.shift() ?? Number.NaN,
      async () => at.theirs.shift() ?? Number.NaN,
    );
    const what = `250 after the dot, 4 KB, one quiet client, p${share * 100}: time against Postfix's`;
    const beside = `ours ${showSpread(result.ours, 2)}, Postfix ${showSpread(result.theirs, 2)} ms`;
    bench.figure({ what, measured: result.ratio, unit: '×', wanted: { most: 1 }, beside });
  }
}
