/**
 * Line ends as RFC 8551 §3.1.1 wants them inside an entity: CRLF and nothing else. Legacy scripts send bare LF (PHP's mail()
 * does); the cipher must not preserve what the next hop would have mended, or a signature could never fit.
 */
import { SealpostError } from '../errors.ts';

const CR = 0x0d;
const LF = 0x0a;
const NUL = 0x00;

/**
 * `source` with every bare CR and bare LF made CRLF, chunk by chunk in constant memory. Chunks without a fault pass as they
 * are. Throws `message-has-nul` at the first NUL (RFC 5321 §4.5.2 forbids it; readers cut the text there).
 */
export async function* canonicalLines(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let openCR = false; // the last chunk ended in a CR whose LF may follow
  for await (const chunk of source) {
    if (chunk.length === 0) continue;
    const faults = countFaults(chunk, openCR);
    yield faults === 0 ? chunk : mend(chunk, openCR, faults);
    openCR = chunk[chunk.length - 1] === CR;
  }
  if (openCR) yield Buffer.from('\n');
}

/** How many octets must be put in: a CR before each bare LF, an LF behind each bare CR (but a CR that ends the chunk waits). */
function countFaults(chunk: Buffer, openCR: boolean): number {
  let faults = 0;
  let previous = openCR ? CR : LF;
  for (let i = 0; i < chunk.length; i++) {
    const octet = chunk[i] ?? NUL;
    // One comparison for nearly every octet of a body: only control characters are looked at.
    if (octet > CR) {
      if (previous === CR) faults++;
    } else if (octet === NUL) {
      throw new SealpostError('message-has-nul');
    } else if (octet === LF) {
      if (previous !== CR) faults++;
    } else if (previous === CR) {
      faults++;
    }
    previous = octet;
  }
  return faults;
}

function mend(chunk: Buffer, openCR: boolean, faults: number): Buffer {
  const out = Buffer.allocUnsafe(chunk.length + faults);
  let at = 0;
  let previous = openCR ? CR : LF;
  for (const octet of chunk) {
    if (previous === CR && octet !== LF) out[at++] = LF;
    else if (octet === LF && previous !== CR) out[at++] = CR;
    out[at++] = octet;
    previous = octet;
  }
  return out;
}
