/** A signature over an entity that is made 7-bit first. */
import { SevenBit } from './recode.ts';
import type { EntitySigner } from './signer.ts';

export function recoded(signer: EntitySigner): EntitySigner {
  const recoder = new SevenBit();
  let started = false;
  /** The header of the entity comes out first, as soon as it is known how its body is encoded. */
  const sign = async (octets: readonly Buffer[]): Promise<Buffer[]> => {
    const out: Buffer[] = [];
    for (const part of octets) {
      out.push(...(started ? await signer.write(part) : await signer.start(part)));
      started = true;
    }
    return out;
  };
  return {
    fingerprint: signer.fingerprint,
    start: (header) => sign(recoder.push(header)),
    write: (body) => sign(recoder.push(body)),
    end: async () => [...(await sign(recoder.end())), ...(await signer.end())],
  };
}
