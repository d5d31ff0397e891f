/** Known certificates: what remembering them costs a message, and what a hundred thousand addresses weigh. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { makeKnownCertificates } from '../../../src/change-control.ts';
import type { CertificateUse } from '../../../src/queue/known.ts';
import { queuePaths } from '../../../src/queue/paths.ts';
import type { QueueStore } from '../../../src/queue/queue.ts';
import { openSqliteQueue } from '../../../src/queue/sqlite.ts';
import type { Print } from '../certificates.ts';
import type { Owner } from '../owner.ts';

const MESSAGES = 2000;
const AT_ONCE = 20;
const ADDRESSES = 100_000;

export async function benchKnown(print: Print, owner: Owner): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-bench-'));
  owner.after(() => rm(folder, { recursive: true, force: true }));
  const paths = queuePaths(join(folder, 'data', 'queue.sqlite'), join(folder, 'data', 'audit.jsonl'));
  const log = pino({ level: 'silent' });
  const store = await openSqliteQueue({ ...paths, now: Date.now, log });
  owner.after(() => store.close());

  // Each way once unmeasured, and then in turns, so that none has the warm disk to itself.
  const ways: Readonly<Record<string, (index: number) => CertificateUse[]>> = {
    'nothing remembered': () => [],
    'the usual message': () => [useOf(0)],
    'a new address each': (index) => [useOf(1_000_000 + index)],
  };
  const took = new Map<string, number[]>();
  for (let round = 0; round <= 3; round++)
    for (const [way, uses] of Object.entries(ways)) {
      const ms = await enqueueMany(store, (index) => uses(round * MESSAGES + index));
      if (round > 0) took.set(way, [...(took.get(way) ?? []), ms]);
    }
  for (const [way, times] of took)
    print(`known     ${MESSAGES} messages, ${way}: ${(Math.min(...times) / MESSAGES).toFixed(3)} ms each (best of ${times.length})`);

  const began = performance.now();
  for (let at = 0; at < ADDRESSES; at += 1000)
    await store.record(
      [],
      Array.from({ length: 1000 }, (_, index) => useOf(at + index)),
    );
  const seconds = (performance.now() - began) / 1000;
  const known = makeKnownCertificates(store.known, log);
  const asked = performance.now();
  for (let index = 0; index < 1000; index++) await known.pinOf(useOf(index * 97).address);
  const each = (performance.now() - asked) / 1000;
  const { size } = await stat(paths.database);
  print(
    `known     ${ADDRESSES} addresses: written in ${seconds.toFixed(1)} s, ${(size / 1_048_576).toFixed(0)} MiB, one asked for in ${each.toFixed(3)} ms`,
  );
}

const useOf = (index: number): CertificateUse => ({
  address: `reader${index}@clinic.example`,
  fingerprint: createHash('sha256').update(String(index)).digest('hex'),
  subject: `CN=Reader ${index},O=Clinic Example`,
  issuer: 'CN=Issuing CA 1,O=Clinic Example,C=DE',
  serial: '9c616e6e61',
  notAfter: Date.UTC(2028, 0, 1),
  source: `recipients/reader${index}.pem`,
  pinned: false,
  queueId: null,
});

/** Milliseconds for all, some at a time as clients send them. */
async function enqueueMany(store: QueueStore, usesOf: (index: number) => CertificateUse[]): Promise<number> {
  const began = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < MESSAGES; index = next++) await enqueueOne(store, usesOf(index));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return performance.now() - began;
}

async function enqueueOne(store: QueueStore, uses: readonly CertificateUse[]): Promise<void> {
  const id = randomBytes(8).toString('hex');
  const bytes = randomBytes(1000);
  const body = { length: bytes.length, sha256: createHash('sha256').update(bytes).digest(), content: { kind: 'inline', bytes } } as const;
  const part = { sender: '', notify: null, orcpt: null, body: 0, header: Buffer.from('X: y\r\n\r\n'), prefix: randomBytes(400) };
  const recipients = [{ address: 'reader@clinic.example', ...part, suffix: Buffer.alloc(0), needsSmtputf8: false }];
  const message = {
    id,
    acceptedAt: Date.now(),
    sender: '',
    size: 1000,
    envid: null,
    submitter: null,
    notice: null,
    bodies: [body],
    recipients,
  };
  await store.enqueue(message, [{ event: 'accepted', queue_id: id }], uses);
}
