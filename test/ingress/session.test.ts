import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SealpostError } from '../../src/errors.ts';
import { dialogue } from './dialogue.ts';
import { plainRecipient } from '../../src/message/envelope.ts';
import { makeFront } from './front.ts';

test('EHLO offers exactly what is honoured', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  const lines = await client.ask('EHLO again.example', /^250-relay\.example/);
  const keywords = ['8BITMIME', 'DSN', 'ENHANCEDSTATUSCODES', 'PIPELINING', 'SIZE 1000000', 'SMTPUTF8', 'relay.example'];
  assert.deepEqual(lines.map((line) => line.slice(4)).sort(), keywords);
});

test('one message: the queue id stands in the 250, the envelope says who, and codes stand once', async (t) => {
  const front = await makeFront(t);
  const client = await front.openData();
  client.send('Subject: hello\r\n\r\n..dot\r\nbody\r\n');
  assert.deepEqual(await client.ask('.', /^250 /), ['250 2.0.0 queued as Q1']);
  await client.ask('QUIT', /^221 2\.0\.0 (?!2)/);
  await client.closed();
  assert.equal(front.taken[0]?.octets.toString(), 'Subject: hello\r\n\r\n.dot\r\nbody\r\n');
  assert.deepEqual(front.taken[0]?.envelope, {
    sender: { localPart: 'a', domain: 'x.example', address: 'a@x.example', needsSmtputf8: false },
    recipients: [plainRecipient({ localPart: 'b', domain: 'y.example', address: 'b@y.example', needsSmtputf8: false })],
    envid: null,
    client: { address: '127.0.0.1', helo: 'client.example', tls: null, user: null },
    size: null,
    eightBit: false,
    smtputf8: false,
    protocol: 'ESMTP',
  });
});

test('the null sender, HELO and SMTPUTF8 reach the envelope as what they are', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  await client.ask('HELO Old.Example', /^250 relay\.example$/);
  client.send('MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n');
  for (const reply of [/^250/, /^250/, /^354/]) await client.expect(reply);
  await client.ask('one\r\n.', /^250 2\.0\.0 queued as Q1/);
  await client.ask('EHLO new.example', /^250-/);
  client.send('MAIL FROM:<jos\u00e9@x.example> SMTPUTF8 BODY=8BITMIME SIZE=10\r\nRCPT TO:<b@b\u00fccher.example>\r\nDATA\r\n');
  for (const reply of [/^250/, /^250/, /^354/]) await client.expect(reply);
  await client.ask('two\r\n.', /^250 2\.0\.0 queued as Q2/);
  const [first, second] = front.taken.map(({ envelope }) => envelope);
  assert.deepEqual([first?.sender, first?.protocol, first?.client.helo], [null, 'SMTP', 'Old.Example']);
  assert.deepEqual([second?.sender?.localPart, second?.protocol], ['jos\u00e9', 'UTF8SMTP']);
  assert.equal(second?.recipients[0]?.mailbox.address, 'b@xn--bcher-kva.example');
});

test('pipelined transactions are answered one by one, in order', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  const start = 'MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\nDATA\r\n';
  client.send(start);
  for (const reply of [/^250 2\.1\.0/, /^250 2\.1\.5/, /^250 2\.1\.5/, /^354/]) await client.expect(reply);
  client.send(`first\r\n.\r\n${start}`);
  for (const reply of [/^250 2\.0\.0 queued as Q1/, /^250 2\.1\.0/, /^250/, /^250/, /^354/]) await client.expect(reply);
  client.send('second\r\n.\r\nQUIT\r\n');
  for (const reply of [/^250 2\.0\.0 queued as Q2/, /^221/]) await client.expect(reply);
  assert.deepEqual(
    front.taken.map(({ octets }) => octets.toString()),
    ['first\r\n', 'second\r\n'],
  );
});

test('commands out of order are refused and change nothing', async (t) => {
  const front = await makeFront(t);
  const client = await dialogue(front.port);
  t.after(() => client.close());
  await client.expect(/^220/);
  await client.ask('MAIL FROM:<a@x.example>', /^503 5\.5\.1/);
  await client.ask('EHLO c.example', /^250-/);
  await client.ask('RCPT TO:<b@y.example>', /^503 5\.5\.1/);
  await client.ask('DATA', /^503 5\.5\.1/);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('MAIL FROM:<z@x.example>', /^503 5\.5\.1/);
  await client.ask('DATA', /^503 5\.5\.1/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  await client.ask('RSET', /^250 2\.0\.0/);
  await client.ask('DATA', /^503 5\.5\.1/);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('EHLO c.example', /^250-/);
  await client.ask('RCPT TO:<b@y.example>', /^503/);
});

test('what is not offered is not done', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  await client.ask('VRFY b@y.example', /^252 2\./);
  await client.ask('EXPN staff', /^502 5\.5\.1/);
  for (const command of [
    'STARTTLS',
    'AUTH PLAIN AGEAYg==',
    'XCLIENT ADDR=10.0.0.1',
    'XFORWARD ADDR=10.0.0.1',
    'PROXY TCP4 10.0.0.1 10.0.0.2 1 2',
  ])
    await client.ask(command, /^500 5\.5\./);
  await client.ask('NOOP', /^250 2\.0\.0/);
});

