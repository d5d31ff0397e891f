/** Durations as operators write them, as milliseconds. Nothing is rounded or guessed. */
import type { Judgement } from '../document/schema.ts';

const millisecondsPer: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  // The longest there is: what is to be kept for years is never kept for less.
  y: 366 * 86_400_000,
};

/** Ten years: beyond it somebody mistook the unit, and timers and dates would overflow long after. */
const LONGEST = 3_650 * 86_400_000;
const LONGEST_YEARS = 10;

/** `6y`, `5d`, `1h`, `2m`, `90s` → milliseconds, from 1 s to 3650 d or 10 y. */
export function readDuration(written: unknown): Judgement<number> {
  const parts = typeof written === 'string' ? /^(?<amount>\d{1,15})(?<unit>[smhdy])$/.exec(written)?.groups : undefined;
  const factor = parts?.['unit'] === undefined ? undefined : own(millisecondsPer, parts['unit']);
  const milliseconds = Number(parts?.['amount']) * (factor ?? Number.NaN);
  if (Number.isNaN(milliseconds)) {
    const bare =
      typeof written === 'number'
        ? `a unit behind the number: ${written}s, ${written}m, ${written}h or ${written}d`
        : 'a whole number and s, m, h, d or y: 90s, 5d';
    return { kind: 'wrong', wrong: 'is not a duration', mend: bare };
  }
  if (milliseconds === 0) return { kind: 'wrong', wrong: 'a duration of nothing', mend: 'at least 1s' };
  const longest = parts?.['unit'] === 'y' ? LONGEST_YEARS * (factor ?? 0) : LONGEST;
  if (milliseconds > longest) return { kind: 'wrong', wrong: 'is longer than ten years', mend: 'at most 3650d, or 10y' };
  return { kind: 'value', value: milliseconds };
}

/** Not `in`: a unit called `constructor` is none. */
const own = (table: Readonly<Record<string, number>>, name: string): number | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;
