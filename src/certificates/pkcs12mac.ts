/**
 * The integrity of a PKCS#12 (RFC 7292 §5.1, appendix B). NSS asks for 600,000 rounds, which take node-forge ten seconds and
 * node:crypto one.
 */
import { createHmac, hash } from 'node:crypto';

export type MacHash = 'sha1' | 'sha256' | 'sha384' | 'sha512';

/** Octets of the block that each hash works on (FIPS 180-4): v of RFC 7292 appendix B.2. */
const blockOctets: Readonly<Record<MacHash, number>> = { sha1: 64, sha256: 64, sha384: 128, sha512: 128 };
/** RFC 7292 appendix B.3: the diversifier of a MAC key. */
const MAC_ID = 3;

export interface MacParameters {
  readonly hash: MacHash;
  readonly salt: Buffer;
  readonly iterations: number;
}

/** The MAC over `content`, the octets of the AuthenticatedSafe. */
export const pkcs12Mac = (content: Buffer, passphrase: string, parameters: MacParameters): Buffer =>
  createHmac(parameters.hash, macKey(passphrase, parameters)).update(content).digest();

/** RFC 7292 appendix B.2, for one block of output: a MAC key is as long as the hash, so A_1 is all of it. */
function macKey(passphrase: string, { hash: algorithm, salt, iterations }: MacParameters): Buffer {
  const v = blockOctets[algorithm];
  const diversifier = Buffer.alloc(v, MAC_ID);
  // Appendix B.1: UTF-16, most significant octet first, with its terminating NUL.
  const password = Buffer.from(`${passphrase}\0`, 'utf16le').swap16();
  let key = hash(algorithm, Buffer.concat([diversifier, filled(salt, v), filled(password, v)]), 'buffer');
  for (let round = 1; round < iterations; round++) key = hash(algorithm, key, 'buffer');
  return key;
}

/** Copies of `source` up to a multiple of `v`, the last one cut. */
const filled = (source: Buffer, v: number): Buffer =>
  source.length === 0 ? source : Buffer.alloc(v * Math.ceil(source.length / v), source);
