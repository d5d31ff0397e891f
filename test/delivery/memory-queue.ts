/** A queue in memory that keeps the contract of queue.ts, and fails on demand where a test says so. */
import type { AuditEvent } from '../../src/audit.ts';
import { SealpostError } from '../../src/errors.ts';
import type { Lease, Outcome, QueueStore, Telling } from '../../src/queue/queue.ts';

export interface Row {
  readonly lease: Lease;
  readonly body: readonly Buffer[];
  state: 'ready' | 'leased' | Outcome['kind'];
  dueAt: number;
  attempts: number;
  reason: string | undefined;
  pastDot: number;
  settled: number;
}

export interface NewRow {
  readonly recipient?: string;
  readonly sender?: string;
  readonly body?: readonly Buffer[];
  readonly header?: Buffer;
  readonly needsSmtputf8?: boolean;
  readonly acceptedAt?: number;
  readonly notice?: string | null;
  /** The facts of a message that was passed; its body is in the form of the spool. */
  readonly spooled?: string | null;
  readonly asked?: Partial<Pick<Lease, 'originalSender' | 'notify' | 'orcpt' | 'envid' | 'submitter' | 'delayNoticed'>>;
}

export type DeliveryQueue = Pick<QueueStore, 'claim' | 'nextDue' | 'read' | 'passDot' | 'settle'>;

export class MemoryQueue implements DeliveryQueue {
  readonly rows: Row[] = [];
  readonly events: AuditEvent[] = [];
  /** What was written beside a settle; the notices are no rows of this queue. */
  readonly told: Telling[] = [];
  readonly calls = { claim: 0, nextDue: 0 };
  /** Set to have the next calls fail; `read` fails behind the first chunk. */
  failing: { settle?: number; claim?: number; passDot?: number; damaged?: boolean } = {};
  readonly #now: () => number;
  #changed: (() => void)[] = [];

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  add({
    recipient,
    sender,
    body = [Buffer.from('ciphertext')],
    header,
    needsSmtputf8 = false,
    acceptedAt,
    notice = null,
    spooled = null,
    asked = {},
  }: NewRow = {}): Row {
    const number = this.rows.length + 1;
    const row: Row = {
      lease: {
        row: number,
        queueId: `Q${number}`,
        acceptedAt: acceptedAt ?? this.#now(),
        waitsSince: acceptedAt ?? this.#now(),
        sender: sender ?? 'forms@clinic.example',
        originalSender: sender ?? 'forms@clinic.example',
        notify: null,
        orcpt: null,
        envid: null,
        submitter: null,
        notice,
        delayNoticed: false,
        spooled,
        ...asked,
        recipient: recipient ?? `r${number}@clinic.example`,
        needsSmtputf8,
        attempts: 0,
        header: header ?? Buffer.from(`From: forms@clinic.example\r\nMessage-ID: <${number}@relay.example>\r\n\r\n`),
        prefix: Buffer.from('prefix'),
        suffix: Buffer.alloc(0),
        bodyLength: body.reduce((sum, chunk) => sum + chunk.length, 0),
      },
      body,
      state: 'ready',
      dueAt: this.#now(),
      attempts: 0,
      reason: undefined,
      pastDot: 0,
      settled: 0,
    };
    this.rows.push(row);
    return row;
  }

  async claim(now: number, limit: number): Promise<Lease[]> {
    this.calls.claim++;
    if (this.#takeFailure('claim')) throw new SealpostError('storage-failed');
    const due = this.#waiting().filter((row) => row.dueAt <= now);
    return due.slice(0, limit).map((row) => {
      row.state = 'leased';
      return { ...row.lease, attempts: row.attempts };
    });
  }

  async nextDue(): Promise<number | undefined> {
    this.calls.nextDue++;
    return this.#waiting()[0]?.dueAt;
  }

  async *read(lease: Lease): AsyncIterable<Buffer> {
    for (const chunk of this.#row(lease).body) {
      yield chunk;
      if (this.failing.damaged === true) throw new SealpostError('queue-item-damaged', { detail: lease.queueId });
    }
  }

  async passDot(lease: Lease): Promise<void> {
    if (this.#takeFailure('passDot')) throw new SealpostError('storage-failed');
    this.#row(lease).pastDot++;
  }

  async settle(lease: Lease, outcome: Outcome, events: readonly AuditEvent[], telling?: Telling): Promise<void> {
    if (this.#takeFailure('settle')) throw new SealpostError('storage-failed');
    const row = this.#row(lease);
    if (row.state !== 'leased') throw new Error(`settled twice: ${row.lease.queueId}`);
    row.state = outcome.kind;
    if (outcome.kind !== 'deferred' || outcome.counts !== false) row.attempts++;
    row.settled++;
    row.dueAt = outcome.kind === 'deferred' ? outcome.dueAt : Infinity;
    row.reason = 'reason' in outcome ? outcome.reason : undefined;
    this.events.push(...events);
    if (telling !== undefined) this.told.push(telling);
    for (const tell of this.#changed.splice(0)) tell();
  }

  /** Resolves once `holds`; looked at after every settle. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  #takeFailure(which: 'settle' | 'claim' | 'passDot'): boolean {
    const left = this.failing[which] ?? 0;
    if (left > 0) this.failing[which] = left - 1;
    return left > 0;
  }

  #waiting(): Row[] {
    return this.rows.filter((row) => row.state === 'ready' || row.state === 'deferred').sort((a, b) => a.dueAt - b.dueAt);
  }

  #row(lease: Lease): Row {
    const row = this.rows[lease.row - 1];
    if (row === undefined) throw new Error('no such row');
    return row;
  }
}
