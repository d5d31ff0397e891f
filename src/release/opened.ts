/**
 * Reading held mail, in memory alone (P2): its ciphertext is decrypted as it streams. The start of it, which holds the header and what
 * rules ask of the body, is kept for the decision; the rest is looked at by nobody.
 */
import { createDecipheriv } from 'node:crypto';
import { octetString } from '../certificates/encode.ts';
import { SealpostError } from '../errors.ts';
import { LOOK_AHEAD, MAX_HEADER } from '../message/header.ts';
import { ciphers } from '../seal/algorithms.ts';
import type { Content } from '../seal/cms.ts';
import { GCM_TAG_OCTETS } from '../seal/cms.ts';

/** Of an inside that was signed opaquely a third is base64. */
const START_OCTETS = 2 * (MAX_HEADER + LOOK_AHEAD);

/**
 * The inside in order. Throws `message-tampered` at its end where padding or authentication code do not fit, which a wrong key brings about
 * as well; what `ciphertext` throws is thrown on.
 */
export async function* decrypted(ciphertext: AsyncIterable<Buffer>, { cipher, iv, suffix }: Content, key: Buffer): AsyncGenerator<Buffer> {
  const decipher = decipherFor({ cipher, iv, suffix }, key);
  for await (const chunk of ciphertext) {
    const plain = decipher.update(chunk);
    if (plain.length > 0) yield plain;
  }
  let last: Buffer;
  try {
    last = decipher.final();
  } catch (cause) {
    throw new SealpostError('message-tampered', { detail: 'the end of the held message', cause });
  }
  if (last.length > 0) yield last;
}

function decipherFor({ cipher, iv, suffix }: Pick<Content, 'cipher' | 'iv' | 'suffix'>, key: Buffer) {
  if (cipher !== 'aes-256-gcm') return createDecipheriv(cipher, key, iv);
  const tag = suffix.subarray(-GCM_TAG_OCTETS);
  if (!octetString(tag).equals(suffix)) throw new SealpostError('queue-item-damaged', { detail: 'the authentication code' });
  return createDecipheriv(cipher, key, iv, { authTagLength: GCM_TAG_OCTETS }).setAuthTag(tag);
}

export type Opened =
  /** `start`: the first octets of the inside, all of them where it is `whole`. */
  { readonly kind: 'opened'; readonly start: Buffer; readonly whole: boolean } | { readonly kind: 'wrong-key' };

/**
 * Reads all of it once: what is damaged, or was sealed with another key, is known before anything is made of it. A wrong key shows as
 * garbage only: whether padding fitted is never told on its own (RFC 3218).
 */
export async function openHeld(ciphertext: AsyncIterable<Buffer>, content: Content, key: Buffer): Promise<Opened> {
  // It comes over the control socket: of another length it is another key, and no fault of ours.
  if (key.length !== ciphers[content.cipher].keyOctets) return { kind: 'wrong-key' };
  const kept: Buffer[] = [];
  let octets = 0;
  try {
    for await (const plain of decrypted(ciphertext, content, key)) {
      if (octets < START_OCTETS) kept.push(plain);
      octets += plain.length;
    }
  } catch (error) {
    if (error instanceof SealpostError && error.code === 'message-tampered') return { kind: 'wrong-key' };
    throw error;
  }
  const start = Buffer.concat(kept);
  return beginsEntity(start) ? { kind: 'opened', start, whole: start.length === octets } : { kind: 'wrong-key' };
}

/** Every inside begins with a field, or with the empty line where it has none. */
const beginsEntity = (start: Buffer): boolean => /^(?:\r\n|[!-9;-~]+[ \t]*:)/.test(start.toString('latin1', 0, 1000));
