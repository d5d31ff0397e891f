/**
 * Reading back the DER that cms.ts wrote in front of a ciphertext, for whoever seals what is stored to another reader: cipher, IV, and who
 * can open it. It is our own and was held to its checksum; whatever is not of that very form was damaged all the same.
 */
import { type Cipher, cipherNames, ciphers } from './algorithms.ts';
import { type Content, messagePrefix } from './cms.ts';
import { CERTIFICATE_LIMITS, readDer } from '../certificates/der.ts';
import { SealpostError } from '../errors.ts';
import { parseSealed, type Recipient } from './structure.ts';

export interface ReadPrefix {
  readonly content: Content;
  readonly recipients: readonly Recipient[];
}

const damaged = (cause?: unknown): SealpostError =>
  new SealpostError('queue-item-damaged', { detail: 'the structure in front of the ciphertext', cause });

const SEQUENCE = 0x30;
const SET = 0x31;
const EXPLICIT_0 = 0xa0;
const INTEGER = 0x02;
const OID = 0x06;

/** `length`: octets of the ciphertext behind it. Throws `queue-item-damaged`. */
export function readPrefix(prefix: Buffer, length: number, suffix: Buffer): ReadPrefix {
  try {
    const cursor = new Cursor(prefix);
    cursor.enter(SEQUENCE);
    cursor.take(OID);
    cursor.enter(EXPLICIT_0);
    cursor.enter(SEQUENCE);
    cursor.take(INTEGER);
    const infos = readDer(cursor.take(SET), { ...CERTIFICATE_LIMITS, bytes: prefix.length }).children.map(({ bytes }) => bytes);
    // The same without its content is a whole structure, which the reader of structures takes.
    for (const cipher of cipherNames) {
      const content = contentOf(prefix, cipher, length, suffix);
      if (!messagePrefix(content, infos).equals(prefix)) continue;
      const { recipients } = parseSealed(Buffer.concat([messagePrefix({ ...content, length: 0 }, infos), suffix]));
      return { content, recipients };
    }
  } catch (cause) {
    throw damaged(cause);
  }
  throw damaged();
}

/** What the prefix would have to be of; whoever calls compares all of it, so a wrong guess comes to nothing. */
function contentOf(prefix: Buffer, cipher: Cipher, length: number, suffix: Buffer): Content {
  const { ivOctets, authenticated } = ciphers[cipher];
  // GCMParameters end in the length of the tag (RFC 5084 §3.2): INTEGER, three octets.
  const behind = lengthOctets(length) + 1 + (authenticated ? 3 : 0);
  const end = prefix.length - behind;
  return { cipher, iv: prefix.subarray(end - ivOctets, end), length, suffix };
}

/** Of a definite length (X.690 §8.1.3). */
function lengthOctets(length: number): number {
  if (length < 0x80) return 1;
  let octets = 1;
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets++;
  return octets;
}

/** Goes into values whose end lies behind the prefix. */
class Cursor {
  readonly #octets: Buffer;
  #at = 0;

  constructor(octets: Buffer) {
    this.#octets = octets;
  }

  enter(tag: number): void {
    this.#header(tag);
  }

  /** The whole of a value that ends within the prefix. */
  take(tag: number): Buffer {
    const start = this.#at;
    const length = this.#header(tag);
    this.#at += length;
    if (this.#at > this.#octets.length) throw damaged();
    return this.#octets.subarray(start, this.#at);
  }

  #header(tag: number): number {
    const [found, form = 0] = this.#octets.subarray(this.#at, this.#at + 2);
    if (found !== tag) throw damaged();
    this.#at += 2;
    if (form < 0x80) return form;
    const octets = form & 0x7f;
    if (octets === 0 || octets > 6 || this.#at + octets > this.#octets.length) throw damaged();
    const length = this.#octets.readUIntBE(this.#at, octets);
    this.#at += octets;
    return length;
  }
}
