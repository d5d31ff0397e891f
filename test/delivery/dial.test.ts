/** The connection to an upstream itself. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { converse, scriptedUpstream } from './peer.ts';
import { outgoing, upstreamAt } from './surroundings.ts';

const MAILS = 25;
/** Where the kernel acknowledges at once there is nothing to see. */
const DELAYED_MS = 20 * MAILS;

/** As a queue that syncs: the dot is written once the message has left. */
const beforeDot = (): Promise<void> => setTimeout(2);

/** Milliseconds for small messages on one connection. */
async function timeOf(more: Parameters<typeof upstreamAt>[1]): Promise<number> {
  await using server = await scriptedUpstream((peer) => converse(peer));
  const upstream = upstreamAt(server.port, more);
  const started = performance.now();
  for (let count = 0; count < MAILS; count++) {
    assert.equal((await upstream.attempt(outgoing({ beforeDot }), new AbortController().signal)).kind, 'delivered');
  }
  const time = performance.now() - started;
  await upstream.close();
  return time;
}

test('small messages do not wait for delayed acknowledgements', async (t) => {
  const held = await timeOf({ connect: (host, port) => connect({ host, port, noDelay: false }) });
  if (held < DELAYED_MS) return t.skip('this kernel delays no acknowledgement');
  const free = await timeOf({});
  assert.ok(free < held / 2, `${free} ms, ${held} ms where writes are held back`);
});
