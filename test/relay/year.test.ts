/** A year of a site, by a relay that is started again and again under a clock that is ahead: what its people and its operator get. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { type Authority, DAY_MS, issueCertificate, makeAuthority } from '../../src/certificates/authority/issue.ts';
import { ISSUED, type IssuedRecord, writeIssued } from '../../src/certificates/authority/ledger.ts';
import { certificatePem } from '../../src/certificates/pem.ts';
import { createAuthority } from '../../src/commands/certificates/authority.ts';
import { parseMailbox } from '../../src/message/envelope.ts';
import { queuePaths } from '../../src/queue/paths.ts';
import { openSqliteQueue } from '../../src/queue/sqlite.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms, run, succeed } from '../interop/programs.ts';
import { makeSite, type RunningRelay, type Site } from './site.ts';
import { send } from './submit.ts';
import { type Delivery, keepingUpstream } from './upstream.ts';

const missing = missingPrograms({ openssl: 'openssl', faketime: 'faketime' });
const WAIT_MS = 30_000;

interface Person {
  readonly by: 'in-house' | 'vendor';
  /** Days from now; it was made a hundred days ago. */
  readonly ends: number;
  readonly key?: 'rsa' | 'ec';
  readonly revoked?: true;
  readonly address?: string;
}

const PEOPLE: Readonly<Record<string, Person>> = {
  operator: { by: 'vendor', ends: 1500 },
  anna: { by: 'in-house', ends: 60, key: 'rsa' },
  ben: { by: 'in-house', ends: 100 },
  carla: { by: 'vendor', ends: 120, key: 'rsa' },
  dora: { by: 'in-house', ends: 80, revoked: true },
  emil: { by: 'vendor', ends: 110 },
  'emil-new': { by: 'vendor', ends: 900, address: 'emil@clinic.example' },
  fritz: { by: 'vendor', ends: 200 },
  greta: { by: 'in-house', ends: 300 },
  hans: { by: 'in-house', ends: 340, key: 'rsa' },
  ida: { by: 'vendor', ends: 345 },
  jan: { by: 'vendor', ends: 700 },
  karl: { by: 'in-house', ends: 800 },
};

/** Each day on which something is due, the days around the first of each kind, and some between: a start of the relay takes a second. */
const DAYS = [0, 29, 30, 31, 70, 71, 89, 90, 91, 113, 114, 120, 127, 160, 161, 190, 240, 241, 270, 290, 310, 315, 338, 365];

const MADE_DAYS = 100;
const mailboxOf = (name: string): string => PEOPLE[name]?.address ?? `${name}@clinic.example`;

/** A certificate with its key, as files. */
interface Holder {
  readonly certificate: string;
  readonly key: string;
}

interface Told {
  readonly day: number;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  readonly entity: Buffer;
}

test(
  'a year: notices, summaries and renewals, each at its time, sealed; a renewed reader opens the next mail',
  { skip: missing ?? false, timeout: 600_000 },
  async (t) => {
    const { site, upstream, holders } = await makeClinic(t);
    const told: Told[] = [];
    const mails: { readonly day: number; readonly delivery: Delivery }[] = [];
    let seen = 0;
    for (const day of DAYS) {
      const relay = await site.serve(clockAhead(day));
      await until('the round', () => /"msg":"the daily round is done"/.test(relay.log()), WAIT_MS);
      assert.match(relay.log(), /"failed":\[\],"msg":"the daily round is done"/, relay.log());
      for (const name of mailDay(day)) await deliverTo(relay, mailboxOf(name));
      await until('all is delivered', () => upstream.deliveries().length === countEvents(site, 'accepted'), WAIT_MS);
      await relay.stop();
      await assertFresh(site, day);
      for (const delivery of upstream.deliveries().slice(seen)) {
        seen++;
        if (delivery.sender !== '') mails.push({ day, delivery });
        else told.push(await open(delivery, day, holders));
      }
      // Who was sent a new key takes it in, and reads the next mail with it alone.
      for (const one of told.filter((mail) => mail.day === day && mail.subject.startsWith('Your new certificate')))
        await takeIn(one, site, holders);
    }
    const days = (name: string, subject: string): number[] =>
      told.filter(({ to, subject: own }) => to === mailboxOf(name) && own.startsWith(subject)).map(({ day }) => day);

    for (const [name, expected] of Object.entries({ carla: [90, 113], ida: [315, 338] }))
      assert.deepEqual(days(name, 'Your certificate for sealed mail ends'), expected, name);
    for (const [name, expected] of Object.entries({ anna: [30, 160, 290], ben: [70, 240], greta: [270], hans: [310] }))
      assert.deepEqual(days(name, ''), expected, `${name}: a new certificate each time, and no notice`);
    for (const name of ['dora', 'emil', 'fritz', 'jan', 'karl']) assert.deepEqual(days(name, ''), [], name);
    const summaries = days('operator', 'Certificates: ');
    // A renewal is told of once its mail has been taken: the day after.
    for (const day of [31, 71, 90, 113, 120, 127, 160, 161, 190, 240, 241])
      assert.ok(summaries.includes(day), `a summary on day ${day}: ${summaries.join()}`);
    for (const day of [0, 29, 30, 70, 89, 91, 114]) assert.ok(!summaries.includes(day), `none on day ${day}`);
    assert.equal(new Set(summaries).size, summaries.length);
    const ended = told.find(({ to, day }) => to === mailboxOf('operator') && day === 120)?.text ?? '';
    assert.match(ended, /Have ended[^\n]*: 1\r?\n {2}\d{4}-\d\d-\d\d {2}carla@clinic\.example {2}recipients\/carla\.pem {2}CN=Vendor CA/);

    for (const { day, delivery } of mails) {
      const keys = holders.get(delivery.recipient) ?? [];
      const opened = await Promise.all(keys.map((holder) => decrypt(delivery.octets, holder)));
      assert.ok(
        opened.some((entity) => entity?.includes('the body') === true),
        `${delivery.recipient} on day ${day}`,
      );
    }
    const afterwards = mails.filter(({ day, delivery }) => delivery.recipient === mailboxOf('anna') && day === 365);
    const [newest] = (holders.get(mailboxOf('anna')) ?? []).slice(-1);
    assert.ok(newest !== undefined && afterwards.length === 1);
    assert.match(String(await decrypt(afterwards[0]?.delivery.octets ?? Buffer.alloc(0), newest)), /the body/, 'by the newest alone');
    assertNothingInClear(site, upstream.deliveries());
  },
);

