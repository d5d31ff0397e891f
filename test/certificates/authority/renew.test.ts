/** Who is renewed, by what the ledger says, and what they get. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { type Authority, DAY_MS, issueCertificate, keyChoices, makeAuthority } from '../../../src/certificates/authority/issue.ts';
import type { IssuedRecord } from '../../../src/certificates/authority/ledger.ts';
import { dueForRenewal, judgeRenewal, newestByAddress, recordOf, renewCertificate } from '../../../src/certificates/authority/renew.ts';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { keyText } from '../../../src/commands/certificates/key-text.ts';
import { mailboxOf } from '../openssl.ts';

const now = Date.parse('2026-06-01T00:00:00Z');
const revoked: IssuedRecord['revoked'] = { at: now, reason: 'keyCompromise', by: 'eve' };

/** `from` and `to` in days from now. */
function record(serial: string, from: number, to: number, facts: Partial<IssuedRecord> = {}): IssuedRecord {
  const times = { notBefore: now + from * DAY_MS, notAfter: now + to * DAY_MS, issuedAt: now + from * DAY_MS };
  const who = { address: 'anna@example.org', name: null, key: 'RSA-2048', issuer: 'f0', issuedBy: 'root' };
  return { serial, fingerprint: `f${serial}`, ...who, ...times, revoked: null, renews: null, ...facts };
}

const within = 30 * DAY_MS;
const due = (...records: readonly IssuedRecord[]): string[] => dueForRenewal(records, { now, within }).map(({ serial }) => serial);

describe('what a rule renews', () => {
  test('what ends in time and what has ended, and nothing that goes on', () => {
    assert.deepEqual(due(record('1', -300, 29)), ['1']);
    assert.deepEqual(due(record('1', -300, -10)), ['1']);
    assert.deepEqual(due(record('1', -300, 31)), []);
  });

  test('of an address the newest alone, and no revoked one', () => {
    assert.deepEqual(due(record('1', -300, 20), record('2', -5, 360)), []);
    assert.deepEqual(due(record('2', -250, 25), record('1', -300, 20)), ['2']);
    assert.deepEqual(due(record('1', -300, 20, { revoked })), []);
    assert.deepEqual(due(record('1', -300, 20), record('2', -5, 360, { revoked })), ['1']);
    assert.deepEqual(due(record('1', -300, 20), record('2', -300, 20, { address: 'ben@example.org' })), ['1', '2']);
  });

  test('a certificate that was made for less than the time is renewed in its second half, not every day', () => {
    assert.deepEqual(due(record('1', -1, 19)), []);
    assert.deepEqual(due(record('1', -11, 9)), ['1']);
  });

  test('carried out again and again, every address has one that is valid, and nobody gets two in one day', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 60 }), (days, lead) => {
        const records = [record('0', 0, days)];
        for (let day = 0; day <= 800; day++) {
          const today = now + day * DAY_MS;
          const [one, ...more] = dueForRenewal(records, { now: today, within: lead * DAY_MS });
          assert.equal(more.length, 0);
          if (one === undefined) continue;
          assert.equal(
            records.some(({ notBefore }) => notBefore === today),
            false,
          );
          records.push(record(`${day}`, day, day + days, { renews: one.serial }));
        }
        for (let day = 0; day <= 800; day++)
          assert.ok(
            records.some(({ notBefore, notAfter }) => notBefore <= now + day * DAY_MS && notAfter >= now + day * DAY_MS),
            `day ${day}`,
          );
      }),
    );
  });
});

test('of two that were made within one second the one that renews the other is the newer', () => {
  const [old, made] = [record('a', -300, 20), record('b', -300, 20, { renews: 'a' })];
  const [other, before] = [record('d', -300, 20), record('c', -300, 20, { renews: 'd' })];
  for (const pair of [
    [old, made],
    [made, old],
    [other, before],
    [before, other],
  ])
    assert.notEqual(newestByAddress(pair).get('anna@example.org')?.renews, null);
});

describe('whether one is renewed', () => {
  const verdict = (one: IssuedRecord, ...others: readonly IssuedRecord[]): string =>
    judgeRenewal(one, newestByAddress([one, ...others]), now).kind;

  test('revoked, taken over from, or a fresh renewal itself: not without further words', () => {
    const old = record('1', -300, 20);
    assert.equal(verdict(old), 'renewable');
    assert.equal(verdict(record('1', -300, 20, { revoked })), 'revoked');
    assert.equal(verdict(old, record('2', -1, 320)), 'renewed');
    assert.equal(verdict(record('2', -1, 320, { renews: '1' }), old), 'renewed');
    assert.equal(verdict(record('2', -200, 120, { renews: '1' }), old), 'renewable');
    assert.equal(verdict(record('2', -1, 320), old), 'renewable');
  });
});

const lifetime = ({ notBefore, notAfter }: Certificate): number => notAfter.getTime() - notBefore.getTime();

describe('a renewed certificate', () => {
  let authority: Authority;
  before(async () => {
    authority = await makeAuthority({ name: 'Clinic CA', now });
  });

  for (const key of keyChoices) {
    test(`${key}: another key of the same kind, the same address and name, for as long`, async () => {
      const mailbox = mailboxOf('Anna@example.org');
      const { certificate: old } = await issueCertificate({ authority, mailbox, name: 'Anna Bär', key, days: 100, now });
      const found = recordOf(old, authority.certificate, keyText(old)) ?? assert.fail();
      assert.deepEqual([found.name, found.address, found.serial], ['Anna Bär', 'anna@example.org', old.serial]);
      const later = now + 90 * DAY_MS;
      const { certificate, key: secret } = await renewCertificate({ authority, record: found, now: later });
      assert.deepEqual([keyText(certificate), certificate.subject, certificate.addresses], [keyText(old), old.subject, old.addresses]);
      assert.notDeepEqual(certificate.spkiDer, old.spkiDer);
      assert.equal(secret.type, 'private');
      assert.equal(lifetime(certificate), lifetime(old));
      assert.ok(certificate.notBefore.getTime() > later - DAY_MS);
    });
  }

  test('another kind of key and another time, where they are asked for; never past the CA', async () => {
    const old = record('1', -300, 20);
    const { certificate } = await renewCertificate({ authority, record: old, key: 'ec', days: 7, now });
    assert.deepEqual([keyText(certificate), Math.round(lifetime(certificate) / DAY_MS)], ['P-256', 7]);
    const last = await renewCertificate({ authority, record: old, now: authority.certificate.notAfter.getTime() - DAY_MS });
    assert.deepEqual(last.certificate.notAfter, authority.certificate.notAfter);
  });

  test('who was called by their address has no name of their own', async () => {
    const { certificate } = await issueCertificate({ authority, mailbox: mailboxOf('Ben@example.org'), key: 'ec', days: 100, now });
    assert.equal(recordOf(certificate, authority.certificate, 'P-256')?.name, null);
  });
});
