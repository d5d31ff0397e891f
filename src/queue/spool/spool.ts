/**
 * The spool: a message that a rule passes in clear, as it lies in the queue (P2, P3). Its octets stand in chunks under an authenticated
 * cipher, so that nothing of it can be read on the disk, and no chunk can be changed, left out, doubled or moved unnoticed.
 *
 *   header: magic and version ‖ id of the spool key ‖ salt              48 octets, the associated data of every chunk
 *   chunk…: AES-256-GCM of 64 KiB, the last one of what is left, and its tag
 *
 * The row of each recipient is bound to it by a code in its facts, over its queue id, sender, recipient and facts: whoever may write the
 * queue, and has no key, cannot have another message or another recipient take its place.
 *
 * Key and nonce prefix come by HKDF-SHA-256 from the spool key and the salt, so each message has its own. A nonce is the prefix, the
 * number of the chunk and whether it is the last: the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (CRYPTO 2015).
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { SealpostError } from '../../errors.ts';
import type { BodyWriter } from '../queue.ts';
import type { SpoolKey, SpoolKeys } from './key.ts';

/** What stands beside the body of a spooled message; JSON in the row, covered by its checksum. Nothing of the content. */
export interface SpoolFacts {
  /** Octets of the message in clear, which are those on the wire. */
  readonly size: number;
  /** It holds octets above 0x7f, or came with BODY=8BITMIME: the upstream must offer 8BITMIME (RFC 6152), else 5.6.3. */
  readonly eightBit: boolean;
  /** Its header holds UTF-8: the upstream must offer SMTPUTF8 (RFC 6531), else 5.6.7. */
  readonly smtputf8: boolean;
}

/** Whose message it is, as the row of a recipient says. */
export interface SpooledFor {
  readonly queueId: string;
  /** What MAIL says to the upstream; '' is the null reverse-path. */
  readonly sender: string;
  readonly recipient: string;
}

/** Write the message in order, header first, then end, once; `forget` in every case. */
export interface SpoolWriter {
  write(octets: Buffer): Promise<void>;
  end(): Promise<void>;
  /** What the row of a recipient keeps: the facts as JSON, bound to this message and to whom it goes. */
  factsFor(row: SpooledFor, facts: SpoolFacts): string;
  forget(): void;
}

export interface Spool {
  /** Encrypts into a body of the queue. */
  writer(body: Pick<BodyWriter, 'write'>): SpoolWriter;
  /**
   * The message in clear. Throws `queue-item-damaged` before any octet where `facts` are not those of this row and message, before any
   * octet of a chunk that does not fit, and where the last chunk is missing.
   */
  read(ciphertext: AsyncIterable<Buffer>, row: SpooledFor, facts: string): AsyncIterable<Buffer>;
}

/** The version is its last octet. */
const MAGIC = Buffer.from('SPSPOOL\x01', 'latin1');
const KEY_ID_OCTETS = 8;
const SALT_OCTETS = 32;
export const HEADER_OCTETS = MAGIC.length + KEY_ID_OCTETS + SALT_OCTETS;
/** Of the message in one chunk. */
export const CHUNK_OCTETS = 64 * 1024;
export const TAG_OCTETS = 16;
const STORED_CHUNK = CHUNK_OCTETS + TAG_OCTETS;
const CIPHER = 'aes-256-gcm';
const CIPHER_KEY_OCTETS = 32;
const PREFIX_OCTETS = 7;
const BINDING = 'sha256';
const BINDING_KEY_OCTETS = 32;
const BINDING_AT = CIPHER_KEY_OCTETS + PREFIX_OCTETS;
/** Says what the derived key is for, and in which version. */
const PURPOSE = 'sealpost spool, version 1: key, nonce prefix and key of the binding';
/** The counter has four octets; no message comes near. */
const MOST_CHUNKS = 2 ** 32;

/** The first key encrypts, all of them decrypt. `randomBytes` must be a cryptographic source. */
export function makeSpool({ keys, randomBytes }: { readonly keys: SpoolKeys; readonly randomBytes: (octets: number) => Buffer }): Spool {
  const [newest] = keys;
  return {
    writer: (body) => makeWriter(newest, randomBytes(SALT_OCTETS), body),
    read: (ciphertext, row, facts) => readChunks(new ChunkReader(keys, { row, facts }), ciphertext),
  };
}

