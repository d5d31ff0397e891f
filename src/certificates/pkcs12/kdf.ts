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
const IV_ID = 2;
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

/** Key and IV of pbeWithSHAAnd3-KeyTripleDES-CBC (RFC 7292 appendix C). */
export function tripleDesKey(passphrase: string, salt: Buffer, iterations: number): { readonly key: Buffer; readonly iv: Buffer } {
  const parameters: MacParameters = { hash: 'sha1', salt, iterations };
  return {
    key: derived(KEY_ID, passphrase, parameters, TRIPLE_DES_KEY_OCTETS),
    iv: derived(IV_ID, passphrase, parameters, TRIPLE_DES_BLOCK_OCTETS),
  };
}

const TRIPLE_DES_KEY_OCTETS = 24;
const TRIPLE_DES_BLOCK_OCTETS = 8;

/** RFC 7292 appendix B.2, of one block of output or two. */
function derived(id: number, passphrase: string, parameters: MacParameters, octets: number): Buffer {
  const { output, input } = firstBlock(id, passphrase, parameters);
  if (octets <= output.length) return output.subarray(0, octets);
  const v = blockOctets[parameters.hash];
  const next = blocksOf(input, v).map((block) => Buffer.from(hexOf(sumOf(block, output, v), v), 'hex'));
  const { hash: algorithm, iterations } = parameters;
  let second = hash(algorithm, Buffer.concat([Buffer.alloc(v, id), ...next]), 'buffer');
  for (let round = 1; round < iterations; round++) second = hash(algorithm, second, 'buffer');
  return Buffer.concat([output, second]).subarray(0, octets);
}

/**
 * True where gpgsm 2.2 derives another 3DES key than everybody else, and calls the password wrong: it drops the leading zero octet
 * of a sum (I_j + B + 1) mod 2^v (appendix B.2, step 6C). About one salt in fifty is such a one.
 */
export function misreadByGpgsm(passphrase: string, salt: Buffer, iterations: number): boolean {
  const v = blockOctets.sha1;
  const { output, input } = firstBlock(KEY_ID, passphrase, { hash: 'sha1', salt, iterations });
  const highest = 1n << BigInt(8 * (v - 1));
  return blocksOf(input, v).some((block) => sumOf(block, output, v) < highest);
}

/** I_j + B + 1 of step 6C, where B is the output as long as a block. */
const sumOf = (block: Buffer, output: Buffer, v: number): bigint =>
  BigInt.asUintN(8 * v, numberOf(block) + numberOf(filled(output, v).subarray(0, v)) + 1n);

const numberOf = (octets: Buffer): bigint => BigInt(`0x${octets.toString('hex')}`);
const hexOf = (value: bigint, octets: number): string => value.toString(16).padStart(2 * octets, '0');

const blocksOf = (input: Buffer, v: number): Buffer[] =>
  Array.from({ length: input.length / v }, (_, index) => input.subarray(index * v, (index + 1) * v));

/** Copies of `source` up to a multiple of `v`, the last one cut. */
const filled = (source: Buffer, v: number): Buffer =>
  source.length === 0 ? source : Buffer.alloc(v * Math.ceil(source.length / v), source);
