/**
 * Which harvested certificates wait, in memory: read once, since a thousand certificates take a third of a second to parse, in which
 * nobody else gets a turn. The records are the truth: whoever needs one reads it by its key.
 */
import { setImmediate } from 'node:timers/promises';
import type { RecordStore } from '../queue/records.ts';
import { type HarvestedRecord, KIND, readRecord } from './harvested-record.ts';

export interface Waits {
  readonly fingerprint: string;
  readonly address: string;
  /** Ms since the epoch: since when, and when its certificate ends. */
  readonly at: number;
  readonly until: number;
}

export interface Waiting {
  all(): Promise<readonly Waits[]>;
  /** Undefined where the disk changed it, or it is gone. */
  read(waits: Waits): Promise<HarvestedRecord | undefined>;
  /** Once they are durable. */
  added(waits: Waits): Promise<void>;
  gone(fingerprints: readonly string[]): Promise<void>;
}

/** Certificates that are parsed before others get a turn. */
const AT_ONCE = 16;

export function makeWaiting(records: Pick<RecordStore, 'list' | 'get'>): Waiting {
  let loaded: Promise<Map<string, Waits>> | undefined;
  const load = async (): Promise<Map<string, Waits>> => {
    const found = new Map<string, Waits>();
    for (const [index, stored] of (await records.list(KIND)).entries()) {
      if (index % AT_ONCE === AT_ONCE - 1) await setImmediate();
      const record = readRecord(stored);
      if (record !== undefined) found.set(stored.key, waitsOf(record));
    }
    return found;
  };
  const index = async (): Promise<Map<string, Waits>> => {
    loaded ??= load();
    try {
      return await loaded;
    } catch (error) {
      loaded = undefined; // the next one reads again
      throw error;
    }
  };
  return {
    all: async () => [...(await index()).values()],
    async read({ fingerprint, address }) {
      const stored = await records.get(KIND, fingerprint);
      const record = stored && readRecord(stored);
      return record?.address === address ? record : undefined;
    },
    async added(waits) {
      (await index()).set(waits.fingerprint, waits);
    },
    async gone(fingerprints) {
      // What has not been read yet is read without them.
      if (loaded === undefined) return;
      const known = await index();
      for (const fingerprint of fingerprints) known.delete(fingerprint);
    },
  };
}

export const waitsOf = ({ certificate, address, at }: Pick<HarvestedRecord, 'certificate' | 'address' | 'at'>): Waits => ({
  fingerprint: certificate.fingerprint,
  address,
  at,
  until: certificate.notAfter.getTime(),
});
