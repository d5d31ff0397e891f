/** Codes of tries: what confirms, what is refused, and what a damaged record does. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import type { AddressBook } from '../../src/certificates/address-book.ts';
import { type Certificate, parseCertificate } from '../../src/certificates/certificate.ts';
import { SealpostError } from '../../src/errors.ts';
import type { OwnMessage } from '../../src/upkeep/own-mail.ts';
import { newCode, readTry, TRY, triedOf, writeTry } from '../../src/upkeep/tries.ts';
import { tryHandlers } from '../../src/upkeep/try.ts';
import { craft, rfc822 } from '../certificates/craft.ts';
import { makeSite, START } from '../queue/site.ts';

const ANNA = 'anna@clinic.example';
const DAY = 86_400_000;
const refused = { code: 'code-refused' };

const certificateOf = (...addresses: readonly string[]): Certificate => parseCertificate(craft({ names: addresses.map(rfc822) }));
const first = certificateOf(ANNA);
const second = certificateOf(ANNA, 'second@clinic.example');
const [aa, bb] = [first.fingerprint, second.fingerprint];

/** A book in which everybody has one certificate. */
function bookOf(current: () => Certificate): AddressBook {
  return {
    resolve: async ({ address }) => {
      const certificate = current();
      const chosen = [{ certificate, source: 'files', place: 'a.pem', path: [certificate], revocation: 'off' }] as const;
      return { kind: 'found', way: 'address', parts: [], lacking: [], shares: [{ address, chosen }] };
    },
  };
}

async function makeSetting(t: TestContext) {
  const site = await makeSite(t);
  const store = await site.open();
  const sent: OwnMessage[] = [];
  const clock = { now: START };
  const state = { certificate: first, fails: false };
  const handlers = tryHandlers({
    records: store.records,
    addressBook: bookOf(() => state.certificate),
    ownMail: {
      send: async (message) => {
        if (state.fails) throw new SealpostError('storage-full');
        sent.push(message);
        return `q${sent.length}`;
      },
    },
    hostname: 'relay.clinic.example',
    operator: 'postmaster@clinic.example',
    now: () => clock.now,
    randomBytes,
  });
  const ask = (command: string, more: object = {}): Promise<unknown> =>
    handlers[command]?.({ command, address: ANNA, operator: 'root', ...more }) ?? Promise.reject(new Error('no such command'));
  return {
    ask,
    store,
    sent,
    clock,
    state,
    /** Answers the code. */
    tryAnna: async (): Promise<string> => {
      await ask('certs-try');
      return /^ {4}(\S+)$/m.exec(sent.at(-1)?.text ?? '')?.[1] ?? '';
    },
    confirm: (code: string) => ask('certs-confirm', { code }),
    confirmed: async () => [...triedOf(await store.records.list(TRY)).confirmed.keys()],
  };
}

test('the mail says who sent it and for whom, in lines of a mail, without the name that the system knows', async (t) => {
  const { ask, sent } = await makeSetting(t);
  await ask('certs-try', { operator: `Dr\r\nAda ${'x'.repeat(200)}, typed by root` });
  const lines = sent[0]?.text.split('\n') ?? [];
  assert.ok(lines.includes('relay.clinic.example'));
  assert.match(lines[lines.indexOf('for') + 1] ?? '', /^Dr {2}Ada x+$/);
  assert.ok(lines.every((line) => line.length <= 78) && !lines.some((line) => line.includes('root')));
  await ask('certs-try');
  assert.ok(!sent[1]?.text.split('\n').includes('for'));
});

test('a code is good once, whatever its case, blanks and dashes', async (t) => {
  const { tryAnna, confirm, confirmed, store } = await makeSetting(t);
  await assert.rejects(confirm('AAAA-AAAA'), refused);
  const code = await tryAnna();
  assert.match(code, /^[A-Z3-9]{4}-[A-Z3-9]{4}$/);
  assert.ok(!((await store.records.get(TRY, ANNA))?.value ?? code).includes(code.replace('-', '')));
  assert.deepEqual(await confirm(` ${code.toLowerCase().split('').join(' ')}\n`), [aa]);
  assert.deepEqual(await confirmed(), [aa]);
  await assert.rejects(confirm(code), refused);
});

