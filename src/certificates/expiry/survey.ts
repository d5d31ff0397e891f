/**
 * Which certificates end soon, or have ended, and for whom that matters. Pure: holdings go in, one for each address of a certificate
 * and in any order; out comes what is due, each with what else its address has. Only what ends before the horizon is kept whole; of the
 * other addresses the two that last longest, so that a hundred thousand certificates are a few tens of megabytes.
 *
 * A certificate that is not usable for another reason than its end (revoked, for signing only, no path) is nobody's concern here:
 * mail is not sealed to it, and its end changes nothing.
 */

/** `ended`: usable but for its end. `other`: not used, whatever its end. */
export type Standing = 'usable' | 'ended' | 'other';

/** One certificate as it stands for one address. Times are ms since the epoch; texts are for people. */
export interface Holding {
  /** mailboxKey() */
  readonly address: string;
  /** SHA-256, lower-case hex. */
  readonly fingerprint: string;
  readonly issuer: string;
  readonly serial: string;
  readonly notBefore: number | null;
  readonly notAfter: number;
  /** `recipients/anna.pem`; what a directory calls its place. */
  readonly place: string;
  readonly standing: Standing;
  /** Issued by the in-house CA, which can renew it. */
  readonly inHouse: boolean;
}

/** Another usable certificate of the same address. */
export type Cover = Pick<Holding, 'fingerprint' | 'notAfter' | 'place'>;

export interface Due extends Holding {
  /** Of the other usable ones of the address, the one that lasts longest. */
  readonly cover: Cover | undefined;
}

export interface Survey {
  take(holding: Holding): void;
  /** What has ended, or ends within so many ms, by address and end; throws where that is beyond the horizon. */
  due(within: number): Due[];
}

/** `now` in ms; `horizon`: the longest time, in ms, that `due` will be asked for. */
export function makeSurvey({ now, horizon }: { readonly now: number; readonly horizon: number }): Survey {
  const ending = new Map<string, Holding>();
  const lasting = new Map<string, readonly Cover[]>();
  const coverOf = ({ address, fingerprint }: Holding): Cover | undefined =>
    lasting.get(address)?.find((other) => other.fingerprint !== fingerprint);
  return {
    take(holding) {
      const { address, fingerprint, notAfter, place, standing } = holding;
      if (standing === 'other') return;
      if (standing === 'usable') {
        // Two are enough: one of them is another than the one that is asked about.
        const others = (lasting.get(address) ?? []).filter((other) => other.fingerprint !== fingerprint);
        lasting.set(address, [{ fingerprint, notAfter, place }, ...others].toSorted((a, b) => b.notAfter - a.notAfter).slice(0, 2));
      }
      // No address holds a line feed, and no fingerprint does. Of two places the first names it.
      const key = `${address}\n${fingerprint}`;
      if (notAfter <= now + horizon && !ending.has(key)) ending.set(key, holding);
    },
    due(within) {
      if (within > horizon) throw new Error('beyond the horizon of the survey');
      return [...ending.values()]
        .filter(({ notAfter }) => notAfter <= now + within)
        .toSorted((a, b) => (a.address === b.address ? a.notAfter - b.notAfter : a.address < b.address ? -1 : 1))
        .map((holding) => ({ ...holding, cover: coverOf(holding) }));
    },
  };
}

/**
 * The address goes on being read: another certificate of it is usable until after `until`, or now where this one has ended; that the
 * other one ends soon is told of that one. Both in ms.
 */
export const isCovered = ({ notAfter, cover }: Due, now: number, until: number): boolean =>
  cover !== undefined && cover.notAfter > (notAfter < now ? now : until);

const DAY_MS = 86_400_000;

/** Whole days that are left; negative once it has ended, 0 on the last day. */
export const daysLeft = (notAfter: number, now: number): number => Math.floor((notAfter - now) / DAY_MS);
