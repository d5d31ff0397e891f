/** How many clients there may be, and who goes where there are too many. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { takeSeat, type Seat } from '../../src/ingress/caps.ts';
import { clientKey } from '../../src/message/networks.ts';
import { noOpenssl } from '../certificates/openssl.ts';
import { dialogue, type Dialogue } from './dialogue.ts';
import { makeFront } from './front.ts';
import { base64, handIn, makeSecureFront } from './secure.ts';

interface Chair extends Seat {
  readonly name: string;
}

/** Who goes for `newcomer`, or what it is told. */
function seated(
  others: readonly Partial<Omit<Chair, 'stalled'> & { stalled: number }>[],
  newcomer: Partial<Chair>,
  caps: { connections: number; connectionsPerAddress?: number },
) {
  let gone: string | undefined;
  const chair = ({ name = 'new', from = '192.0.2.1', admitted = true, stalled = 0 }: (typeof others)[number]): Chair => ({
    name,
    from,
    admitted,
    stalled: () => stalled,
    makeRoom: () => void (gone = name),
  });
  const self = chair({ ...newcomer, stalled: 0 });
  const fault = takeSeat(new Set([...others.map(chair), self]), self, caps, 0, () => undefined);
  return fault?.code ?? gone ?? 'free';
}

const still = { name: 'still', from: '192.0.2.2', stalled: 5_000 };
const older = { name: 'older', from: '192.0.2.3', stalled: 9_000 };
const active = { name: 'active', from: '192.0.2.4', stalled: 0 };
const stranger = { name: 'stranger', from: '192.0.2.5', stalled: 10, admitted: false };

test('the session without progress for longest makes room; strangers go first, and never push out who may send', () => {
  assert.equal(seated([still, older], {}, { connections: 3 }), 'free');
  assert.equal(seated([still, older, active], {}, { connections: 3 }), 'older');
  assert.equal(seated([still, older, stranger], {}, { connections: 3 }), 'stranger');
  assert.equal(seated([active, active], {}, { connections: 2 }), 'too-many-connections');
  assert.equal(seated([still, older, active], { admitted: false }, { connections: 3 }), 'too-many-connections');
  assert.equal(seated([older, stranger], { admitted: false }, { connections: 2 }), 'too-many-connections');
  assert.equal(seated([{ ...stranger, stalled: 700 }], { admitted: false }, { connections: 1 }), 'stranger');
});

test('too many from one address are its own affair', () => {
  const own = { ...still, name: 'own', from: '192.0.2.1' };
  const caps = { connections: 10, connectionsPerAddress: 2 };
  assert.equal(seated([older, { ...own, stalled: 0 }, { ...own, stalled: 0 }], {}, caps), 'too-many-from-address');
  assert.equal(seated([older, { ...own, stalled: 0 }, own], {}, caps), 'own');
  assert.equal(seated([older, still, own], {}, caps), 'free');
});

test('an IPv6 /64 is one address, an IPv4 address is itself', () => {
  const one = ['2001:db8::1', '2001:db8:0:0:ffff::2', '2001:0db8:0000:0000:0000:0000:0000:0003', '2001:db8::4%eth0'];
  assert.deepEqual([...new Set(one.map(clientKey))], ['2001:db8:0:0::/64']);
  assert.notEqual(clientKey('2001:db8:0:1::1'), clientKey('2001:db8::1'));
  assert.equal(clientKey('::1'), '0:0:0:0::/64');
  assert.notEqual(clientKey('192.0.2.1'), clientKey('192.0.2.2'));
});

test('more clients of one address than it may have get 421 4.7.0; those of others do not', async (t) => {
  const front = await makeFront(t, {
    networks: ['127.0.0.0/8'],
    limits: { messageBytes: 1000, recipients: 5, connections: 10, connectionsPerAddress: 2 },
  });
  const from = async (localAddress: string): Promise<Dialogue> => {
    const client = await dialogue(front.port, { localAddress });
    t.after(() => client.close());
    return client;
  };
  const busy = [await front.openData(), await front.openData()];
  const third = await from('127.0.0.1');
  await third.expect(/^421 4\.7\.0 too many connections from your address/);
  await third.closed();
  await (await from('127.0.0.2')).expect(/^220/);
  for (const client of busy) await client.ask('x\r\n.', /^250/);
});

/** What they send, again and again; nothing where they are silent. */
const SLOW = {
  silent: { opening: '', octet: '' },
  'an octet of a command at a time': { opening: 'EHLO slow.example\r\n', octet: 'x' },
  'an octet of a message at a time': {
    opening: 'EHLO slow.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n',
    octet: 'x',
  },
  'NOOP for ever': { opening: 'EHLO slow.example\r\n', octet: 'NOOP\r\n' },
} as const;

/** Connects from an address of its own, comes back when it is closed, and never closes its own side. */
function slowClient(t: TestContext, port: number, number: number, { opening, octet }: (typeof SLOW)[keyof typeof SLOW]): void {
  const { signal } = t;
  const live = async (): Promise<void> => {
    while (!signal.aborted) {
      const client = await dialogue(port, { localAddress: `127.1.${number >> 8}.${number & 255}`, allowHalfOpen: true }).catch(
        () => undefined,
      );
      if (client === undefined) return;
      t.after(() => client.close());
      client.send(opening);
      while (!signal.aborted && !client.over()) {
        await pause(200);
        if (octet !== '') client.send(octet);
      }
    }
  };
  void live();
}

