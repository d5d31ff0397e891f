/** Renewal by the relay where something is in its way: a pin, a key that cannot be read, an address whose mail others read. */
import assert from 'node:assert/strict';
import { readdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { DAY_MS } from '../../../src/certificates/authority/issue.ts';
import { parseMailbox } from '../../../src/message/envelope.ts';
import { RENEWAL } from '../../../src/upkeep/expiry/renewal-record.ts';
import { ownFolder } from '../../../src/upkeep/own-certificates.ts';
import { addressOf, makeSetting, type Setting } from './setting.ts';

const RENEW = { authority: { passphrase: 'file:keys/ca.passphrase', renew: { before: '30d' } } };

/** Fingerprints of what mail to an address would be sealed to now. */
async function sealedTo({ certificates }: Setting, name: string): Promise<string[]> {
  const verdict = parseMailbox(addressOf(name));
  assert.ok(verdict.kind === 'mailbox');
  const found = await certificates.addressBook.resolve(verdict.mailbox);
  assert.equal(found.kind, 'found');
  return found.kind === 'found' ? found.shares.flatMap(({ chosen }) => chosen.map(({ certificate }) => certificate.fingerprint)) : [];
}

test('under a pin the renewed certificate is approved by the relay, and mail goes to both until the old one ends', async (t) => {
  const setting = await makeSetting(t, { people: { anna: { by: 'in-house', ends: 10 } }, certificates: { ...RENEW, pin: true } });
  const old = setting.people.get('anna');
  assert.ok(old);
  const { fingerprint, subject, issuer, serial, notAfter } = old;
  const use = { address: addressOf('anna'), fingerprint, subject, issuer, serial, notAfter: notAfter.getTime() };
  await setting.store.record([{ event: 'started' }], [{ ...use, source: 'recipients/anna.pem', pinned: true, queueId: null }]);
  const daily = setting.open();
  await daily.round.turn();
  await setting.refresh();
  assert.deepEqual(await sealedTo(setting, 'anna'), [fingerprint], 'nothing is sealed to a key that is still on its way');
  await setting.deliver();
  await daily.round.turn();
  await setting.refresh();
  const both = await sealedTo(setting, 'anna');
  assert.equal(both.length, 2);
  assert.ok(both.includes(fingerprint));
  assert.partialDeepStrictEqual((await setting.events('certificate-approved'))[0], { recipient: addressOf('anna'), operator: 'relay' });
  setting.clock.now += 11 * DAY_MS;
  assert.deepEqual(
    await sealedTo(setting, 'anna'),
    both.filter((one) => one !== fingerprint),
  );
});

test('a key that cannot be read: warned of at the start, told in the summary, mail goes on; renewed once it is there', async (t) => {
  const people = { anna: { by: 'in-house', ends: 20 }, operator: { by: 'vendor', ends: 500 } } as const;
  const setting = await makeSetting(t, { people, certificates: RENEW });
  const key = join(dirname(setting.config.file), 'keys/issuing.key');
  renameSync(key, `${key}.away`);
  const daily = setting.open();
  await daily.start();
  await daily.round.turn();
  await daily.stop();
  assert.ok(setting.logged.some(({ msg }) => msg === 'certificates of the in-house CA cannot be renewed by the relay'));
  assert.deepEqual(
    setting.sent.map(({ to }) => to),
    [addressOf('operator')],
  );
  assert.match(setting.sent[0]?.text ?? '', /Could not be renewed by the relay: 1\n {2}2026-01-21 {2}anna@clinic\.example {2}\S/);
  renameSync(`${key}.away`, key);
  setting.clock.now += DAY_MS + 60_000;
  await setting.open().round.turn();
  await setting.deliver();
  setting.clock.now += DAY_MS + 60_000;
  await setting.open().round.turn();
  const [, toAnna, again] = setting.sent;
  assert.deepEqual([toAnna?.to, again?.to], [addressOf('anna'), addressOf('operator')]);
  assert.doesNotMatch(again?.text ?? '', /Could not be renewed/);
  assert.match(
    again?.text ?? '',
    /Renewed by the relay since the last summary: 1\n {2}anna@clinic\.example, whose certificate ends on 2026-01-21\n/,
  );
});

test('no key is sent where the mail of an address is sealed to others, nor for what is revoked or was renewed by hand', async (t) => {
  const people = {
    anna: { by: 'in-house', ends: 500 },
    sales: { by: 'in-house', ends: 10 },
    dora: { by: 'in-house', ends: 10, revoked: true },
    ben: { by: 'in-house', ends: 10, made: 300 },
    'ben-new': { by: 'in-house', ends: 400, made: 5, address: addressOf('ben') },
  } as const;
  const certificates = { ...RENEW, aliases: { [addressOf('sales')]: addressOf('anna') } };
  const setting = await makeSetting(t, { people, certificates });
  await setting.open().round.turn();
  assert.deepEqual(setting.sent, []);
  assert.deepEqual(await setting.events('certificate-renewed'), []);
  assert.throws(() => readdirSync(ownFolder(setting.config)), /ENOENT/, 'nothing is laid down');
});

test('two hundred a day, those that end first, and the rest the day after', async (t) => {
  const people = { anna: { by: 'in-house', ends: 20 }, ben: { by: 'in-house', ends: 10 } } as const;
  const setting = await makeSetting(t, { people, certificates: RENEW });
  const { now } = setting.clock;
  const done = { state: 'done', serial: '0a', address: addressOf('x'), until: now, at: now, certificate: null, mail: null };
  const value = JSON.stringify({ ...done, doneAt: now, reason: null });
  const before = Array.from({ length: 199 }, (_, index) => ({ kind: RENEWAL, key: `of ${index}`, value }));
  await setting.store.records.change(before, []);
  const mailedTo = (): string[] => setting.sent.map(({ to }) => to).filter((to) => to !== addressOf('operator'));
  await setting.open().round.turn();
  assert.deepEqual(mailedTo(), [addressOf('ben')]);
  setting.clock.now += DAY_MS + 60_000;
  await setting.open().round.turn();
  assert.deepEqual(mailedTo(), [addressOf('ben'), addressOf('anna')]);
});
