/**
 * Seals as often as it is told, as the relay does it, and writes what it drew for each: 32 octets of content key, 16 of IV (the nonce
 * of GCM is filled up with noughts). One process of several; the certificate comes from a file.
 */
import { createDecipheriv, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { sealBody } from '../../src/seal/sealer.ts';

const [file = '', count = '0'] = process.argv.slice(2);
const certificate = parseCertificate(readFileSync(file));
const text = Buffer.from('the same text each time');
const drawn = Buffer.alloc(48 * Number(count));

for (let number = 0; number < Number(count); number++) {
  const cipher = number % 2 === 0 ? 'aes-256-cbc' : 'aes-256-gcm';
  const draws: Buffer[] = [];
  const tap = (octets: number): Buffer => {
    const fresh = randomBytes(octets);
    draws.push(Buffer.from(fresh));
    return fresh;
  };
  const ciphertext: Buffer[] = [];
  const sealer = sealBody(cipher, { write: async (octets) => void ciphertext.push(octets) }, tap);
  await sealer.write(text);
  const body = await sealer.end();
  const prefix = await body.prefixFor([certificate], 'rsaes-pkcs1');
  sealer.forget();
  const [key = Buffer.alloc(0), iv = Buffer.alloc(0), ...others] = draws;
  // What was drawn is what was used: no other key, and this IV in the message.
  const opened = createDecipheriv(cipher === 'aes-256-cbc' ? cipher : 'aes-256-ctr', key, cipher === 'aes-256-cbc' ? iv : counter(iv));
  const read = Buffer.concat([opened.update(Buffer.concat(ciphertext)), opened.final()]);
  if (others.length > 0 || !read.equals(text) || !prefix.includes(iv)) throw new Error('it was sealed with something else');
  key.copy(drawn, 48 * number);
  iv.copy(drawn, 48 * number + 32);
}
process.stdout.write(drawn);

/** The first block of text under GCM (SP 800-38D 7.1). */
function counter(nonce: Buffer): Buffer {
  return Buffer.concat([nonce, Buffer.of(0, 0, 0, 2)]);
}
