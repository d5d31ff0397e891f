/** From a private key to the content key of one held message: all that a release needs of it. */
import type { HeldRow } from '../queue/queue.ts';
import { ciphers } from '../seal/algorithms.ts';
import { contentKeys, type Identity } from '../seal/open.ts';
import { readPrefix } from '../seal/prefix.ts';

/** Undefined where it was sealed to another certificate; that a key of the right name is another one, only the release finds out. */
export function unwrap(
  { prefix, bodyLength, suffix }: Pick<HeldRow, 'prefix' | 'bodyLength' | 'suffix'>,
  identities: readonly Identity[],
): Buffer | undefined {
  const { content, recipients } = readPrefix(prefix, bodyLength, suffix);
  for (const key of contentKeys(recipients, identities, ciphers[content.cipher].keyOctets)) return key;
  return undefined;
}