function makeWriter(key: SpoolKey, salt: Buffer, body: Pick<BodyWriter, 'write'>): SpoolWriter {
  const header = Buffer.concat([MAGIC, key.id, salt]);
  const secret = derive(key, header);
  const gathered = Buffer.allocUnsafe(CHUNK_OCTETS);
  let length = 0;
  let number = 0;
  const writeChunk = async (chunk: Buffer, last: boolean): Promise<void> => {
    const cipher = createCipheriv(CIPHER, secret.key, nonceOf(secret, number, last), { authTagLength: TAG_OCTETS });
    const sealed = Buffer.concat([cipher.setAAD(header).update(chunk), cipher.final(), cipher.getAuthTag()]);
    await body.write(number === 0 ? Buffer.concat([header, sealed]) : sealed);
    number++;
  };
  return {
    async write(octets) {
      for (let at = 0; at < octets.length;) {
        // Only what follows a full chunk shows that it was not the last.
        if (length === CHUNK_OCTETS) {
          await writeChunk(gathered, false);
          length = 0;
        }
        const taken = octets.copy(gathered, length, at);
        length += taken;
        at += taken;
      }
    },
    end: () => writeChunk(gathered.subarray(0, length), true),
    factsFor: (row, facts) => JSON.stringify({ ...plainFacts(facts), bound: bind(secret, row, facts).toString('base64') }),
    forget() {
      gathered.fill(0);
      forget(secret);
    },
  };
}

async function* readChunks(reader: ChunkReader, ciphertext: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    for await (const octets of ciphertext) yield* reader.push(octets);
    yield reader.end();
  } finally {
    reader.forget();
  }
}

interface Claimed {
  readonly row: SpooledFor;
  readonly facts: string;
}

class ChunkReader {
  readonly #keys: SpoolKeys;
  readonly #claimed: Claimed;
  /** The header, then one chunk after the other, until it is full and something follows. */
  readonly #gathered = Buffer.allocUnsafe(STORED_CHUNK);
  #length = 0;
  #header: Buffer | undefined;
  #secret: Secret | undefined;
  #number = 0;
  /** The id of a key that is not there. */
  #lacking: string | undefined;

  constructor(keys: SpoolKeys, claimed: Claimed) {
    this.#keys = keys;
    this.#claimed = claimed;
  }

