import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { readCertificates } from '../../src/certificates/bundle.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { chooseForm, type Cipher, cipherNames, ciphers } from '../../src/seal/algorithms.ts';
import { openMessage } from '../../src/seal/open.ts';
import { sealBody } from '../../src/seal/sealer.ts';
import { parseSealed } from '../../src/seal/structure.ts';
import { makeReaders, type Reader, type ReaderName, type Readers } from '../interop/fixtures.ts';
import { missingPrograms } from '../interop/programs.ts';

const certificateOf = (reader: Reader): Certificate => {
  const [certificate] = readCertificates(readFileSync(reader.certificate)).certificates;
  assert.ok(certificate);
  return certificate;
};

/** The DER of one message a reader set, all over one sealed body. */
async function sealFor(cipher: Cipher, plaintext: Buffer, readerSets: readonly (readonly Certificate[])[]): Promise<Buffer[]> {
  const ciphertext: Buffer[] = [];
  const sealer = sealBody(cipher, { write: async (chunk) => void ciphertext.push(chunk) }, randomBytes);
  for (let at = 0; at < plaintext.length; at += 1000) await sealer.write(plaintext.subarray(at, at + 1000));
  const body = await sealer.end();
  const messages: Buffer[] = [];
  for (const certificates of readerSets)
    messages.push(Buffer.concat([await body.prefixFor(certificates, 'rsaes-oaep'), ...ciphertext, body.suffix]));
  sealer.forget();
  return messages;
}

