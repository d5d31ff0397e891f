/** P5, P7: whoever fills in a form chooses an address, and upstreams quote it. It must slow nobody down, and judge nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { ReplyClass } from '../../src/delivery/classes.ts';
import { classOf } from '../../src/delivery/classify.ts';
import { ReplyReader } from '../../src/delivery/reply.ts';
import { converse, scriptedUpstream } from './peer.ts';
import { outgoing, upstreamAt } from './surroundings.ts';

const never = new AbortController().signal;

/** The class of an answer at RCPT, and whether the upstream may be asked again at once. */
async function asked(sender: string, answer: string): Promise<[ReplyClass | undefined, boolean]> {
  await using server = await scriptedUpstream((peer) => converse(peer, { ehlo: '250 x\r\n', rcpt: `${answer}\r\n` }));
  const upstream = upstreamAt(server.port);
  const result = await upstream.attempt(outgoing({ sender }), never);
  const well = upstream.well();
  await upstream.close();
  return [classOf(result), well];
}

test('P7: an address in a form slows no other mail, however the upstream quotes it', async () => {
  const quoted: readonly (readonly [sender: string, answer: string, ReplyClass])[] = [
    ['ratelimit@nowhere.example', '450 4.1.8 <ratelimit@nowhere.example>: Sender address rejected: Domain not found', 'temporary'],
    ['ratelimit@nowhere.example', '450 <RateLimit@nowhere.example>: Sender address rejected', 'temporary'],
    ['throttl@nowhere.example', '450 4.7.1 throttl@nowhere.example was not expected here', 'temporary'],
    ['throttl@nowhere.example', '450 4.7.1 user throttl, of nowhere.example, was not expected here', 'temporary'],
    ['"daily limit"@nowhere.example', '550 5.1.8 <"daily limit"@nowhere.example>: Sender address rejected', 'refused'],
    ['"daily limit"@nowhere.example', '550 5.7.1 daily limit@nowhere.example is not taken', 'refused'],
    ['"x> daily limit"@nowhere.example', '550 <"x> daily limit"@nowhere.example>: Sender address rejected', 'refused'],
    ['"daily\\ limit"@nowhere.example', '550 daily limit: no such sender', 'refused'],
    ['x@rcpthosts.example', '553 the domain rcpthosts.example is not known', 'refused'],
    ['x@a.greylist.example', '450 4.7.1 no such zone: greylist.example', 'temporary'],
  ];
  for (const [sender, answer, expected] of quoted) {
    assert.deepEqual(await asked(sender, answer), [expected, true], answer);
  }
});

test('what an upstream says of its own load still slows, beside a quoted address', async () => {
  const own: readonly (readonly [answer: string, ReplyClass])[] = [
    ['450 4.7.1 <anna@clinic.example>: too many messages from you', 'throttled'],
    ['421 4.7.0 forms@clinic.example: rate limit exceeded', 'throttled'],
    ['550 5.4.5 Daily user sending limit exceeded', 'throttled'],
  ];
  for (const [answer, expected] of own) assert.deepEqual(await asked('forms@clinic.example', answer), [expected, false], answer);
});

test('any octets in quotes, brackets and addresses are read in bounded time', () => {
  const piece = fc.constantFrom('<', '>', '"', '@', ' ', 'rate limit', '\\', 'x', '\xff');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 200 }), (pieces) => {
      const [reply] = [...new ReplyReader().push(Buffer.from(`450 ${pieces.join('')}\r\n`, 'latin1'))];
      assert.ok(reply !== undefined && !reply.words.includes('@'));
    }),
  );
});
