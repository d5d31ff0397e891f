/** What a file of certificates is, by what stands in it: names of files say little, and lie. */
import { tags } from '../der.ts';
import { looksLikeLdif } from './ldif.ts';

/** `certificates`: what the live folders take: PEM, DER, PKCS#7. `key`: a private key in DER. */
export type ImportKind = 'certificates' | 'pkcs12' | 'key' | 'ldif';

/** So much of the beginning tells. */
export const HEAD_BYTES = 64 * 1024;

const SEQUENCE_OCTET = 0x30;
/** RFC 7292 §4. */
const PFX_VERSION = 3;

export function kindOf(head: Buffer): ImportKind {
  if (head[0] !== SEQUENCE_OCTET) return looksLikeLdif(head) ? 'ldif' : 'certificates';
  const form = head[1] ?? 0;
  // An indefinite length, which NSS writes, has no octets either.
  const at = form & 0x80 ? 2 + (form & 0x7f) : 2;
  if (head[at] !== tags.integer) return 'certificates';
  return head[at + 1] === 1 && head[at + 2] === PFX_VERSION ? 'pkcs12' : 'key';
}
