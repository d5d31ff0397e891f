const LF = 0x0a;
const CR = 0x0d;
const NOTHING = Buffer.alloc(0);

/**
 * `source` up to a line that holds a dot alone, which ends a message on the standard input of sendmail without -i. What follows
 * it is not read. Constant memory; the other octets pass as they are, a dot in front of more text too.
 */
export async function* untilLoneDot(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let atStart = true;
  let held = NOTHING; // of a line that may still become the end
  for await (const chunk of source) {
    if (chunk.length === 0) continue;
    const octets = held.length > 0 ? Buffer.concat([held, chunk]) : chunk;
    const { kind, at } = findEnd(octets, atStart);
    if (at > 0) yield octets.subarray(0, at);
    if (kind === 'end') return;
    held = Buffer.from(octets.subarray(at));
    atStart = kind === 'open' || octets[octets.length - 1] === LF;
  }
  // Left over is `.` or `.` CR, without the end of its line: a lone dot all the same.
}

/** Where the lone dot stands; `open` where the chunk ends before it is known to be one; else all of the chunk is text. */
function findEnd(octets: Buffer, atStart: boolean): { readonly kind: 'end' | 'open' | 'text'; readonly at: number } {
  const first = atStart && octets[0] === '.'.charCodeAt(0) ? 0 : nextDot(octets, 0);
  for (let at = first; at >= 0; at = nextDot(octets, at)) {
    const next = octets[at + 1] === CR ? at + 2 : at + 1;
    if (next >= octets.length) return { kind: 'open', at };
    if (octets[next] === LF) return { kind: 'end', at };
  }
  return { kind: 'text', at: octets.length };
}

/** The next dot that begins a line, behind `from`; -1 where there is none. */
function nextDot(octets: Buffer, from: number): number {
  const before = octets.indexOf('\n.', from);
  return before < 0 ? -1 : before + 1;
}
