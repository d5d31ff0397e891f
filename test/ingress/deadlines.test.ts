/** Deadlines and the floor under the data rate: first the clocks alone, then as a client meets them. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Deadlines } from '../../src/ingress/deadlines.ts';
import { Pace } from '../../src/ingress/pace.ts';
import type { Dialogue } from './dialogue.ts';
import { codeOf, makeFront } from './front.ts';

const LONG = 60_000;
const UNHURRIED = { command: LONG, message: LONG, session: LONG };
const LIMITS = { messageBytes: 1_000_000, recipients: 5, connections: 20 };

test('pace: time counts only while the client is waited for, and a fast start buys no pause', () => {
  const pace = new Pace({ rate: 100, message: 600_000, grace: 10_000 });
  pace.waits(0);
  pace.came(1_000_000, 1_000);
  assert.equal(pace.overdue(500_000), undefined, 'it is ours to read on');
  pace.waits(500_000);
  assert.equal(pace.overdue(509_999), undefined);
  assert.equal(pace.overdue(510_000), 'pace');
  pace.came(500, 509_000);
  assert.equal(pace.behind(509_000), 0, 'nobody who is not waited for is behind');
  pace.waits(509_000);
  assert.equal(pace.behind(509_000), 4_000, 'nine seconds late, five of them made good');
  assert.equal(pace.overdue(514_999), undefined);
  assert.equal(pace.overdue(515_000), 'pace');
});

test('pace: the seat of a message that comes as it should is not idle for a pause; that of one that never did is', () => {
  const good = new Pace({ rate: 100, message: 600_000 });
  good.waits(0);
  good.came(10_000, 100);
  good.waits(100);
  assert.equal(good.stalled(5_000), 0);
  assert.equal(good.stalled(6_100), 1_000);
  const slow = new Pace({ rate: 100, message: 600_000 });
  slow.waits(0);
  assert.equal(slow.stalled(200), 200);
  slow.came(1, 1_000);
  assert.equal(slow.stalled(1_000), 0, 'it is ours to read on');
  slow.waits(1_000);
  assert.equal(slow.stalled(1_200), 1_190);
});

test('pace: who keeps the floor for ever still has to end its message in time', () => {
  const pace = new Pace({ rate: 100, message: 60_000, grace: 10_000 });
  for (let now = 0; now < 60_000; now += 1_000) {
    pace.waits(now);
    assert.equal(pace.overdue(now), undefined);
    pace.came(100, now + 1_000);
  }
  pace.waits(60_000);
  assert.equal(pace.overdue(60_000), 'message');
});

test('deadlines: a session is not cut within a message, nor while it is we who are waited for', () => {
  const deadlines = new Deadlines({ command: 10, message: 100, session: 50 }, 0);
  assert.equal(deadlines.overdue(9, true), undefined);
  assert.equal(deadlines.overdue(10, true), 'command');
  deadlines.working();
  assert.equal(deadlines.overdue(1_000, true), undefined);
  const pace = new Pace({ rate: 0, message: 100 });
  deadlines.receiving(pace);
  deadlines.waiting(20);
  pace.waits(20);
  assert.equal(deadlines.overdue(119, true), undefined);
  assert.equal(deadlines.overdue(120, true), 'message');
  pace.came(1, 60);
  deadlines.received(60);
  assert.equal(deadlines.overdue(61, true), 'session');
});

test('deadlines: who may not send mail is not waited for as long', () => {
  const deadlines = new Deadlines({ command: 300_000, message: LONG, session: 1_800_000 }, 0);
  assert.equal(deadlines.overdue(30_000, true), undefined);
  assert.equal(deadlines.overdue(30_000, false), 'command');
  for (let now = 0; now < 120_000; now += 10_000) {
    deadlines.working();
    deadlines.waiting(now);
    assert.equal(deadlines.overdue(now, false), undefined);
  }
  assert.equal(deadlines.overdue(121_000, true), undefined);
  assert.equal(deadlines.overdue(120_000, false), 'session');
});

/** Sends an octet each few milliseconds until the server has had enough; the caller expects what it says. */
function dribble(t: TestContext, client: Dialogue, octet = 'x'): void {
  const timer = setInterval(() => client.send(octet), 20);
  t.after(() => clearInterval(timer));
}

test('A29: a command line that comes an octet at a time does not keep the session open', async (t) => {
  const front = await makeFront(t, { timeouts: { ...UNHURRIED, command: 1000 } });
  const client = await front.open();
  dribble(t, client);
  await client.expect(/^421 4\.4\.2 that took too long: no whole command came in time$/);
  await client.closed();
});

