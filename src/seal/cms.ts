/**
 * The DER in front of and behind a ciphertext that has streamed past (RFC 5652 §6.1 EnvelopedData, RFC 5083 §2.1
 * AuthEnvelopedData). Lengths are definite though the body streamed, because the prefix is written last.
 */
import { type Cipher, ciphers, ids } from './algorithms.ts';
import { header, integer, octetString, oid, SEQUENCE, sequence, setOf } from '../certificates/encode.ts';

/** [0] IMPLICIT around the primitive OCTET STRING that is the ciphertext; [0] EXPLICIT around the envelope. */
const CONTENT_TAG = 0x80;
const EXPLICIT_0 = 0xa0;

/** What the structure around one ciphertext needs to know of it. */
export interface Content {
  readonly cipher: Cipher;
  readonly iv: Buffer;
  /** Octets of ciphertext. */
  readonly length: number;
  /** What stands behind the ciphertext. */
  readonly suffix: Buffer;
}

/** Everything in front of the ciphertext, naming these readers only. */
export function messagePrefix(content: Content, recipientInfos: readonly Buffer[]): Buffer {
  const { authenticated, id } = ciphers[content.cipher];
  const parameters = authenticated ? gcmParameters(content.iv) : octetString(content.iv);
  const contentStart = Buffer.concat([ids.data, sequence(oid(id), parameters), header(CONTENT_TAG, content.length)]);
  const encryptedContentInfo = opened(SEQUENCE, contentStart, content.length);
  const envelopeStart = Buffer.concat([
    integer(Buffer.from([version(authenticated, recipientInfos)])),
    setOf(recipientInfos),
    encryptedContentInfo,
  ]);
  const behind = content.length + content.suffix.length;
  const envelope = opened(EXPLICIT_0, opened(SEQUENCE, envelopeStart, behind), behind);
  return opened(SEQUENCE, Buffer.concat([authenticated ? ids.authEnvelopedData : ids.envelopedData, envelope]), behind);
}

/** Tag and length in front of `start`, counting `behind` octets that follow later. */
const opened = (tag: number, start: Buffer, behind: number): Buffer => Buffer.concat([header(tag, start.length + behind), start]);

/** RFC 5652 §6.1: 0 where all RecipientInfos are version 0, 2 with key agreement. RFC 5083 §2.1: always 0. */
function version(authenticated: boolean, recipientInfos: readonly Buffer[]): number {
  return authenticated || recipientInfos.every((info) => info[0] === SEQUENCE) ? 0 : 2;
}

export const GCM_TAG_OCTETS = 16;

/** RFC 5084 §3.2; the length of the tag is written out, since its default is 12. */
function gcmParameters(nonce: Buffer): Buffer {
  return sequence(octetString(nonce), integer(Buffer.from([GCM_TAG_OCTETS])));
}

/** AuthEnvelopedData's mac, behind the ciphertext. */
export const macSuffix = (tag: Buffer): Buffer => octetString(tag);
