/** Chance that can be had again: the same seed, the same run, as far as the machine allows. */
export interface Chance {
  /** From 0 up to and without 1. */
  next(): number;
  /** A whole number from 0 up to and without `below`. */
  whole(below: number): number;
  /** True in this share of cases. */
  once(share: number): boolean;
}

/** Mulberry32: small, and even enough to spread kills. */
export function makeChance(seed: number): Chance {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { next, whole: (below) => Math.floor(next() * below), once: (share) => next() < share };
}
