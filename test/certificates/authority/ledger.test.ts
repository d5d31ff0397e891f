/** Records of the in-house CA as they lie in the store: what the disk changes is noticed, and costs that record alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  damageOf,
  isIssued,
  type IssuedRecord,
  listed,
  readIssued,
  readLedger,
  writeIssued,
} from '../../../src/certificates/authority/ledger.ts';

const record: IssuedRecord = {
  serial: '7f01',
  fingerprint: 'ab'.repeat(32),
  address: 'anna@clinic.example',
  issuer: 'f'.repeat(64),
  name: 'Anna',
  key: 'P-256',
  notBefore: 1,
  notAfter: 2,
  issuedAt: 1,
  issuedBy: 'otto',
  revoked: { at: 1, reason: 'keyCompromise', by: 'otto' },
  renews: null,
};
const other = { ...record, serial: '7f02', revoked: null };
const stored = ({ serial }: IssuedRecord, value: string) => ({ key: serial, value });

test('whatever character the disk changes is noticed, told by its key, and costs no other record', () => {
  const value = writeIssued(record);
  assert.deepEqual(readIssued(value, '7f01'), record);
  const good = stored(other, writeIssued(other));
  for (let at = 0; at < value.length; at++) {
    const flipped = value.slice(0, at) + String.fromCharCode(value.charCodeAt(at) ^ 1) + value.slice(at + 1);
    assert.deepEqual(readLedger([stored(record, flipped), good]), { records: [other], damaged: ['7f01'], lost: [] });
  }
  for (const damaged of ['', ` ${value}`, JSON.stringify(record), value.slice(0, -1)])
    assert.throws(() => readIssued(damaged, '7f01'), { code: 'storage-failed' });
  const moved = readLedger([{ key: '7f09', value }, { key: 'zz\u0007', value }, good]);
  assert.deepEqual(moved, { records: [other], damaged: ['7f09'], lost: ['zz\u0007'] });
  assert.equal(damageOf(moved), String.raw`the ledger of the in-house CA has damaged records: serial 7f09, "zz\u0007"`);
  assert.equal(damageOf(readLedger([good])), undefined);
});

test('a list names what is damaged where no list says whether it was revoked', () => {
  const ledger = readLedger([stored(record, 'x'), stored(other, writeIssued(other))]);
  const place = { issuer: 'f'.repeat(64), at: 5 };
  assert.deepEqual(listed(ledger, { ...place, named: true }), [other]);
  const [, guessed] = listed(ledger, { ...place, named: false });
  assert.partialDeepStrictEqual(guessed, { serial: '7f01', issuer: place.issuer, revoked: { at: 5, reason: 'unspecified' } });
  assert.ok(isIssued(guessed));
});

test('what no certificate can have is no record', () => {
  const wrong: readonly object[] = [
    { serial: 'zz' },
    { serial: '7' },
    { serial: '' },
    { serial: '7F01' },
    { serial: '01'.repeat(21) },
    { fingerprint: 'ab' },
    { fingerprint: 'zz'.repeat(32) },
    { notAfter: 2 ** 53 - 1 },
    { notBefore: -1 },
    { issuedAt: 1.5 },
    { revoked: { at: 8_640_000_000_000_000, reason: 'superseded', by: 'otto' } },
    { revoked: { at: 1, reason: 'toString', by: 'otto' } },
    { renews: 'zz' },
  ];
  for (const more of wrong) assert.ok(!isIssued({ ...record, ...more }), JSON.stringify(more));
  assert.ok(isIssued(record));
});
