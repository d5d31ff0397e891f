/** Certificates: many of them, and what a stranger's can cost. Each part stands in a file of its own under certificates/. */
import { benchKnown } from './certificates/known.ts';
import { benchLookup } from './certificates/lookup.ts';
import type { Owner } from './owner.ts';

export type Print = (line: string) => void;

/** In the order they run. */
const parts: readonly ((print: Print, owner: Owner) => Promise<void>)[] = [benchLookup, benchKnown];

export async function benchCertificates(print: Print, owner: Owner): Promise<void> {
  for (const part of parts) await part(print, owner);
}
