/** Whether octets can be a ciphertext, by how often each one occurs: text, zeros and pictures of nothing are not. */

/** Fewer octets say too little. */
const LEAST = 64;
/** Of random octets four in ten are printable ASCII or a line end; that seven are, among 64, happens once in a million. */
const READABLE_SHARE = 0.72;
/** No octet is a fifth of 64 random ones. */
const ONE_SHARE = 0.2;

export function looksReadable(sample: Buffer): boolean {
  if (sample.length < LEAST) return false;
  const counts = new Uint32Array(256);
  let readable = 0;
  for (const octet of sample) {
    counts[octet] = (counts[octet] ?? 0) + 1;
    if ((octet >= 0x20 && octet < 0x7f) || octet === 0x0a || octet === 0x0d || octet === 0x09) readable++;
  }
  return readable > sample.length * READABLE_SHARE || Math.max(...counts) > sample.length * ONE_SHARE;
}
