/** What lists say of a certificate, read by the same code as in the relay, without the thread and the network around it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readCrl } from '../../../src/certificates/revocation/crl-read.ts';
import { judgeByList } from '../../../src/certificates/revocation/crl-verdict.ts';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import {
  type Ca,
  certificateIssuer,
  contentOf,
  crlNumber,
  DAY,
  deltaIndicator,
  entry,
  HOUR,
  type ListWish,
  makeCa,
  NOW,
  oddExtension,
  point,
  reason,
  REVOKED_AT,
  scope,
} from './lists.ts';

const ca = makeCa('CA');
const URL_A = 'http://crl.example/a.crl';
const anna = ca.issue({ points: [point(URL_A)] });

/** One line: `good`, `revoked REASON`, `unknown WHY`, `refused WHY`; with `, lasting` where it lasts. */
function says(list: Buffer, certificate: Certificate = anna, of: Ca = ca, now = NOW): string {
  const reading = readCrl(list, of.issuer);
  if (reading.kind === 'refused') return `refused ${reading.why}${reading.lasting ? ', lasting' : ''}`;
  const status = judgeByList(reading.list, certificate, 'CRL x', now);
  if (status.kind === 'good') return `good until ${status.until.toISOString()}`;
  return status.kind === 'revoked' ? `revoked ${status.reason}` : `unknown ${status.why}${status.lasting ? ', lasting' : ''}`;
}
const saysOf = (wish: ListWish, certificate = anna): string => says(ca.list(wish), certificate);
const GOOD = 'good until 2026-06-02T12:00:00.000Z';
const revokedAnna = entry(contentOf(anna), reason(1));

describe('a list', () => {
  test('is good for who is not in it, with entries and without', () => {
    assert.equal(saysOf({}), GOOD);
    assert.equal(saysOf({ entries: [entry(Buffer.from([5]))], extensions: [crlNumber(7)] }), GOOD);
  });

  test('revokes who is in it, with date and reason', () => {
    const reading = readCrl(ca.list({ entries: [revokedAnna] }), ca.issuer);
    assert.ok(reading.kind === 'list');
    assert.deepEqual(judgeByList(reading.list, anna, 'CRL x', NOW), {
      kind: 'revoked',
      from: 'CRL x',
      at: REVOKED_AT,
      reason: 'keyCompromise',
    });
    assert.equal(saysOf({ entries: [entry(contentOf(anna))] }), 'revoked unspecified');
    assert.equal(saysOf({ entries: [entry(contentOf(anna), reason(99))] }), 'revoked reason 99');
    assert.equal(saysOf({ entries: [entry(contentOf(anna), oddExtension(false), reason(4))] }), 'revoked superseded');
  });

  test('finds each of many entries and nobody else, in whatever order they stand', () => {
    const serials = Array.from({ length: 500 }, (_, index) => Buffer.from([0x20, (index * 37) & 0xff, index >> 1, index & 0xff]));
    const entries = serials.map((serial, index) => entry(serial, reason(index % 2 === 0 ? 1 : 4)));
    for (const order of [entries, entries.toReversed()]) {
      const list = ca.list({ entries: order });
      for (const [index, serial] of serials.entries())
        assert.equal(says(list, ca.issue({ serial })), index % 2 === 0 ? 'revoked keyCompromise' : 'revoked superseded');
      for (const serial of ['21000000', '200000', '2000000000', '20'])
        assert.equal(says(list, ca.issue({ serial: Buffer.from(serial, 'hex') })), GOOD);
    }
  });

  test('compares serials as numbers: negative, zero, huge, and with octets too many', () => {
    const written = (listed: string, held: string): string =>
      saysOf({ entries: [entry(Buffer.from(listed, 'hex'))] }, ca.issue({ serial: Buffer.from(held, 'hex') }));
    assert.equal(written('00', '00'), 'revoked unspecified');
    assert.equal(written('80', '80'), 'revoked unspecified');
    assert.equal(written('0080', '80'), GOOD, '128 is not -128');
    assert.equal(written('80', '0080'), GOOD);
    assert.equal(written('000001', '01'), 'revoked unspecified');
    assert.equal(written('ffff80', '80'), 'revoked unspecified');
    assert.equal(written('7f'.repeat(300), '7f'.repeat(300)), 'revoked unspecified');
    assert.equal(written('7f'.repeat(300), '7f'.repeat(299)), GOOD);
  });

  test('does not take one serial for another whose FNV-1a hash is the same', () => {
    for (const [listed = '', other = ''] of [
      ['costarring', 'liquid'],
      ['liquid', 'costarring'],
      ['altarage', 'zinke'],
    ]) {
      const list = ca.list({ entries: [entry(Buffer.from(listed))] });
      assert.equal(says(list, ca.issue({ serial: Buffer.from(listed) })), 'revoked unspecified');
      assert.equal(says(list, ca.issue({ serial: Buffer.from(other) })), GOOD);
    }
  });

  test('with a serial twice: what revokes for good counts', () => {
    const twice = (...codes: number[]): string => saysOf({ entries: codes.map((code) => entry(contentOf(anna), reason(code))) });
    assert.equal(twice(6, 1), 'revoked keyCompromise');
    assert.equal(twice(1, 6), 'revoked keyCompromise');
    assert.equal(twice(8, 6), 'revoked certificateHold');
    assert.match(twice(8), /^unknown CRL x says removeFromCRL/);
  });
});

