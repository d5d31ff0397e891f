import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { foldDomain } from '../../src/message/envelope.ts';
import { makeFront } from './front.ts';

const MANY = { messageBytes: 1000, recipients: 100_000, connections: 5 };

/** What attacks on address parsers are made of, in random order; `_` stands for a blank. */
const PIECES = [
  'a b.c @ @ x.example y.example " \\ < > ( ) , : ; _ \t % ! * = . .. - "a@b" @r.example: g: RCPT_TO:<evil@z.example>',
  '%0d%0a \r \0 \u001b \u2028 \u202e \uff20 \uff0c \u200b \u00e9 e\u0301 b\u00fccher.example xn--bcher-kva.example Xn-- \u{1f600} \ufeff',
  '[127.0.0.1] [IPv6:::1] "a_b"',
]
  .join(' ')
  .split(' ')
  .map((piece) => piece.replaceAll('_', ' '));
const pieces = fc.constantFrom(...PIECES);
const plain = fc.constantFrom('a', 'b', '%', '!', '{', '"a b"', 'B', "'", '=', '/');
const host = fc.constantFrom('x.example', 'X.Example', 'xn--bcher-kva.example', 'b\u00fccher.example', '[127.0.0.1]', '[IPv6:::1]', 'y');
const address = fc.oneof(
  fc.array(pieces, { minLength: 1, maxLength: 8 }).map((parts) => parts.join('')),
  fc.tuple(fc.array(pieces, { maxLength: 4 }), host).map(([local, domain]) => `${local.join('')}@${domain}`),
  fc.tuple(fc.array(plain, { maxLength: 3 }), host).map(([local, domain]) => `${local.join('')}@${domain}`),
);

for (const smtputf8 of [false, true]) {
  test(`A8: an address is refused or reaches the reception as it was written${smtputf8 ? ', SMTPUTF8' : ''}`, async (t) => {
    const front = await makeFront(t, { limits: MANY });
    const client = await front.open();
    await client.ask(`MAIL FROM:<a@x.example>${smtputf8 ? ' SMTPUTF8' : ''}`, /^250/);
    let taken = 0;
    const property = fc.asyncProperty(address, async (text) => {
      fc.pre(text.toLowerCase() !== 'postmaster');
      const before = front.asked.length;
      const [reply = ''] = await client.ask(`RCPT TO:<${text}>`, /^(?:250 2\.1\.5|501 5\.1\.3|501 5\.5\.4|553 5\.6\.7|555 5\.5\.4) /);
      const recipient = front.asked[before]?.recipient;
      if (!reply.startsWith('250')) return assert.equal(recipient, undefined);
      // Said before: answered without asking again.
      if (recipient === undefined) return;
      taken++;
      const at = text.lastIndexOf('@');
      assert.equal(recipient.localPart, text.slice(0, at));
      assert.equal(recipient.domain, foldDomain(text.slice(at + 1)));
      assert.equal(recipient.address, `${recipient.localPart}@${recipient.domain}`);
      if (!smtputf8) assert.match(text, /^[\x20-\x7e]*$/);
    });
    await fc.assert(property, { numRuns: 1500 });
    assert.ok(taken > 50, `only ${taken} were taken: the generator makes too few good ones`);
  });
}

test('A8: hostile addresses by name', async (t) => {
  const front = await makeFront(t, { limits: MANY });
  const client = await front.open();
  for (const path of [
    'a)(uid=*)@y.example',
    'a@b@y.example',
    '"a@b',
    '@',
    'a@',
    '@y.example',
    'a b@y.example',
    'a@y.example,c@y.example',
    'A <a@y.example>',
  ])
    await client.ask(`MAIL FROM:<${path}>`, /^501 5\.1\.7 /);
  await client.ask('MAIL FROM:<a@x.example', /^501 5\.1\.7 /);
  await client.ask('MAIL FROM:a@x.example', /^501 5\.1\.7 /);
  await client.ask('MAIL FROM:<a@x.example>> SIZE=1', /^501 5\.1\.7 /);
  client.send(Buffer.from('MAIL FROM:<jos\xe9@x.example> SMTPUTF8\r\n', 'latin1'));
  await client.expect(/^501 5\.1\.7 /);
  await client.ask('MAIL FROM:<jos\u00e9@x.example>', /^553 5\.6\.7 /);
  await client.ask('MAIL FROM:<a@b\u00fccher.example>', /^553 5\.6\.7 /);
  await client.ask('MAIL FROM:<a@x.example>\rRCPT TO:<evil@z.example>', /^501 5\.1\.7 /);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('RCPT TO:<>', /^501 5\.1\.3 /);
  assert.deepEqual(front.asked, []);
});

test('A15: source routes are refused; %, ! and a quoted @ are the mailbox they say, never another', async (t) => {
  const front = await makeFront(t, { limits: MANY });
  const client = await front.open();
  await client.ask('MAIL FROM:<@r.example:a@x.example>', /^501 5\.1\.7/);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask('RCPT TO:<@r.example,@s.example:b@y.example>', /^501 5\.1\.3/);
  const literal = ['b%z.example@y.example', 'z.example!b@y.example', '"b@z.example"@y.example', '"b>c"@y.example'];
  for (const path of literal) await client.ask(`RCPT TO:<${path}>`, /^250/);
  assert.deepEqual(
    front.asked.map(({ recipient }) => recipient.address),
    literal,
  );
});

test('postmaster without a domain is the postmaster of this relay (RFC 5321 4.1.1.3)', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  await client.ask('MAIL FROM:<postmaster>', /^501 5\.1\.7/);
  await client.ask('MAIL FROM:<>', /^250/);
  await client.ask('RCPT TO:<Postmaster>', /^250/);
  assert.equal(front.asked[0]?.recipient.address, 'Postmaster@relay.example');
});
