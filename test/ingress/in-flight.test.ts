/** Octets of messages under way, over all sessions. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import * as fc from 'fast-check';
import { SealpostError } from '../../src/errors.ts';
import { Arrival } from '../../src/ingress/arrival.ts';
import { InFlight, type Reservation } from '../../src/ingress/in-flight.ts';
import type { Dialogue } from './dialogue.ts';
import { codeOf, makeFront, type Front } from './front.ts';

const LIMITS = { messageBytes: 100_000, recipients: 5, connections: 50, inFlightBytes: 150_000 };

const ENVELOPE = {
  sender: null,
  recipients: [],
  envid: null,
  client: { address: '192.0.2.1', helo: '', tls: null, user: null },
  protocol: 'ESMTP',
} as const;

const begin = async (front: Front, size?: number): Promise<Dialogue> => {
  const client = await front.open();
  await client.ask(`MAIL FROM:<a@x.example>${size === undefined ? '' : ` SIZE=${size}`}`, /^250/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  return client;
};

/** Waits for what the other end of a socket must notice first. */
async function drained(front: Front): Promise<void> {
  for (const deadline = Date.now() + 5000; front.ingress.octetsInFlight() > 0 && Date.now() < deadline;) await pause(10);
  assert.equal(front.ingress.octetsInFlight(), 0);
}

test('whatever comes in whatever order, what is held is what was reserved or came, and in the end nothing', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('reserve' as const), octets: fc.nat(60) }),
    fc.record({ kind: fc.constantFrom('came' as const, 'lapse' as const, 'release' as const), at: fc.nat(5), octets: fc.nat(30) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const inFlight = new InFlight(100);
      const open: { reservation: Reservation; reserved: number; came: number; released: boolean }[] = [];
      const attempt = (work: () => void): boolean => {
        try {
          work();
          return true;
        } catch (error) {
          assert.equal(codeOf(error), 'too-busy');
          return false;
        }
      };
      for (const one of steps) {
        if (one.kind === 'reserve') {
          attempt(() => open.push({ reservation: inFlight.reserve(one.octets), reserved: one.octets, came: 0, released: false }));
        } else {
          const entry = open[one.at];
          if (entry === undefined) continue;
          if (one.kind === 'came') {
            const fits = attempt(() => entry.reservation.came(one.octets));
            entry.released ||= !fits;
            entry.came += one.octets;
            entry.reserved = Math.max(entry.reserved, entry.came);
          } else if (one.kind === 'lapse') {
            entry.reservation.lapse();
            entry.reserved = entry.came;
          } else {
            entry.reservation.release();
            entry.released = true;
          }
        }
        assert.equal(
          inFlight.held,
          open.filter(({ released }) => !released).reduce((sum, { reserved }) => sum + reserved, 0),
        );
        assert.ok(inFlight.held <= 100);
      }
      for (const { reservation } of open) reservation.release();
      assert.equal(inFlight.held, 0);
    }),
    { numRuns: 500 },
  );
});

test('A30: a declared message that has no room is 452 4.3.1 at MAIL; one that lost it meanwhile, at DATA before 354', async (t) => {
  const front = await makeFront(t, { limits: LIMITS });
  const [first, second] = [await begin(front, 90_000), await begin(front, 90_000)];
  await first.ask('DATA', /^354/);
  assert.equal(front.ingress.octetsInFlight(), 90_000);
  await second.ask('DATA', /^452 4\.3\.1 too much is under way/);
  const third = await front.open();
  await third.ask('MAIL FROM:<a@x.example> SIZE=90000', /^452 4\.3\.1 /);
  await third.ask('MAIL FROM:<a@x.example> SIZE=60000', /^250/);
  await first.ask('x\r\n.', /^250 2\.0\.0 queued/);
  assert.equal(front.ingress.octetsInFlight(), 0);
  await second.ask('DATA', /^354/);
  await second.ask('x\r\n.', /^250 2\.0\.0 queued/);
});

test('A30: what nobody declared is counted as it comes, and refused after the dot; the session goes on', async (t) => {
  const gate = Promise.withResolvers<void>();
  const front = await makeFront(t, {
    limits: LIMITS,
    reception: {
      recipient: async () => undefined,
      accept: async (envelope, source) => {
        for await (const _chunk of source);
        if (envelope.client.helo === 'client.example') await gate.promise;
        return 'Q1';
      },
    },
  });
  const first = await begin(front);
  await first.ask('DATA', /^354/);
  first.send(`${'x'.repeat(89_998)}\r\n.\r\n`);
  for (const deadline = Date.now() + 5000; front.ingress.octetsInFlight() < 90_000 && Date.now() < deadline;) await pause(10);
  assert.equal(front.ingress.octetsInFlight(), 90_000);
  const second = await begin(front);
  await second.ask('DATA', /^354/);
  await second.ask(`${'x'.repeat(89_998)}\r\n.`, /^452 4\.3\.1 too much is under way/);
  assert.equal(front.ingress.octetsInFlight(), 90_000, 'the refused one is out of the way');
  gate.resolve();
  await first.expect(/^250/);
  await second.ask('MAIL FROM:<a@x.example>', /^250/);
  await second.ask('RCPT TO:<b@y.example>', /^250/);
  await second.ask('DATA', /^354/);
  await second.ask(`${'x'.repeat(89_998)}\r\n.`, /^250/);
  await drained(front);
});

