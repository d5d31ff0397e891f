/** `certs history`: what the log and the queue's database tell of one address, in the order of time. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { AuditEvent } from '../../src/audit.ts';
import { ISSUED, type IssuedRecord, writeIssued } from '../../src/certificates/authority/ledger.ts';
import type { QueueStore } from '../../src/queue/queue.ts';
import { useOf } from '../queue/known-suite.ts';
import { makeSite, put, START, type Site } from '../queue/site.ts';
import { sealpost } from './transcript.ts';

const ANNA = 'anna@clinic.example';
const DAY = 86_400_000;
const OLD = useOf('old').fingerprint;
const NEW = useOf('new').fingerprint;

interface Told {
  readonly log_since: string | null;
  readonly entries: readonly { time: string; event: string; sha256: string | null; from: string; attributes: Record<string, unknown> }[];
  readonly certificates: readonly { sha256: string; state: string; approved_by: string | null }[];
}

const issued: IssuedRecord = {
  serial: '01',
  fingerprint: OLD,
  address: ANNA,
  issuer: 'f'.repeat(64),
  name: null,
  key: 'rsa',
  notBefore: START,
  notAfter: START + DAY,
  issuedAt: START,
  issuedBy: 'otto',
  revoked: null,
  renews: null,
};

/** Mail of one day: sealed to `name`, and to somebody else. */
async function mail(store: QueueStore, id: string, name: string, more: Partial<AuditEvent> = {}): Promise<void> {
  const about = { event: 'sealed', queue_id: id, rule: 'all', cipher: 'aes256-cbc' } as const;
  const events: AuditEvent[] = [
    { ...about, recipient: ANNA, ...more, certificate_sha256: useOf(name).fingerprint },
    { ...about, recipient: 'ben@clinic.example', certificate_sha256: useOf('ben').fingerprint },
  ];
  await put(store, { id, events, uses: [useOf(name, { queueId: id, pinned: true })] });
}