  *push(octets: Buffer): Iterable<Buffer> {
    for (let at = 0; at < octets.length && this.#lacking === undefined;) {
      if (this.#header === undefined) {
        at += this.#gather(octets, at, HEADER_OCTETS);
        if (this.#length === HEADER_OCTETS) this.#begin();
        continue;
      }
      // A whole chunk may be the last one: what follows it tells.
      if (this.#length === STORED_CHUNK) yield this.#open(false);
      at += this.#gather(octets, at, STORED_CHUNK);
    }
  }

  /** The last chunk. */
  end(): Buffer {
    // A key that is lacking may come back, so the message waits (P5). Its checksum held to the end, so that it is not damaged.
    if (this.#lacking !== undefined)
      throw new SealpostError('file-unreadable', {
        detail: `the spool key ${this.#lacking} is not there`,
        hint: 'append the line of that key from your copy of spool.key to the one in the keys folder, never over it, and start the relay again',
      });
    return this.#open(true);
  }

  forget(): void {
    if (this.#secret !== undefined) forget(this.#secret);
  }

  /** Takes up to `full` octets in all; answers how many. */
  #gather(octets: Buffer, at: number, full: number): number {
    const taken = octets.copy(this.#gathered, this.#length, at, at + full - this.#length);
    this.#length += taken;
    return taken;
  }

  #begin(): void {
    const header = Buffer.from(this.#gathered.subarray(0, HEADER_OCTETS));
    if (!header.subarray(0, MAGIC.length).equals(MAGIC)) throw damaged('its body is not in the form of the spool');
    const id = header.subarray(MAGIC.length, MAGIC.length + KEY_ID_OCTETS);
    const key = this.#keys.find((one) => one.id.equals(id));
    this.#length = 0;
    this.#header = header;
    if (key === undefined) {
      this.#lacking = id.toString('hex');
      return;
    }
    this.#secret = derive(key, header);
    assertBound(this.#secret, this.#claimed);
  }

  #open(last: boolean): Buffer {
    if (this.#header === undefined || this.#secret === undefined) throw damaged('its body ends within its header');
    const stored = this.#gathered.subarray(0, this.#length);
    this.#length = 0;
    return openChunk({ secret: this.#secret, header: this.#header, number: this.#number++, last }, stored);
  }
}

interface ChunkPlace {
  readonly secret: Secret;
  readonly header: Buffer;
  readonly number: number;
  readonly last: boolean;
}

function openChunk({ secret, header, number, last }: ChunkPlace, stored: Buffer): Buffer {
  if (stored.length < TAG_OCTETS) throw damaged('its last chunk is missing');
  const decipher = createDecipheriv(CIPHER, secret.key, nonceOf(secret, number, last), { authTagLength: TAG_OCTETS });
  decipher.setAAD(header).setAuthTag(stored.subarray(-TAG_OCTETS));
  const octets = decipher.update(stored.subarray(0, -TAG_OCTETS));
  try {
    decipher.final();
  } catch (cause) {
    octets.fill(0);
    throw damaged(`chunk ${number + 1} of its body is not as it was written, or not where it belongs`, cause);
  }
  return octets;
}

/** What one message is encrypted with. */
interface Secret {
  readonly key: Buffer;
  readonly prefix: Buffer;
  readonly binding: Buffer;
}

function derive(key: SpoolKey, header: Buffer): Secret {
  const salt = header.subarray(-SALT_OCTETS);
  const octets = Buffer.from(hkdfSync('sha256', key.secret, salt, PURPOSE, BINDING_AT + BINDING_KEY_OCTETS));
  return {
    key: octets.subarray(0, CIPHER_KEY_OCTETS),
    prefix: octets.subarray(CIPHER_KEY_OCTETS, BINDING_AT),
    binding: octets.subarray(BINDING_AT),
  };
}

function forget({ key, prefix, binding }: Secret): void {
  for (const octets of [key, prefix, binding]) octets.fill(0);
}

/** JSON tells where one part ends and the next begins. */
function bind({ binding }: Secret, { queueId, sender, recipient }: SpooledFor, { size, eightBit, smtputf8 }: SpoolFacts): Buffer {
  const parts = [queueId, sender, recipient, size, eightBit, smtputf8];
  return createHmac(BINDING, binding).update(JSON.stringify(parts)).digest();
}

function assertBound(secret: Secret, { row, facts }: Claimed): void {
  const { bound, ...read } = parseFacts(facts);
  const expected = bind(secret, row, read);
  if (bound.length !== expected.length || !timingSafeEqual(bound, expected))
    throw damaged('its body was not passed to this recipient under this queue id');
}

function nonceOf({ prefix }: Secret, number: number, last: boolean): Buffer {
  if (number >= MOST_CHUNKS) throw new SealpostError('internal', { detail: 'a message of too many chunks' });
  const nonce = Buffer.alloc(PREFIX_OCTETS + 5);
  prefix.copy(nonce);
  nonce.writeUInt32BE(number, PREFIX_OCTETS);
  nonce[PREFIX_OCTETS + 4] = last ? 1 : 0;
  return nonce;
}

const damaged = (detail: string, cause?: unknown): SealpostError => new SealpostError('queue-item-damaged', { detail, cause });

const plainFacts = ({ size, eightBit, smtputf8 }: SpoolFacts): SpoolFacts => ({ size, eightBit, smtputf8 });

/** What a row says; whether it is bound to its body, reading that tells. Throws `queue-item-damaged`. */
export const readSpoolFacts = (text: string): SpoolFacts => plainFacts(parseFacts(text));

function parseFacts(text: string): SpoolFacts & { readonly bound: Buffer } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged('the facts of a passed message', cause);
  }
  if (typeof value !== 'object' || value === null) throw damaged('the facts of a passed message');
  const { size, eightBit, smtputf8, bound }: Readonly<Record<string, unknown>> = { ...value };
  if (!Number.isSafeInteger(size) || typeof size !== 'number' || size < 0 || typeof eightBit !== 'boolean' || typeof smtputf8 !== 'boolean')
    throw damaged('the facts of a passed message');
  if (typeof bound !== 'string') throw damaged('the facts of a passed message');
  return { size, eightBit, smtputf8, bound: Buffer.from(bound, 'base64') };
}
