/**
 * How often generated input is tried. The same input at every run, so that a failure stays; `SEALPOST_RUNS=50` tries fifty times as
 * much from `SEALPOST_SEED`, or from a seed that is printed with whatever fails.
 */
import process from 'node:process';

const times = Number(process.env['SEALPOST_RUNS'] ?? 1);
const seed = process.env['SEALPOST_SEED'] ?? (times === 1 ? '4711' : undefined);

/** What fast-check is told: `usual` runs, times what was asked for. */
export const runs = (usual: number): { readonly numRuns: number; readonly seed?: number } => ({
  numRuns: Math.ceil(usual * times),
  ...(seed === undefined ? {} : { seed: Number(seed) }),
});
