/** More than fits, at the relay as a process: what does not fit is told so, memory stays where it was, and nothing sticks. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { residentMiB } from '../bench/memory.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const skip = missingPrograms({ openssl: 'openssl' }) ?? (existsSync('/proc/self/status') ? false : 'there is no /proc');
const MIB = 2 ** 20;
const CLIENTS = 60;
/** Of messages that are sent in all: held at once they would show. */
const MOST_MIB = 150;

test('A30: sixty clients with 4 MiB each at once: 250 or 452 4.3.1, memory bounded, and room for the next one', { skip }, async (t) => {
  const upstream = await keepingUpstream(t);
  const limits = { message_bytes: '5MiB', in_flight_bytes: '10MiB' };
  const site = await makeSite(t, { upstreamPort: upstream.port, config: { limits } });
  const relay = await site.serve();
  for (let count = 0; count < 5; count++) await send(relay.port, ['anna@clinic.example']);
  const { pid } = relay.child;
  assert.ok(pid !== undefined);
  const idle = await residentMiB(pid, 'VmRSS');
  const body = `Subject: x\r\n\r\n${`${'x'.repeat(1022)}\r\n`.repeat(4 * 1024)}.`;
  const tally = { taken: 0, busy: 0 };
  const one = async (declared: boolean): Promise<void> => {
    const client = await dialogue(relay.port, { waitMs: 60_000 });
    t.after(() => client.close());
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    const steps = [`MAIL FROM:<forms@clinic.example>${declared ? ` SIZE=${4 * MIB}` : ''}`, 'RCPT TO:<anna@clinic.example>', 'DATA', body];
    for (const step of steps) {
      const [reply = ''] = await client.ask(step, /^(?:250|354|452 4\.3\.1 too much is under way)/);
      if (reply.startsWith('452')) {
        tally.busy++;
        break;
      }
      if (step === body) tally.taken++;
    }
    client.close();
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, number) => one(number % 2 === 0)));
  const peak = await residentMiB(pid, 'VmHWM');
  assert.equal(tally.taken + tally.busy, CLIENTS);
  assert.ok(tally.taken >= 1 && tally.busy >= 1, JSON.stringify(tally));
  assert.ok(peak - idle < MOST_MIB, `${peak - idle} MiB over idle`);
  for (let count = 0; count < 3; count++) await send(relay.port, ['anna@clinic.example'], `Subject: x\r\n\r\n${'y\r\n'.repeat(1_300_000)}`);
  await relay.stop();
});

test('A30: a header without end and a line without end are refused, and the session goes on', { skip }, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port, config: { limits: { message_bytes: '2MiB' } } });
  const relay = await site.serve();
  const client = await dialogue(relay.port, { waitMs: 60_000 });
  t.after(() => client.close());
  await client.expect(/^220/);
  await client.ask('EHLO web.clinic.example', /^250/);
  for (const [message, reply] of [
    ['X-Field: of many\r\n'.repeat(30_000), /^552 5\.3\.4 the header/],
    [`X-Field: ${'x'.repeat(500_000)}\r\n`, /^552 5\.3\.4 the header/],
    [`Subject: x\r\n\r\n${'x'.repeat(3 * MIB)}\r\n`, /^552 5\.3\.4 the message is too big/],
    ['Subject: x\r\n\r\nx\r\n', /^250/],
  ] as const) {
    await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
    await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
    await client.ask('DATA', /^354/);
    client.send(message);
    await client.ask('.', reply);
  }
  await relay.stop();
});
