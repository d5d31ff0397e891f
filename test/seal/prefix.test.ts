/** The prefix that was written, read back: whoever has the key seals the same ciphertext to another reader. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { makeHoldPair } from '../../src/certificates/hold.ts';
import { cipherNames, ciphers } from '../../src/seal/algorithms.ts';
import { messagePrefix } from '../../src/seal/cms.ts';
import { contentKeys, openMessage } from '../../src/seal/open.ts';
import { readPrefix } from '../../src/seal/prefix.ts';
import { prefixUnder, sealBody } from '../../src/seal/sealer.ts';
import { codeOf } from '../ingress/front.ts';

describe('the prefix of a sealed message', () => {
  let hold: Awaited<ReturnType<typeof makeHoldPair>>;
  let reader: Awaited<ReturnType<typeof makeHoldPair>>;
  before(async () => {
    [hold, reader] = await Promise.all([makeHoldPair('one', Date.now()), makeHoldPair('other', Date.now())]);
  });

  for (const cipher of cipherNames)
    for (const keyTransport of ['rsaes-pkcs1', 'rsaes-oaep'] as const)
      test(`${cipher}, ${keyTransport}: a new prefix in front of the same ciphertext opens for another reader`, async () => {
        for (const text of ['', 'x', 'Subject: y\r\n\r\n'.padEnd(200, 'z'), 'z'.repeat(70_000)]) {
          const written: Buffer[] = [];
          const sealer = sealBody(cipher, { write: async (octets) => void written.push(Buffer.from(octets)) }, randomBytes);
          await sealer.write(Buffer.from(text));
          const body = await sealer.end();
          const ciphertext = Buffer.concat(written);
          const stored = await body.prefixFor([hold.certificate], keyTransport);
          sealer.forget();
          const { content, recipients } = readPrefix(stored, ciphertext.length, body.suffix);
          assert.equal(content.cipher, cipher);
          const [key] = contentKeys(recipients, [hold], ciphers[cipher].keyOctets);
          assert.ok(key);
          const prefix = await prefixUnder(content, key, [reader.certificate], 'rsaes-pkcs1');
          assert.equal(openMessage(Buffer.concat([prefix, ciphertext, body.suffix]), [reader]).entity.toString(), text);
          // Of another key: octets of the same length, never a word on why (RFC 3218).
          for (const wrong of contentKeys(recipients, [{ key: reader.key }], ciphers[cipher].keyOctets)) {
            assert.equal(wrong.length, ciphers[cipher].keyOctets);
            assert.notDeepEqual(wrong, key);
          }
        }
      });

  test('whatever else stands there is damage, and never anything else', () => {
    const iv = randomBytes(16);
    const good = messagePrefix({ cipher: 'aes-256-cbc', iv, length: 4096, suffix: Buffer.alloc(0) }, [Buffer.from('3000', 'hex')]);
    const isDamage = (octets: Buffer, length = 4096): void =>
      assert.throws(
        () => readPrefix(octets, length, Buffer.alloc(0)),
        (error: unknown) => codeOf(error) === 'queue-item-damaged',
      );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (octets) => isDamage(Buffer.from(octets))));
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ flip;
        // Only the IV may be any octets; and RecipientInfos of no kind are no readers.
        const inIv = at >= good.length - 3 - 16 && at < good.length - 3;
        if (!inIv) isDamage(bad);
      }),
    );
    for (let end = 0; end < good.length; end++) isDamage(good.subarray(0, end));
    isDamage(good, 4095);
  });
});
