/** A site with an in-house CA and people, a clock that the test moves, and the parts of the daily round on a real queue; no relay. */
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { type Authority, DAY_MS, issueCertificate, makeAuthority } from '../../../src/certificates/authority/issue.ts';
import { ISSUED, type IssuedRecord, writeIssued } from '../../../src/certificates/authority/ledger.ts';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { certificatePem } from '../../../src/certificates/pem.ts';
import { openSiteCertificates, type SiteCertificates } from '../../../src/certificates/site.ts';
import { createAuthority } from '../../../src/commands/certificates/authority.ts';
import { makeKnownCertificates } from '../../../src/change-control.ts';
import { type Config, loadConfig } from '../../../src/config.ts';
import { parseMailbox } from '../../../src/message/envelope.ts';
import { newQueueId } from '../../../src/queue/id.ts';
import { queuePaths } from '../../../src/queue/paths.ts';
import type { RecordStore } from '../../../src/queue/records.ts';
import type { Outcome, QueueStore } from '../../../src/queue/queue.ts';
import { openSqliteQueue } from '../../../src/queue/sqlite.ts';
import { chooseForm } from '../../../src/seal/algorithms.ts';
import { type Daily, makeDaily } from '../../../src/upkeep/expiry/daily.ts';
import { ownFolder } from '../../../src/upkeep/own-certificates.ts';
import { makeOwnMail, type OwnMail, type OwnMessage } from '../../../src/upkeep/own-mail.ts';

import { eventually, temporaryFolder } from '../../certificates/openssl.ts';

export const START = Date.UTC(2026, 0, 1, 8);

export interface Person {
  readonly by: 'in-house' | 'vendor';
  /** Days from the start; it was issued `made` days before it. */
  readonly ends: number;
  readonly made?: number;
  readonly key?: 'rsa' | 'ec';
  readonly revoked?: true;
  /** Another name than the address says. */
  readonly address?: string;
}

export interface Sent extends Pick<OwnMessage, 'subject' | 'text' | 'attachments'> {
  /** The day, counted from the start. */
  readonly day: number;
  readonly to: string;
}

export interface Setting {
  readonly clock: { now: number };
  readonly config: Config;
  readonly store: QueueStore;
  readonly certificates: SiteCertificates;
  /** What the relay sent, in clear; each was sealed and queued. */
  readonly sent: Sent[];
  readonly logged: Record<string, unknown>[];
  readonly people: ReadonlyMap<string, Certificate>;
  /** As after a start; what it works with may be broken ones. */
  open(broken?: { readonly ownMail?: (mail: OwnMail) => OwnMail; readonly records?: (records: RecordStore) => RecordStore }): Daily;
  /** What is queued, as an upstream takes it or refuses it for good. */
  deliver(outcome?: Outcome): Promise<void>;
  /** Reads the folders again, as the relay does every few seconds. */
  refresh(): Promise<void>;
  /** All that are committed: a line is in the database before it is in the file. */
  events(name: string): Promise<Record<string, unknown>[]>;
}

export const addressOf = (name: string): string => `${name}@clinic.example`;

