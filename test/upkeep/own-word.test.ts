/** The ledger's word in the running relay: seen at the start and with each change, whoever makes it; never taken back. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { pino } from 'pino';
import { type Authority, issueCertificate, makeAuthority } from '../../src/certificates/authority/issue.ts';
import { ISSUED, type IssuedRecord, writeIssued } from '../../src/certificates/authority/ledger.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { openOwnWords } from '../../src/upkeep/own-word.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { memoryRecords } from './records-memory.ts';

const now = Date.now();
const silent = pino({ level: 'silent' });

describe('what the in-house CA says of its own', () => {
  let [ours, other]: [Authority, Authority] = [undefined!, undefined!];
  let anna: Certificate;

  before(async () => {
    ours = await makeAuthority({ name: 'Ours', now });
    other = await makeAuthority({ name: 'Other', now });
    ({ certificate: anna } = await issueCertificate({
      authority: ours,
      mailbox: mailboxOf('anna@clinic.example'),
      key: 'ec',
      days: 30,
      now,
    }));
  });

  const record = (revoked: IssuedRecord['revoked']): IssuedRecord => ({
    serial: anna.serial,
    fingerprint: anna.fingerprint,
    address: 'anna@clinic.example',
    issuer: ours.certificate.fingerprint,
    name: null,
    key: 'P-256',
    notBefore: now,
    notAfter: now + 1,
    issuedAt: now,
    issuedBy: 'otto',
    revoked,
    renews: null,
  });
  const revoked = { at: now, reason: 'keyCompromise', by: 'otto' } as const;
  const put = (value: string) => ({ kind: ISSUED, key: anna.serial, value });

  test('a change counts when it resolves, and one that did not hold does not', async () => {
    const { ask, records } = await openOwnWords(
      memoryRecords(() => now),
      silent,
    );
    assert.equal(await records.change([put(writeIssued(record(null)))], []), true);
    assert.equal(ask(anna, ours.certificate), undefined);
    assert.equal(await records.change([{ ...put(writeIssued(record(revoked))), was: 'something else' }], []), false);
    assert.equal(ask(anna, ours.certificate), undefined);
    assert.equal(await records.change([put(writeIssued(record(revoked)))], []), true);
    assert.deepEqual(ask(anna, ours.certificate), { kind: 'revoked', at: now, reason: 'keyCompromise' });
    await records.change([put(writeIssued(record(null)))], []);
    assert.equal(ask(anna, ours.certificate)?.kind, 'revoked', 'never back');
  });

  test('by the number and its CA, or by the certificate itself: not one of another CA that has the number too', async () => {
    const kept = memoryRecords(() => now);
    await kept.change([put(writeIssued(record(revoked)))], []);
    const { ask } = await openOwnWords(kept, silent);
    assert.equal(ask(anna, undefined)?.kind, 'revoked');
    assert.equal(ask(anna, other.certificate)?.kind, 'revoked', 'its CA was certified by another way');
    const resigned = { ...anna, fingerprint: 'f'.repeat(64) };
    assert.equal(ask(resigned, ours.certificate)?.kind, 'revoked', 'its signature written in another way');
    assert.equal(ask(resigned, other.certificate), undefined);
  });

  test('a damaged record is no word for it, and costs the others nothing; a ledger that cannot be read is logged', async () => {
    const kept = memoryRecords(() => now);
    await kept.change([{ kind: ISSUED, key: '01ff', value: 'half a rec' }, put(writeIssued(record(revoked)))], []);
    const { ask } = await openOwnWords(kept, silent);
    assert.equal(ask({ ...anna, serial: '01ff' }, ours.certificate)?.kind, 'unreadable');
    assert.equal(ask(anna, ours.certificate)?.kind, 'revoked');

    const logged: string[] = [];
    const log = pino({}, { write: (line: string) => void logged.push(line) });
    const broken = { ...kept, list: async () => Promise.reject(new Error('a damaged page')) };
    const open = await openOwnWords(broken, log);
    assert.equal(open.ask(anna, ours.certificate), undefined);
    assert.match(logged.join(''), /what the in-house CA has revoked is known by its lists alone/);
    await open.records.change([put(writeIssued(record(revoked)))], []);
    assert.equal(open.ask(anna, ours.certificate)?.kind, 'revoked', 'what is revoked from then on counts');
  });
});
