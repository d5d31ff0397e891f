/** The control command by which the ledger of the in-house CA is written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { auditLines } from '../../src/audit/segments.ts';
import { ISSUED, type IssuedRecord, readIssued } from '../../src/certificates/authority/ledger.ts';
import { BATCH_RECORDS, issuedHandlers } from '../../src/upkeep/issued.ts';
import { makeSite } from '../queue/site.ts';

function recordOf(serial: string): IssuedRecord {
  const ids = { serial, fingerprint: serial.padStart(64, '0'), issuer: 'f'.repeat(64), revoked: null, renews: null };
  const times = { notBefore: 1, notAfter: Date.UTC(2027, 0, 1), issuedAt: 2 };
  return { ...ids, ...times, address: 'anna@clinic.example', name: 'Anna', key: 'P-256', issuedBy: 'otto' };
}

test('records and their events are written together, or none of them', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  const issue = async (records: unknown, more: object = {}): Promise<unknown> =>
    issuedHandlers(store.records)['certs-issued']?.({
      command: 'certs-issued',
      operator: 'otto',
      issuer: 'CN=Clinic CA',
      records,
      ...more,
    });
  const kept = async (): Promise<readonly string[]> => (await store.records.list(ISSUED)).map(({ key }) => key);
  const renewed = { ...recordOf('02'), renews: '01' };
  assert.equal(await issue([recordOf('01'), renewed]), 2);
  assert.deepEqual(
    (await store.records.list(ISSUED)).map(({ value }) => readIssued(value)),
    [recordOf('01'), renewed],
  );
  await assert.rejects(issue([recordOf('03'), recordOf('01')]), /of that serial number is in the ledger already/);
  const many = Array.from({ length: BATCH_RECORDS + 1 }, (_, index) => recordOf(`a0${index + 10}`));
  for (const wrong of [undefined, null, {}, 'x', many]) await assert.rejects(issue(wrong), { code: 'usage' });
  for (const wrong of [
    null,
    1,
    {},
    { ...recordOf('04'), notAfter: '2027' },
    { ...recordOf('04'), revoked: { at: 1, reason: 'x', by: 'y' } },
    { ...recordOf('04'), notAfter: 2 ** 53 - 1 },
    { ...recordOf('04'), serial: 'zz' },
    recordOf('03'),
  ])
    await assert.rejects(issue([recordOf('03'), wrong]), { code: 'usage' });
  await assert.rejects(issue([recordOf('03')], { operator: 5 }), { code: 'usage' });
  assert.deepEqual(await kept(), ['01', '02']);
  await store.close();
  const events: unknown[] = [];
  for await (const { bytes } of auditLines(site.paths.audit)) events.push(JSON.parse(bytes.toString()));
  const facts = { recipient: 'anna@clinic.example', certificate_issuer: 'CN=Clinic CA', operator: 'otto', key: 'P-256' };
  assert.partialDeepStrictEqual(events, [
    { event: 'certificate-issued', certificate_serial: '01', ...facts, not_after: '2027-01-01T00:00:00.000Z' },
    { event: 'certificate-renewed', certificate_serial: '02', renews: '01', ...facts },
  ]);
  assert.equal(events.length, 2);
});