describe('A23: dates of a list', () => {
  test('stale, it is good for nobody, and asked for again; whom it revoked stays revoked, but not on hold', () => {
    const stale = { from: NOW - 2 * DAY, until: NOW - HOUR };
    assert.equal(saysOf(stale), 'unknown CRL x is stale since 2026-06-01T11:00:00.000Z');
    assert.equal(saysOf({ ...stale, entries: [revokedAnna] }), 'revoked keyCompromise');
    assert.match(saysOf({ ...stale, entries: [entry(contentOf(anna), reason(6))] }), /^unknown CRL x is stale/);
  });

  test('with a clock that is set forth or back it is stale or from the future, and lasts in neither way', () => {
    const list = ca.list({});
    assert.match(says(list, anna, ca, NOW + 30 * DAY), /^unknown CRL x is stale since [\dT:.Z-]+$/);
    assert.match(says(list, anna, ca, NOW - 30 * DAY), /^unknown CRL x is from the future: [\dT:.Z-]+$/);
    for (const now of [NOW - HOUR - 299_000, NOW + DAY + 299_000])
      assert.equal(says(list, anna, ca, now), GOOD, 'clocks differ by minutes');
    for (const now of [NOW - HOUR - 301_000, NOW + DAY + 301_000]) assert.match(says(list, anna, ca, now), /^unknown/);
  });

  test('without nextUpdate it is refused', () => {
    assert.equal(saysOf({ until: null }), 'refused it does not say when the next one comes (nextUpdate), lasting');
  });
});

describe('A23: forged lists', () => {
  const other = makeCa('CA');
  test('of another key with the same name, of another name with the same key', () => {
    assert.equal(saysOf({ key: other.key }), 'refused its signature is not by the issuer of the certificate');
    assert.equal(saysOf({ issuer: makeCa('CB').name }), 'refused it is by another issuer');
  });
  test('with an entry taken out or changed', () => {
    const list = ca.list({ entries: [revokedAnna] });
    const changed = Buffer.from(list);
    const at = changed.indexOf(contentOf(anna));
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.equal(says(changed), 'refused its signature is not by the issuer of the certificate');
  });
  test('signed with SHA-1, or by algorithms that differ', () => {
    const sha1 = Buffer.from('300906072a8648ce3d0401', 'hex');
    assert.match(saysOf({ algorithm: sha1 }), /^refused it is signed with 1\.2\.840\.10045\.4\.1, which is not taken, lasting$/);
    const list = ca.list({});
    const at = list.lastIndexOf(Buffer.from('06082a8648ce3d040302', 'hex')) + 9;
    list[at] = 3;
    assert.equal(says(list), 'refused it cannot be read: it names two different signature algorithms');
  });
});