export async function makeSetting(
  t: TestContext,
  { people, certificates: keys = {} }: { readonly people: Readonly<Record<string, Person>>; readonly certificates?: object },
): Promise<Setting> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-expiry-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const clock = { now: START };
  const at = (...parts: string[]): string => join(dir, ...parts);
  for (const folder of ['certs/recipients', 'data', 'policies']) mkdirSync(at(folder), { recursive: true, mode: 0o700 });
  made ??= makeAuthorities();
  const { inHouse, vendor } = await made;
  cpSync(folder, dir, { recursive: true });
  const file = at('sealpost.yaml');
  const all = {
    hostname: 'relay.clinic.example',
    operator: addressOf('operator'),
    listen: [{ host: '127.0.0.1', port: 0 }],
    upstream: [{ host: '127.0.0.1', port: 25 }],
    certificates: { authority: { passphrase: 'file:keys/ca.passphrase' }, ...keys },
  };
  writeFileSync(file, JSON.stringify(all));
  const config = await loadConfig({ file, env: {}, cwd: dir });
  const logged: Record<string, unknown>[] = [];
  const log = pino({}, { write: (line: string) => logged.push({ ...JSON.parse(line) }) });
  const now = (): number => clock.now;
  const paths = queuePaths(config.queue.sqlite, config.audit.file);
  const store = await openSqliteQueue({ ...paths, now, log });
  t.after(() => store.close());
  const certified = new Map<string, Certificate>();
  for (const [name, person] of Object.entries(people)) {
    const certificate = await certify(name, person, person.by === 'vendor' ? vendor : inHouse.issuing);
    certified.set(name, certificate);
    writeFileSync(at('certs/recipients', `${name}.pem`), certificatePem(certificate));
    if (person.by === 'in-house')
      await store.records.change([{ kind: ISSUED, key: certificate.serial, value: writeIssued(recordOf(certificate, person)) }], []);
  }
  const certificates = openSiteCertificates(config.certificates, {
    now,
    log,
    patience: 5000,
    cache: { folder: dirname(config.queue.sqlite), writable: true },
    own: ownFolder(config),
    ldapSecrets: () => Promise.reject(new Error('no directory here')),
    known: config.certificates.pin ? makeKnownCertificates(store.known, log) : undefined,
  });
  t.after(() => certificates.close());
  const sent: Sent[] = [];
  const real = makeOwnMail({
    hostname: config.hostname,
    addressBook: certificates.addressBook,
    chooseForm: (list) => chooseForm(list, config.profile),
    pinned: config.certificates.pin,
    now,
    randomBytes,
    log,
    largest: () => undefined,
    outbox: store,
    operator: config.operator,
    newId: () => newQueueId(now(), randomBytes),
  });
  const ownMail: OwnMail = {
    async send(message) {
      const id = await real.send(message);
      const { subject, text, attachments = [] } = message;
      sent.push({ day: Math.floor((clock.now - START) / DAY_MS), to: message.recipient.address, subject, text, attachments });
      return id;
    },
  };
  return {
    clock,
    config,
    store,
    certificates,
    sent,
    logged,
    people: certified,
    open: (broken = {}) => {
      const records = broken.records?.(store.records) ?? store.records;
      const parts = { config, certificates, now, env: {}, log, ownMail: broken.ownMail?.(ownMail) ?? ownMail };
      const kept = {
        records,
        known: store.known,
        record: store.record.bind(store),
        list: store.list.bind(store),
        stats: store.stats.bind(store),
      };
      return makeDaily({ ...parts, store: kept }, { first: [], tellers: [] });
    },
    deliver: async (outcome = { kind: 'delivered' }) => {
      for (const lease of await store.claim(clock.now, 1000)) await store.settle(lease, outcome, []);
    },
    refresh: async () => {
      for (const folder of certificates.recipients) await folder.refresh();
    },
    events: async (name) => {
      await eventually(async () => waitingLines(paths.database) === 0);
      if (!existsSync(paths.audit)) return [];
      const text = readFileSync(paths.audit, 'utf8');
      const lines = text
        .slice(0, text.lastIndexOf('\n') + 1)
        .split('\n')
        .filter(Boolean);
      return lines.map((line): Record<string, unknown> => ({ ...JSON.parse(line) })).filter((entry) => entry['event'] === name);
    },
  };
}

function waitingLines(database: string): number {
  const db = new DatabaseSync(database, { readOnly: true });
  try {
    return Number(db.prepare('SELECT count(*) AS count FROM audit_pending').get()?.['count']);
  } finally {
    db.close();
  }
}

/** Once for all tests of a file: keys of RSA take a while. */
const folder = temporaryFolder();
let made: ReturnType<typeof makeAuthorities> | undefined;

async function makeAuthorities() {
  const at = (name: string): string => join(folder, name);
  const born = START - 400 * DAY_MS;
  const places = { keys: at('keys'), anchors: at('certs/anchors'), intermediates: at('certs/intermediates') };
  const inHouse = await createAuthority(places, 'Clinic', born);
  const vendor = await makeAuthority({ name: 'Vendor CA', now: born });
  writeFileSync(at('certs/anchors/vendor.pem'), certificatePem(vendor.certificate));
  return { inHouse, vendor };
}

async function certify(
  name: string,
  { ends, made = 100, key = 'ec', address = addressOf(name) }: Person,
  authority: Authority,
): Promise<Certificate> {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault') throw new Error(verdict.fault);
  const { certificate } = await issueCertificate({
    authority,
    mailbox: verdict.mailbox,
    key,
    days: ends + made,
    now: START - made * DAY_MS,
  });
  return certificate;
}

function recordOf({ serial, fingerprint, addresses, notBefore, notAfter, key }: Certificate, person: Person): IssuedRecord {
  const times = { notBefore: notBefore.getTime(), notAfter: notAfter.getTime(), issuedAt: notBefore.getTime() };
  const revoked = person.revoked === true ? { at: START, reason: 'keyCompromise' as const, by: 'otto' } : null;
  const about = { address: addresses[0] ?? '', issuer: 'in-house', name: null, key: key?.type === 'rsa' ? 'RSA-2048' : 'P-256' };
  return { serial, fingerprint, ...about, ...times, issuedBy: 'otto', revoked, renews: null };
}
