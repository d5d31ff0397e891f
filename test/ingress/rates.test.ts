import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { makeRates } from '../../src/ingress/rates.ts';
import { codeOf, makeFront } from './front.ts';
import { handIn } from './secure.ts';

const MINUTE = 60_000;

const admitted = (admit: () => void): string | true => {
  try {
    admit();
    return true;
  } catch (error) {
    return codeOf(error) ?? 'foreign';
  }
};

test('in no stretch of time are there more messages than the rate says, and a little later there may be more again', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.array(
        fc.oneof(
          { weight: 8, arbitrary: fc.integer({ min: 0, max: 50 }) },
          { weight: 1, arbitrary: fc.integer({ min: 0, max: 2 * MINUTE }) },
        ),
        {
          maxLength: 800,
        },
      ),
      (count, waits) => {
        let at = 1_000_000;
        const rates = makeRates({ count, per: MINUTE }, () => at);
        const taken: number[] = [];
        for (const wait of waits) {
          at += wait;
          if (admitted(() => rates.admit('192.0.2.1', null)) === true) taken.push(at);
          else assert.ok(taken.filter((moment) => at - moment < MINUTE * (1 + 1 / 64)).length >= count, 'refused without need');
        }
        for (const [index, moment] of taken.entries()) {
          const behind = taken[index + count];
          assert.ok(behind === undefined || behind - moment >= MINUTE);
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('messages that count as one moment leave the window with the last of them', () => {
  let at = 0;
  const rates = makeRates({ count: 2, per: MINUTE }, () => at);
  const outcomes = [0, 900, MINUTE, MINUTE + 899, MINUTE + 900, MINUTE + 901].map((moment) => {
    at = moment;
    return admitted(() => rates.admit('192.0.2.1', null)) === true;
  });
  assert.deepEqual(outcomes, [true, true, false, false, true, true]);
});

test('clients and users are counted apart, an IPv6 client by its /64, and a refusal counts for neither', () => {
  let at = 0;
  const rates = makeRates({ count: 3, per: MINUTE }, () => at);
  const user = { name: 'forms', rate: { count: 1, per: MINUTE } };
  const outcomes = [
    admitted(() => rates.admit('2001:db8::1', user)),
    admitted(() => rates.admit('2001:db8::2', user)),
    admitted(() => rates.admit('2001:db8::3', null)),
    admitted(() => rates.admit('2001:db8::4', { name: 'web', rate: null })),
    admitted(() => rates.admit('2001:db8::5', null)),
    admitted(() => rates.admit('2001:db8:0:1::5', null)),
  ];
  assert.deepEqual(outcomes, [true, 'user-rate-exceeded', true, true, 'client-rate-exceeded', true]);
  at += MINUTE;
  assert.equal(
    admitted(() => rates.admit('2001:db8::2', user)),
    true,
  );
});

test('a clock that was set back does not shut anybody out', () => {
  let at = 10 * MINUTE;
  const rates = makeRates({ count: 1, per: MINUTE }, () => at);
  rates.admit('192.0.2.1', null);
  at = 0;
  assert.equal(
    admitted(() => rates.admit('192.0.2.1', null)),
    true,
  );
});

test('no rate, no bound', () => {
  const rates = makeRates(null, () => 0);
  for (let message = 0; message < 10_000; message++) rates.admit('192.0.2.1', { name: 'forms', rate: null });
});

test('over the rate of the address MAIL is 452, and later taken again; what does not come to DATA is not counted', async (t) => {
  let ahead = 0;
  const front = await makeFront(t, { clientRate: { count: 2, per: MINUTE }, now: () => Date.now() + ahead });
  const client = await front.open();
  for (let fault = 0; fault < 5; fault++) await client.ask('MAIL FROM:<broken', /^501/);
  for (let probe = 0; probe < 5; probe++) {
    await client.ask('MAIL FROM:<a@x.example>', /^250/);
    await client.ask('RSET', /^250/);
  }
  // Begun before the rate was full.
  const late = await front.open();
  await late.ask('MAIL FROM:<a@x.example>', /^250/);
  await late.ask('RCPT TO:<b@y.example>', /^250/);
  for (let message = 0; message < 2; message++) await handIn(client);
  await client.ask('MAIL FROM:<a@x.example>', /^452 4\.3\.2 /);
  await late.ask('DATA', /^452 4\.3\.2 /);
  const other = await front.open();
  await other.ask('MAIL FROM:<a@x.example>', /^452 4\.3\.2 /);
  ahead = MINUTE + 1000;
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  assert.equal(front.taken.length, 2);
});
