/** Under which name of DNS a mailbox has its certificates (RFC 8162 §3). */
import { createHash } from 'node:crypto';
import type { Mailbox } from '../../message/envelope.ts';

/** RFC 8162 §3: SHA-256, cut to 28 octets, so that its hexadecimal form fits a label. */
const HASH_OCTETS = 28;
/** RFC 1035 §2.3.4: 255 octets on the wire, which is two more than in text. */
const MAX_NAME = 253;

/**
 * The names to ask for, in this order: that of the local part as it is written, then that of its lower-case form where it differs.
 * RFC 8162 §3 hashes the local part as it stands, so `Anna` and `anna` are two names; those who publish write lower case, since
 * their mail hosts know no other, and scripts write what people typed. A local part outside ASCII is never folded, as nowhere
 * else. Empty where DNS can hold nothing for the mailbox: address literals, names too long.
 */
export function ownerNames(mailbox: Mailbox): readonly string[] {
  if (mailbox.domain.startsWith('[')) return [];
  const written = unquoted(mailbox.localPart);
  const folded = mailbox.needsSmtputf8 ? written : written.toLowerCase();
  return [...new Set([written, folded])].map((local) => `${hashOf(local)}._smimecert.${mailbox.domain}`).filter(isShortEnough);
}

const isShortEnough = (name: string): boolean => name.length <= MAX_NAME;

const hashOf = (local: string): string => createHash('sha256').update(local, 'utf8').digest().toString('hex', 0, HASH_OCTETS);

/** RFC 8162 §3: without the enclosing quotes and the backslashes of quoted pairs, `"a\"b"` is a"b. */
const unquoted = (local: string): string => (local.startsWith('"') ? local.slice(1, -1).replaceAll(/\\(.)/g, '$1') : local);
