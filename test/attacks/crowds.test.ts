/** A thousand clients with large messages, and five hundred slow ones: what does not fit is told so, and who has mail to hand in gets in. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { residentMiB } from '../bench/memory.ts';
import { noOpenssl } from '../certificates/openssl.ts';
import { type Dialogue, dialogue } from '../ingress/dialogue.ts';
import { handIn, makeSecureFront } from '../ingress/secure.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from '../relay/site.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';

const skip = missingPrograms({ openssl: 'openssl' }) ?? (existsSync('/proc/self/status') ? false : 'there is no /proc');
const MIB = 2 ** 20;
const CLIENTS = 1000;
/** Of more than a hundred that are sent, with the buffers of a thousand sockets. */
const MOST_MIB = 300;

test(
  'A30: a thousand clients with 25 MB each at once: what fits is taken, 452 4.3.1 for the rest, memory bounded',
  { skip, timeout: 180_000 },
  async (t) => {
    const upstream = await keepingUpstream(t);
    const limits = { message_bytes: '25MiB', in_flight_bytes: '60MiB', connections: 1100, connections_per_address: 1100 };
    const site = await makeSite(t, { upstreamPort: upstream.port, config: { limits } });
    const relay = await site.serve();
    for (let count = 0; count < 5; count++) await send(relay.port, ['anna@clinic.example']);
    const { pid } = relay.child;
    assert.ok(pid !== undefined);
    const idle = await residentMiB(pid, 'VmRSS');
    const tally = { declared: 0, undeclared: 0, taken: 0, busy: 0 };
    const letter = `Subject: x\r\n\r\n${`${'x'.repeat(1022)}\r\n`.repeat(256)}`;

    /** A client that got as far as its message; undefined where there is no room for it. */
    const begin = async (number: number): Promise<Dialogue | undefined> => {
      const client = await dialogue(relay.port, { waitMs: 120_000 });
      t.after(() => client.close());
      await client.expect(/^220/);
      await client.ask('EHLO web.clinic.example', /^250/);
      const size = number % 2 === 0 ? ` SIZE=${25 * MIB}` : '';
      for (const step of [`MAIL FROM:<forms@clinic.example>${size}`, 'RCPT TO:<anna@clinic.example>', 'DATA']) {
        const [reply = ''] = await client.ask(step, /^(?:250|354|452 4\.3\.1)/);
        if (!reply.startsWith('452')) continue;
        tally.busy++;
        // It stays, as a script does that waits and comes back.
        return undefined;
      }
      tally[size === '' ? 'undeclared' : 'declared']++;
      client.send(letter);
      return client;
    };
    const open = (await Promise.all(Array.from({ length: CLIENTS }, (_, number) => begin(number)))).filter((one) => one !== undefined);
    // All of them have begun, and none has ended: the end of each is said only now.
    await Promise.all(
      open.map(async (client) => {
        const [reply = ''] = await client.ask('.', /^(?:250|452 4\.3\.1)/);
        tally[reply.startsWith('250') ? 'taken' : 'busy']++;
        client.close();
      }),
    );
    const peak = await residentMiB(pid, 'VmHWM');
    t.diagnostic(`${JSON.stringify(tally)}, ${Math.round(peak - idle)} MiB over idle`);
    assert.equal(tally.taken + tally.busy, CLIENTS);
    assert.ok(tally.declared <= 2, `${tally.declared} of 25 MiB within 60 MiB`);
    assert.ok(tally.taken >= 1 && tally.busy >= CLIENTS / 2, JSON.stringify(tally));
    assert.ok(peak - idle < MOST_MIB, `${peak - idle} MiB over idle`);
    await send(relay.port, ['anna@clinic.example'], letter);
    await relay.stop();
  },
);

/** How far each slow client goes, and what it then sends an octet of, now and then. */
const SLOW: readonly { readonly name: string; readonly opening: string; readonly octet: string }[] = [
  { name: 'in a command', opening: 'EHLO slow.example\r\nMAIL FROM:<', octet: 'a' },
  { name: 'in DATA', opening: 'EHLO slow.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nx', octet: 'x' },
  { name: 'in the handshake', opening: 'EHLO slow.example\r\nSTARTTLS\r\n', octet: '\x16' },
];

test(
  'A29: five hundred slow clients in commands, DATA and the handshake at once: a good one hands in all its mail',
  { skip: noOpenssl, timeout: 120_000 },
  async (t) => {
    const front = await makeSecureFront(t, {
      networks: ['127.0.0.0/8'],
      limits: { messageBytes: 1000, recipients: 5, connections: 200, connectionsPerAddress: 10, dataRate: 512 },
      timeouts: { command: 300_000, message: 600_000, session: 1_800_000 },
    });
    const ended = new AbortController();
    t.after(() => ended.abort());
    let begun = 0;
    const slow = async (number: number): Promise<void> => {
      const kind = SLOW[number % SLOW.length] ?? assert.fail();
      while (!ended.signal.aborted) {
        const localAddress = `127.3.${number >> 8}.${number & 255}`;
        const client = await dialogue(front.port, { localAddress }).catch(() => undefined);
        if (client === undefined) return;
        t.after(() => client.close());
        begun++;
        client.send(kind.opening);
        while (!ended.signal.aborted && !client.over()) {
          await pause(500);
          client.send(kind.octet);
        }
      }
    };
    for (let number = 0; number < 500; number++) void slow(number);
    await until('all of them have begun', () => begun >= 500, 60_000);
    assert.ok(front.ingress.sessions.size <= 200, 'no more than may sit');
    let sent = 0;
    let turnedAway = 0;
    while (sent < 10) {
      try {
        const client = await front.greet();
        await front.ehlo(client);
        await handIn(client);
        client.close();
        sent++;
      } catch (error) {
        // As a script that is told 421: it comes back.
        if (++turnedAway === 100) throw error;
        await pause(100);
      }
    }
    assert.equal(front.taken.length, 10, 'and of the slow ones nothing was taken');
    t.diagnostic(`turned away ${turnedAway} times`);
  },
);
