/** P6: what a delivery holds in memory does not grow with the message. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import process from 'node:process';
import { test } from 'node:test';
import { transact } from '../../src/delivery/transaction.ts';
import { openSession } from '../../src/delivery/connect.ts';
import { makeProtection } from '../../src/delivery/protection.ts';
import { wireForm, wireSize } from '../../src/delivery/wire.ts';
import { converse, scriptedUpstream } from './peer.ts';
import { timeouts } from './surroundings.ts';

const MEGABYTE = 1_000_000;
const header = Buffer.from('Subject: s\r\n\r\n');
const none = Buffer.alloc(0);

/** Sends `length` octets of ciphertext; answers the most memory that was in use over what it was before. */
async function peakOf(length: number, pauseAfter?: number): Promise<number> {
  await using server = await scriptedUpstream(
    async (peer) => {
      if (pauseAfter !== undefined) {
        // A slow reader is when a sender without backpressure would fill up.
        peer.socket.on('data', () => {
          if (peer.octets < pauseAfter) return;
          peer.socket.pause();
          setTimeout(() => peer.socket.resume(), 1);
        });
      }
      await converse(peer);
    },
    { discard: true },
  );
  const opening = await openSession(
    { host: '127.0.0.1', port: server.port, hostname: 'relay.test', timeouts: timeouts(), protection: makeProtection({}) },
    new AbortController().signal,
  );
  assert.ok(opening.kind === 'open');
  const before = process.memoryUsage().rss;
  let peak = 0;
  async function* ciphertext(): AsyncIterable<Buffer> {
    const block = 65_536;
    for (let made = 0; made < length; made += block) {
      peak = Math.max(peak, process.memoryUsage.rss());
      yield Buffer.alloc(Math.min(block, length - made), made & 0xff);
    }
  }
  const result = await transact(
    opening.session,
    {
      sender: '',
      recipient: 'anna@clinic.example',
      needsSmtputf8: false,
      envid: null,
      notify: null,
      orcpt: null,
      size: wireSize(header.length, length),
      content: () => wireForm({ header, prefix: none, suffix: none }, ciphertext()),
      beforeDot: async () => {},
    },
    timeouts(),
  );
  assert.equal(result.kind, 'delivered');
  const quit = opening.session.quit(1_000);
  const [peer] = server.peers;
  if (peer !== undefined && !peer.socket.destroyed) await once(peer.socket, 'close');
  await quit;
  return peak - before;
}

test('200 MB go out in the memory of a small message', async () => {
  await peakOf(5 * MEGABYTE);
  const grown = await peakOf(200 * MEGABYTE);

  assert.ok(grown < 60 * MEGABYTE, `${grown / MEGABYTE} MB`);
});

test('an upstream that reads slowly makes the sender wait, not gather', async () => {
  const grown = await peakOf(30 * MEGABYTE, 1);

  assert.ok(grown < 20 * MEGABYTE, `${grown / MEGABYTE} MB`);
});
