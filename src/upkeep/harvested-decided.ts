/**
 * Certificates on which the site has had its word: taken once, or rejected, or removed. Mail can be sent again by whoever has it, so a
 * rule takes none of them a second time: what somebody took out of the folder would come back with the next copy of an old mail. They
 * wait, and a person says. Remembered until they end, by then nobody can take them.
 */
import type { Certificate } from '../certificates/certificate.ts';
import type { RecordChange, RecordStore } from '../queue/records.ts';

const KIND = 'harvest-decided';
/** The oldest go; a rule would take them again. */
const MAX_DECIDED = 20_000;
const DAY_MS = 86_400_000;

export interface Decided {
  has(fingerprint: string): Promise<boolean>;
  /** To be written with what was decided. */
  changes(certificates: readonly Certificate[]): Promise<readonly RecordChange[]>;
}

/** `now`: ms since the epoch. */
export function makeDecided(records: Pick<RecordStore, 'get' | 'list'>, now: () => number): Decided {
  let swept = -Infinity;
  /** Once a day: what has ended, and the oldest of too many. */
  const sweep = async (): Promise<readonly RecordChange[]> => {
    if (now() - swept < DAY_MS) return [];
    const all = await records.list(KIND);
    swept = now();
    const lasting = all.filter(({ value }) => Number(value) >= now()).toSorted((a, b) => b.at - a.at);
    const kept = new Set(lasting.slice(0, MAX_DECIDED).map(({ key }) => key));
    return all.filter(({ key }) => !kept.has(key)).map(({ key }) => ({ kind: KIND, key, value: null }));
  };
  return {
    has: async (fingerprint) => (await records.get(KIND, fingerprint)) !== undefined,
    changes: async (certificates) => [
      ...(await sweep()),
      ...certificates.map(({ fingerprint, notAfter }) => ({ kind: KIND, key: fingerprint, value: String(notAfter.getTime()) })),
    ],
  };
}
