/** Sizes and durations as operators write them, as numbers: octets and milliseconds. Nothing is rounded or guessed. */
import type { Judgement } from '../document/schema.ts';

const octetsPer: Readonly<Record<string, number>> = {
  '': 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

const millisecondsPer: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Ten years: beyond it somebody mistook the unit, and timers and dates would overflow long after. */
const LONGEST = 3_650 * 86_400_000;

/** `25MiB`, `10MB` or plain octets → octets, at least 1. */
export function readSize(written: unknown): Judgement<number> {
  const text = typeof written === 'number' ? String(written) : written;
  const parts = typeof text === 'string' ? /^(?<amount>\d{1,15})(?<unit>[A-Za-z]*)$/.exec(text)?.groups : undefined;
  const factor = parts?.['unit'] === undefined ? undefined : own(octetsPer, parts['unit']);
  const octets = Number(parts?.['amount']) * (factor ?? Number.NaN);
  if (Number.isNaN(octets))
    return { kind: 'wrong', wrong: 'is not a size', mend: 'a whole number of octets, or with kB, MB, GB, KiB, MiB, GiB: 25MiB' };
  if (octets === 0) return { kind: 'wrong', wrong: 'a size of nothing', mend: 'at least 1 octet' };
  if (!Number.isSafeInteger(octets))
    return { kind: 'wrong', wrong: 'is larger than any machine', mend: 'a smaller size, for example 25MiB' };
  return { kind: 'value', value: octets };
}

/** `5d`, `1h`, `2m`, `90s` → milliseconds, from 1 s to 3650 d. */
export function readDuration(written: unknown): Judgement<number> {
  const parts = typeof written === 'string' ? /^(?<amount>\d{1,15})(?<unit>[smhd])$/.exec(written)?.groups : undefined;
  const factor = parts?.['unit'] === undefined ? undefined : own(millisecondsPer, parts['unit']);
  const milliseconds = Number(parts?.['amount']) * (factor ?? Number.NaN);
  if (Number.isNaN(milliseconds)) {
    const bare =
      typeof written === 'number'
        ? `a unit behind the number: ${written}s, ${written}m, ${written}h or ${written}d`
        : 'a whole number and s, m, h or d: 90s, 5d';
    return { kind: 'wrong', wrong: 'is not a duration', mend: bare };
  }
  if (milliseconds === 0) return { kind: 'wrong', wrong: 'a duration of nothing', mend: 'at least 1s' };
  if (milliseconds > LONGEST) return { kind: 'wrong', wrong: 'is longer than ten years', mend: 'at most 3650d' };
  return { kind: 'value', value: milliseconds };
}

/** Not `in`: a unit called `constructor` is none. */
const own = (table: Readonly<Record<string, number>>, name: string): number | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;
