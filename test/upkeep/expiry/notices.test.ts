/** Who is told that their certificate ends, and who is not. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { DAY_MS } from '../../../src/certificates/authority/issue.ts';
import type { OwnMail } from '../../../src/upkeep/own-mail.ts';
import { SealpostError } from '../../../src/errors.ts';
import { TOLD } from '../../../src/upkeep/expiry/notices.ts';
import { addressOf, makeSetting, type Setting } from './setting.ts';

const QUIET = { expiry: { notify: ['30d', '7d'], summary: 'off' } };

/** As if mail had been sealed to it so many days ago. */
async function used({ store, people, clock }: Setting, name: string, days = 0): Promise<void> {
  const certificate = people.get(name);
  assert.ok(certificate);
  const { fingerprint, subject, issuer, serial, notAfter } = certificate;
  const about = { address: addressOf(name), source: `recipients/${name}.pem`, pinned: false, queueId: null };
  clock.now -= days * DAY_MS;
  await store.record([{ event: 'started' }], [{ ...about, fingerprint, subject, issuer, serial, notAfter: notAfter.getTime() }]);
  clock.now += days * DAY_MS;
}

const told = ({ sent }: Setting): string[] => sent.map(({ to }) => to);

async function days(setting: Setting, count: number): Promise<void> {
  for (let day = 0; day < count; day++) {
    await setting.open().round.turn();
    setting.clock.now += DAY_MS + 60_000;
  }
}

test('told is who gets mail, or has it from the in-house CA; by the narrowest time that has come, once', async (t) => {
  const people = {
    anna: { by: 'vendor', ends: 5 },
    ben: { by: 'in-house', ends: 20 },
    carla: { by: 'vendor', ends: 20 },
    emil: { by: 'vendor', ends: 20 },
    dora: { by: 'vendor', ends: -2 },
  } as const;
  const setting = await makeSetting(t, { people, certificates: QUIET });
  for (const name of ['anna', 'dora']) await used(setting, name);
  await used(setting, 'emil', 370);
  await days(setting, 4);
  assert.deepEqual(told(setting), [addressOf('anna'), addressOf('ben')], 'nobody uses that of Carla, or of Emil any more');
  const [toAnna, toBen] = setting.sent;
  assert.match(toAnna?.text ?? '', /It ends on 2026-01-06, in [45] days/);
  assert.match(toAnna?.text ?? '', /Ask the CA that issued it/);
  assert.match(toBen?.text ?? '', /operator@clinic\.example, issued it and will send you/);
  const events = (await setting.events('expiry-told')).map(({ recipient, about }) => [recipient, about]);
  assert.deepEqual(events, [
    [addressOf('anna'), '7d'],
    [addressOf('ben'), '30d'],
  ]);
});

test('a group and an alias are told nothing: others read what is sealed for them', async (t) => {
  const people = { anna: { by: 'in-house', ends: 5 }, sales: { by: 'in-house', ends: 5 }, info: { by: 'in-house', ends: 5 } } as const;
  const setting = await makeSetting(t, {
    people,
    certificates: { ...QUIET, aliases: { [addressOf('sales')]: addressOf('anna') }, groups: { [addressOf('info')]: [addressOf('anna')] } },
  });
  await days(setting, 2);
  assert.deepEqual(told(setting), [addressOf('anna')]);
});

test('who cannot be told today is told tomorrow; a relay that dies behind the mail tells twice, and never not at all', async (t) => {
  const people = { anna: { by: 'in-house', ends: 5 }, ben: { by: 'in-house', ends: 5 } } as const;
  const setting = await makeSetting(t, { people, certificates: QUIET });
  const down = (mail: OwnMail): OwnMail => ({
    send: (message) =>
      message.recipient.address === addressOf('anna') ? Promise.reject(new SealpostError('lookup-unavailable')) : mail.send(message),
  });
  await setting.open({ ownMail: down }).round.turn();
  assert.deepEqual(told(setting), [addressOf('ben')]);
  assert.ok(
    setting.logged.some(
      ({ msg, recipient }) => msg === 'a reader could not be told that their certificate ends' && recipient === addressOf('anna'),
    ),
  );
  setting.clock.now += DAY_MS + 60_000;
  const dying = setting.open({
    records: (records) => ({
      ...records,
      change: (changes, events) => (changes[0]?.kind === 'told' ? Promise.reject(new Error('killed')) : records.change(changes, events)),
    }),
  });
  await dying.round.turn();
  assert.deepEqual(dying.round.last()?.failed, ['notices']);
  setting.clock.now += DAY_MS + 60_000;
  await setting.open().round.turn();
  assert.deepEqual(told(setting), [addressOf('ben'), addressOf('anna'), addressOf('anna')]);
});

test('a folder that cannot be read tells nobody anything, and is tried again', async (t) => {
  const setting = await makeSetting(t, { people: { anna: { by: 'in-house', ends: 5 } }, certificates: QUIET });
  rmSync(join(dirname(setting.config.file), 'certs/recipients'), { recursive: true });
  await setting.refresh();
  const daily = setting.open();
  await daily.round.turn();
  assert.deepEqual(daily.round.last()?.failed, ['stock', 'notices']);
  assert.deepEqual(told(setting), []);
});

test('one reader whose mail fails for a reason of its own keeps none behind back, and is told the next day', async (t) => {
  const people = { anna: { by: 'in-house', ends: 5 }, ben: { by: 'in-house', ends: 6 } } as const;
  const setting = await makeSetting(t, { people, certificates: QUIET });
  const odd = (mail: OwnMail): OwnMail => ({
    send: (message) =>
      message.recipient.address === addressOf('anna') ? Promise.reject(new SealpostError('message-too-big')) : mail.send(message),
  });
  const daily = setting.open({ ownMail: odd });
  await daily.round.turn();
  assert.deepEqual(told(setting), [addressOf('ben')]);
  assert.deepEqual(daily.round.last()?.failed, []);
  await days(setting, 1);
  setting.clock.now += DAY_MS + 60_000;
  await setting.open().round.turn();
  assert.deepEqual(told(setting), [addressOf('ben'), addressOf('anna')]);
});

test('a thousand readers a day, and the next one the day after', async (t) => {
  const people = { anna: { by: 'in-house', ends: 5 }, ben: { by: 'in-house', ends: 6 } } as const;
  const setting = await makeSetting(t, { people, certificates: QUIET });
  const value = JSON.stringify({ step: DAY_MS, until: setting.clock.now + DAY_MS });
  const before = Array.from({ length: 999 }, (_, index) => ({ kind: TOLD, key: `f${index} p${index}@clinic.example`, value }));
  await setting.store.records.change(before, []);
  await setting.open().round.turn();
  assert.deepEqual(told(setting), [addressOf('anna')]);
  setting.clock.now += DAY_MS + 60_000;
  await setting.open().round.turn();
  assert.deepEqual(told(setting), [addressOf('anna'), addressOf('ben')]);
});