test('after five wrong codes the right one is refused too, also where many are given at one time', async (t) => {
  const { tryAnna, confirm, confirmed, store } = await makeSetting(t);
  const code = await tryAnna();
  const answers = await Promise.allSettled(Array.from({ length: 12 }, () => confirm('AAAA-AAAA')));
  assert.ok(answers.every(({ status }) => status === 'rejected'));
  // Whoever is told that a code is wrong has had it counted.
  const told = answers.filter((one) => one.status === 'rejected' && /not the code/.test(String(one.reason)));
  assert.equal(readTry((await store.records.get(TRY, ANNA))?.value ?? '')?.attempts, told.length);
  for (let wrong = 0; wrong < 5; wrong++) await assert.rejects(confirm('AAAA-AAAA'), refused);
  await assert.rejects(confirm(code), { ...refused, detail: /5 wrong codes/ });
  assert.deepEqual(await confirmed(), []);
  assert.deepEqual(await confirm(await tryAnna()), [aa], 'a new try begins anew');
});

test('four wrong codes and the right one confirm', async (t) => {
  const { tryAnna, confirm } = await makeSetting(t);
  const code = await tryAnna();
  for (let wrong = 0; wrong < 4; wrong++) await assert.rejects(confirm(wrong % 2 === 0 ? '' : 'x'.repeat(10_000)), refused);
  assert.deepEqual(await confirm(code), [aa]);
});

test('a code is good for fourteen days; a newer one ends it', async (t) => {
  const { tryAnna, confirm, clock } = await makeSetting(t);
  const old = await tryAnna();
  const newer = await tryAnna();
  await assert.rejects(confirm(old), refused);
  clock.now += 14 * DAY + 1;
  await assert.rejects(confirm(newer), { ...refused, detail: /good for 14 days/ });
  const third = await tryAnna();
  clock.now += 14 * DAY;
  assert.deepEqual(await confirm(third), [aa]);
});

test('a confirmation holds for the certificates that were sealed to, also once there are others', async (t) => {
  const { tryAnna, confirm, confirmed, state, store } = await makeSetting(t);
  await confirm(await tryAnna());
  state.certificate = second;
  const code = await tryAnna();
  assert.deepEqual(await confirmed(), [aa]);
  assert.deepEqual([...triedOf(await store.records.list(TRY)).tried.keys()], [bb]);
  await confirm(code);
  assert.deepEqual((await confirmed()).toSorted(), [aa, bb].toSorted());
});

test('where the mail cannot be queued the code that was sent before is good still', async (t) => {
  const { tryAnna, confirm, state } = await makeSetting(t);
  const code = await tryAnna();
  state.fails = true;
  await assert.rejects(tryAnna(), { code: 'storage-full' });
  assert.deepEqual(await confirm(code), [aa]);
});

test('a damaged record confirms nothing and stands in the way of no new try', async (t) => {
  const { tryAnna, confirm, store, confirmed } = await makeSetting(t);
  await store.records.change([{ kind: TRY, key: ANNA, value: '{"code":1' }], []);
  await assert.rejects(confirm('AAAA-AAAA'), refused);
  assert.deepEqual(await confirmed(), []);
  assert.deepEqual(await confirm(await tryAnna()), [aa]);
});

test('a record that anybody wrote is read or refused, and never thrown at a command', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.object().map((value) => JSON.stringify(value)),
      ),
      (value) => {
        const record = readTry(value);
        triedOf([{ key: ANNA, value, at: START }]);
        if (record !== undefined) assert.deepEqual(readTry(writeTry(record)), record);
      },
    ),
  );
});

test('codes are drawn evenly from letters that cannot be taken for others', () => {
  const counts = new Map<string, number>();
  for (let round = 0; round < 5000; round++)
    for (const letter of newCode(randomBytes).replace('-', '')) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  assert.equal([...counts.keys()].toSorted().join(''), '34679ACDEFGHJKMNPQRTUVWXY');
  // 40,000 letters, 1600 of each: six standard deviations are 235.
  for (const [letter, count] of counts) assert.ok(Math.abs(count - 1600) < 235, `${letter}: ${count}`);
});
