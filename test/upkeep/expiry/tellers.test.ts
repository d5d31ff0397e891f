/** What the summary says of the work of others. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { writeCrl } from '../../../src/certificates/authority/crl.ts';
import { type Authority, DAY_MS, issueCertificate, makeAuthority } from '../../../src/certificates/authority/issue.ts';
import { ISSUING_LIST, ownLists, ROOT_LIST } from '../../../src/upkeep/crl-writing.ts';
import { KIND as HARVESTED, writeRecord } from '../../../src/upkeep/harvested-record.ts';
import { makeTellers } from '../../../src/upkeep/expiry/tellers.ts';
import type { Item } from '../../../src/upkeep/expiry/words.ts';
import { TRY, type TryRecord, writeTry } from '../../../src/upkeep/tries.ts';
import { mailboxOf, temporaryFolder } from '../../certificates/openssl.ts';
import { memoryRecords } from '../records-memory.ts';

const NOW = Date.UTC(2026, 5, 1, 12);
const folder = temporaryFolder();
let authority: Authority;
before(async () => {
  authority = await makeAuthority({ name: 'Root', now: NOW - DAY_MS });
});

function makeSetting() {
  const records = memoryRecords(() => NOW);
  const tellers = makeTellers({ queue: { sqlite: join(folder, 'queue.sqlite') } }, records, () => NOW);
  const items = async (): Promise<readonly Item[]> => (await Promise.all(tellers.map((teller) => teller()))).flat();
  return { records, items };
}

test('a harvested certificate waits for approval; a record that is none is left out', async () => {
  const { records, items } = makeSetting();
  const { certificate } = await issueCertificate({ authority, mailbox: mailboxOf('anna@clinic.example'), key: 'ec', days: 90, now: NOW });
  const record = { address: 'anna@clinic.example', certificate, intermediates: [], capabilities: [], from: 'a file', by: null };
  await records.change(
    [
      { kind: HARVESTED, key: certificate.fingerprint, value: writeRecord(record) },
      { kind: HARVESTED, key: 'f00', value: '{}' },
    ],
    [],
  );
  const [item, ...others] = await items();
  assert.deepEqual(others, []);
  assert.equal(item?.section, 'waiting');
  assert.equal(item.line, `anna@clinic.example  SHA-256 ${certificate.fingerprint.slice(0, 16)}  from signed mail`);
});

test('a try that nobody has confirmed is told, with its day; a newer one is news, a confirmed one is not told', async () => {
  const { records, items } = makeSetting();
  const record: TryRecord = {
    code: { salt: 's', hash: 'h' },
    sentAt: NOW - 3 * DAY_MS,
    by: 'otto',
    attempts: 0,
    shares: [],
    confirmed: [],
  };
  const put = (key: string, value: TryRecord) => records.change([{ kind: TRY, key, value: writeTry(value) }], []);
  await put('anna@clinic.example', record);
  await put('ben@clinic.example', { ...record, code: null });
  await records.change([{ kind: TRY, key: 'carla@clinic.example', value: 'x' }], []);
  const [item, ...others] = await items();
  assert.deepEqual(others, []);
  assert.partialDeepStrictEqual(item, { section: 'tried', line: 'anna@clinic.example  since 2026-05-29' });
  await put('anna@clinic.example', { ...record, sentAt: NOW });
  const [again] = await items();
  assert.notEqual(again?.key, item?.key);
});

test('a list that ends within a day is told, one that lasts is not', async () => {
  const { items } = makeSetting();
  const lists = ownLists(folder);
  mkdirSync(lists, { recursive: true });
  const lay = (name: string, to: number): void =>
    writeFileSync(join(lists, name), writeCrl({ issuer: authority, number: 1, from: NOW - DAY_MS, to, revoked: [] }));
  lay(ISSUING_LIST, NOW + DAY_MS / 2);
  lay(ROOT_LIST, NOW + 30 * DAY_MS);
  const told = await items();
  assert.deepEqual(
    told.map(({ section, line }) => [section, line]),
    [['lists', 'in-house-issuing.crl, to 2026-06-02: the log says why it is not renewed']],
  );
  lay(ISSUING_LIST, NOW + 3 * DAY_MS);
  assert.deepEqual(await items(), []);
});
