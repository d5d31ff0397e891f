/**
 * Lists that have been read, by place and issuer. One that is current is used as it is; when half of its life or a day has passed,
 * the next is got beside that, so that nobody waits for it. Whoever asks for one that is not there waits for a moment: a large or
 * slow list goes on loading, and the next who asks finds it.
 *
 * What a place gives is never older than what it gave before (A23): an old list is as good as none to somebody who holds a newer.
 */
import { heeding } from '../time-box.ts';
import { indexBytes } from './crl-index.ts';
import { type Crl, type CrlIssuer, type CrlReading, successionFault } from './crl-read.ts';

/** What was read, and how fresh it is: ms since the epoch at which it was got from where it is published. */
export interface Loaded {
  readonly reading: CrlReading;
  readonly got: number;
}

/** Where a list comes from. */
export interface CrlPlace {
  readonly id: string;
  /** Changes where the place is known to hold something else now. */
  readonly stamp: string;
  /** Whether it must be asked again by and by, since it does not tell of its changes. */
  readonly refreshed: boolean;
  /** `held`: what is held of this place; where that is nothing, an earlier copy is welcome, of whatever age. Never rejects. */
  load(issuer: CrlIssuer, held: Crl | undefined, signal: AbortSignal): Promise<Loaded>;
}

export type Shelved =
  /** `fault`: why there is no newer one, where it has been looked for. */
  | { readonly kind: 'list'; readonly list: Crl; readonly fault: string | undefined }
  | { readonly kind: 'none'; readonly why: string; readonly lasting: boolean };

export interface CrlShelf {
  /** Waits until `signal` is aborted and not longer. Never rejects. */
  list(place: CrlPlace, issuer: CrlIssuer, signal: AbortSignal): Promise<Shelved>;
  /** The lists of that issuer that are at hand, from whatever place, of whatever age. */
  held(issuer: CrlIssuer): readonly Crl[];
  close(): void;
}

export interface ShelfOptions {
  /** ms */
  readonly now: () => number;
  /** ms of a clock that nobody sets; performance.now() where undefined. */
  readonly uptime?: (() => number) | undefined;
  /** ms for which one load is waited for, whoever asks: what is late by then is late for all. */
  readonly patience: number;
  /** From 0 to 1: spreads what would come due at one moment. */
  readonly random: () => number;
  /** Octets of all lists. */
  readonly bound: number;
}

interface Slot {
  place: CrlPlace;
  readonly issuer: CrlIssuer;
  list: Crl | undefined;
  /** Of the place when it was last read, in vain or not. */
  tried: string | undefined;
  /** `until` is of the uptime. */
  fault: { readonly why: string; readonly lasting: boolean; readonly until: number; readonly pause: number } | undefined;
  /** ms since the epoch */
  refreshAt: number;
  /** ms of the uptime */
  asked: number;
  loading: Promise<void> | undefined;
  /** When the load was begun, by both clocks. */
  begun: { readonly at: number; readonly uptime: number };
  /** The list that is held is so old that its renewal is waited for. */
  awaited: boolean;
}

const MAX_SLOTS = 500;
const DAY_MS = 86_400_000;
/** What nobody has asked about for so long is not kept fresh. */
const UNUSED_MS = 3 * DAY_MS;
/** Overdue for so long, a renewal is waited for. */
const IDLE_MS = DAY_MS;
const SWEEP_MS = 30_000;
const SHORTEST_REFRESH_MS = 30_000;
const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 600_000;

