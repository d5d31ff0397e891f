/**
 * Held mail: what stands beside it in the queue, for the decision that is made again when it is released. Nothing of the content: what
 * rules ask of the header is read from inside the seal, by whoever has the key.
 */
import { SealpostError } from '../errors.ts';

export interface HeldFacts {
  readonly rule: string;
  readonly because: 'rule' | 'missing' | 'unavailable';
  /** Ms since the epoch. */
  readonly heldAt: number;
  /** Who handed it in, and what MAIL declared: what rules may ask again. */
  readonly client: string;
  readonly user: string | null;
  readonly size: number | null;
  /** Of the body that is stored: readers of the same cipher and inside need a new prefix only. */
  readonly cipher: string;
  readonly inside: string;
  /** The recipient of an archive's copy is decided on no more, only looked up. */
  readonly archive: boolean;
}

export const writeHeld = (facts: HeldFacts): string => JSON.stringify(facts);

/** Throws `queue-item-damaged`. */
export function readHeld(text: string): HeldFacts {
  const facts = parse(text);
  const words = ['rule', 'because', 'client', 'cipher', 'inside'] as const;
  if (words.some((key) => typeof facts[key] !== 'string') || typeof facts['heldAt'] !== 'number' || typeof facts['archive'] !== 'boolean')
    throw new SealpostError('queue-item-damaged', { detail: 'the facts of held mail' });
  const because = (['rule', 'missing', 'unavailable'] as const).find((word) => word === facts['because']);
  if (because === undefined) throw new SealpostError('queue-item-damaged', { detail: 'the facts of held mail' });
  return {
    rule: String(facts['rule']),
    because,
    heldAt: facts['heldAt'],
    client: String(facts['client']),
    user: typeof facts['user'] === 'string' ? facts['user'] : null,
    size: typeof facts['size'] === 'number' ? facts['size'] : null,
    cipher: String(facts['cipher']),
    inside: String(facts['inside']),
    archive: facts['archive'],
  };
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {};
  } catch (cause) {
    throw new SealpostError('queue-item-damaged', { detail: 'the facts of held mail', cause });
  }
}
