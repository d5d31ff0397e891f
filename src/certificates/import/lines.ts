/**
 * The lines of a text that streams past, however large it is: each is given with its number, none is held for longer than it takes to find
 * its end, and one without an end costs no more memory than `most` octets.
 */

/** `octets`: without its line end; undefined where there were more of them than anybody reads. */
export interface Line {
  /** From 1. */
  readonly number: number;
  readonly octets: Buffer | undefined;
}

export interface LineReader {
  push(chunk: Buffer): Iterable<Line>;
  /** What stands behind the last line end. */
  end(): Iterable<Line>;
}

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

export function makeLineReader(most: number): LineReader {
  let number = 0;
  /** The beginning of a line whose end has not come yet. */
  let parts: Buffer[] = [];
  let held = 0;
  const hold = (part: Buffer): void => {
    held += part.length;
    if (held > most) parts = [];
    else if (part.length > 0) parts.push(part);
  };
  const take = (rest: Buffer): Line => {
    hold(rest);
    const octets = held > most ? undefined : (parts.length === 1 && parts[0]) || Buffer.concat(parts);
    [parts, held] = [[], 0];
    return { number: ++number, octets: octets?.at(-1) === CARRIAGE_RETURN ? octets.subarray(0, -1) : octets };
  };
  return {
    push: function* (chunk) {
      let from = 0;
      for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, from)) {
        yield take(chunk.subarray(from, at));
        from = at + 1;
      }
      hold(Buffer.from(chunk.subarray(from)));
    },
    end: function* () {
      if (held > 0) yield take(Buffer.alloc(0));
    },
  };
}