test('parameters of MAIL and RCPT: what EHLO lists is read, all else is refused', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  const cases: [string, RegExp][] = [
    ['SIZE=1000001', /^552 5\.3\.4/],
    ['SIZE=99999999999999999999', /^552 5\.3\.4/],
    ['SIZE=1e3', /^501 5\.5\.4/],
    ['SIZE', /^501 5\.5\.4/],
    ['SIZE=1 SIZE=2', /^501 5\.5\.4/],
    ['BODY=BINARYMIME', /^501 5\.5\.4/],
    ['SMTPUTF8=yes', /^501 5\.5\.4/],
    ['MT-PRIORITY=1', /^555 5\.5\.4/],
    ['AUTH=<>', /^501 5\.5\.4|^555 5\.5\.4/],
    ['REQUIRETLS', /^555 5\.5\.4/],
    ['X=\u00e9', /^501 5\.5\.4/],
  ];
  for (const [parameters, reply] of cases) await client.ask(`MAIL FROM:<a@x.example> ${parameters}`, reply);
  await client.ask('MAIL FROM:<a@x.example> SIZE=1000000 BODY=7bit', /^250/);
  await client.ask('RCPT TO:<b@y.example> RRVS=x', /^555 5\.5\.4/);
  assert.deepEqual(front.asked, []);
});

test('recipients beyond the limit wait for the next message; one named twice counts once', async (t) => {
  const front = await makeFront(t, { limits: { messageBytes: 1000, recipients: 2, connections: 5 } });
  const client = await front.open();
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  await client.ask('RCPT TO:<B@Y.example>', /^250/);
  await client.ask('RCPT TO:<c@y.example>', /^250/);
  await client.ask('RCPT TO:<d@y.example>', /^452 4\.5\.3/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  await client.ask('DATA', /^354/);
  await client.ask('x\r\n.', /^250/);
  assert.deepEqual(
    front.taken[0]?.envelope.recipients.map(({ mailbox }) => mailbox.address),
    ['b@y.example', 'c@y.example'],
  );
});

test('a refused recipient is no part of the message, and its reply is the table row', async (t) => {
  const front = await makeFront(t, {
    reception: {
      recipient: async (_sender, recipient) => {
        if (recipient.localPart === 'no') throw new SealpostError('certificate-missing');
        if (recipient.localPart === 'later') throw new SealpostError('lookup-unavailable', { cause: new Error('ldap bind secret') });
      },
      accept: async (envelope, source) => {
        for await (const _chunk of source);
        return envelope.recipients.map(({ mailbox }) => mailbox.localPart).join('+');
      },
    },
  });
  const client = await front.open();
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('RCPT TO:<no@y.example>', /^550 5\.7\.1 no usable certificate/);
  await client.ask('RCPT TO:<later@y.example>', /^451 4\.4\.3 (?!.*secret)/);
  await client.ask('RCPT TO:<yes@y.example>', /^250/);
  await client.ask('DATA', /^354/);
  await client.ask('x\r\n.', /^250 2\.0\.0 queued as yes$/);
});

const hostile = {
  get responseCode(): number {
    return 250;
  },
  message: 'secret',
};
const foreign: Record<string, unknown> = {
  'an Error': new Error('secret 10.0.0.1'),
  undefined: undefined,
  null: null,
  'a string': 'secret',
  'a number': 550,
  'a foreign reply': hostile,
  'an internal fault': new SealpostError('internal', { cause: new Error('secret') }),
};
for (const [name, thrown] of Object.entries(foreign)) {
  test(`P5: a reception that throws ${name} is 451 4.3.0 and tells nothing`, async (t) => {
    const fail = async (): Promise<never> => {
      throw thrown;
    };
    for (const reception of [
      { recipient: fail, accept: fail },
      { recipient: async () => undefined, accept: fail },
    ]) {
      const front = await makeFront(t, { reception });
      const client = await front.open();
      await client.ask('MAIL FROM:<a@x.example>', /^250/);
      if (reception.recipient === fail) {
        await client.ask('RCPT TO:<b@y.example>', /^451 4\.3\.0 temporary failure, please try again later$/);
      } else {
        await client.ask('RCPT TO:<b@y.example>', /^250/);
        await client.ask('DATA', /^354/);
        await client.ask('x\r\n.', /^451 4\.3\.0 temporary failure, please try again later$/);
        await client.ask('MAIL FROM:<a@x.example>', /^250/);
      }
      const entry = front.log.find(({ code }) => code === 'internal');
      assert.equal(entry?.['level'], 'error');
      assert.ok(entry?.['err'] !== undefined);
    }
  });
}

test('a reception that did not read the message, or swallowed what its source threw, cannot make it accepted', async (t) => {
  const front = await makeFront(t, {
    limits: { messageBytes: 10, recipients: 1, connections: 5 },
    reception: {
      recipient: async () => undefined,
      accept: async (envelope, source) => {
        if (envelope.sender !== null)
          try {
            for await (const _chunk of source);
          } catch {
            return 'swallowed';
          }
        return 'unread';
      },
    },
  });
  const client = await front.open();
  for (const [sender, body, reply] of [
    ['', 'x', /^451 4\.3\.0/],
    ['a@x.example', '12345678901234567890', /^552 5\.3\.4/],
  ] as const) {
    await client.ask(`MAIL FROM:<${sender}>`, /^250/);
    await client.ask('RCPT TO:<b@y.example>', /^250/);
    await client.ask('DATA', /^354/);
    await client.ask(`${body}\r\n.`, reply);
  }
});
