/** Rates as operators write them, in sealpost.yaml and in the users file. Nothing is rounded or guessed. */
import type { Judgement } from './schema.ts';

/** So many in any stretch of so long. */
export interface Rate {
  readonly count: number;
  /** Milliseconds. */
  readonly per: number;
}

const periods: Readonly<Record<string, number>> = {
  s: 1_000,
  sec: 1_000,
  min: 60_000,
  m: 60_000,
  h: 3_600_000,
  hour: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
};

/** `30/min`, `600/h`: at least 1, at most a million. */
export function readRate(written: unknown): Judgement<Rate> {
  const parts = typeof written === 'string' ? /^(?<count>\d{1,7})\/(?<period>[a-z]{1,4})$/.exec(written)?.groups : undefined;
  const per = parts?.['period'] === undefined ? undefined : own(parts['period']);
  const count = Number(parts?.['count']);
  if (per === undefined || Number.isNaN(count))
    return { kind: 'wrong', wrong: 'is not a rate', mend: 'a whole number, a slash, and s, min, h or d: 30/min' };
  if (count < 1 || count > 1_000_000)
    return { kind: 'wrong', wrong: 'is not between 1 and 1000000 in its time', mend: 'for example 30/min' };
  return { kind: 'value', value: { count, per } };
}

/** As readRate reads it. */
export function showRate({ count, per }: Rate): string {
  const period = ['s', 'min', 'h', 'd'].find((name) => periods[name] === per);
  return period === undefined ? `${count} in ${per} ms` : `${count}/${period}`;
}

/** Not `in`: a period called `constructor` is none. */
const own = (period: string): number | undefined => (Object.hasOwn(periods, period) ? periods[period] : undefined);