test('A30: where all are too much together, those that fit get in', async (t) => {
  const front = await makeFront(t, {
    limits: LIMITS,
    reception: {
      recipient: async () => undefined,
      accept: async (_envelope, source) => {
        try {
          for await (const _chunk of source);
        } catch (error) {
          // As long as it takes to undo what was stored of it.
          await pause(500);
          throw error;
        }
        return 'Q1';
      },
    },
  });
  const clients = await Promise.all(Array.from({ length: 4 }, () => begin(front)));
  for (const client of clients) await client.ask('DATA', /^354/);
  // In turns, so that all of them stand in front of the limit together.
  for (let turn = 0; turn < 90; turn++) {
    for (const client of clients) client.send('x'.repeat(1000));
    await new Promise(setImmediate);
  }
  const replies = await Promise.all(clients.map((client) => client.ask('\r\n.', /^250|^452 4\.3\.1 too much/)));
  const taken = replies.filter(([reply = '']) => reply.startsWith('250')).length;
  assert.equal(taken, 1, 'one of 90,000 octets fits into 150,000');
  await drained(front);
});

test('a refused message that is still read to its dot holds no room', async (t) => {
  const front = await makeFront(t, {
    limits: LIMITS,
    reception: {
      recipient: async () => undefined,
      accept: async () => {
        throw new SealpostError('storage-full');
      },
    },
  });
  const client = await begin(front, 90_000);
  await client.ask('DATA', /^354/);
  await drained(front);
  await client.ask('x\r\n.', /^452 4\.3\.1 the queue/);
});

test('what was declared is kept free for half a minute of waiting, not for as long as a slow client likes', async () => {
  const inFlight = new InFlight(100_000);
  const stream = new PassThrough();
  let now = 0;
  const options = { messageBytes: 100_000, declared: 90_000, floor: { rate: 1, message: 600_000 }, inFlight, trusted: true };
  const arrival = new Arrival({ ...options, elapsed: () => now }, () => stream);
  const read = Promise.withResolvers<void>();
  const verdict = arrival.offer(
    {
      recipient: async () => undefined,
      accept: async (_envelope, source) => {
        for await (const _chunk of source) read.resolve();
        return 'Q1';
      },
    },
    ENVELOPE,
  );
  stream.write('x'.repeat(100));
  await read.promise;
  await new Promise(setImmediate);
  arrival.hurry((now = 29_000));
  assert.equal(inFlight.held, 90_000);
  arrival.hurry((now = 30_000));
  assert.equal(inFlight.held, 100);
  stream.end('y'.repeat(50));
  assert.deepEqual(await verdict, { kind: 'queued', id: 'Q1' });
  assert.equal(inFlight.held, 0);
});

test('every way in which a message can end gives its room back', async (t) => {
  const ends: Record<string, (client: Dialogue) => unknown> = {
    taken: (client) => client.ask('x\r\n.', /^250/),
    'refused by the reception': (client) => client.ask('refuse\r\n.', /^550/),
    'too big': (client) => client.ask(`${'x'.repeat(120_000)}\r\n.`, /^552/),
    reset: (client) => client.reset(),
    closed: (client) => client.close(),
    'half a message, then reset': (client) => {
      client.send('x'.repeat(50_000));
      client.reset();
    },
    'too slow': (client) => client.expect(/^421/),
  };
  const front = await makeFront(t, {
    limits: LIMITS,
    timeouts: { command: 60_000, message: 500, session: 60_000 },
    reception: {
      recipient: async () => undefined,
      accept: async (_envelope, source) => {
        for await (const chunk of source) if (chunk.toString().includes('refuse')) throw new SealpostError('header-malformed');
        return 'Q1';
      },
    },
  });
  for (const [name, end] of Object.entries(ends)) {
    for (const size of [undefined, 60_000]) {
      const client = await begin(front, size);
      await client.ask('DATA', /^354/);
      assert.equal(front.ingress.octetsInFlight(), size ?? 0, name);
      await end(client);
      await drained(front);
    }
  }
  const under = await begin(front, 60_000);
  await under.ask('DATA', /^354/);
  await front.ingress.stop(0);
  await drained(front);
});
