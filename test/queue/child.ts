/**
 * A relay's use of the queue in a process of its own, to be killed or refused system calls: `child.ts FOLDER round|serial|load|backlog|fill|held|open`.
 * Every line it prints is a promise that must hold after any end: `accepted ID SHA256`, `delivered ID`, `held ID SHA256`, `released ID SHA256`,
 * `ended ID`; `opened` where it has come so far.
 */
import { createHash, randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { argv, kill, pid } from 'node:process';
import { pino } from 'pino';
import { verifyAudit } from '../../src/audit/verify.ts';
import type { CertificateUse } from '../../src/queue/known.ts';
import { queuePaths } from '../../src/queue/paths.ts';
import type { HeldRow, Lease, NewMessage, QueueStore, StoredBody } from '../../src/queue/queue.ts';
import { openSqliteQueue } from '../../src/queue/sqlite.ts';

const [, , folder = '', mode = ''] = argv;
const LARGE = 200_000;
/** Names what this process accepts. */
const run = randomBytes(4).toString('hex');

/** Synchronous: what was said is out before the next step can kill us. */
const say = (line: string): unknown => writeSync(1, `${line}\n`);

const log = pino({}, { write: (line: string) => writeSync(2, line) });
const paths = queuePaths(join(folder, 'queue.sqlite'), join(folder, 'audit.jsonl'));
const store = await openSqliteQueue({
  ...paths,
  now: Date.now,
  log,
  reserveBytes: mode === 'fill' ? 1024 * 1024 : 0,
  // Small: what is killed is killed while segments are closed too.
  ...(mode === 'load' || mode === 'serial' ? { auditRotate: 600 } : {}),
  ...(mode === 'backlog' ? { auditBacklog: 1 } : {}),
});

/** A certificate of its own for each message, all of them of one reader. */
const useOf = (id: string): CertificateUse => ({
  address: `${run}@x.example`,
  fingerprint: createHash('sha256').update(id).digest('hex'),
  subject: id,
  issuer: 'CN=CA',
  serial: '01',
  notAfter: 0,
  source: 'child',
  pinned: false,
  queueId: id,
});

async function accept(id: string, octets: number): Promise<string> {
  const bytes = randomBytes(octets);
  const writer = store.newBody();
  try {
    for (let at = 0; at < octets; at += 65_536) await writer.write(bytes.subarray(at, at + 65_536));
    const body = await writer.finish();
    const part = {
      sender: '',
      notify: null,
      orcpt: null,
      body: 0,
      header: Buffer.from(`X: ${id}\r\n\r\n`),
      prefix: Buffer.from('prefix'),
      suffix: Buffer.alloc(0),
      needsSmtputf8: false,
    };
    const recipients = [{ address: `${id}@x.example`, ...part }];
    const unsaid = { envid: null, submitter: null, notice: null };
    const message = { id, acceptedAt: Date.now(), sender: '', size: octets, ...unsaid, bodies: [body], recipients };
    await store.enqueue(message, [{ event: 'accepted', queue_id: id }], [useOf(id)]);
    return createHash('sha256').update(bytes).digest('hex');
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

async function deliver(queue: QueueStore, lease: Lease): Promise<void> {
  let octets = 0;
  for await (const bytes of queue.read(lease)) octets += bytes.length;
  if (octets !== lease.bodyLength) throw new Error('a body has another length');
  await queue.passDot(lease);
  await queue.settle(lease, { kind: 'delivered' }, [{ event: 'delivered', queue_id: lease.queueId }]);
  say(`delivered ${lease.queueId}`);
}

async function round(): Promise<void> {
  await accept('small', 100);
  await accept('large', LARGE);
  for (const lease of await store.claim(Date.now(), 10)) await deliver(store, lease);
  await store.close();
}

/** Small and large, one after the other; refused, it dies at once. */
async function serial(): Promise<void> {
  for (const octets of [100, LARGE, 100, LARGE]) {
    const id = randomBytes(4).toString('hex');
    try {
      say(`accepted ${id} ${await accept(id, octets)}`);
    } catch (error) {
      say(`refused ${id} ${String(error)}`);
      kill(pid, 'SIGKILL');
    }
  }
  await store.close();
}

/** Twelve messages, small and large, a few at a time, every third delivered; a refusal is said and the rest goes on. */
async function load(): Promise<void> {
  await Promise.all(
    [0, 1, 2].map(async (lane) => {
      for (let index = 0; index < 4; index++) {
        const id = `${run}-${lane}-${index}`;
        try {
          say(`accepted ${id} ${await accept(id, index % 2 === 0 ? 500 : LARGE)}`);
          if (index === 2) for (const lease of await store.claim(Date.now(), 1)) await deliver(store, lease);
        } catch (error) {
          say(`refused ${id} ${error instanceof Error && 'code' in error ? String(error.code) : String(error)}`);
        }
      }
    }),
  );
  await store.close();
  say('closed');
}

/** Takes mail until the disk is full, then delivers what it took: a small file system must have been mounted below. */
async function fill(): Promise<void> {
  for (let index = 0, taken = true; taken && index < 1000; index++) {
    try {
      await accept(`m${index}`, index % 2 === 0 ? 50_000 : LARGE);
      say(`accepted m${index}`);
    } catch (error) {
      taken = false;
      say(`refused m${index} ${error instanceof Error && 'code' in error ? String(error.code) : String(error)}`);
    }
  }
  for (let leases = await store.claim(Date.now(), 5); leases.length > 0; leases = await store.claim(Date.now(), 5)) {
    for (const lease of leases) await deliver(store, lease);
  }
  say(`verified ${(await verifyAfterClose()).kind}`);
}

/** Takes mail until it is refused, delivers all of it, and asks for a while whether mail is taken again. */
async function unwritable(): Promise<void> {
  const attempt = async (id: string): Promise<boolean> => {
    try {
      await accept(id, 100);
      say(`accepted ${id}`);
      return true;
    } catch (error) {
      say(`refused ${id} ${error instanceof Error && 'code' in error ? String(error.code) : String(error)}`);
      return false;
    }
  };
  for (let index = 0; index < 500 && (await attempt(`a${index}`)); index++) await setTimeout(20);
  for (const lease of await store.claim(Date.now(), 1000)) await deliver(store, lease);
  for (let index = 0; index < 25 && !(await attempt(`b${index}`)); index++) await setTimeout(100);
  for (const lease of await store.claim(Date.now(), 1000)) await deliver(store, lease);
  await store.close();
}

async function newBody(octets: number): Promise<{ readonly body: StoredBody; readonly sha256: string }> {
  const bytes = randomBytes(octets);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const writer = store.newBody();
  await writer.write(bytes);
  return { body: await writer.finish(), sha256 };
}

const partOf = (id: string) => ({
  sender: '',
  header: Buffer.from(`X: ${id}\r\n\r\n`),
  prefix: Buffer.from('prefix'),
  suffix: Buffer.alloc(0),
  needsSmtputf8: false,
});

const messageOf = (id: string, body: StoredBody, more: Partial<NewMessage> = {}): NewMessage => {
  const one = { address: `${id}@x.example`, notify: null, orcpt: null, body: 0, ...partOf(id) };
  const unsaid = { envid: null, submitter: null, notice: null };
  return { id, acceptedAt: Date.now(), sender: '', size: 1, ...unsaid, bodies: [body], recipients: [one], ...more };
};

/** Holds messages, small and large, and ends each: released over its ciphertext, released with another, or given up with a notice. */
async function held(): Promise<void> {
  for (const [index, octets] of [100, LARGE, 100, LARGE, LARGE, 100].entries()) {
    const id = `h${index}`;
    const { body, sha256 } = await newBody(octets);
    const message = messageOf(id, body);
    const recipients = message.recipients.map((one) => ({ ...one, kept: { kind: 'held', facts: id } as const }));
    await store.enqueue({ ...message, recipients }, [{ event: 'held', queue_id: id }]);
    say(`held ${id} ${sha256}`);
    const [row] = await store.heldRows({ queueId: id }, 0, 1);
    if (row === undefined) throw new Error('a held row is not there');
    if (index % 3 === 2) await giveUp(row);
    else await release(row, index % 3 === 0 ? undefined : await newBody(octets), sha256);
  }
  await store.close();
}

async function release(row: HeldRow, other: Awaited<ReturnType<typeof newBody>> | undefined, before: string): Promise<void> {
  const id = row.queueId;
  const sha256 = other?.sha256 ?? before;
  say(`releasing ${id} ${sha256}`);
  const as = { ...partOf('released'), ...(other === undefined ? {} : { body: other.body }) };
  if (!(await store.release(row, as, [{ event: 'released', queue_id: id }]))) throw new Error('not released');
  say(`released ${id} ${sha256}`);
}

async function giveUp(row: HeldRow): Promise<void> {
  const id = row.queueId;
  const empty = await store.newBody().finish();
  const notice = messageOf(`n-${id}`, empty, { notice: '{}' });
  const events = [{ event: 'bounced', queue_id: id } as const];
  if (!(await store.endHeld(row, { kind: 'bounced', reason: 'too long' }, events, { notice, ofDelay: false })))
    throw new Error('not ended');
  say(`ended ${id}`);
}

async function verifyAfterClose() {
  await store.close();
  return verifyAudit({ file: paths.audit });
}

switch (mode) {
  case 'unwritable':
    await unwritable();
    break;
  case 'round':
    await round();
    break;
  case 'serial':
    await serial();
    break;
  case 'held':
    await held();
    break;
  case 'open':
    say('opened');
    await store.close();
    break;
  case 'load':
  case 'backlog':
    await load();
    break;
  default:
    await fill();
}
