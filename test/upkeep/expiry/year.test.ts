/** Four hundred days, each of them: who is told, what is renewed, when the operator hears of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DAY_MS } from '../../../src/certificates/authority/issue.ts';
import { openPkcs12 } from '../../../src/certificates/pkcs12/keys.ts';
import { addressOf, makeSetting, type Sent } from './setting.ts';

const days = (sent: readonly Sent[], to: string, subject: RegExp): number[] =>
  sent.filter((one) => one.to === addressOf(to) && subject.test(one.subject)).map(({ day }) => day);

const NOTICE = /^Your certificate for sealed mail ends on /;
const RENEWED = /^Your new certificate /;
const SUMMARY = /^Certificates: /;

test(
  '400 days: each notice once at its step, renewals ahead of time, summaries as the page says, nobody else',
  { timeout: 120_000 },
  async (t) => {
    const setting = await makeSetting(t, {
      people: {
        operator: { by: 'vendor', ends: 2000 },
        anna: { by: 'in-house', ends: 100 },
        ben: { by: 'in-house', ends: 200, key: 'rsa' },
        carla: { by: 'vendor', ends: 150 },
        dora: { by: 'in-house', ends: 90, revoked: true },
        emil: { by: 'vendor', ends: 120 },
        'emil-new': { by: 'vendor', ends: 900, address: addressOf('emil') },
        fritz: { by: 'vendor', ends: 300 },
      },
      certificates: {
        authority: { passphrase: 'file:keys/ca.passphrase', renew: { before: '30d' } },
        expiry: { notify: ['30d', '7d'] },
      },
    });
    const { clock, sent, people } = setting;
    // Mail goes to Carla and Emil, and never to Fritz.
    for (const name of ['carla', 'emil']) await use(setting, name);
    for (let day = 0; day < 400; day++) {
      await setting.refresh();
      // Some days begin with a start of the relay.
      const daily = setting.open();
      await daily.round.turn();
      await daily.round.turn();
      await setting.deliver();
      assert.deepEqual(daily.round.last()?.failed, [], JSON.stringify(setting.logged.filter(({ level }) => Number(level) >= 50)));
      if (day === 110) assert.partialDeepStrictEqual(daily.series(), { ends: { ended: 1, '30d': 1 }, unusable: 2 });
      // A round comes some seconds later each day.
      clock.now += DAY_MS + 60_000;
    }
    assert.deepEqual(days(sent, 'carla', NOTICE), [120, 143]);
    // Valid for 200 days each time: 70 + 170, 240 + 170.
    assert.deepEqual(days(sent, 'anna', RENEWED), [70, 240]);
    assert.deepEqual(days(sent, 'ben', RENEWED), [170]);
    for (const nobody of ['dora', 'emil', 'fritz']) assert.deepEqual(days(sent, nobody, /./), [], nobody);
    for (const reader of ['anna', 'ben']) assert.deepEqual(days(sent, reader, NOTICE), [], `${reader} is sent a new one instead`);
    const summaries = days(sent, 'operator', SUMMARY);
    // 71 Anna's has arrived; 120 Carla's ends soon, 150 has ended, 240 is old; 171 Ben's, 241 Anna's again; 270 Fritz's ends soon.
    const early = [71, 120, 127, 134, 141, 148, 150, 157, 164, 171, 178, 185, 192, 199, 206, 213, 220, 227, 234, 241];
    const late = [270, 277, 284, 291, 298, 300, 307, 314, 321, 328, 335, 342, 349, 356, 363, 370, 377, 384];
    assert.deepEqual(summaries, [...early, ...late], 'on days with news, and weekly while something is due');
    assert.equal((await setting.events('expiry-told')).length, 2);
    assert.equal((await setting.events('summary-sent')).length, summaries.length);
    const renewed = await setting.events('certificate-renewed');
    assert.deepEqual(
      renewed.map(({ recipient, operator }) => [recipient, operator]),
      [
        [addressOf('anna'), 'relay'],
        [addressOf('ben'), 'relay'],
        [addressOf('anna'), 'relay'],
      ],
    );
    assert.equal(renewed[0]?.['renews'], people.get('anna')?.serial);

    const mail = sent.find(({ to }) => to === addressOf('ben'));
    const [p12, page] = mail?.attachments ?? [];
    const password = /^ {4}(\S{10,})$/m.exec(mail?.text ?? '')?.[1] ?? '';
    const opened = openPkcs12(p12?.bytes ?? Buffer.alloc(0), password);
    assert.equal(opened[0]?.key.asymmetricKeyType, 'rsa', 'of the kind that it was');
    assert.match(page?.bytes.toString() ?? '', /This one is new/);
    for (const text of [page?.bytes.toString() ?? '', mail?.text ?? '']) assert.doesNotMatch(text, /another way/, 'page and mail agree');
    const audit = (await setting.events('certificate-renewed')).map((event) => JSON.stringify(event));
    const told = [...audit, ...setting.logged.map((line) => JSON.stringify(line))].join('\n');
    assert.ok(password.length >= 10 && !told.includes(password), 'the password is under the seal alone');
  },
);

/** As if mail had been sealed to it. */
async function use({ store, people, clock }: Awaited<ReturnType<typeof makeSetting>>, name: string): Promise<void> {
  const certificate = people.get(name);
  assert.ok(certificate);
  const { fingerprint, subject, issuer, serial, notAfter } = certificate;
  const about = { address: addressOf(name), source: `recipients/${name}.pem`, pinned: false, queueId: null };
  await store.record([{ event: 'started' }], [{ ...about, fingerprint, subject, issuer, serial, notAfter: notAfter.getTime() }]);
  assert.ok(clock.now > 0);
}
