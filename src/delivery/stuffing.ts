/** Dot-stuffing (RFC 5321 §4.5.2) over a stream cut anywhere. Base64 lines never need it; a line of the header may. */

const DOT = 0x2e;
const CR = 0x0d;
const LF = 0x0a;
const ONE_DOT = Buffer.from('.');

export interface Stuffer {
  /** The chunk in pieces, with a dot in front of every dot that begins a line. */
  push(chunk: Buffer): Iterable<Buffer>;
  /** True at the start, and where what was pushed ends in CRLF. */
  readonly endsInLine: boolean;
}

export function makeStuffer(): Stuffer {
  // As if a line had just ended: the first octet of a message begins one.
  let before = CR;
  let last = LF;
  return {
    *push(chunk) {
      if (chunk.length === 0) return;
      let start = 0;
      if (last === LF && chunk[0] === DOT) yield ONE_DOT;
      for (let at = chunk.indexOf('\n.'); at >= 0; at = chunk.indexOf('\n.', at + 1)) {
        yield chunk.subarray(start, at + 1);
        yield ONE_DOT;
        start = at + 1;
      }
      yield chunk.subarray(start);
      before = chunk.length > 1 ? (chunk[chunk.length - 2] ?? 0) : last;
      last = chunk[chunk.length - 1] ?? 0;
    },
    get endsInLine() {
      return before === CR && last === LF;
    },
  };
}
