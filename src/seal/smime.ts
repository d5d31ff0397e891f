/**
 * The outer message of a sealed entity (RFC 8551 §3.2, §3.3): the outer header block, four MIME fields that say what the root and
 * only entity is, and the structure in base64. Lower case and in this form it is what Outlook and Exchange recognise.
 */
import { type Cipher, ciphers } from './algorithms.ts';

/** The header of a sealed message, its empty line included; the base64 form of the structure follows. */
export function sealedHeader(outer: Buffer, cipher: Cipher): Buffer {
  return Buffer.concat([
    outer,
    Buffer.from(
      [
        'MIME-Version: 1.0',
        `Content-Type: application/pkcs7-mime; smime-type=${ciphers[cipher].smimeType}; name="smime.p7m"`,
        'Content-Transfer-Encoding: base64',
        'Content-Disposition: attachment; filename="smime.p7m"',
        '',
        '',
      ].join('\r\n'),
    ),
  ]);
}
