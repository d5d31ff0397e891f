import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { makeLineEndCheck } from '../../src/ingress/line-ends.ts';
import { codeOf, makeFront, type Front } from './front.ts';
import { variants } from './smuggling.ts';
import type { Dialogue } from './dialogue.ts';

const VARIANTS = variants('victim@y.example');

/** As a client that is outside the networks, and logged in. */
async function openDataOutside(front: Front): Promise<Dialogue> {
  const client = await front.open();
  for (const session of front.ingress.sessions) session.user ??= 'form';
  await client.ask('MAIL FROM:<a@x.example>', /^250 2\.1\.0/);
  await client.ask('RCPT TO:<b@y.example>', /^250 2\.1\.5/);
  await client.ask('DATA', /^354 /);
  return client;
}

test('A1: of a trusted client every variant is one message, line ends as sent', async (t) => {
  const front = await makeFront(t);
  for (const [index, { name, body }] of VARIANTS.entries()) {
    const client = await front.openData();
    client.send(body);
    await client.ask('.', /^250 2\.0\.0 queued/);
    await client.ask('NOOP', /^250/);
    client.close();
    assert.equal(front.taken.length, index + 1, name);
    assert.deepEqual(front.taken[index]?.octets, body, name);
  }
  assert.ok(front.asked.every(({ recipient }) => recipient.address === 'b@y.example'));
});

for (const segmented of [false, true]) {
  test(`A1: of an outsider a bare CR or LF, or a NUL, is 550 5.6.0${segmented ? ', an octet at a time too' : ''}`, async (t) => {
    const front = await makeFront(t, { networks: ['192.0.2.1'] });
    let taken = 0;
    for (const { name, body, nul, proper } of VARIANTS) {
      const client = await openDataOutside(front);
      if (segmented) {
        for (const octet of body) {
          client.send(Buffer.from([octet]));
          await new Promise(setImmediate);
        }
      } else client.send(body);
      if (proper) {
        await client.ask('.', /^250 2\.0\.0 queued/);
        taken++;
      } else {
        const [reply = ''] = await client.ask(
          '.\r\nNOOP',
          /^550 5\.6\.0 the message holds (?:a NUL octet|line ends other than CRLF: a bare [CL][RF])$/,
        );
        // A NUL is a fault of the message, not an attack on where it ends.
        if (reply.endsWith('NUL octet')) assert.ok(nul, name);
        else await client.closed();
      }
      client.close();
      assert.equal(front.taken.length, taken, name);
    }
    assert.ok(taken > 0 && taken < VARIANTS.length / 4, String(taken));
    assert.ok(front.asked.every(({ recipient }) => recipient.address === 'b@y.example'));
  });
}

test('A1: true ends behind a bare CR or LF of an outsider: what is pipelined behind is not run', async (t) => {
  const front = await makeFront(t, { networks: ['192.0.2.1'] });
  for (const bare of ['\r', '\n']) {
    const client = await openDataOutside(front);
    client.send(`x${bare}y\r\n.\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@y.example>\r\nDATA\r\nx\r\n.\r\n`);
    await client.expect(/^550 5\.6\.0 /);
    await client.closed();
  }
  assert.deepEqual(front.taken, []);
  assert.equal(front.asked.length, 2);
});

test('A1: an outsider with proper line ends is taken as it is', async (t) => {
  const front = await makeFront(t, { networks: ['192.0.2.1'] });
  const client = await openDataOutside(front);
  client.send('Subject: x\r\n\r\n..dot\r\n\r\n');
  await client.ask('.', /^250/);
  assert.equal(front.taken[0]?.octets.toString(), 'Subject: x\r\n\r\n.dot\r\n\r\n');
});

test('line ends are judged alike however a message is cut into chunks', () => {
  const piece = fc.constantFrom('\r', '\n', '\r\n', 'a', '.', '');
  fc.assert(
    fc.property(
      fc.array(
        fc.array(piece, { maxLength: 4 }).map((parts) => parts.join('')),
        { maxLength: 8 },
      ),
      (chunks) => {
        const check = makeLineEndCheck();
        let fault: string | undefined;
        // The final CRLF stands in front of every final dot.
        for (const chunk of [...chunks, '\r\n']) {
          try {
            if (fault === undefined) check(Buffer.from(chunk));
          } catch (error) {
            fault = codeOf(error);
          }
        }
        const proper = !/\r(?!\n)|(?<!\r)\n/.test(`${chunks.join('')}\r\n`);
        assert.equal(fault, proper ? undefined : 'bare-line-end');
      },
    ),
    { numRuns: 2000 },
  );
});
