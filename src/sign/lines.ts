/** Base64 in lines of 76 columns (RFC 2045 §6.8), as octets stream by. */

/** 57 octets make one line, so cutting at multiples of 57 never leaves padding in the middle. */
const LINE_OCTETS = 57;
const LINE_COLUMNS = 76;
const CR = 0x0d;
const LF = 0x0a;

/** Keeps what does not fill a line yet. */
export class Base64Lines {
  #pending: Buffer = Buffer.alloc(0);

  push(octets: Buffer): Buffer {
    const all = this.#pending.length === 0 ? octets : Buffer.concat([this.#pending, octets]);
    const whole = all.length - (all.length % LINE_OCTETS);
    // A copy: the rest may be small, and what it is part of large.
    this.#pending = Buffer.from(all.subarray(whole));
    return inLines(all.subarray(0, whole));
  }

  /** The last line. */
  end(): Buffer {
    return inLines(this.#pending);
  }
}

/** Every line ends in CRLF. */
export function inLines(octets: Buffer): Buffer {
  const digits = Buffer.from(octets.toString('base64'), 'latin1');
  const lines = Math.ceil(digits.length / LINE_COLUMNS);
  const out = Buffer.allocUnsafe(digits.length + 2 * lines);
  for (let line = 0, at = 0; line < lines; line++) {
    at += digits.copy(out, at, line * LINE_COLUMNS, (line + 1) * LINE_COLUMNS);
    out[at++] = CR;
    out[at++] = LF;
  }
  return out;
}
