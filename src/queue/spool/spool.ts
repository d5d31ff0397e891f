/**
 * The spool: a message that a rule passes in clear, as it lies in the queue (P2, P3). Its octets stand in chunks under an authenticated
 * cipher, so that nothing of it can be read on the disk, and no chunk can be changed, left out, doubled or moved unnoticed. The interface.
 */
import type { BodyWriter } from '../queue.ts';

/** What stands beside the body of a spooled message; JSON in the row, covered by its checksum. Nothing of the content. */
export interface SpoolFacts {
  /** Octets of the message in clear, which are those on the wire. */
  readonly size: number;
  /** It holds octets above 0x7f, or came with BODY=8BITMIME: the upstream must offer 8BITMIME (RFC 6152), else 5.6.3. */
  readonly eightBit: boolean;
  /** Its header holds UTF-8: the upstream must offer SMTPUTF8 (RFC 6531), else 5.6.7. */
  readonly smtputf8: boolean;
}

/** Write the message in order, header first, then end, once; `forget` in every case. */
export interface SpoolWriter {
  write(octets: Buffer): Promise<void>;
  end(): Promise<void>;
  forget(): void;
}

export interface Spool {
  /** Encrypts into a body of the queue. */
  writer(body: Pick<BodyWriter, 'write'>): SpoolWriter;
  /** The message in clear. Throws `queue-item-damaged` before any octet of a chunk that does not fit, and where the last chunk is missing. */
  read(ciphertext: AsyncIterable<Buffer>): AsyncIterable<Buffer>;
}