test('a client that says nothing after the greeting is closed; one that speaks in time is not', async (t) => {
  const front = await makeFront(t, { timeouts: { ...UNHURRIED, command: 1500 } });
  const silent = await front.open();
  const talking = await front.open();
  const said = silent.expect(/^421 4\.4\.2 /);
  for (let round = 0; round < 10; round++) {
    await talking.ask('NOOP', /^250/);
    await pause(200);
  }
  await said;
  await talking.ask('NOOP', /^250/);
});

test('a session that only says NOOP ends in time, between two commands', async (t) => {
  const front = await makeFront(t, { timeouts: { ...UNHURRIED, session: 1000 } });
  const client = await front.open();
  const timer = setInterval(() => client.line('NOOP'), 50);
  t.after(() => clearInterval(timer));
  let said = '';
  while (!said.startsWith('421')) [said = ''] = await client.expect(/^(?:250 2\.0\.0|421 4\.4\.2 .*too old)/);
  await client.closed();
});

test('a session whose time is over is let end the message that it is in', async (t) => {
  const front = await makeFront(t, { timeouts: { ...UNHURRIED, session: 1000 } });
  const client = await front.openData();
  await pause(1600);
  await client.ask('late\r\n.', /^250 2\.0\.0 queued/);
  await client.expect(/^421 4\.4\.2 .*too old/);
  assert.equal(front.taken.length, 1);
});

test('a message that does not end in its time is cut off, and nothing of it taken', async (t) => {
  const front = await makeFront(t, { timeouts: { ...UNHURRIED, message: 300 } });
  const client = await front.openData();
  dribble(t, client);
  await client.expect(/^421 4\.4\.2 that took too long: the message did not end in time$/);
  await client.closed();
  assert.deepEqual(front.thrown.map(codeOf), ['message-incomplete']);
  assert.deepEqual(front.taken, []);
  assert.equal(front.ingress.octetsInFlight(), 0);
});

test('A29: a message below the data rate is cut off; a refused one that is read to its end as well', async (t) => {
  const front = await makeFront(t, {
    limits: { ...LIMITS, messageBytes: 10, dataRate: 10_000 },
    timeouts: { ...UNHURRIED, grace: 300 },
  });
  const slow = await front.openData();
  slow.send('0123456789abc');
  dribble(t, slow);
  await slow.expect(/^421 4\.4\.2 that took too long: the message comes too slowly$/);
  await slow.closed();
  assert.deepEqual(front.thrown.map(codeOf), ['message-too-big']);
});

test('a relay that is itself slow to read does not blame its client', async (t) => {
  const front = await makeFront(t, {
    limits: { ...LIMITS, dataRate: 1_000_000 },
    timeouts: { ...UNHURRIED, message: 400, grace: 200 },
    reception: {
      recipient: async () => undefined,
      accept: async (_envelope, source) => {
        await pause(1000);
        for await (const _chunk of source);
        await pause(1000);
        return 'Q1';
      },
    },
  });
  const client = await front.openData();
  await client.ask('body\r\n.', /^250 2\.0\.0 queued as Q1$/);
});

test('a client that does not read its replies is closed too', async (t) => {
  const front = await makeFront(t, { timeouts: { ...UNHURRIED, command: 1000 } });
  const client = await front.open();
  client.pause();
  // The longest reply there is, so that the buffers of two sockets are soon full.
  client.send('EHLO x\r\n'.repeat(300_000));
  const { sessions } = front.ingress;
  const deadline = Date.now() + 60_000;
  while (sessions.size > 0 && Date.now() < deadline) await pause(20);
  assert.equal(sessions.size, 0);
});

test('too much that is refused ends the session; a message that is taken wipes the slate', async (t) => {
  const front = await makeFront(t, { limits: { ...LIMITS, refusals: 3 } });
  const client = await front.open();
  for (let round = 0; round < 2; round++) {
    for (const path of ['x', 'y', 'z']) await client.ask(`MAIL FROM:${path}`, /^501/);
    await client.ask('MAIL FROM:<a@x.example>', /^250/);
    await client.ask('RCPT TO:<b@y.example>', /^250/);
    await client.ask('DATA', /^354/);
    await client.ask('x\r\n.', /^250/);
  }
  for (const command of ['XYZZY', 'RCPT TO:<a>', 'EHLO']) await client.ask(command, /^50/);
  await client.ask('DATA', /^503/);
  await client.expect(/^421 4\.7\.0 too much was refused/);
  await client.closed();
});