for (const [name, kind] of Object.entries(SLOW)) {
  for (const listed of [true, false]) {
    if (!listed && kind.opening.includes('DATA')) continue;
    test(`A29: slow clients from many addresses do not keep an honest script out: ${name}, ${listed ? 'listed' : 'strangers'}`, async (t) => {
      const front = await makeFront(t, {
        networks: listed ? ['127.0.0.0/8'] : ['127.0.0.1'],
        limits: { messageBytes: 1000, recipients: 5, connections: 20, connectionsPerAddress: 10, dataRate: 512 },
        timeouts: { command: 300_000, message: 600_000, session: 1_800_000 },
      });
      for (let number = 0; number < 60; number++) slowClient(t, front.port, number, kind);
      while (front.ingress.sessions.size < 20) await pause(20);
      const mail = async (): Promise<void> => {
        const client = await dialogue(front.port);
        t.after(() => client.close());
        await client.expect(/^220 /);
        await client.ask('EHLO honest.example', /^250/);
        await client.ask('MAIL FROM:<honest@x.example>', /^250/);
        await client.ask('RCPT TO:<b@y.example>', /^250/);
        await client.ask('DATA', /^354/);
        await client.ask('x\r\n.', /^250/);
        client.close();
      };
      let [sent, turnedAway] = [0, 0];
      while (sent < 10) {
        try {
          await mail();
          sent++;
        } catch (error) {
          // What a script does that is answered 421: it comes back. Among strangers a listed one never has to.
          if (!listed || ++turnedAway === 100) throw error;
          await pause(100);
        }
      }
      assert.equal(front.taken.length, 10);
      // One line a minute tells of it, not one a client.
      assert.equal(front.log.filter(({ msg }) => String(msg).startsWith('all seats are taken')).length, 1);
    });
  }
}

test('A29: a remote client gets through STARTTLS and its login beside a flood from many addresses', { skip: noOpenssl }, async (t) => {
  const front = await makeSecureFront(t, {
    networks: [],
    limits: { messageBytes: 1000, recipients: 5, connections: 20, connectionsPerAddress: 10 },
  });
  let number = 0;
  const come = async (): Promise<void> => {
    const half = ++number % 2 === 0;
    const client = await dialogue(front.port, { localAddress: `127.2.${(number >> 8) & 255}.${number & 255}` });
    t.after(() => client.close());
    // Each second one goes half of the way to TLS.
    if (half) client.send('EHLO x\r\nSTARTTLS\r\n');
  };
  const flood = setInterval(() => void come().catch(() => undefined), 15);
  t.after(() => clearInterval(flood));
  await pause(500);
  const FAR_MS = 60;
  const say = async (client: Dialogue, text: string, reply: RegExp): Promise<void> => {
    await pause(FAR_MS);
    await client.ask(text, reply);
  };
  const mail = async (): Promise<void> => {
    const client = await dialogue(front.port);
    t.after(() => client.close());
    await client.expect(/^220/);
    await say(client, 'EHLO honest.example', /^250/);
    await say(client, 'STARTTLS', /^220/);
    // The hello, and then what finishes the handshake.
    await pause(2 * FAR_MS);
    await client.encrypt();
    await say(client, 'EHLO honest.example', /^250/);
    await say(client, 'AUTH LOGIN', /^334/);
    await say(client, base64('form'), /^334/);
    await say(client, base64('secret'), /^235/);
    await handIn(client);
    client.close();
  };
  // A machine that is held up may cut one or another; without its steps counted nobody gets through.
  let cut = 0;
  while (front.taken.length < 4) {
    await mail().catch((error: unknown) => {
      if (++cut > 3) throw error;
    });
  }
});

test('A29: half handshakes do not hold all seats', { skip: noOpenssl }, async (t) => {
  const front = await makeSecureFront(t, { networks: [], limits: { messageBytes: 1000, recipients: 5, connections: 5 } });
  for (let number = 1; number <= 5; number++) {
    const client = await dialogue(front.port, { localAddress: `127.3.0.${number}` });
    t.after(() => client.close());
    await client.expect(/^220/);
    await client.ask('EHLO x', /^250/);
    await client.ask('STARTTLS', /^220/);
  }
  await pause(200);
  await (await front.greet()).ask('EHLO honest.example', /^250/);
});

test(
  'A29: a full house with implicit TLS begins no handshake, and keeps nothing of who was turned away',
  { skip: noOpenssl },
  async (t) => {
    const limits = { messageBytes: 1000, recipients: 5, connections: 1 };
    const front = await makeSecureFront(t, { tls: 'implicit', networks: ['127.0.0.1'], limits });
    const seated = await front.greet();
    // A stranger never takes the seat of a client that may send.
    await assert.rejects(dialogue(front.port, { localAddress: '127.0.0.2', tls: {} }));
    assert.equal(front.ingress.sessions.size, 1);
    await seated.ask('NOOP', /^250/);
  },
);

test('A29: a client that is told 421 and never closes does not hold its socket beside sixty-four others', async (t) => {
  const front = await makeFront(t, { limits: { messageBytes: 1000, recipients: 5, connections: 1, connectionsPerAddress: 1 } });
  const busy = await front.openData();
  const deaf: Dialogue[] = [];
  for (let number = 0; number < 70; number++) {
    const client = await dialogue(front.port, { allowHalfOpen: true });
    t.after(() => client.close());
    deaf.push(client);
    await client.expect(/^421/);
  }
  // Two writes into a socket that the other side has destroyed are what tells: the first is answered by a reset.
  for (let round = 0; round < 2; round++) {
    for (const client of deaf) client.send('x');
    await pause(100);
  }
  for (const client of deaf.slice(0, 6)) await client.closed(true);
  await pause(200);
  assert.ok(
    deaf.slice(6).every((client) => !client.over()),
    'others were destroyed with them: it was the clock, not the number',
  );
  await busy.ask('x\r\n.', /^250/);
});
