/** Whether octets can be a ciphertext, by how often each one occurs: text, zeros and pictures are not. */

/** Fewer octets say nothing. */
const LEAST = 16;
/** 95 printable ones of ASCII, tabs and line ends, among 256. */
const READABLE = 98 / 256;
/**
 * Standard deviations beyond which it is no accident: once in 10⁷ among 16 octets, all of which must be readable then, and once in 10¹²
 * among 4096, of which a large message has thousands.
 */
const FAR = 7;
/** Pairs of equal octets are few where there are few octets, and come in clusters more than a deviation tells. */
const FAR_PAIRS = 9;
const SOME_PAIRS = 4;

export function looksReadable(sample: Buffer): boolean {
  const { length } = sample;
  if (length < LEAST) return false;
  const counts = new Uint32Array(256);
  let readable = 0;
  for (const octet of sample) {
    counts[octet] = (counts[octet] ?? 0) + 1;
    if ((octet >= 0x20 && octet < 0x7f) || octet === 0x0a || octet === 0x0d || octet === 0x09) readable++;
  }
  const most = length * READABLE + FAR * Math.sqrt(length * READABLE * (1 - READABLE));
  return readable >= Math.min(length, most) || pairsOf(counts) > mostPairs(length);
}

/** Whatever the alphabet, a language does not use all octets alike. */
const pairsOf = (counts: Uint32Array): number => counts.reduce((pairs, count) => pairs + (count * (count - 1)) / 2, 0);

function mostPairs(length: number): number {
  const expected = (length * (length - 1)) / 2 / 256;
  return expected + FAR_PAIRS * Math.sqrt(expected) + SOME_PAIRS;
}