/**
 * What the program faketime does, without it: killed with its relay it leaves a semaphore behind, which the next one of its process
 * number stumbles over. The linker puts the folder of the libraries in the place of `$LIB`.
 */
const clockAhead = (days: number): readonly string[] => [
  'env',
  'LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1',
  'FAKETIME_DONT_FAKE_MONOTONIC=1',
  `FAKETIME=+${days}d`,
];

/** Mail for some, so that who is told is who gets mail. */
const mailDay = (day: number): readonly string[] =>
  ({
    0: ['anna', 'carla', 'ida', 'emil'],
    31: ['anna'],
    71: ['ben'],
    113: ['carla'],
    161: ['anna'],
    241: ['ben'],
    310: ['ida'],
    365: ['anna', 'hans', 'greta'],
  })[day] ?? [];

async function deliverTo(relay: RunningRelay, address: string): Promise<void> {
  await send(relay.port, [address], 'Subject: x\r\n\r\nthe body\r\n');
}

async function makeClinic(t: TestContext) {
  const upstream = await keepingUpstream(t);
  const authority = { passphrase: 'file:keys/ca.passphrase', renew: { before: '30d' }, crl: {} };
  const site = await makeSite(t, {
    upstreamPort: upstream.port,
    people: [],
    config: { operator: mailboxOf('operator'), certificates: { authority, expiry: { notify: ['30d', '7d'] } } },
  });
  const at = (...parts: string[]): string => join(site.dir, ...parts);
  const born = Date.now() - 400 * DAY_MS;
  const places = { keys: at('keys'), anchors: at('certs/anchors'), intermediates: at('certs/intermediates') };
  const inHouse = await createAuthority(places, 'Clinic', born);
  const vendor = await makeAuthority({ name: 'Vendor CA', now: born });
  writeFileSync(at('certs/anchors/vendor.pem'), certificatePem(vendor.certificate));
  const paths = queuePaths(at('data/queue.sqlite'), at('data/audit.jsonl'));
  const store = await openSqliteQueue({ ...paths, now: Date.now, log: pino({ level: 'silent' }) });
  const holders = new Map<string, Holder[]>();
  for (const [name, person] of Object.entries(PEOPLE)) {
    const { record, certificate, key } = await certify(name, person, person.by === 'vendor' ? vendor : inHouse.issuing);
    const holder = { certificate: at('people', `${name}-0.pem`), key: at('people', `${name}-0.key`) };
    writeFileSync(holder.certificate, certificate);
    writeFileSync(holder.key, key);
    writeFileSync(at('certs/recipients', `${name}.pem`), certificate);
    holders.set(mailboxOf(name), [...(holders.get(mailboxOf(name)) ?? []), holder]);
    if (person.by === 'in-house') await store.records.change([{ kind: ISSUED, key: record.serial, value: writeIssued(record) }], []);
  }
  await store.close();
  return { site, upstream, holders };
}