/** A year of one address. */
async function makeYear(t: TestContext): Promise<{ site: Site; dir: string; told: (...more: string[]) => Promise<Told> }> {
  const site = await makeSite(t);
  const dir = dirname(site.paths.folder);
  const config = { hostname: 'relay.clinic.example', operator: 'postmaster@clinic.example' };
  const around = { listen: [{ host: '127.0.0.1', port: 0 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
  writeFileSync(join(dir, 'sealpost.yaml'), JSON.stringify({ ...config, ...around }));
  const store = await site.open();
  const onDay = (day: number): number => (site.clock.now = START + day * DAY);
  const ofCertificate = { recipient: ANNA, certificate_sha256: OLD };
  const issue: AuditEvent = { event: 'certificate-issued', ...ofCertificate, operator: 'otto' };
  await store.records.change([{ kind: ISSUED, key: '01', value: writeIssued(issued) }], [issue]);
  for (const day of [1, 2, 3]) {
    onDay(day);
    await mail(store, `q${day}`, 'old', day === 2 ? { recipient: 'info@clinic.example', member: 'Anna@CLINIC.example' } : {});
  }
  onDay(4);
  await store.known.wait(useOf('new', { pinned: true }));
  onDay(5);
  await store.known.approve({ address: ANNA, fingerprint: null }, 'Dr Ada, typed by root');
  onDay(6);
  await mail(store, 'q6', 'new');
  await store.record([
    { event: 'certificate-tried', recipient: 'info@clinic.example', members: `ben@clinic.example, ${ANNA}`, operator: 'otto' },
  ]);
  await store.close();
  const told = async (...more: string[]): Promise<Told> => {
    const { exit, stdout, stderr } = await sealpost(dir, ['certs', 'history', 'ANNA@clinic.example', '--json', ...more]);
    assert.equal(exit, 0, stderr);
    return JSON.parse(stdout);
  };
  return { site, dir, told };
}

const dayOf = (day: number): string => new Date(START + day * DAY).toISOString();

test('first and last use, the change that waited, who approved it, and a try of her group, in the order of time', async (t) => {
  const { dir, told } = await makeYear(t);
  const { entries, certificates, log_since: since } = await told();
  assert.equal(since, dayOf(0));
  assert.deepEqual(
    entries.map(({ time, event, sha256, from }) => [time, event, sha256, from]),
    [
      [dayOf(0), 'certificate-issued', OLD, 'log'],
      [dayOf(1), 'first-used', OLD, 'log'],
      [dayOf(3), 'last-used', OLD, 'log'],
      [dayOf(4), 'certificate-changed', NEW, 'log'],
      [dayOf(5), 'certificate-approved', NEW, 'log'],
      [dayOf(6), 'certificate-tried', null, 'log'],
      [dayOf(6), 'used-once', NEW, 'log'],
    ],
  );
  assert.equal(entries[2]?.attributes['messages'], 3);
  assert.equal(entries[4]?.attributes['operator'], 'Dr Ada, typed by root');
  assert.deepEqual(new Map(certificates.map(({ sha256, state }) => [sha256, state])), new Map([OLD, NEW].map((one) => [one, 'used'])));
  const { stdout, stderr } = await sealpost(dir, ['certs', 'history', ANNA]);
  assert.match(stderr, /the audit log reaches back to 2026-01-01T00:00:00\.000Z/);
  assert.match(
    stdout,
    new RegExp(`^2026-01-06T00:00:00.000Z  certificate-approved   ${NEW.slice(0, 16)}.*operator="Dr Ada, typed by root"`, 'm'),
  );
  assert.match(stdout, new RegExp(`^now: ${OLD.slice(0, 16)}  expired, last used on 2026-01-04; CN=old, by CN=clinic CA, until`, 'm'));
  assert.doesNotMatch(stdout, /ben@clinic\.example(?!,)/);
});

test('now: a revoked certificate is called revoked, a valid one used, and what took over is named', async (t) => {
  const { site, dir, told } = await makeYear(t);
  const fresh = useOf('fresh', { notAfter: Date.UTC(2090) });
  const store = await site.open();
  await put(store, { id: 'q7', uses: [fresh] });
  const change = async (record: IssuedRecord): Promise<void> => {
    const was = (await store.records.get(ISSUED, record.serial))?.value ?? null;
    assert.equal(await store.records.change([{ kind: ISSUED, key: record.serial, value: writeIssued(record), was }], []), true);
  };
  const nowOf = async (sha256: string): Promise<string | undefined> =>
    (await sealpost(dir, ['certs', 'history', ANNA])).stdout.split('\n').find((line) => line.startsWith(`now: ${sha256.slice(0, 16)}`));
  const record = { ...issued, serial: '02', fingerprint: fresh.fingerprint };
  await change(record);
  await change({ ...issued, serial: '03', fingerprint: NEW, renews: '02' });
  assert.match(
    (await nowOf(record.fingerprint)) ?? '',
    new RegExp(`  used, last on 2026-01-07, renewed by ${NEW.slice(0, 16)}; CN=fresh, `),
  );
  await change({ ...record, revoked: { at: START + 7 * DAY, reason: 'keyCompromise', by: 'otto' } });
  await store.close();
  assert.match((await nowOf(record.fingerprint)) ?? '', /^now: [0-9a-f]{16} {2}revoked 2026-01-08 \(keyCompromise\); CN=fresh, /);
  const { certificates } = await told();
  assert.partialDeepStrictEqual(
    certificates.find(({ sha256 }) => sha256 === record.fingerprint),
    { state: 'used', revoked: { at: dayOf(7), reason: 'keyCompromise' }, renewed_by: NEW },
  );
});

test('what happened before the first line of the log, the queue tells; without a log all of it', async (t) => {
  const { site, told } = await makeYear(t);
  const lines = readFileSync(site.paths.audit, 'utf8').split('\n');
  const from = lines.findIndex((line) => line.includes('certificate-approved'));
  writeFileSync(site.paths.audit, lines.slice(from).join('\n'));
  const later = await told();
  assert.equal(later.log_since, dayOf(5));
  assert.deepEqual(
    later.entries.map(({ time, event, from: source }) => [time, event, source]),
    [
      [dayOf(0), 'certificate-issued', 'queue'],
      [dayOf(1), 'first-known', 'queue'],
      [dayOf(3), 'last-used', 'queue'],
      [dayOf(4), 'first-known', 'queue'],
      [dayOf(5), 'certificate-approved', 'log'],
      [dayOf(6), 'certificate-tried', 'log'],
      [dayOf(6), 'used-once', 'log'],
    ],
  );
  rmSync(site.paths.audit);
  const { entries, log_since: since } = await told();
  assert.equal(since, null);
  assert.ok(entries.length >= 4 && entries.every(({ from: source }) => source === 'queue'));
});

test('garbage in the log is passed over and told of, and moves no cursor (A33)', async (t) => {
  const { site, dir, told } = await makeYear(t);
  const before = await told();
  appendFileSync(
    site.paths.audit,
    `{"event":"sealed" \n{"event":"certificate-approved"}\n{"time":5,"event":"sealed"}\n{"time":"2026","event":"certificate-x","recipient":"${ANNA}","operator":"\\u001b[2J"}\n{"event":"sea`,
  );
  const { entries } = await told();
  assert.equal(entries.length, before.entries.length + 1);
  const { stdout, stderr } = await sealpost(dir, ['certs', 'history', ANNA]);
  assert.match(stderr, /3 lines of the audit log cannot be read: sealpost audit verify/);
  assert.ok(!stdout.includes('\u001b'));
  assert.equal((await sealpost(dir, ['certs', 'history', 'nonsense'])).exit, 2);
  assert.match((await sealpost(dir, ['certs', 'history', 'carl@clinic.example'])).stderr, /nothing is known of carl@clinic\.example/);
});

test('in a log of hashed addresses the certificates of the asked one are found', async (t) => {
  const site = await makeSite(t);
  const dir = dirname(site.paths.folder);
  const key = join(dir, 'keys', 'audit.key');
  mkdirSync(dirname(key), { mode: 0o700 });
  writeFileSync(key, `${'5a'.repeat(32)}\n`, { mode: 0o600 });
  const config = { hostname: 'relay.clinic.example', operator: 'postmaster@clinic.example', audit: { addresses: 'hashed' } };
  const around = { listen: [{ host: '127.0.0.1', port: 0 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
  writeFileSync(join(dir, 'sealpost.yaml'), JSON.stringify({ ...config, ...around }));
  const store = await site.open({ auditKey: key });
  await mail(store, 'q1', 'old');
  await store.record([{ event: 'sealed', queue_id: 'q2', recipient: 'info@clinic.example', member: ANNA, certificate_sha256: NEW }]);
  await store.close();
  assert.ok(!readFileSync(site.paths.audit, 'utf8').includes('@'));
  const { exit, stdout, stderr } = await sealpost(dir, ['certs', 'history', 'ANNA@clinic.example', '--json']);
  assert.equal(exit, 0, stderr);
  const told: Told = JSON.parse(stdout);
  const used = told.entries.filter(({ event, from }) => event === 'used-once' && from === 'log').map(({ sha256 }) => sha256);
  assert.deepEqual(new Set(used), new Set([OLD, NEW]));
});
