/**
 * Keys from the password of a PKCS#12, and its integrity (RFC 7292 §5.1, appendix B). NSS asks for 600,000 rounds, which take node-forge ten seconds and
 * node:crypto one.
 */
import { createHmac, hash } from 'node:crypto';

export type MacHash = 'sha1' | 'sha256' | 'sha384' | 'sha512';

/** Octets of the block that each hash works on (FIPS 180-4): v of RFC 7292 appendix B.2. */
const blockOctets: Readonly<Record<MacHash, number>> = { sha1: 64, sha256: 64, sha384: 128, sha512: 128 };
/** RFC 7292 appendix B.3: the diversifiers of an encryption key and of a MAC key. */
const KEY_ID = 1;
const MAC_ID = 3;

export interface MacParameters {
  readonly hash: MacHash;
  readonly salt: Buffer;
  readonly iterations: number;
}

/** The MAC over `content`, the octets of the AuthenticatedSafe. */
export const pkcs12Mac = (content: Buffer, passphrase: string, parameters: MacParameters): Buffer =>
  createHmac(parameters.hash, macKey(passphrase, parameters)).update(content).digest();

/** A MAC key is as long as the hash, so the first block of output is all of it. */
const macKey = (passphrase: string, parameters: MacParameters): Buffer => firstBlock(MAC_ID, passphrase, parameters).output;

/** RFC 7292 appendix B.2 up to A_1, and the string I that the next block would start from. */
function firstBlock(
  id: number,
  passphrase: string,
  { hash: algorithm, salt, iterations }: MacParameters,
): { output: Buffer; input: Buffer } {
  const v = blockOctets[algorithm];
  // Appendix B.1: UTF-16, most significant octet first, with its terminating NUL.
  const password = Buffer.from(`${passphrase}\0`, 'utf16le').swap16();
  const input = Buffer.concat([filled(salt, v), filled(password, v)]);
  let output = hash(algorithm, Buffer.concat([Buffer.alloc(v, id), input]), 'buffer');
  for (let round = 1; round < iterations; round++) output = hash(algorithm, output, 'buffer');
  return { output, input };
}

/**
 * True where gpgsm 2.2 derives another 3DES key than everybody else, and calls the password wrong: it drops the leading zero octet
 * of a sum (I_j + B + 1) mod 2^v (appendix B.2, step 6C). About one salt in fifty is such a one.
 */
export function misreadByGpgsm(passphrase: string, salt: Buffer, iterations: number): boolean {
  const v = blockOctets.sha1;
  const { output, input } = firstBlock(KEY_ID, passphrase, { hash: 'sha1', salt, iterations });
  const addend = BigInt(`0x${filled(output, v).subarray(0, v).toString('hex')}`) + 1n;
  const highest = 1n << BigInt(8 * (v - 1));
  for (let at = 0; at < input.length; at += v) {
    const block = BigInt(`0x${input.subarray(at, at + v).toString('hex')}`);
    if (BigInt.asUintN(8 * v, block + addend) < highest) return true;
  }
  return false;
}

/** Copies of `source` up to a multiple of `v`, the last one cut. */
const filled = (source: Buffer, v: number): Buffer =>
  source.length === 0 ? source : Buffer.alloc(v * Math.ceil(source.length / v), source);