export function makeCrlShelf({ now, uptime = () => performance.now(), patience, random, bound }: ShelfOptions): CrlShelf {
  /** The one asked for last stands last. */
  const slots = new Map<string, Slot>();
  const closed = new AbortController();

  const fail = (slot: Slot, why: string, lasting: boolean): void => {
    const pause = Math.min((slot.fault?.pause ?? FIRST_PAUSE_MS / 2) * 2, LONGEST_PAUSE_MS);
    slot.fault = { why, lasting, until: uptime() + pause, pause };
  };
  const take = (slot: Slot, { reading, got }: Loaded): void => {
    if (reading.kind === 'refused') return fail(slot, reading.why, reading.lasting);
    const unfit = successionFault(reading.list, slot.list);
    if (unfit !== undefined) return fail(slot, unfit, false);
    slot.fault = undefined;
    slot.list = reading.list;
    slot.refreshAt = slot.place.refreshed ? refreshTime(slot.list, got, now(), random()) : Infinity;
    makeRoom(slots, slot, bound);
  };
  const load = async (slot: Slot): Promise<void> => {
    const { place, list } = slot;
    slot.tried = place.stamp;
    const loaded = await place.load(slot.issuer, list, closed.signal);
    const { got } = loaded;
    take(slot, loaded);
    // A copy that has gone stale still tells what was revoked, and that nothing older counts.
    const isCopy = place.refreshed && list === undefined;
    if (!isCopy || slot.list === undefined) return;
    slot.awaited = got + DAY_MS + IDLE_MS <= now();
    if (slot.awaited || slot.list.nextUpdate <= now()) take(slot, await place.load(slot.issuer, slot.list, closed.signal));
  };
  /** Also where the clock was ahead when it was got, and has been set right. */
  const isDue = ({ place, refreshAt }: Slot): boolean =>
    place.refreshed && (refreshAt <= now() || refreshAt > now() + DAY_MS + SHORTEST_REFRESH_MS);
  const begin = (slot: Slot): void => {
    const pausing = slot.fault !== undefined && slot.fault.until > uptime() && slot.tried === slot.place.stamp;
    if (slot.loading !== undefined || pausing || closed.signal.aborted) return;
    // Nobody has asked for long, so it was not renewed: what was withdrawn since would be told to the next one only.
    slot.awaited = slot.refreshAt + IDLE_MS <= now() && Math.abs(now() - slot.begun.at) > IDLE_MS;
    slot.begun = { at: now(), uptime: uptime() };
    slot.loading = load(slot).finally(() => (slot.loading = undefined));
  };
  const timer = setInterval(() => {
    for (const slot of slots.values()) if (slot.list !== undefined && isDue(slot) && uptime() - slot.asked < UNUSED_MS) begin(slot);
  }, SWEEP_MS).unref();

  const slotFor = (place: CrlPlace, issuer: CrlIssuer): Slot => {
    const key = `${place.id}\n${issuer.id}`;
    const slot = slots.get(key) ?? emptySlot(place, issuer);
    slot.place = place;
    slot.asked = uptime();
    slots.delete(key);
    slots.set(key, slot);
    if (slots.size > MAX_SLOTS) makeRoom(slots, slot, bound);
    return slot;
  };

  return {
    list: async (place, issuer, signal) => {
      const slot = slotFor(place, issuer);
      const isChanged = slot.tried !== place.stamp;
      if (slot.list === undefined || isChanged || isDue(slot)) begin(slot);
      const isCurrent = slot.list !== undefined && !isChanged && slot.list.nextUpdate > now();
      const left = slot.begun.uptime + patience - uptime();
      const { loading } = slot;
      if (loading !== undefined && left > 0 && (!isCurrent || slot.awaited))
        await heeding(signal, left, (enough) => endOr(loading, enough));
      if (slot.list !== undefined) return { kind: 'list', list: slot.list, fault: slot.fault?.why };
      return slot.fault === undefined || slot.loading !== undefined
        ? { kind: 'none', why: 'is being fetched', lasting: false }
        : { kind: 'none', why: `is not used: ${slot.fault.why}`, lasting: slot.fault.lasting };
    },
    held: ({ id }) => [...slots.values()].flatMap(({ issuer, list }) => (issuer.id === id && list !== undefined ? [list] : [])),
    close: () => {
      clearInterval(timer);
      closed.abort(new Error('closed'));
      slots.clear();
    },
  };
}

const emptySlot = (place: CrlPlace, issuer: CrlIssuer): Slot => {
  const nothing = { list: undefined, tried: undefined, fault: undefined, loading: undefined, awaited: false };
  return { place, issuer, ...nothing, refreshAt: 0, asked: 0, begun: { at: 0, uptime: 0 } };
};

/** Half of the life of a list, or a day; where that is over when it comes, a part of what is left. Up to a tenth earlier. */
function refreshTime({ thisUpdate, nextUpdate }: Crl, got: number, now: number, random: number): number {
  const life = nextUpdate - thisUpdate;
  const due = Math.min(nextUpdate, got + DAY_MS, Math.max(thisUpdate + life / 2, got + life / 20));
  return Math.max(now + SHORTEST_REFRESH_MS, got + (due - got) * (1 - random / 10));
}

/** Lets go of what was asked for longest ago, but for what has just come and what is on its way. */
function makeRoom(slots: Map<string, Slot>, newest: Slot, bound: number): void {
  const octets = (slot: Slot): number => (slot.list === undefined ? 0 : indexBytes(slot.list.index));
  let total = [...slots.values()].reduce((sum, slot) => sum + octets(slot), 0);
  for (const [key, slot] of slots) {
    if (total <= bound && slots.size <= MAX_SLOTS) return;
    if (slot === newest || slot.loading !== undefined) continue;
    total -= octets(slot);
    slots.delete(key);
  }
}

async function endOr(loading: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  signal.addEventListener('abort', stop, { once: true });
  try {
    await Promise.race([loading, promise]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
