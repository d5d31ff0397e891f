/** A relay that dies in the middle of a renewal, at each point where that makes a difference: the next round ends it well. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ISSUED, type IssuedRecord, readIssued } from '../../../src/certificates/authority/ledger.ts';
import { readCertificates } from '../../../src/certificates/bundle.ts';
import { openPkcs12 } from '../../../src/certificates/pkcs12/keys.ts';
import type { RecordStore } from '../../../src/queue/records.ts';
import { ownFolder } from '../../../src/upkeep/own-certificates.ts';
import type { OwnMail } from '../../../src/upkeep/own-mail.ts';
import { addressOf, makeSetting, type Sent } from './setting.ts';

const HOUR_MS = 3_600_000;

/** Of the certificate in a mail's PKCS#12, which its password opens. */
function mailed({ text, attachments = [] }: Sent): string {
  const password = /^ {4}(\S{10,})$/m.exec(text)?.[1] ?? '';
  const [pair] = openPkcs12(attachments[0]?.bytes ?? Buffer.alloc(0), password);
  return pair?.certificate.fingerprint ?? '';
}

/** Dies before or behind the call of that number; nothing works from then on, as of a process that is gone. */
function killAt(count: number, when: 'before' | 'behind') {
  let calls = 0;
  let dead = false;
  const guarded = async <T>(act: () => Promise<T>): Promise<T> => {
    const last = calls++ === count;
    if (dead || (last && when === 'before')) {
      dead = true;
      throw new Error('killed');
    }
    const done = await act();
    if (last) {
      dead = true;
      throw new Error('killed');
    }
    return done;
  };
  return {
    ownMail: (mail: OwnMail): OwnMail => ({ send: (message) => guarded(() => mail.send(message)) }),
    records: (records: RecordStore): RecordStore => ({
      ...records,
      change: (changes, events) => guarded(() => records.change(changes, events)),
    }),
    isDead: () => dead,
  };
}

test(
  'killed at each step of a renewal: one certificate in the end, whose key was mailed, and none whose key was not',
  { timeout: 120_000 },
  async (t) => {
    let points = 0;
    for (const when of ['before', 'behind'] as const)
      for (let count = 0; ; count++) {
        const setting = await makeSetting(t, {
          people: { anna: { by: 'in-house', ends: 20 } },
          certificates: { authority: { passphrase: 'file:keys/ca.passphrase', renew: { before: '30d' } }, expiry: { summary: 'off' } },
        });
        const killer = killAt(count, when);
        const first = setting.open(killer);
        await first.round.turn();
        // The same relay, while the mail is delivered.
        await setting.deliver();
        await first.round.turn();
        if (!killer.isDead()) break;
        points++;
        const what = `${when} ${count}`;
        const folder = ownFolder(setting.config);
        const placed = (): string[] =>
          existsSync(folder)
            ? readdirSync(folder).flatMap((name) =>
                readCertificates(readFileSync(join(folder, name))).certificates.map((one) => one.fingerprint),
              )
            : [];
        const inMails = (): string[] => setting.sent.filter(({ to }) => to === addressOf('anna')).map(mailed);
        for (const fingerprint of placed()) assert.ok(inMails().includes(fingerprint), `${what}: nothing is sealed to what nobody has`);
        for (let hour = 0; hour < 30; hour++) {
          setting.clock.now += HOUR_MS;
          await setting.refresh();
          await setting.deliver();
          await setting.open().round.turn();
        }
        assert.equal(placed().length, 1, what);
        assert.equal(inMails().at(-1), placed()[0], `${what}: the last mail holds its key`);
        assert.ok(inMails().length <= 2, what);
        const ledger = (await setting.store.records.list(ISSUED)).map(({ value }): IssuedRecord => readIssued(value));
        const fresh = ledger.filter(({ renews }) => renews !== null);
        assert.deepEqual(
          fresh.filter(({ revoked }) => revoked === null).map(({ fingerprint }) => fingerprint),
          placed(),
          `${what}: what was given up is revoked`,
        );
        for (const { revoked } of fresh) assert.equal(revoked?.reason ?? 'superseded', 'superseded');
      }
    assert.ok(points >= 10, `${points} points`);
  },
);