describe('what is refused whole', () => {
  const refused: readonly (readonly [string, ListWish, string])[] = [
    ['a delta list', { extensions: [deltaIndicator] }, 'it is a delta list, which is not taken, lasting'],
    ['an indirect list', { extensions: [scope({ indirect: true })] }, 'it is an indirect list, which is not taken, lasting'],
    [
      'entries of another CA',
      { entries: [entry(Buffer.from([5]), certificateIssuer)] },
      'it is an indirect list, which is not taken, lasting',
    ],
    [
      'a critical extension of a list',
      { extensions: [oddExtension(true)] },
      'it carries a critical extension that is not understood: 1.3.6.1.4.1.99999.1, lasting',
    ],
    [
      'a critical extension of an entry, even of the one asked for',
      { entries: [entry(contentOf(anna), reason(1), oddExtension(true))] },
      'an entry carries a critical extension that is not understood: 1.3.6.1.4.1.99999.1, lasting',
    ],
    ['an extension twice', { extensions: [crlNumber(1), crlNumber(2)] }, 'it cannot be read: the extension 2.5.29.20 stands there twice'],
    ['an entry without a date', { entries: [Buffer.from('3003020105', 'hex')] }, 'it cannot be read: revocationDate is missing'],
    [
      'octets behind the end of an entry',
      { entries: [Buffer.from('30050201050500', 'hex')] },
      'it cannot be read: revocationDate is not a time in UTC',
    ],
  ];
  for (const [what, wish, why] of refused) test(what, () => assert.equal(saysOf(wish), `refused ${why}`));
  test('an odd extension that is not critical is passed over', () => assert.equal(saysOf({ extensions: [oddExtension(false)] }), GOOD));
});

describe('the scope of a list (RFC 5280 §6.3.3)', () => {
  const below = ca.issue({ ca: true, points: [point(URL_A)] });
  const scoped = (wish: Parameters<typeof scope>[0], certificate = anna, entries: readonly Buffer[] = []): string =>
    saysOf({ extensions: [scope(wish)], entries }, certificate);

  test('users only, CAs only, attribute certificates only', () => {
    assert.equal(scoped({ users: true }), GOOD);
    assert.equal(scoped({ users: true }, below), 'unknown CRL x does not speak for CAs, lasting');
    assert.equal(scoped({ cas: true }, below), GOOD);
    assert.equal(scoped({ cas: true }), 'unknown CRL x speaks for CAs only, lasting');
    assert.equal(scoped({ attributes: true }), 'unknown CRL x speaks for attribute certificates only, lasting');
    assert.match(scoped({ users: true, cas: true }), /^refused it cannot be read/);
  });

  test('some reasons only: it revokes, and is good for nobody', () => {
    assert.equal(scoped({ partial: true }), 'unknown CRL x covers some reasons only, lasting');
    assert.equal(scoped({ partial: true }, anna, [revokedAnna]), 'revoked keyCompromise');
  });

  test('of a distribution point: the certificate must name it', () => {
    assert.equal(scoped({ urls: ['ldap://x', URL_A] }), GOOD);
    const elsewhere = 'unknown CRL x is for another distribution point, lasting';
    assert.equal(scoped({ urls: ['http://crl.example/b.crl'] }), elsewhere);
    assert.equal(scoped({ urls: ['http://crl.example/b.crl'] }, anna, [revokedAnna]), elsewhere);
    assert.equal(scoped({ urls: [] }), elsewhere);
    assert.equal(scoped({ urls: [URL_A] }, ca.issue({})), elsewhere);
  });
});
