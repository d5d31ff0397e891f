/** The lists of the in-house CA over their life: who writes them when, and what a crash, a rival or another clock cannot break. */
import assert from 'node:assert/strict';
import {
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { namedIn, readCrlFacts, writeCrl } from '../../src/certificates/authority/crl.ts';
import { type Authority, DAY_MS, issueCertificate, makeAuthority, makeIssuing } from '../../src/certificates/authority/issue.ts';
import { ISSUED, type IssuedRecord, readIssued, writeIssued } from '../../src/certificates/authority/ledger.ts';
import type { ControlHandlers } from '../../src/control.ts';
import type { RecordStore, StoredRecord } from '../../src/queue/records.ts';
import {
  handOver,
  isDue,
  ISSUING_LIST,
  listIssuers,
  type ListIssuer,
  type ListParts,
  ROOT_LIST,
  writeList,
} from '../../src/upkeep/crl-writing.ts';
import { CRL, readNumber, revocationHandlers } from '../../src/upkeep/revoked.ts';
import { mailboxOf } from '../certificates/openssl.ts';

const start = Math.floor(Date.now() / 1000) * 1000;
const WEEK = 7 * DAY_MS;

/** As the queue keeps them: all changes hold or none. */
function memoryRecords(): RecordStore & { readonly events: Record<string, unknown>[] } {
  const rows = new Map<string, StoredRecord>();
  const events: Record<string, unknown>[] = [];
  return {
    events,
    get: async (kind, key) => rows.get(`${kind} ${key}`),
    list: async (kind) => [...rows].flatMap(([id, row]) => (id.startsWith(`${kind} `) ? [row] : [])),
    change: async (changes, told) => {
      if (!changes.every(({ kind, key, was }) => was === undefined || (rows.get(`${kind} ${key}`)?.value ?? null) === was)) return false;
      for (const { kind, key, value } of changes) {
        if (value === null) rows.delete(`${kind} ${key}`);
        else rows.set(`${kind} ${key}`, { key, value, at: 0 });
      }
      events.push(...told.map((event) => ({ ...event })));
      return true;
    },
  };
}

describe('lists of the in-house CA', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-writing-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let root: Authority;
  let issuing: Authority;
  let other: Authority;
  let sites = 0;

  before(async () => {
    root = await makeAuthority({ name: 'Root', now: start });
    issuing = await makeIssuing({ root, name: 'Issuing', now: start });
    other = await makeIssuing({ root, name: 'Issuing', now: start });
  });

  interface Site {
    readonly own: string;
    readonly records: ReturnType<typeof memoryRecords>;
    readonly handlers: ControlHandlers;
    readonly parts: ListParts;
    readonly issuers: readonly ListIssuer[];
    now: number;
    /** Issues and revokes; answers the serial number. */
    revoke(address: string, days?: number): Promise<string>;
    /** As the relay does: what is due. */
    refresh(): Promise<string[]>;
    list(): Buffer;
    serials(): string[];
  }

  const site = (authority = issuing, own = join(folder, String(sites++))): Site => {
    const records = memoryRecords();
    const handlers = revocationHandlers(records);
    const opened = { issuing: authority, root: { certificate: root.certificate, key: root.key } };
    const issuers = listIssuers({ issuing: authority.certificate, root: root.certificate }, WEEK, () => opened);
    const self: Site = {
      own,
      records,
      handlers,
      issuers,
      now: start,
      parts: {
        folder: own,
        now: () => self.now,
        recorded: async (issuer) => readNumber(await records.get(CRL, issuer)),
        ledger: async () => (await records.list(ISSUED)).map(({ value }) => readIssued(value)),
        takeNumber: async (request) => handlers[request.command]?.(request),
      },
      async revoke(address, days = 30) {
        const { certificate } = await issueCertificate({ authority, mailbox: mailboxOf(address), key: 'ec', days, now: start });
        const record: IssuedRecord = {
          serial: certificate.serial,
          fingerprint: certificate.fingerprint,
          address,
          issuer: authority.certificate.fingerprint,
          name: null,
          key: 'P-256',
          notBefore: certificate.notBefore.getTime(),
          notAfter: certificate.notAfter.getTime(),
          issuedAt: start,
          issuedBy: 'otto',
          revoked: null,
          renews: null,
        };
        await records.change([{ kind: ISSUED, key: record.serial, value: writeIssued(record), was: null }], []);
        const revoked = { at: self.now, reason: 'superseded', by: 'otto' };
        await handlers['certs-revoked']?.({ command: 'certs-revoked', operator: 'otto', records: [{ ...record, revoked }] });
        return record.serial;
      },
      async refresh() {
        const written: string[] = [];
        for (const issuer of issuers) {
          const recorded = readNumber(await records.get(CRL, issuer.certificate.fingerprint));
          if (!(await isDue(issuer, { folder: own, now: self.now, recorded }))) continue;
          if ((await writeList(issuer, 'relay', self.parts)) !== undefined) written.push(issuer.file);
        }
        return written;
      },
      list: () => readFileSync(join(own, ISSUING_LIST)),
      serials: () => namedIn(self.list()).map(({ serial }) => serial),
    };
    return self;
  };

  test('a year of days: each list is there before the last one ends, numbers rise, the root has one a year', async () => {
    const one = site();
    const revoked = await one.revoke('anna@clinic.example');
    const [numbers, roots]: [number[], number[]] = [[], []];
    let gone: number | undefined;
    for (let day = 0; day < 365; day++) {
      one.now = start + day * DAY_MS;
      const written = await one.refresh();
      const facts = readCrlFacts(one.list());
      assert.ok(facts !== undefined && facts.nextUpdate > one.now + DAY_MS, `day ${day}`);
      if (written.includes(ISSUING_LIST)) numbers.push(facts.number);
      if (written.includes(ROOT_LIST)) roots.push(day);
      if (!one.serials().includes(revoked)) gone ??= day;
    }
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
    );
    assert.ok(numbers.length > 80 && numbers.length < 100, `${numbers.length} lists`);
    assert.deepEqual(roots, [0, 183]);
    // Its certificate ended on day 30; one list behind that day names it still (RFC 5280 §3.3).
    assert.ok(gone !== undefined && gone > 30 && gone <= 38, `left on day ${gone}`);
    assert.deepEqual(await one.refresh(), [], 'once is enough');
  });

  test('a crash between the revocation and its list: whoever looks next writes it', async () => {
    const one = site();
    await one.refresh();
    const before = one.list();
    const serial = await one.revoke('anna@clinic.example');
    assert.deepEqual(one.list(), before, 'nothing has been written yet');
    assert.deepEqual(await one.refresh(), [ISSUING_LIST]);
    assert.deepEqual(one.serials(), [serial]);
    const events = one.records.events.filter(({ event, issuer }) => event === 'crl-written' && issuer === 'CN=Issuing');
    assert.deepEqual(
      events.map(({ revoked, operator }) => [revoked, operator]),
      [
        [0, 'relay'],
        [1, 'relay'],
      ],
    );
    // Between the number and the file: as after a crash there, the list that lies there has a lower number.
    await one.parts.takeNumber({ command: 'crl-number', operator: 'x', issuer: issuing.certificate.fingerprint, above: 0, revoked: 1 });
    assert.deepEqual(await one.refresh(), [ISSUING_LIST]);
  });

  test('two write at once: nothing that either revoked is lost, and the newer list stays', async () => {
    const one = site();
    const [issuer = assert.fail()] = one.issuers;
    const serials: string[] = [];
    for (let round = 0; round < 10; round++) {
      serials.push(await one.revoke(`a${round}@clinic.example`));
      const first = writeList(issuer, 'otto', one.parts);
      serials.push(await one.revoke(`b${round}@clinic.example`));
      const second = writeList(issuer, 'relay', one.parts);
      await Promise.all([first, second]);
      await one.refresh();
      assert.deepEqual(one.serials().toSorted(), serials.toSorted(), `round ${round}`);
    }
    assert.deepEqual(readdirSync(one.own).toSorted(), [ISSUING_LIST, ROOT_LIST], 'no rests of files');
    assert.equal(statSync(join(one.own, ISSUING_LIST)).mode & 0o777, 0o644);
  });

  test('a writer that is held before its rename: the newer list that it covers is written again', async () => {
    const one = site();
    const [issuer = assert.fail()] = one.issuers;
    const first = await one.revoke('ann@clinic.example');
    let [held, second] = [true, ''];
    /** What a writer looked at last is from before the other wrote: as when it is held between the look and the rename. */
    const slow: ListParts = {
      ...one.parts,
      ledger: async () => {
        const before = await one.parts.ledger();
        if (!held || taken === 0) return before;
        held = false;
        second = await one.revoke('ben@clinic.example');
        await writeList(issuer, 'otto', one.parts);
        const number = readCrlFacts(one.list())?.number ?? 0;
        assert.ok(number > taken, 'the other is ahead');
        rmSync(join(one.own, ISSUING_LIST)); // what its look finds is not there yet
        return before;
      },
      takeNumber: async (request) => (taken = Number(await one.parts.takeNumber(request))),
    };
    let taken = 0;
    await writeList(issuer, 'anna', slow);
    assert.deepEqual(one.serials().toSorted(), [first, second].toSorted());
    assert.deepEqual(await one.refresh(), [ROOT_LIST], 'nothing is behind');
  });

  test('the clock was years ahead for a while: what was revoked stays named, and a list from then is written anew', async () => {
    const one = site();
    const serial = await one.revoke('anna@clinic.example');
    one.now = start + 3 * 365 * DAY_MS;
    const [issuer = assert.fail()] = one.issuers;
    for (let times = 0; times < 2; times++) assert.ok(await writeList(issuer, 'otto', one.parts));
    assert.deepEqual(one.serials(), [], 'as after its end');
    one.now = start + DAY_MS;
    assert.ok((await one.refresh()).includes(ISSUING_LIST), 'at once, not in years');
    assert.deepEqual(one.serials(), [serial]);
    const facts = readCrlFacts(one.list());
    assert.ok(facts !== undefined && facts.thisUpdate <= one.now && facts.nextUpdate > one.now);
    assert.deepEqual(await one.refresh(), [], 'once is enough');
  });

  test("another CA's list with the greatest number there is: it uses up no number of ours", async () => {
    const one = site();
    mkdirSync(one.own);
    const foreign = { issuer: other, number: 0xffff_fffe, from: start - 1000, to: start + WEEK, revoked: [] };
    writeFileSync(join(one.own, ISSUING_LIST), writeCrl(foreign));
    await one.revoke('anna@clinic.example');
    assert.deepEqual(await one.refresh(), [ISSUING_LIST, ROOT_LIST]);
    assert.ok((readCrlFacts(one.list())?.number ?? 0) < 10);
    const issuer = issuing.certificate.fingerprint;
    for (const above of [Number.MAX_SAFE_INTEGER, 2 ** 31])
      await assert.rejects(
        async () => one.handlers['crl-number']?.({ command: 'crl-number', operator: 'x', issuer, above, revoked: 0 }),
        /out of all proportion/,
      );
    assert.ok(readNumber(await one.records.get(CRL, issuer)) < 10);
  });

  test('the same certificate cannot be revoked twice, nor to another reason', async () => {
    const one = site();
    const serial = await one.revoke('anna@clinic.example');
    const record = readIssued((await one.records.get(ISSUED, serial))?.value ?? '');
    const again = { ...record, revoked: { at: start + 1, reason: 'keyCompromise', by: 'eve' } };
    const request = { command: 'certs-revoked', operator: 'eve', records: [again] };
    await assert.rejects(async () => one.handlers['certs-revoked']?.(request), /it is revoked already/);
    await assert.rejects(
      async () => one.handlers['certs-revoked']?.({ ...request, records: [{ ...again, revoked: null }] }),
      /not revoked/,
    );
    await assert.rejects(async () => one.handlers['certs-revoked']?.({ ...request, records: [{ serial }] }), /cannot be read/);
    assert.equal(readIssued((await one.records.get(ISSUED, serial))?.value ?? '').revoked?.reason, 'superseded');
    assert.equal(one.records.events.filter(({ event }) => event === 'certificate-revoked').length, 1);
  });

  test('a store that is older than the list: what others were told stays said, and numbers do not go back', async () => {
    const one = site();
    const old = await one.revoke('anna@clinic.example');
    for (let times = 0; times < 3; times++) {
      one.now += WEEK;
      await one.refresh();
    }
    const number = readCrlFacts(one.list())?.number ?? 0;
    const restored = site(issuing, one.own);
    restored.now = one.now;
    assert.deepEqual(await restored.refresh(), [ISSUING_LIST, ROOT_LIST], 'a list from the time behind the backup');
    assert.deepEqual(restored.serials(), [old]);
    assert.ok((readCrlFacts(restored.list())?.number ?? 0) > number);
    const fresh = await restored.revoke('ben@clinic.example');
    await restored.refresh();
    assert.deepEqual(restored.serials().toSorted(), [old, fresh].toSorted());
  });

  test('a new CA of the same name: its list takes the place, and that of the old one stays beside it', async () => {
    const one = site();
    await one.revoke('anna@clinic.example');
    await one.refresh();
    const before = one.list();
    const next = site(other, one.own);
    assert.deepEqual((await next.refresh()).slice(0, 1), [ISSUING_LIST]);
    assert.deepEqual(next.serials(), []);
    const aside = readdirSync(one.own).filter((name) => /^in-house-issuing-[0-9a-f]{8}\.crl$/.test(name));
    assert.deepEqual(
      aside.map((name) => readFileSync(join(one.own, name))),
      [before],
    );
  });

  test('what lies there and is no list is written anew; a folder that cannot be made is told', async () => {
    const one = site();
    mkdirSync(one.own);
    writeFileSync(join(one.own, ISSUING_LIST), 'half a li');
    assert.deepEqual(await one.refresh(), [ISSUING_LIST, ROOT_LIST]);
    renameSync(one.own, `${one.own}.away`);
    writeFileSync(one.own, 'a file in its place');
    await assert.rejects(one.refresh(), /cannot be (?:written|read)/);
  });

  const wantsRoot = { skip: process.getuid?.() === 0 ? false : 'wants root' };
  test("root hands over what it made, and nothing that the folder's owner puts in its place (A36)", wantsRoot, async () => {
    const data = join(folder, 'data');
    const NOBODY = 65_534;
    mkdirSync(data);
    chownSync(data, NOBODY, NOBODY);
    const one = site(issuing, join(data, 'own-crls'));
    await one.refresh();
    for (const path of [one.own, join(one.own, ISSUING_LIST)]) assert.equal(lstatSync(path).uid, NOBODY, path);

    const victim = join(folder, 'of-root');
    writeFileSync(victim, '');
    const path = join(one.own, '.x.tmp');
    const made = await open(path, 'wx');
    renameSync(path, `${path}.away`);
    symlinkSync(victim, path);
    await handOver(made, path);
    await made.close();
    assert.deepEqual([lstatSync(victim).uid, lstatSync(`${path}.away`).uid], [0, NOBODY]);

    const elsewhere = join(folder, 'elsewhere');
    mkdirSync(elsewhere);
    renameSync(one.own, `${one.own}.away`);
    symlinkSync(elsewhere, one.own);
    await assert.rejects(one.refresh(), /own-crls is a symbolic link/);
    assert.deepEqual([readdirSync(elsewhere), lstatSync(elsewhere).uid], [[], 0]);
  });
});
