/** Bounds of docs/limits.md that no test beside their part goes over: what is kept for strangers, files that are too big, addresses. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { octetString, sequence } from '../../src/certificates/encode.ts';
import { type FileAccess, makeScanner, MAX_FILES } from '../../src/certificates/files/scan.ts';
import { connectPatience } from '../../src/certificates/ldap/servers.ts';
import { MAX_CRL_BYTES, readCrlFrame } from '../../src/certificates/revocation/crl-scan.ts';
import { parseFetchUrl } from '../../src/certificates/revocation/fetch.ts';
import { makeSeats } from '../../src/certificates/revocation/seats.ts';
import { readUsersFile } from '../../src/ingress/users/file.ts';
import { makeFailures } from '../../src/ingress/users/failures.ts';
import { makeRates } from '../../src/ingress/rates.ts';
import { makeRemembered } from '../../src/ingress/users/remembered.ts';
import { readPolicy } from '../../src/policy/rules.ts';
import { makeFront } from '../ingress/front.ts';
import { folderWith } from '../policy/folder.ts';

const MINUTE = 60_000;
const addressOf = (index: number): string => `192.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;

test('P6: logins are remembered for ten thousand, for five minutes without use, and for an hour', () => {
  let clock = 0;
  const remembered = makeRemembered(() => clock);
  for (let index = 0; index < 10_001; index++) remembered.add(`tag${index}`);
  assert.equal(remembered.has('tag0'), false);
  assert.ok(remembered.has('tag1') && remembered.has('tag10000'));
  clock = 5 * MINUTE + 1;
  assert.equal(remembered.has('tag2'), false);
  for (let minute = 0; minute <= 60; minute++) {
    clock = minute * MINUTE;
    if (minute === 0) remembered.add('busy');
    else assert.ok(remembered.has('busy'), `minute ${minute}`);
  }
  clock = 60 * MINUTE + 1;
  assert.equal(remembered.has('busy'), false);
});

test('P6: failures and rates are counted for ten thousand addresses; the one silent for longest is forgotten', () => {
  const failures = makeFailures(() => 0);
  for (let count = 0; count < 10; count++) failures.count(addressOf(0));
  const rates = makeRates({ count: 1, per: MINUTE }, () => 0);
  const full = (index: number): boolean => {
    try {
      rates.assertRoom(addressOf(index), null);
      return false;
    } catch {
      return true;
    }
  };
  for (let index = 0; index < 10_000; index++) rates.admit(addressOf(index), null);
  for (let index = 1; index < 10_000; index++) failures.count(addressOf(index));
  assert.ok(failures.slowed(addressOf(0)) && full(0));
  failures.count(addressOf(10_000));
  rates.admit(addressOf(10_000), null);
  assert.deepEqual([failures.slowed(addressOf(0)), full(0), full(1), full(10_000)], [false, false, true, true]);
});

test('P6: an address of more than 254 octets, or 64 in front of its @, is 501', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  const domain = [...Array.from({ length: 3 }, () => 'd'.repeat(60)), 'example'].join('.');
  const whole = `${'a'.repeat(254 - domain.length - 1)}@${domain}`;
  for (const [address, code] of [
    [`a${whole}`, '501'],
    [`${'a'.repeat(65)}@clinic.example`, '501'],
    [whole, '250'],
  ] as const) {
    await client.ask(`MAIL FROM:<${address}>`, new RegExp(`^${code} ${code === '501' ? '5.1.7' : ''}`));
    if (code === '250') await client.ask(`RCPT TO:<${address}>`, /^250/);
  }
  await client.ask(`RCPT TO:<a${whole}>`, /^501 5\.1\.3 /);
});

test('P6: a users file of more than 1 MiB, and a list of a rule of more than 16 MiB, are not read', async (t) => {
  const rule = 'rules:\n  - { name: a, then: refuse, when: { recipient: { file: list.txt } } }\n';
  const folder = await folderWith(t, { 'a.yaml': rule, 'list.txt': 'anna@clinic.example\n', 'users.txt': '' });
  assert.equal((await readPolicy(folder)).kind, 'valid');
  await truncate(join(folder, 'users.txt'), 2 ** 20 + 1);
  await assert.rejects(readUsersFile(join(folder, 'users.txt')), { code: 'file-unreadable', message: /larger than 1 MiB/ });
  await rm(join(folder, 'users.txt'));
  await truncate(join(folder, 'list.txt'), 16 * 2 ** 20 + 1);
  const read = await readPolicy(folder);
  assert.match(read.kind === 'invalid' ? (read.faults[0]?.wrong ?? '') : '', /cannot be read: .*larger than 16 MiB/);
});

test('P6: a certificate of more than 64 KiB and a revocation list of more than 64 MiB are refused unread', () => {
  assert.throws(() => parseCertificate(sequence(octetString(Buffer.alloc(65_536)))), { code: 'certificate-malformed', message: /65536/ });
  assert.throws(() => readCrlFrame(Buffer.alloc(MAX_CRL_BYTES + 1)), { message: /more than 67108864 octets/ });
});

test('P6: URLs of 2,048 octets are fetched, and no longer ones', () => {
  const url = (octets: number): string => `http://x.test/${'x'.repeat(octets - 'http://x.test/'.length)}`;
  assert.equal(parseFetchUrl(url(2048)).href.length, 2048);
  assert.throws(() => parseFetchUrl(url(2049)), /its URL is too long/);
});

test('P6: a fetch that finds as many waiting as may wait is refused at once', async () => {
  const seats = makeSeats({ total: 8, ofKey: 2, ofGroup: 4, waiting: 200 });
  const ending = new AbortController();
  for (let key = 0; key < 8; key++) await seats.take(`busy${key}`, ending.signal);
  const waiting = Array.from({ length: 200 }, (_, key) => seats.take(`k${key}`, ending.signal).catch(() => 'ended'));
  await assert.rejects(seats.take('one more', ending.signal));
  ending.abort(new Error('over'));
  assert.ok((await Promise.all(waiting)).every((one) => one === 'ended'));
});

test('P6: three seconds are the most that a directory has to be connected to', () => {
  assert.deepEqual([connectPatience(10_000), connectPatience(600_000)], [3000, 3000]);
});

test('P6 P5: of a folder of certificates 8 levels and 250,000 files are read, and what is beyond is said not to be', async (t) => {
  const folder = await folderWith(t, { [`${'d/'.repeat(8)}a.pem`]: '', 'flat/a.pem': '', 'flat/b.pem': '', 'flat/c.pem': '' });
  const access: FileAccess = {
    list: (path) => readdirSync(path, { withFileTypes: true }),
    stat: (path) => statSync(path, { bigint: true }),
    read: (path) => readFileSync(path),
    begin: () => {},
    turn: () => {},
  };
  const delays = { loss: 0, emptiness: 0 };
  const troubles = async (path: string, most?: number): Promise<string> => {
    const scanner = makeScanner({ path, most, now: Date.now, delays, access, hold: () => {}, tell: () => {}, own: true });
    await scanner.scan();
    return [...scanner.troubles.values()].map(({ message }) => message).join();
  };
  assert.equal(await troubles(join(folder, 'd')), '');
  assert.equal(await troubles(folder), '');
  await mkdir(join(folder, 'd/'.repeat(9)));
  assert.match(await troubles(folder), /^sub-folders deeper than 8$/);
  assert.equal(await troubles(join(folder, 'flat'), 3), '');
  assert.match(await troubles(join(folder, 'flat'), 2), /^more than 2 files$/);
  // A quarter of a million files take a minute: that so many are read is shown by the number alone.
  assert.equal(MAX_FILES, 250_000);
});