async function certify(name: string, { ends, key: choice = 'ec', revoked }: Person, authority: Authority) {
  const verdict = parseMailbox(mailboxOf(name));
  assert.ok(verdict.kind === 'mailbox');
  const { mailbox } = verdict;
  const now = Date.now() - MADE_DAYS * DAY_MS;
  const { certificate, key } = await issueCertificate({ authority, mailbox, key: choice, days: ends + MADE_DAYS, now });
  const { serial, fingerprint, notBefore, notAfter } = certificate;
  const record: IssuedRecord = {
    serial,
    fingerprint,
    address: mailbox.address,
    issuer: authority.certificate.fingerprint,
    name: null,
    key: choice === 'rsa' ? 'RSA-2048' : 'P-256',
    notBefore: notBefore.getTime(),
    notAfter: notAfter.getTime(),
    issuedAt: now,
    issuedBy: 'otto',
    revoked: revoked === true ? { at: now, reason: 'keyCompromise', by: 'otto' } : null,
    renews: null,
  };
  return { record, certificate: certificatePem(certificate), key: key.export({ type: 'pkcs8', format: 'pem' }) };
}

/** Undefined where that key does not open it. */
async function decrypt(message: Buffer, { certificate, key }: Holder): Promise<Buffer | undefined> {
  const args = ['cms', '-decrypt', '-binary', '-inform', 'SMIME', '-recip', certificate, '-inkey', key];
  const { code, stdout } = await run('openssl', args, { input: message });
  return code === 0 ? stdout : undefined;
}

async function open({ recipient, octets }: Delivery, day: number, holders: ReadonlyMap<string, readonly Holder[]>): Promise<Told> {
  assert.match(octets.toString('latin1'), /^Subject: Message from the mail relay \[/m, 'outside stands nothing of it');
  for (const holder of (holders.get(recipient) ?? []).toReversed()) {
    const entity = await decrypt(octets, holder);
    if (entity === undefined) continue;
    const subject = /^Subject: (.*)\r?$/m.exec(entity.toString('latin1'))?.[1]?.trim() ?? '';
    return { day, to: recipient, subject, text: partOf(entity, 'text/plain').toString(), entity };
  }
  assert.fail(`no key of ${recipient} opens the mail of day ${day}`);
}

/** The first part of that type, decoded. */
function partOf(entity: Buffer, type: string): Buffer {
  const text = entity.toString('latin1');
  const from = text.indexOf(`Content-Type: ${type}`);
  assert.ok(from >= 0, type);
  const body = text.slice(text.indexOf('\r\n\r\n', from) + 4);
  const end = body.search(/\r\n--=_|$(?![\s\S])/);
  return Buffer.from(body.slice(0, end), 'base64');
}

/** As openssl imports the PKCS#12, by the password of the mail. */
async function takeIn({ to, text, entity, day }: Told, site: Site, holders: Map<string, Holder[]>): Promise<void> {
  const password = /^ {4}(\S{10,})\r?$/m.exec(text)?.[1] ?? '';
  const base = join(site.dir, 'people', `${to}-${day}`);
  writeFileSync(`${base}.p12`, partOf(entity, 'application/pkcs12'));
  const args = ['pkcs12', '-in', `${base}.p12`, '-passin', 'stdin', '-nodes', '-legacy'];
  const key = await succeed('openssl', [...args, '-nocerts'], { input: Buffer.from(`${password}\n`) });
  const certificate = await succeed('openssl', [...args, '-clcerts', '-nokeys'], { input: Buffer.from(`${password}\n`) });
  writeFileSync(`${base}.key`, key);
  writeFileSync(`${base}.pem`, certificate);
  holders.set(to, [...(holders.get(to) ?? []), { key: `${base}.key`, certificate: `${base}.pem` }]);
}

function countEvents({ data }: Site, name: string): number {
  return readFileSync(join(data, 'audit.jsonl'), 'utf8').split(`"event":"${name}"`).length - 1;
}

/** The list of the in-house CA goes on beyond the present of the relay. */
async function assertFresh({ data }: Site, day: number): Promise<void> {
  const args = ['crl', '-in', join(data, 'own-crls', 'in-house-issuing.crl'), '-inform', 'DER', '-noout', '-nextupdate'];
  const next = Date.parse((await succeed('openssl', args)).toString().replace('nextUpdate=', ''));
  assert.ok(next > Date.now() + day * DAY_MS, `the list of day ${day}`);
}

function assertNothingInClear({ data, dir }: Site, deliveries: readonly Delivery[]): void {
  const words = ['with this password', 'Have ended', 'the body', 'PRIVATE KEY'];
  const encoded = words.map((word) => Buffer.from(`xx${word}`).toString('base64').slice(4, -4));
  const files = [data, join(dir, 'data/certs')].flatMap((folder) =>
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => readFileSync(join(folder, name))),
  );
  for (const octets of [...files, ...deliveries.map((one) => one.octets)])
    for (const word of [...words, ...encoded]) assert.ok(!octets.includes(word), word);
}
