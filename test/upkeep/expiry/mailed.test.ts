/** What becomes of a renewed certificate by what becomes of the mail with its key: nothing is sealed to a key that nobody has. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { DAY_MS } from '../../../src/certificates/authority/issue.ts';
import { ISSUED, readIssued, writeIssued } from '../../../src/certificates/authority/ledger.ts';
import { FOLLOWED } from '../../../src/queue/records.ts';
import { listRenewals, RENEWAL } from '../../../src/upkeep/expiry/renewal-record.ts';
import { ownFolder } from '../../../src/upkeep/own-certificates.ts';
import { addressOf, makeSetting, type Person, type Setting } from './setting.ts';

const RENEW = { authority: { passphrase: 'file:keys/ca.passphrase', renew: { before: '30d' } } };
const ANNA: Readonly<Record<string, Person>> = { anna: { by: 'in-house', ends: 20 } };
const WITH_OPERATOR: Readonly<Record<string, Person>> = { ...ANNA, operator: { by: 'vendor', ends: 900 } };

const makeClinic = (t: TestContext, people = ANNA): Promise<Setting> => makeSetting(t, { people, certificates: RENEW });

const placed = ({ config }: Setting): readonly string[] => (existsSync(ownFolder(config)) ? readdirSync(ownFolder(config)) : []);

async function renewalOf({ store, people }: Setting, name: string) {
  const found = (await listRenewals(store.records)).get(people.get(name)?.serial ?? '');
  assert.ok(found);
  return found;
}

const revokedOf = async ({ store }: Setting, serial: string) => readIssued((await store.records.get(ISSUED, serial))?.value ?? '').revoked;

async function nextDay(setting: Setting): Promise<void> {
  setting.clock.now += DAY_MS + 60_000;
  await setting.refresh();
  await setting.open().round.turn();
}

test('a mail that bounces: its certificate is revoked and never used, the operator is told, and another is made the next day', async (t) => {
  const setting = await makeClinic(t, WITH_OPERATOR);
  await setting.open().round.turn();
  const { serial } = await renewalOf(setting, 'anna');
  await setting.deliver({ kind: 'bounced', reason: 'mx said 550 5.1.1 nobody here (at rcpt)' });
  const later = setting.open();
  await later.round.turn();
  assert.partialDeepStrictEqual(await renewalOf(setting, 'anna'), {
    state: 'failed',
    certificate: null,
    reason: 'its mail bounced: mx said 550 5.1.1 nobody here (at rcpt)',
  });
  assert.partialDeepStrictEqual(await revokedOf(setting, serial), { reason: 'superseded', by: 'relay' });
  assert.deepEqual(placed(setting), []);
  const [event] = await setting.events('certificate-revoked');
  assert.partialDeepStrictEqual(event, { certificate_serial: serial, operator: 'relay' });
  assert.match(String(event?.['certificate_issuer']), /^CN=In-house issuing CA/);
  assert.ok(setting.logged.some(({ msg }) => msg === 'a renewed certificate is given up: its reader has no key of it'));

  await nextDay(setting);
  const again = await renewalOf(setting, 'anna');
  assert.equal(again.state, 'mailed');
  assert.notEqual(again.serial, serial);
  await setting.deliver();
  await nextDay(setting);
  assert.equal((await renewalOf(setting, 'anna')).state, 'done');
  assert.equal(placed(setting).length, 1);
  assert.match(setting.sent.at(-1)?.text ?? '', /Renewed by the relay since the last summary: 1\n/);
  assert.deepEqual(await setting.store.records.list(FOLLOWED), [], 'nothing is left behind');
});

test('what bounced, with nobody to mail to again, stands in the summary with its reason', async (t) => {
  const setting = await makeClinic(t, WITH_OPERATOR);
  const broken = setting.open({
    ownMail: (mail) => ({
      send: async (message) => {
        const id = await mail.send(message);
        await setting.deliver({ kind: 'bounced', reason: '550 gone' });
        return id;
      },
    }),
  });
  await broken.round.turn();
  await broken.round.turn();
  // The key of the CA is away, so that nothing new is made.
  rmSync(join(setting.config.keys, 'issuing.key'));
  await nextDay(setting);
  const { reason } = await renewalOf(setting, 'anna');
  assert.match(reason ?? '', /issuing\.key/);
  assert.match(setting.sent.at(-1)?.text ?? '', /Could not be renewed by the relay: 1\n/);
});

test('a mail that an operator removes counts as lost; one that waits keeps its certificate waiting', async (t) => {
  const setting = await makeClinic(t);
  const daily = setting.open();
  await daily.round.turn();
  await setting.deliver({ kind: 'deferred', dueAt: setting.clock.now + DAY_MS, reason: '451 later' });
  await daily.round.turn();
  const { serial, state, mail } = await renewalOf(setting, 'anna');
  assert.equal(state, 'mailed');
  assert.deepEqual(placed(setting), []);
  await setting.store.remove({ queueId: mail ?? '' }, 'otto');
  await daily.round.turn();
  assert.partialDeepStrictEqual(await renewalOf(setting, 'anna'), { state: 'failed', reason: 'its mail was taken out of the queue' });
  assert.partialDeepStrictEqual(await revokedOf(setting, serial), { reason: 'superseded' });
});

test('the old one revoked while its mail is on the way, or while its key is made: no renewal comes of it', async (t) => {
  const revoke = async ({ store, people }: Setting): Promise<void> => {
    const serial = people.get('anna')?.serial ?? '';
    const record = readIssued((await store.records.get(ISSUED, serial))?.value ?? '');
    const revoked = { at: setting.clock.now, reason: 'keyCompromise' as const, by: 'otto' };
    await store.records.change([{ kind: ISSUED, key: serial, value: writeIssued({ ...record, revoked }) }], []);
  };
  const setting = await makeClinic(t);
  const daily = setting.open();
  await daily.round.turn();
  const { serial } = await renewalOf(setting, 'anna');
  await revoke(setting);
  await setting.deliver();
  await daily.round.turn();
  assert.partialDeepStrictEqual(await renewalOf(setting, 'anna'), { state: 'failed', reason: 'it was revoked' });
  assert.partialDeepStrictEqual(await revokedOf(setting, serial), { reason: 'superseded' });
  assert.deepEqual(placed(setting), []);

  const other = await makeClinic(t);
  const sent: string[] = [];
  const racing = other.open({
    ownMail: () => ({
      send: async ({ recipient }) => {
        sent.push(recipient.address);
        return 'x';
      },
    }),
    records: (records) => ({
      ...records,
      // Between the last look at the record and the change that begins the renewal.
      change: async (changes, events) => {
        if (changes.some(({ kind }) => kind === RENEWAL)) await revoke(other);
        return records.change(changes, events);
      },
    }),
  });
  await racing.round.turn();
  assert.deepEqual(sent, [addressOf('operator')], 'the failure is told, and no key is mailed');
  assert.partialDeepStrictEqual(await renewalOf(other, 'anna'), { state: 'failed', serial: '' });
  assert.equal((await other.store.records.list(ISSUED)).length, 1, 'no certificate was made');
});

test('one record that is damaged, and one whose file is in the way, keep no other back, and the operator is told', async (t) => {
  const people = { ...WITH_OPERATOR, ben: { by: 'in-house', ends: 21 }, carla: { by: 'in-house', ends: 22 } } as const;
  const setting = await makeClinic(t, people);
  await setting.open().round.turn();
  await setting.deliver();
  const change = async (name: string, value: object): Promise<void> => {
    const key = setting.people.get(name)?.serial ?? '';
    await setting.store.records.change(
      [{ kind: RENEWAL, key, value: JSON.stringify({ ...(await renewalOf(setting, name)), ...value }) }],
      [],
    );
  };
  await change('anna', { certificate: 'AAAA' });
  const ben = await renewalOf(setting, 'ben');
  const fingerprint = readIssued((await setting.store.records.get(ISSUED, ben.serial))?.value ?? '').fingerprint;
  const inTheWay = join(ownFolder(setting.config), `${addressOf('ben')}-${fingerprint.slice(0, 16)}.pem`);
  mkdirSync(inTheWay, { recursive: true });

  await setting.open().round.turn();
  assert.equal((await renewalOf(setting, 'carla')).state, 'done', 'goes on');
  assert.equal((await renewalOf(setting, 'anna')).state, 'failed');
  assert.partialDeepStrictEqual(await renewalOf(setting, 'ben'), { state: 'mailed' });
  await nextDay(setting);
  assert.match(setting.sent.at(-1)?.text ?? '', /Could not be renewed by the relay: 1\n {2}2026-01-22 {2}ben@clinic\.example {2}\S/);
  assert.equal((await renewalOf(setting, 'anna')).state, 'mailed', 'has another one on its way');
  rmSync(inTheWay, { recursive: true });
  await setting.open().round.turn();
  assert.partialDeepStrictEqual(await renewalOf(setting, 'ben'), { state: 'done', reason: null });
});
