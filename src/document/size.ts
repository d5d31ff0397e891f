/** Sizes as operators write them, in sealpost.yaml and in rules. Nothing is rounded or guessed. */
import type { Judgement } from './schema.ts';

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

/** `25MiB`, `10MB` or plain octets → octets, at least 1. */
export function readSize(written: unknown): Judgement<number> {
  const text = typeof written === 'number' ? String(written) : written;
  const parts = typeof text === 'string' ? /^(?<amount>\d{1,15})(?<unit>[A-Za-z]*)$/.exec(text)?.groups : undefined;
  const factor = parts?.['unit'] === undefined ? undefined : own(parts['unit']);
  const octets = Number(parts?.['amount']) * (factor ?? Number.NaN);
  if (Number.isNaN(octets))
    return { kind: 'wrong', wrong: 'is not a size', mend: 'a whole number of octets, or with kB, MB, GB, KiB, MiB, GiB: 25MiB' };
  if (octets === 0) return { kind: 'wrong', wrong: 'a size of nothing', mend: 'at least 1 octet' };
  if (!Number.isSafeInteger(octets))
    return { kind: 'wrong', wrong: 'is larger than any machine', mend: 'a smaller size, for example 25MiB' };
  return { kind: 'value', value: octets };
}

/** Not `in`: a unit called `constructor` is none. */
const own = (unit: string): number | undefined => (Object.hasOwn(octetsPer, unit) ? octetsPer[unit] : undefined);
