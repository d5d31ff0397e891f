import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { SealpostError } from '../../src/errors.ts';
import { until } from '../interop/ports.ts';
import { codeOf, makeFront } from './front.ts';

const SMUGGLED = 'MAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@y.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx';

/** Everything that some server somewhere took for the end of a message, and that is none. */
const NOT_THE_END = [
  '\n.\n',
  '\n.\r\n',
  '\r\n.\n',
  '\r.\r',
  '\r.\r\n',
  '\r\n.\r',
  '\n.\r',
  '\r.\n',
  '\n\n.\n\n',
  '\r\n\0.\r\n',
  '\r\n.\0\r\n',
  '\r\n .\r\n',
  '\r\n. \r\n',
  '\r\n.\r\r\n',
  '\r\n\r.\r\n',
  '\u0085.\u0085',
];

for (const segmented of [false, true]) {
  test(`A1: nothing but CRLF.CRLF ends a message${segmented ? ', an octet at a time too' : ''}`, async (t) => {
    const front = await makeFront(t);
    for (const [index, variant] of NOT_THE_END.entries()) {
      const client = await front.openData();
      const body = Buffer.from(`Subject: one\r\n\r\nbody${variant}${SMUGGLED}\r\n`);
      if (segmented) {
        for (const octet of body) {
          client.send(Buffer.from([octet]));
          await new Promise(setImmediate);
        }
      } else client.send(body);
      await client.ask('.', /^250 2\.0\.0 queued/);
      await client.ask('NOOP', /^250/);
      client.close();
      assert.equal(front.taken.length, index + 1, JSON.stringify(variant));
      assert.deepEqual(front.taken[index]?.octets, body, JSON.stringify(variant));
    }
    assert.ok(front.taken.every(({ envelope }) => envelope.sender?.address === 'a@x.example'));
  });
}

test('NUL, bare CR and LF, 8-bit octets and a line of 100,000 octets pass as they are', async (t) => {
  const front = await makeFront(t);
  const every = Buffer.from(Array.from({ length: 256 }, (_, octet) => octet));
  const body = Buffer.concat([Buffer.from('Subject: x\n\na\rb\n'), every, Buffer.from(`${'y'.repeat(100_000)}\r\nend\r\n`)]);
  const client = await front.openData();
  client.send(body);
  await client.ask('.', /^250/);
  assert.deepEqual(front.taken[0]?.octets, body);
});

test('an empty message and one without a last line end come out as they were', async (t) => {
  const front = await makeFront(t);
  const empty = await front.openData();
  await empty.ask('.', /^250/);
  const open = await front.openData();
  await open.ask('no end\r\n.', /^250/);
  assert.deepEqual(
    front.taken.map(({ octets }) => octets.toString()),
    ['', 'no end\r\n'],
  );
});

for (const leave of ['reset', 'close'] as const) {
  test(`a client that leaves mid-DATA (${leave}): the source throws, nothing is taken`, async (t) => {
    const failed = Promise.withResolvers<unknown>();
    const front = await makeFront(t, {
      reception: {
        recipient: async () => undefined,
        accept: async (_envelope, source) => {
          try {
            for await (const chunk of source) if (chunk.length > 0) client[leave]();
          } catch (error) {
            failed.resolve(error);
            throw error;
          }
          failed.resolve('ended');
          return 'Q1';
        },
      },
    });
    const client = await front.openData();
    client.send('Subject: half\r\n\r\nhalf a body, no dot\r\n');
    const error = await failed.promise;
    assert.ok(error instanceof SealpostError);
    assert.equal(error.code, 'message-incomplete');
    // The relay is unmoved.
    await (await front.open()).ask('NOOP', /^250/);
    assert.ok(!front.log.some(({ msg }) => msg === 'message queued'));
  });
}

test('a client that leaves while nobody reads its message does not end the process', async (t) => {
  const gate = Promise.withResolvers<void>();
  const failed = Promise.withResolvers<unknown>();
  const front = await makeFront(t, {
    reception: {
      recipient: async () => undefined,
      accept: async (_envelope, source) => {
        await gate.promise;
        try {
          for await (const _chunk of source);
        } catch (error) {
          failed.resolve(error);
          throw error;
        }
        return 'Q1';
      },
    },
  });
  const client = await front.openData();
  client.send('half');
  client.reset();
  const other = await front.open();
  await other.ask('NOOP', /^250/);
  gate.resolve();
  assert.equal(codeOf(await failed.promise), 'message-incomplete');
});

test('the size limit is real: 552 after the final dot, and the session goes on', async (t) => {
  const front = await makeFront(t, { limits: { messageBytes: 10_000, recipients: 5, connections: 5 } });
  const client = await front.openData();
  client.send('x'.repeat(30_000));
  await client.ask('\r\n.', /^552 5\.3\.4 the message is too big: the limit is 10000 octets$/);
  assert.deepEqual(front.thrown.map(codeOf), ['message-too-big']);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  await client.ask('DATA', /^354/);
  await client.ask(`${'y'.repeat(9_998)}\r\n.`, /^250/);
  assert.equal(front.taken[0]?.octets.length, 10_000);
});

