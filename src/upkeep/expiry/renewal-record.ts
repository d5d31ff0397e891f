/** How far the renewal of a certificate has come, as renewals.ts says: its record, by the serial of the certificate that ends. */
import { SealpostError } from '../../errors.ts';
import type { RecordChange, RecordStore } from '../../queue/records.ts';

const states = ['issued', 'mailed', 'done', 'failed'] as const;

export interface Renewal {
  readonly state: (typeof states)[number];
  /** Of the new certificate; empty where there is none. */
  readonly serial: string;
  readonly address: string;
  /** Ms since the epoch: the end of the old one, and when this began. */
  readonly until: number;
  readonly at: number;
  /** DER in base64, while it is still to be laid down. */
  readonly certificate: string | null;
  /** Queue id of the mail with its key, while nobody knows whether it arrives. */
  readonly mail: string | null;
  /** Ms since the epoch: when it was laid down. */
  readonly doneAt: number | null;
  /** Why it failed last. */
  readonly reason: string | null;
}

/** Of the record store. */
export const RENEWAL = 'renewal';

export const changeRenewal = (serial: string, renewal: Renewal): RecordChange => ({
  kind: RENEWAL,
  key: serial,
  value: JSON.stringify(renewal),
});

/** Throws `storage-failed` where a `was` does not hold. */
export async function writeAll(records: Pick<RecordStore, 'change'>, changes: readonly RecordChange[]): Promise<void> {
  if (!(await records.change(changes, []))) throw new SealpostError('storage-failed', { detail: 'another change came between' });
}

/** By the serial of the old certificate. One that cannot be read is none: what is due is renewed anew. */
export async function listRenewals(records: Pick<RecordStore, 'list'>): Promise<ReadonlyMap<string, Renewal>> {
  const rows = await records.list(RENEWAL);
  return new Map(
    rows.flatMap(({ key, value }) => {
      const renewal = parse(value);
      return renewal === undefined ? [] : [[key, renewal] as const];
    }),
  );
}

export async function readRenewal(records: Pick<RecordStore, 'get'>, serial: string): Promise<Renewal | undefined> {
  const stored = await records.get(RENEWAL, serial);
  return stored === undefined ? undefined : parse(stored.value);
}

function parse(value: string): Renewal | undefined {
  try {
    const found: unknown = JSON.parse(value);
    // What an earlier release began has neither.
    const parsed: unknown = typeof found === 'object' ? { mail: null, doneAt: null, ...found } : found;
    return isRenewal(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function isRenewal(value: unknown): value is Renewal {
  if (typeof value !== 'object' || value === null) return false;
  const { state, serial, address, until, at, certificate, mail, doneAt, reason }: Readonly<Record<string, unknown>> = { ...value };
  return (
    states.some((one) => one === state) &&
    [serial, address].every((one) => typeof one === 'string') &&
    [until, at].every((one) => typeof one === 'number') &&
    (doneAt === null || typeof doneAt === 'number') &&
    [certificate, mail, reason].every((one) => one === null || typeof one === 'string')
  );
}
