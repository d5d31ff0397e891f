/** A record store in memory, as strict as the queue's. */
import type { AuditEvent } from '../../src/audit.ts';
import type { RecordStore, StoredRecord } from '../../src/queue/records.ts';

export interface MemoryRecords extends RecordStore {
  readonly events: AuditEvent[];
}

export function memoryRecords(now: () => number): MemoryRecords {
  const kinds = new Map<string, Map<string, StoredRecord>>();
  const events: AuditEvent[] = [];
  const of = (kind: string): Map<string, StoredRecord> => {
    const found = kinds.get(kind) ?? new Map<string, StoredRecord>();
    kinds.set(kind, found);
    return found;
  };
  return {
    events,
    get: async (kind, key) => of(kind).get(key),
    list: async (kind) => [...of(kind).values()].toSorted((a, b) => (a.key < b.key ? -1 : 1)),
    async change(changes, told) {
      if (!changes.every(({ kind, key, was }) => was === undefined || (of(kind).get(key)?.value ?? null) === was)) return false;
      for (const { kind, key, value } of changes) {
        if (value === null) of(kind).delete(key);
        else of(kind).set(key, { key, value, at: now() });
      }
      events.push(...told);
      return true;
    },
  };
}
