/** Numbers about the certificates of a site, for whoever watches it: how many end when, how many are used. No addresses. */
import { DAY_MS } from '../authority/issue.ts';
import type { Holding } from './survey.ts';

/** How long usable certificates last: each is counted once, in the narrowest that holds it. */
export const windows = ['1d', '7d', '30d', '90d', 'more'] as const;

export type Window = (typeof windows)[number];

/** Counts of certificates, those that stand for several addresses once. */
export interface Series {
  /** Usable ones by how long they last, and those that were usable until their end. */
  readonly ends: Readonly<Record<Window | 'ended', number>>;
  readonly usable: number;
  readonly unusable: number;
  /** Issued by the in-house CA, and usable. */
  readonly inHouse: number;
  /** Seconds until the next usable one ends; null where there is none. */
  readonly nextEnd: number | null;
}

export interface Tally {
  take(certificate: Pick<Holding, 'notAfter' | 'standing' | 'inHouse'>): void;
  series(): Series;
}

/** `now` in ms. */
export function makeTally(now: number): Tally {
  const ends: Record<Window | 'ended', number> = { ended: 0, '1d': 0, '7d': 0, '30d': 0, '90d': 0, more: 0 };
  let [usable, unusable, inHouse, next] = [0, 0, 0, Infinity];
  return {
    take({ notAfter, standing, inHouse: own }) {
      if (standing !== 'usable') {
        unusable++;
        if (standing === 'ended') ends.ended++;
        return;
      }
      usable++;
      if (own) inHouse++;
      next = Math.min(next, notAfter);
      ends[windowOf(notAfter - now)]++;
    },
    series: () => ({
      ends: { ...ends },
      usable,
      unusable,
      inHouse,
      nextEnd: next === Infinity ? null : Math.max(0, Math.floor((next - now) / 1000)),
    }),
  };
}

function windowOf(left: number): Window {
  const found = ([1, 7, 30, 90] as const).find((days) => left <= days * DAY_MS);
  return found === undefined ? 'more' : `${found}d`;
}
