/** Whether the inside that is stored serves what is decided today, and if not, what it lacks. */
import { z } from 'zod';
import { SealpostError } from '../errors.ts';
import { type Chosen, insideKey } from '../path/inside.ts';
import type { Dress } from '../policy/decide.ts';

const shape = z.object({
  mended: z.array(z.string()),
  signed: z.boolean(),
  replaced: z.array(z.string()),
  sign: z.object({ form: z.enum(['detached', 'opaque']) }).nullable(),
  show: z.boolean(),
});

export type Inside = z.output<typeof shape>;

/** `key` as inside.ts writes it. Throws `queue-item-damaged`. */
export function readInside(key: string): Inside {
  try {
    return shape.parse(JSON.parse(key));
  } catch (cause) {
    throw new SealpostError('queue-item-damaged', { detail: 'the facts of held mail', cause });
  }
}

/** The key that the message of `key` would have in another dress. Throws `queue-item-damaged`. */
export const insideAs = (key: string, dress: Chosen): string => insideKey(readInside(key), dress);

export interface Lack {
  /** Keys of fields that are no more shown outside, and do not stand inside. */
  readonly fields: readonly string[];
  readonly signature: boolean;
  readonly shownSubject: boolean;
}

/**
 * What stands inside beyond what would be there today does no harm, and stays: a field that is shown outside too, the site's signature, a
 * subject in the text. So most of what is released keeps its ciphertext.
 */
export function lackOf(key: string, dress: Dress): Lack {
  const stored = readInside(key);
  const wanted = readInside(insideAs(key, dress));
  return {
    fields: wanted.replaced.filter((field) => !stored.replaced.includes(field)),
    signature: wanted.sign !== null && stored.sign === null,
    // Under a signature nothing is changed any more.
    shownSubject: wanted.show && !stored.show && stored.sign === null,
  };
}
