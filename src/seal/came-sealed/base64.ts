/**
 * Base64 as it streams (RFC 2045 §6.8), read strictly: the alphabet and line ends, padding at the very end and nothing behind it. A
 * decoder that skips what it does not know would let clear text stand between the lines.
 */

export interface Base64Decoder {
  /** What is whole so far; undefined where it is no base64. */
  push(octets: Buffer): Buffer | undefined;
  /** True where it ended whole. */
  end(): boolean;
}

const QUADS = /^[A-Za-z0-9+/]*={0,2}$/;

export function makeBase64Decoder(): Base64Decoder {
  let pending = '';
  let padded = false;
  let sound = true;
  return {
    push(octets) {
      const text = pending + octets.toString('latin1').replaceAll(/[\r\n]+/g, '');
      const whole = text.length - (text.length % 4);
      const quads = text.slice(0, whole);
      pending = text.slice(whole);
      if (padded && text !== '') sound = false;
      if (!QUADS.test(quads)) sound = false;
      const decoded = Buffer.from(quads, 'base64');
      if (quads.endsWith('=')) {
        padded = true;
        // The bits that no octet takes are zero (RFC 4648 §3.5).
        sound &&= pending === '' && quads.endsWith(decoded.subarray(-(decoded.length % 3 || 3)).toString('base64'));
      }
      return sound ? decoded : undefined;
    },
    end: () => sound && pending === '',
  };
}
