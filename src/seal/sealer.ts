/**
 * One sealed body, many envelopes. The inner entity is encrypted once, as it streams, and serves every reader that shares cipher
 * and inside; each reader's message is then a small prefix that names that reader alone (P8).
 *
 * A content key serves one body and one cipher, and is forgotten when its last prefix is written.
 */
import { createCipheriv } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Certificate } from '../certificates/certificate.ts';
import { type Cipher, ciphers, type KeyTransport } from './algorithms.ts';
import { type Content, macSuffix, messagePrefix } from './cms.ts';
import { recipientInfo } from './recipients.ts';

/** Takes the ciphertext as it comes. */
export interface CiphertextSink {
  write(ciphertext: Buffer): Promise<void>;
}

/** Encrypts what is written and hands it on; `end` makes the sealed body. Write the inner entity in order, then end, once. */
export interface BodySealer {
  write(plaintext: Buffer): Promise<void>;
  end(): Promise<SealedBody>;
  /** Forgets the key. Called in every case: after the last prefix, or when the message came to nothing. */
  forget(): void;
}

export interface SealedBody {
  readonly cipher: Cipher;
  /** Octets of ciphertext. */
  readonly length: number;
  readonly suffix: Buffer;
  /** The DER in front of the ciphertext for whoever holds these certificates. Others get their turn meanwhile: each costs milliseconds. */
  prefixFor(certificates: readonly Certificate[], keyTransport: KeyTransport): Promise<Buffer>;
}

/** Milliseconds of public-key operations after which others get their turn. */
const TURN_MS = 10;

/** `randomBytes` must be a cryptographic source: it makes the content key and the IV. */
export function sealBody(cipher: Cipher, sink: CiphertextSink, randomBytes: (octets: number) => Buffer): BodySealer {
  const form = ciphers[cipher];
  const key = randomBytes(form.keyOctets);
  const iv = randomBytes(form.ivOctets);
  const authenticated = cipher === 'aes-256-gcm' ? createCipheriv(cipher, key, iv) : undefined;
  const encryption = authenticated ?? createCipheriv(cipher, key, iv);
  let length = 0;
  const pass = async (ciphertext: Buffer): Promise<void> => {
    if (ciphertext.length === 0) return;
    length += ciphertext.length;
    await sink.write(ciphertext);
  };
  return {
    write: (plaintext) => pass(encryption.update(plaintext)),
    async end() {
      await pass(encryption.final());
      const suffix = authenticated === undefined ? Buffer.alloc(0) : macSuffix(authenticated.getAuthTag());
      const content: Content = { cipher, iv, length, suffix };
      return {
        cipher,
        length,
        suffix,
        prefixFor: (certificates, keyTransport) => prefixUnder(content, key, certificates, keyTransport),
      };
    },
    forget: () => void key.fill(0),
  };
}

/** The DER in front of a ciphertext that is there, for whoever holds these certificates: `key` is the one it was made with. */
export async function prefixUnder(
  content: Content,
  key: Buffer,
  certificates: readonly Certificate[],
  keyTransport: KeyTransport,
): Promise<Buffer> {
  const infos: Buffer[] = [];
  let turn = performance.now();
  for (const certificate of certificates) {
    infos.push(recipientInfo(certificate, key, keyTransport));
    if (performance.now() - turn < TURN_MS) continue;
    await setImmediate();
    turn = performance.now();
  }
  return messagePrefix(content, infos);
}