describe('the seal', { skip: missingPrograms({ openssl: 'openssl' }) ?? false }, () => {
  let dir: string;
  let readers: Readers;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sealpost-seal-'));
    readers = await makeReaders(dir);
  });
  after(() => rm(dir, { recursive: true, force: true }));
  const certificate = (name: ReaderName): Certificate => certificateOf(readers.people[name]);
  const key = async (name: ReaderName) => createPrivateKey(await readFile(readers.people[name].key));

  test('whatever the length, each cipher gives back what went in, and its lengths are exact', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...cipherNames), fc.uint8Array({ maxLength: 3000 }), async (cipher, octets) => {
        const plaintext = Buffer.from(octets);
        const [message = Buffer.alloc(0)] = await sealFor(cipher, plaintext, [[certificate('anna')]]);
        const { ciphertext } = parseSealed(message);
        assert.equal(ciphertext.length, ciphers[cipher].authenticated ? plaintext.length : 16 * (Math.floor(plaintext.length / 16) + 1));
        assert.ok(openMessage(message, [{ key: await key('anna') }]).entity.equals(plaintext));
      }),
      { numRuns: 50 },
    );
  });

  test('P8 the messages of one body share the ciphertext and nothing that names a reader', async () => {
    const names = ['anna', 'otto', 'ben', 'carla', 'dora'] as const;
    const messages = await sealFor(
      'aes-256-gcm',
      Buffer.from('one body'),
      names.map((name) => [certificate(name)]),
    );
    const [first] = messages.map((message) => parseSealed(message).ciphertext);
    for (const [index, message] of messages.entries()) {
      const sealed = parseSealed(message);
      assert.ok(first?.equals(sealed.ciphertext));
      assert.equal(sealed.recipients.length, 1);
      for (const [other, name] of names.entries()) assert.equal(message.includes(certificate(name).serialDer), other === index, name);
      for (const [other, name] of names.entries()) {
        const open = async () => openMessage(message, [{ key: await key(name), certificate: certificate(name) }]);
        if (other === index) assert.equal((await open()).entity.toString(), 'one body');
        else await assert.rejects(open, { code: 'message-not-for-key' });
      }
    }
  });

  test('one reader with two certificates opens with either key', async () => {
    const [message = Buffer.alloc(0)] = await sealFor('aes-256-cbc', Buffer.from('x'), [[certificate('anna'), certificate('otto')]]);
    for (const name of ['anna', 'otto'] as const) assert.equal(openMessage(message, [{ key: await key(name) }]).entity.toString(), 'x');
  });

  test('A14 GCM: every flipped bit of ciphertext and tag is noticed', async () => {
    const [message = Buffer.alloc(0)] = await sealFor('aes-256-gcm', Buffer.from('sixteen octets..'), [[certificate('anna')]]);
    const start = message.length - 16 - 18;
    for (let bit = 0; bit < (16 + 18) * 8; bit++) {
      const octet = start + (bit >> 3);
      if (octet === message.length - 18 || octet === message.length - 17) continue; // tag and length of the mac
      const flipped = Buffer.from(message);
      flipped[octet] = (flipped[octet] ?? 0) ^ (1 << (bit & 7));
      assert.throws(() => openMessage(flipped, [{ key: anna }]), { code: 'message-tampered' });
    }
  });

  let anna: Awaited<ReturnType<typeof key>>;
  before(async () => {
    anna = await key('anna');
  });

  test('A38 no key, IV or ciphertext twice', async () => {
    const seen = new Set<string>();
    for (let count = 0; count < 200; count++) {
      const [message = Buffer.alloc(0)] = await sealFor('aes-256-cbc', Buffer.from('the same'), [[certificate('anna')]]);
      const { iv, ciphertext } = parseSealed(message);
      seen.add(iv.toString('hex'));
      seen.add(ciphertext.toString('hex'));
    }
    assert.equal(seen.size, 400);
  });

  test('A37 the content key is gone from memory once it is forgotten', async () => {
    for (const cipher of cipherNames) {
      const made: Buffer[] = [];
      const take = (octets: number): Buffer => {
        const bytes = randomBytes(octets);
        made.push(bytes);
        return bytes;
      };
      const sealer = sealBody(cipher, { write: async () => undefined }, take);
      await sealer.write(Buffer.from('text'));
      await sealer.end();
      const [key] = made;
      assert.ok(key !== undefined && key.length === ciphers[cipher].keyOctets && key.some((octet) => octet !== 0));
      sealer.forget();
      assert.ok(
        key.every((octet) => octet === 0),
        cipher,
      );
    }
  });

  test('what is not a sealed message is said to be none, whatever the octets', async () => {
    const [message = Buffer.alloc(0)] = await sealFor('aes-256-cbc', Buffer.from('x'), [[certificate('anna')]]);
    fc.assert(
      fc.property(fc.nat(message.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const broken = Buffer.from(message);
        broken[at] = (broken[at] ?? 0) ^ change;
        try {
          openMessage(broken, [{ key: anna }]);
        } catch (error) {
          assert.match(String(Object(error).code), /^message-/);
        }
      }),
      { numRuns: 500 },
    );
    assert.throws(() => parseSealed(Buffer.from('Content-Type: text/plain\r\n\r\nhello')), { code: 'message-not-sealed' });
  });
});

test('the form follows the profile, the key and the SMIMECapabilities', () => {
  const [aes128, aes256, gcm] = [ciphers['aes-128-cbc'].id, ciphers['aes-256-cbc'].id, ciphers['aes-256-gcm'].id];
  const form = (profile: 'compatible' | 'strict', ...lists: string[][]): string => {
    const { cipher, keyTransport } = chooseForm(
      lists.map((capabilities) => ({ capabilities })),
      profile,
    );
    return `${cipher} ${keyTransport}`;
  };
  assert.equal(form('compatible', []), 'aes-256-cbc rsaes-pkcs1');
  assert.equal(form('compatible', [aes256, aes128]), 'aes-256-cbc rsaes-pkcs1');
  assert.equal(form('compatible', [aes128]), 'aes-128-cbc rsaes-pkcs1');
  assert.equal(form('compatible', [gcm, aes256]), 'aes-256-gcm rsaes-pkcs1');
  assert.equal(form('compatible', [gcm, aes256], [aes256]), 'aes-256-cbc rsaes-pkcs1', 'all of one reader must read it');
  assert.equal(form('strict', []), 'aes-256-gcm rsaes-oaep');
});
