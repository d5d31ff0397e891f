/**
 * Two ways of doing one thing, measured in turns: what else the machine does meanwhile meets both. The ratio of each pair is
 * what counts; the figures of one run on one machine are printed beside it.
 */
import { performance } from 'node:perf_hooks';

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export interface Comparison {
  readonly ours: Spread;
  readonly theirs: Spread;
  /** Ours over theirs in each pair: above 1 we are faster, where both answer a rate. */
  readonly ratio: Spread;
}

/** `values` must not be empty. The median of an even count is the lower of the two in the middle. */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  return { min: at(0), median: at((sorted.length - 1) >> 1), max: at(sorted.length - 1) };
}

/** Runs both `pairs` times, taking turns at who goes first, after one run of each that is not counted. Both answer a rate. */
export async function comparePairs(pairs: number, ours: () => Promise<number>, theirs: () => Promise<number>): Promise<Comparison> {
  await ours();
  await theirs();
  const [our, their]: [number[], number[]] = [[], []];
  for (let pair = 0; pair < pairs; pair++) {
    if (pair % 2 === 0) our.push(await ours());
    their.push(await theirs());
    if (pair % 2 === 1) our.push(await ours());
  }
  return { ours: spread(our), theirs: spread(their), ratio: spread(our.map((value, pair) => value / (their[pair] ?? Number.NaN))) };
}

/** A rate: how many times `amount` was done in a second by `work`. */
export async function rateOf(amount: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (amount * 1000) / (performance.now() - start);
}

/** `0.81 / 0.85 / 0.90`: min, median, max. */
export const showSpread = ({ min, median, max }: Spread, digits: number): string =>
  [min, median, max].map((value) => value.toFixed(digits)).join(' / ');