test('P6: a reception that does not read holds the client back, not the message in memory', async (t) => {
  const gate = Promise.withResolvers<void>();
  const front = await makeFront(t, {
    limits: { messageBytes: 500_000_000, recipients: 5, connections: 5 },
    reception: {
      recipient: async () => undefined,
      accept: async () => {
        await gate.promise;
        throw new SealpostError('storage-full');
      },
    },
  });
  const client = await front.openData();
  const chunk = 'x'.repeat(1_000_000);
  for (let count = 0; count < 100; count++) client.send(chunk);
  // Until nothing has moved for a while; what then left the client lies in the buffers of two sockets.
  for (let before = -1; client.flushed() > before;) {
    before = client.flushed();
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assert.ok(client.flushed() < 30_000_000, `${client.flushed()} octets left the client`);
  gate.resolve();
  await client.ask('\r\n.', /^452 4\.3\.1/);
});

test('a refused message is not read for ever', async (t) => {
  const front = await makeFront(t, { limits: { messageBytes: 10_000, recipients: 5, connections: 5 } });
  const client = await front.openData();
  for (let sent = 0; sent < 30; sent++) client.send('x'.repeat(10_000));
  await client.expect(/^552 5\.3\.4/);
  await client.closed();
});

test('a refusal before the end is said after the dot, once, and what was pipelined behind it runs', async (t) => {
  const front = await makeFront(t, {
    reception: {
      recipient: async () => undefined,
      accept: async (_envelope, source) => {
        for await (const chunk of source) if (chunk.length > 0) break;
        throw new SealpostError('header-malformed');
      },
    },
  });
  const client = await front.openData();
  client.send('bad header\r\n');
  await client.ask(`${'x'.repeat(200_000)}\r\n.\r\nNOOP`, /^550 5\.6\.0 the header of the message is malformed$/);
  await client.expect(/^250 2\.0\.0/);
});

test('a script that ends its message with LF.LF is told in the log what it does wrong', async (t) => {
  const front = await makeFront(t, { timeouts: { command: 5000, message: 200, session: 5000 } });
  const client = await front.openData();
  client.send('Subject: x\n\nbody\n.\n');
  await client.expect(/^421 4\.4\.2/);
  await client.closed();
  assert.equal(front.log.filter(({ msg }) => String(msg).includes('LF.LF')).length, 1);
  assert.deepEqual(front.taken, []);
});

test('a script that leaves behind its LF.LF, before the relay gives up, is told of as well', async (t) => {
  const front = await makeFront(t);
  const client = await front.openData();
  client.send('Subject: x\n\nbody\n.\n');
  await until('the octets are on their way', () => client.flushed() > 0);
  client.close();
  await until('the line in the log', () => front.log.some(({ msg }) => String(msg).includes('left in the middle')));
  assert.equal(front.log.filter(({ msg }) => String(msg).includes('LF.LF')).length, 1);
  assert.deepEqual(front.taken, []);
});

const php = spawnSync('php', ['--version']).status === 0;
test('a PHP script that writes LF line ends', { skip: php ? false : 'php is not installed' }, async (t) => {
  const front = await makeFront(t);
  const script = String.raw`
    $s = fsockopen('127.0.0.1', (int) $argv[1]);
    $say = function ($line) use ($s) { fwrite($s, $line); echo $r = fgets($s); while ($r[3] === '-') $r = fgets($s); };
    echo fgets($s);
    $say("HELO form\n"); $say("MAIL FROM: <www-data@x.example>\n"); $say("RCPT TO: <b@y.example>\n"); $say("DATA\n");
    $say("Subject: form\nX-Form: 1\n\nName: J\xc3\xbcrgen\n..\n\r\n.\r\n"); $say("QUIT\n");`;
  const child = spawn('php', ['-r', script, '--', String(front.port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (octets: Buffer) => void (said += octets.toString()));
  await once(child, 'close');
  assert.deepEqual(
    said
      .trim()
      .split('\r\n')
      .map((line) => line.slice(0, 3)),
    ['220', '250', '250', '250', '354', '250', '221'],
  );
  assert.equal(front.taken[0]?.octets.toString(), 'Subject: form\nX-Form: 1\n\nName: J\u00fcrgen\n.\n\r\n');
});

const swaks = spawnSync('swaks', ['--version']).status === 0;
test('swaks delivers with pipelining', { skip: swaks ? false : 'swaks is not installed' }, async (t) => {
  const front = await makeFront(t);
  const names = ['--server', `127.0.0.1:${front.port}`, '--from', 'a@x.example', '--to', 'b@y.example,c@y.example', '--pipeline'];
  const child = spawn('swaks', [...names, '--data', 'Subject: swaks\n\n.dot\nend\n'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (octets: Buffer) => void (said += octets.toString()));
  const [status]: unknown[] = await once(child, 'close');
  assert.equal(status, 0, said);
  assert.match(said, /250 2\.0\.0 queued as Q1/);
  assert.match(front.taken[0]?.octets.toString() ?? '', /^Subject: swaks\r\n\r\n\.dot\r\nend\r\n/);
  assert.equal(front.taken[0]?.envelope.recipients.length, 2);
});
